"""The ECAPA-TDNN network of speakers, and the front end that it was made for.

Sources: Desplanques, Thienpondt and Demuynck 2020 (2005.07143) for the architecture; the parameter
names, the reflection padding and the front end are those of speechbrain's recipe, so that its
public weights load as they are (`tools/ecapa_reference.py` compares the two).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from insidessl_dash.core.errors import ModelError
from insidessl_dash.core.types import SAMPLE_RATE

N_MELS = 80
WINDOW = 400
HOP = 160
RANGE_DB = 80.0
SHORTEST = 4 * HOP
"""Samples: five frames, the fewest that the reflection padding of the widest block can mirror."""

_FLOOR = 1e-10
_DILATIONS = (2, 3, 4)
_CONTEXT = 5  # frames that the first convolution sees


@dataclass(frozen=True)
class EcapaConfig:
    """The widths of an ECAPA-TDNN; the defaults are those of the public VoxCeleb model.

    Attributes:
        channels: Of E1 to E4, the C of the paper; a multiple of `scale`.
        mfa_channels: Of E5, the aggregation of E2 to E4.
        attention_channels: Between the two layers of the attentive pooling.
        se_channels: Between the two layers of squeeze and excitation.
        embedding: Size of E6.
        scale: Groups of channels of a Res2Net block.
    """

    channels: int = 1024
    mfa_channels: int = 3072
    attention_channels: int = 128
    se_channels: int = 128
    embedding: int = 192
    scale: int = 8

    def __post_init__(self) -> None:
        if self.channels % self.scale:
            raise ModelError(
                f"{self.channels} channels cannot be cut into {self.scale} groups: choose a "
                f"multiple of {self.scale}."
            )

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], where: Path) -> EcapaConfig:
        """The widths that the tensors of a checkpoint have.

        Raises:
            ModelError: Not the tensors of such a network.
        """
        try:
            return cls(
                channels=tensors["blocks.0.conv.conv.weight"].shape[0],
                mfa_channels=tensors["mfa.conv.conv.weight"].shape[0],
                attention_channels=tensors["asp.conv.conv.weight"].shape[1],
                se_channels=tensors["blocks.1.se_block.conv1.conv.weight"].shape[0],
                embedding=tensors["fc.conv.weight"].shape[0],
                scale=1
                + sum(
                    name.startswith("blocks.1.res2net_block.") and name.endswith("conv.weight")
                    for name in tensors
                ),
            )
        except (KeyError, IndexError) as error:
            raise ModelError(
                f"{where} does not hold an ECAPA-TDNN in speechbrain's parameter names "
                f"({error}): name the folder of an embedding model, e.g. a copy of "
                "speechbrain/spkrec-ecapa-voxceleb."
            ) from error


class _Conv(nn.Module):
    """A convolution over time that keeps the number of frames, mirrored at the ends."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        reach = dilation * (kernel - 1) // 2
        self.conv = nn.Conv1d(
            inputs,
            outputs,
            kernel,
            dilation=dilation,
            padding=reach,
            padding_mode="reflect" if reach else "zeros",
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _Norm(nn.Module):
    """Batch normalisation, one level deeper, where speechbrain's names have it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class _Tdnn(nn.Module):
    """Convolution, ReLU, batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = _Conv(inputs, outputs, kernel, dilation)
        self.norm = _Norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(functional.relu(self.conv(x)))


class _Res2Net(nn.Module):
    """Groups of channels in a chain: each sees its own and what the group before has made."""

    def __init__(self, channels: int, scale: int, dilation: int) -> None:
        super().__init__()
        width = channels // scale
        self.blocks = nn.ModuleList(_Tdnn(width, width, 3, dilation) for _ in range(scale - 1))

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = x.chunk(len(self.blocks) + 1, dim=1)
        made: list[Tensor] = []
        for group, block in zip(rest, self.blocks, strict=True):
            made.append(block(group + made[-1] if made else group))
        return torch.cat([first, *made], dim=1)


class _SqueezeExcitation(nn.Module):
    """A gain for every channel, from the utterance's mean."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.conv1 = _Conv(channels, squeezed)
        self.conv2 = _Conv(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        gains = self.conv2(functional.relu(self.conv1(x.mean(dim=2, keepdim=True))))
        return x * torch.sigmoid(gains)


class _SeRes2Block(nn.Module):
    def __init__(self, channels: int, squeezed: int, scale: int, dilation: int) -> None:
        super().__init__()
        self.tdnn1 = _Tdnn(channels, channels)
        self.res2net_block = _Res2Net(channels, scale, dilation)
        self.tdnn2 = _Tdnn(channels, channels)
        self.se_block = _SqueezeExcitation(channels, squeezed)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.se_block(self.tdnn2(self.res2net_block(self.tdnn1(x))))


class _AttentivePooling(nn.Module):
    """Mean and deviation over time, each channel weighing the frames in its own way.

    The attention sees each frame beside the plain mean and deviation of the utterance. Those two
    are the same in every frame, so their part of the first product is formed once.
    """

    def __init__(self, channels: int, attention: int) -> None:
        super().__init__()
        self.tdnn = _Tdnn(3 * channels, attention)
        self.conv = _Conv(attention, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Of (B, C, T), weighted means then deviations, (B, 2 C, 1)."""
        even = torch.full_like(x[:, :1], 1.0 / x.shape[2])
        convolution = self.tdnn.conv.conv
        of_frames, of_utterance = convolution.weight.tensor_split([x.shape[1]], dim=1)
        attention = functional.conv1d(x, of_frames) + functional.conv1d(
            _statistics(x, even), of_utterance, convolution.bias
        )
        attention = torch.tanh(self.tdnn.norm(functional.relu(attention)))
        return _statistics(x, torch.softmax(self.conv(attention), dim=2))


def _statistics(x: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean and deviation over time: (B, C, T) to (B, 2 C, 1)."""
    mean = (weights * x).sum(dim=2, keepdim=True)
    variance = (weights * (x - mean).square()).sum(dim=2, keepdim=True)
    return torch.cat([mean, variance.clamp(min=1e-12).sqrt()], dim=1)


class EcapaTdnn(nn.Module):
    """Log-mel frames to the outputs of all blocks, in speechbrain's parameter names."""

    def __init__(self, config: EcapaConfig) -> None:
        super().__init__()
        self.config = config
        wide = config.channels
        self.blocks = nn.ModuleList(
            [
                _Tdnn(N_MELS, wide, _CONTEXT),
                *(
                    _SeRes2Block(wide, config.se_channels, config.scale, dilation)
                    for dilation in _DILATIONS
                ),
            ]
        )
        self.mfa = _Tdnn(len(_DILATIONS) * wide, config.mfa_channels)
        self.asp = _AttentivePooling(config.mfa_channels, config.attention_channels)
        self.asp_bn = _Norm(2 * config.mfa_channels)
        self.fc = _Conv(2 * config.mfa_channels, config.embedding)

    def forward(self, mel: Tensor) -> list[Tensor]:
        """Every block.

        Args:
            mel: float32 (B, T, 80), T >= 5, as `SpeakerMel` gives it.

        Returns:
            E1 to E4, (B, T, C); E5, (B, T, mfa_channels); E6, the embedding, (B, 1, embedding).
        """
        x = mel.transpose(1, 2)
        states: list[Tensor] = []
        for block in self.blocks:
            x = block(x)
            states.append(x)
        states.append(self.mfa(torch.cat(states[1:], dim=1)))
        states.append(self.fc(self.asp_bn(self.asp(states[-1]))))
        return [state.transpose(1, 2) for state in states]


class SpeakerMel(nn.Module):
    """The front end of speechbrain's speaker recipe: 80 log-mel bands less their mean over time.

    Hamming window of 25 ms every 10 ms, centred on its frame, with zeros before and after the
    audio; power spectrum of 400 points; 80 triangles from 0 to 8 kHz on the mel scale
    2595 log10(1 + f / 700), each as wide on either side as the distance to the band below it;
    10 log10, floored at 1e-10 and 80 dB below the loudest band of the utterance; then the mean of
    each band over the utterance is taken away. No parameters.
    """

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hamming_window(WINDOW), persistent=False)
        highest = 2595.0 * math.log10(1.0 + SAMPLE_RATE / 2 / 700.0)
        hz = 700.0 * (10.0 ** (torch.linspace(0.0, highest, N_MELS + 2) / 2595.0) - 1.0)
        frequencies = torch.linspace(0.0, SAMPLE_RATE / 2, WINDOW // 2 + 1)
        distance = (frequencies[:, None] - hz[1:-1]).abs() / hz.diff()[:-1]
        self.register_buffer("filters", (1.0 - distance).clamp(min=0.0), persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Of float32 (B, n), 16 kHz: float32 (B, n // 160 + 1, 80), in dB."""
        spectrum = torch.stft(
            waveforms, WINDOW, HOP, window=self.window, pad_mode="constant", return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()
        decibels = 10.0 * (power.transpose(1, 2) @ self.filters).clamp(min=_FLOOR).log10()
        decibels = decibels.maximum(decibels.amax(dim=(1, 2), keepdim=True) - RANGE_DB)
        return decibels - decibels.mean(dim=1, keepdim=True)


def initialise(config: EcapaConfig, seed: int) -> EcapaTdnn:
    """The network as training would start from it: torch's default draws, from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        return EcapaTdnn(config).eval().requires_grad_(False)
