"""From a log-mel spectrogram to a waveform: vocoders behind one interface."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede transformers
from insidessl_dash.core.errors import ModelError
from insidessl_dash.core.settings import settings
from insidessl_dash.core.types import SAMPLE_RATE
from insidessl_dash.encoders.sources import Checkpoint, find_checkpoint
from insidessl_dash.encoders.weights import files_digest, load_into, read_tensors, weight_files
from insidessl_dash.generation import fourier
from insidessl_dash.generation.griffin_lim import GriffinLim
from insidessl_dash.generation.mel import HOP, N_MELS

PUBLIC = "microsoft/speecht5_hifigan"
"""Hub id of the public vocoder of this mel convention."""

_HIFIGAN = "SpeechT5HifiGan"
_HIFIGAN_TYPES = {"hifigan", "speecht5_hifigan"}
"""Its ``model_type`` in older and newer releases of transformers."""


class Vocoder(Protocol):
    """Turns log-mels in the convention of `mel.log_mel` into waveforms.

    Attributes:
        name: What one hears, for people.
        weights_sha256: Digest of the weights file; "" where nothing was learned.
    """

    name: str
    weights_sha256: str

    def __call__(self, mel: Tensor) -> Tensor:
        """Waveforms, float32 (B, 256 T), of log-mels (B, T, 80).

        Sample 256 k lies under the middle of frame k. The mel of n samples gives
        ``mel.samples_of(mel.frames_of(n))``, at most 256 more than n: cut to n. A row does not
        depend on the others.
        """
        ...


def load_vocoder(
    source: str, *, device: str = "cpu", precomputed: Path | None = None
) -> GriffinLim | HifiGanVocoder:
    """Load a trained vocoder; ``config.json`` says which kind it is.

    Of a `FourierVocoder` the phases are the start of `GriffinLim`: the small one that ships keeps
    more that way than either does alone.

    Args:
        source: Folder, ``shipped:NAME`` or hub id (`PUBLIC`).
        device: Where it runs.
        precomputed: Folder of what ships; by default the one of this installation.

    Raises:
        ModelError: Not found, of another architecture, trained with another mel, or weights that
            do not belong to its ``config.json``.
    """
    checkpoint = find_checkpoint(source, precomputed=precomputed or settings().precomputed)
    if checkpoint.model_type == fourier.MODEL_TYPE:
        return GriffinLim(start=fourier.load(checkpoint).to(device))
    if checkpoint.model_type in _HIFIGAN_TYPES:
        return _load_hifigan(checkpoint).to(device)
    raise ModelError(
        f"{source} is no vocoder that can be used here (model_type {checkpoint.model_type!r}): "
        f"name a folder with a {fourier.MODEL_TYPE} or a {_HIFIGAN}, or the hub id {PUBLIC}."
    )


class HifiGanVocoder(nn.Module):
    """HiFi-GAN (Kong et al., 2010.05646) as transformers' `SpeechT5HifiGan` has it."""

    name = "HiFi-GAN"

    def __init__(self, network: nn.Module, weights_sha256: str) -> None:
        super().__init__()
        self.network = network
        self.weights_sha256 = weights_sha256

    def forward(self, mel: Tensor) -> Tensor:
        """Waveforms, float32 (B, 256 T), of log-mels (B, T, 80).

        Raises:
            ModelError: Not of that shape.
        """
        fourier.check_mel(mel)
        return self.network(mel.float())


def _load_hifigan(checkpoint: Checkpoint) -> HifiGanVocoder:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    # Older checkpoints give a type that this release would warn about.
    said = {key: value for key, value in checkpoint.config.items() if key != "model_type"}
    try:
        config: Any = SpeechT5HifiGanConfig(**said)
        hop = prod(config.upsample_rates)
        even = all(
            (kernel - rate) % 2 == 0
            for kernel, rate in zip(
                config.upsample_kernel_sizes, config.upsample_rates, strict=True
            )
        )
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise ModelError(
            f"config.json in {checkpoint.folder} does not describe a {_HIFIGAN}: fetch it again."
        ) from error
    found = (config.sampling_rate, config.model_in_dim, hop)
    if found != (SAMPLE_RATE, N_MELS, HOP) or not even:
        raise ModelError(
            f"The {_HIFIGAN} in {checkpoint.folder} makes {hop} samples of a frame at "
            f"{config.sampling_rate} Hz from {config.model_in_dim} bands, not {HOP} at "
            f"{SAMPLE_RATE} Hz from {N_MELS}: use {PUBLIC} or one trained with its mel."
        )
    files = weight_files(checkpoint.folder)
    network = load_into(SpeechT5HifiGan, config, read_tensors(files), checkpoint.folder, "eager")
    return HifiGanVocoder(network, files_digest(files))
