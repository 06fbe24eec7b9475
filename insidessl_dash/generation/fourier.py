"""A vocoder at the frame rate: a network says magnitudes and phases, an inverse STFT the rest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import log
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from insidessl_dash.core.errors import ModelError
from insidessl_dash.core.files import whole_file, write_json
from insidessl_dash.encoders.sources import SAFETENSORS, Checkpoint
from insidessl_dash.encoders.weights import files_digest, load_plain, read_tensors, weight_files
from insidessl_dash.generation.mel import CONVENTION, HOP, N_MELS, QUIET, WINDOW, samples_of

MODEL_TYPE = "insidessl-fourier-vocoder"
"""``model_type`` in its config.json."""

_KERNEL = 7
_LOUDEST = log(WINDOW / 2)
"""Log of the largest magnitude that a signal within full scale can have: the window's sum."""


@dataclass(frozen=True)
class FourierSize:
    """Size of a `FourierVocoder`.

    The default has 5,954,946 parameters, 11.9 MB in float16, and hears 43 frames (0.7 s).

    Attributes:
        width: Channels between blocks.
        hidden: Channels inside a block.
        blocks: Number of blocks; each hears 3 frames more to either side, as the input does.
    """

    width: int = 384
    hidden: int = 1152
    blocks: int = 6


class FourierVocoder(nn.Module):
    """Vocos-style vocoder (Siuzdak, 2306.00814) for the mel convention used here.

    ConvNeXt blocks (Liu et al., 2201.03545) at 62.5 frames a second, a linear head of log
    magnitudes and phases for 513 bins, and the inverse of the STFT that the mel is made of:
    frame k is centred on sample 256 k, as in the mel, so no shift has to be learned. Nothing is
    upsampled: on one core 0.012 s a second of audio, against 0.29 of `SpeechT5HifiGan`. Mels are
    raised to `mel.QUIET` first.

    Attributes:
        size: Its size.
        name: What one hears, for people.
        weights_sha256: Digest of the weights file; "" until loaded from one.
    """

    name = "Fourier vocoder"
    window: Tensor

    def __init__(self, size: FourierSize | None = None) -> None:
        super().__init__()
        self.size = size or FourierSize()
        self.weights_sha256 = ""
        width = self.size.width
        self.embed = nn.Conv1d(N_MELS, width, _KERNEL, padding=_KERNEL // 2)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.ModuleList(_Block(self.size) for _ in range(self.size.blocks))
        self.last_norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, WINDOW + 2)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, mel: Tensor) -> Tensor:
        """Waveforms, float32 (B, 256 T), of log-mels (B, T, 80); differentiable.

        Raises:
            ModelError: Not of that shape.
        """
        check_mel(mel)
        return self.synthesise(*self.spectrum(mel))

    def spectrum(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Log magnitudes (natural, at most ln 512) and phases in rad, each float32 (B, T, 513)."""
        x = self.embed(mel.float().clamp(min=QUIET).transpose(1, 2)).transpose(1, 2)
        x = self.norm(x)
        for block in self.blocks:
            x = block(x)
        x = self.last_norm(x).float()
        with torch.autocast(x.device.type, enabled=False):  # phases are unwrapped: bfloat16 blurs
            log_magnitude, phase = self.head(x).chunk(2, dim=-1)
        return log_magnitude.clamp(max=_LOUDEST), phase

    def synthesise(self, log_magnitude: Tensor, phase: Tensor) -> Tensor:
        """Inverse STFT: 256 samples a frame, the first under the middle of frame 0.

        Of the true spectrum (B, T, 513) of n samples, centred as in the mel, the first n samples
        that come back are the original ones.
        """
        # Sine and cosine of the phase as it is: it wraps by itself.
        spectrum = torch.polar(log_magnitude.exp(), phase).transpose(1, 2)
        return torch.istft(
            spectrum, WINDOW, HOP, window=self.window, length=samples_of(phase.shape[1])
        )

    def save(self, folder: Path) -> None:
        """Write config.json and the weights in float16, for `vocoder.load_vocoder`.

        Raises:
            ModelError: Weights that are not finite in float16.
            StorageError: The folder cannot be written.
        """
        half = {
            name: tensor.detach().half().cpu().contiguous()
            for name, tensor in self.state_dict().items()
        }
        broken = sorted(name for name, tensor in half.items() if not tensor.isfinite().all())
        if broken:
            raise ModelError(
                f"{len(broken)} tensors of this vocoder ({broken[0]}) are not finite in float16: "
                "training diverged; go back to an earlier checkpoint."
            )
        with whole_file(folder / SAFETENSORS) as temporary:
            save_file(half, temporary, metadata={"format": "pt"})
        write_json(
            folder / "config.json",
            {"model_type": MODEL_TYPE, "size": asdict(self.size), "mel": CONVENTION},
        )


def load(checkpoint: Checkpoint) -> FourierVocoder:
    """A stored `FourierVocoder`, float32, in eval mode, without gradients.

    Raises:
        ModelError: Of another architecture or mel, or weights that are not those config.json
            describes.
    """
    config, folder = checkpoint.config, checkpoint.folder
    if checkpoint.model_type != MODEL_TYPE:
        raise ModelError(
            f"{folder} holds a model of type {checkpoint.model_type!r}, not {MODEL_TYPE!r}: name "
            "the folder that `FourierVocoder.save` wrote."
        )
    if config.get("mel") != CONVENTION:
        raise ModelError(
            f"The vocoder in {folder} was trained with another mel ({config.get('mel')}) than "
            f"this version makes ({CONVENTION}): train it again."
        )
    size = config.get("size")
    if (
        not isinstance(size, dict)
        or size.keys() != asdict(FourierSize()).keys()
        or not all(type(value) is int and 1 <= value <= 8192 for value in size.values())
    ):
        raise ModelError(
            f"config.json in {folder} does not say a vocoder's size (found {size!r}; wanted "
            "width, hidden and blocks as positive integers): copy the whole folder again."
        )
    files = weight_files(folder)
    vocoder = FourierVocoder(FourierSize(**size))
    load_plain(vocoder, read_tensors(files), folder)
    vocoder.weights_sha256 = files_digest(files)
    return vocoder


def check_mel(mel: Tensor, shortest: int = 1) -> None:
    """Refuse anything but (B, T, 80) with T >= `shortest`.

    Raises:
        ModelError: Another shape.
    """
    if mel.dim() != 3 or mel.shape[-1] != N_MELS or mel.shape[1] < shortest:
        raise ModelError(
            f"A vocoder takes log-mels of shape (batch, frames, {N_MELS}) with at least "
            f"{shortest} frames, not {tuple(mel.shape)}: make them with `mel.log_mel`."
        )


class _Block(nn.Module):
    """ConvNeXt block on (B, T, width), scaled so that all of them add up to one at the start."""

    def __init__(self, size: FourierSize) -> None:
        super().__init__()
        width = size.width
        self.depthwise = nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, size.hidden)
        self.contract = nn.Linear(size.hidden, width)
        self.scale = nn.Parameter(torch.full((width,), 1 / size.blocks))

    def forward(self, x: Tensor) -> Tensor:
        inside = self.norm(self.depthwise(x.transpose(1, 2)).transpose(1, 2))
        inside = self.contract(nn.functional.gelu(self.expand(inside)))
        return x + self.scale * inside
