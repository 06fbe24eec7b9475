"""Networks that tell generated speech from recorded speech, for training vocoders only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from insidessl_dash.generation.mel import check_waveforms

_QUIET_POWER = 1e-8
"""Power of a bin (full-scale noise has 1) below which compression stops raising it."""

_COMPRESSION = 0.3
"""Exponent of the magnitudes that are judged: loud bins would hide the others."""


@dataclass(frozen=True)
class DiscriminatorSize:
    """Size of `Discriminators`.

    The default has 72,630 parameters; three passes and their gradients cost 0.07 s of one core a
    second of audio in bfloat16.

    Attributes:
        channels: Of every layer.
        windows: Hann windows in samples, one discriminator each; hops are a quarter.
    """

    channels: int = 16
    windows: tuple[int, ...] = (2048, 1024, 512)


class Discriminators(nn.Module):
    """Discriminators of spectrograms at several resolutions (Jang et al., UnivNet, 2106.07889).

    As in Encodec (2210.13438) they see real and imaginary parts, since what a Fourier vocoder gets
    wrong is phase; here with magnitudes to the power 0.3. Each is six 3 x 9 or 3 x 3 convolutions
    over time and frequency, the first four halving the frequencies.
    """

    def __init__(self, size: DiscriminatorSize | None = None) -> None:
        super().__init__()
        self.size = size or DiscriminatorSize()
        self.members = nn.ModuleList(_Member(w, self.size.channels) for w in self.size.windows)

    def forward(self, waveforms: Tensor) -> list[list[Tensor]]:
        """What each discriminator makes of float (B, n), n at least 1025.

        Returns:
            For each a list: its layers' outputs (B, channels, T, F), and last the scores
            (B, 1, T, F): high where it takes the speech for recorded.

        Raises:
            AudioError: Not two-dimensional, or shorter than half the longest window.
        """
        check_waveforms(waveforms, max(self.size.windows) // 2 + 1, "the discriminators")
        return [member(waveforms) for member in self.members]


class _Member(nn.Module):
    window: Tensor

    def __init__(self, window: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(inputs, channels, (3, 9), stride=(1, 2), padding=(1, 4)))
            for inputs in (2, channels, channels, channels)
        )
        self.layers.append(weight_norm(nn.Conv2d(channels, channels, 3, padding=1)))
        self.score = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, waveforms: Tensor) -> list[Tensor]:
        x = self._spectrum(waveforms)
        found = []
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), 0.1)
            found.append(x)
        return [*found, self.score(x)]

    def _spectrum(self, waveforms: Tensor) -> Tensor:
        """Compressed real and imaginary parts (B, 2, T, F)."""
        size = len(self.window)
        spectrum = torch.stft(
            waveforms.float(), size, size // 4, window=self.window, return_complex=True
        )
        parts = torch.view_as_real(spectrum) / torch.linalg.vector_norm(self.window)
        power = parts.square().sum(-1, keepdim=True) + _QUIET_POWER
        parts = parts * power.pow((_COMPRESSION - 1) / 2)
        return parts.permute(0, 3, 2, 1).contiguous(memory_format=torch.channels_last)


def discriminator_loss(
    recorded: Sequence[Sequence[Tensor]], generated: Sequence[Sequence[Tensor]]
) -> Tensor:
    """Hinge loss of the discriminators: mean max(0, 1 - D(x)) + mean max(0, 1 + D(y)).

    A scalar, the mean over discriminators; 2 where they say nothing, 0 where they are sure.

    Args:
        recorded, generated: Of `Discriminators`.
    """
    return torch.stack(
        [
            functional.relu(1 - x[-1].float()).mean() + functional.relu(1 + y[-1].float()).mean()
            for x, y in zip(recorded, generated, strict=True)
        ]
    ).mean()


def generator_loss(generated: Sequence[Sequence[Tensor]]) -> Tensor:
    """What the generator is told: mean max(0, 1 - D(y)), a scalar; the mean over discriminators."""
    return torch.stack([functional.relu(1 - y[-1].float()).mean() for y in generated]).mean()


def feature_distance(
    recorded: Sequence[Sequence[Tensor]], generated: Sequence[Sequence[Tensor]]
) -> Tensor:
    """How far the discriminators' layers are apart (Kumar et al., MelGAN, 1910.06711).

    The mean over layers of mean |y - x| / mean |x|, relative as in Encodec, so that it does not
    depend on the layers' scale. No gradient reaches `recorded`.
    """
    distances = []
    for real, made in zip(recorded, generated, strict=True):
        for x, y in zip(real[:-1], made[:-1], strict=True):
            wanted = x.detach().float()
            scale = wanted.abs().mean().clamp(min=1e-6)
            distances.append((y.float() - wanted).abs().mean() / scale)
    return torch.stack(distances).mean()
