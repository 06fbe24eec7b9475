"""From a log-mel spectrogram to a waveform: three vocoders behind one interface."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede transformers
from insidessl_dash.core.errors import ModelError
from insidessl_dash.core.settings import settings
from insidessl_dash.core.types import SAMPLE_RATE
from insidessl_dash.encoders.sources import Checkpoint, find_checkpoint
from insidessl_dash.encoders.weights import files_digest, load_into, read_tensors, weight_files
from insidessl_dash.generation import fourier
from insidessl_dash.generation.fourier import FourierVocoder
from insidessl_dash.generation.mel import HOP, N_MELS, WINDOW, mel_filters

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
) -> FourierVocoder | HifiGanVocoder:
    """Load a trained vocoder; ``config.json`` says which kind it is.

    Args:
        source: Folder, ``shipped:NAME`` or hub id (`PUBLIC`).
        device: Where it runs.
        precomputed: Folder of what ships; by default the one of this installation.

    Raises:
        ModelError: Not found, of another architecture, trained with another mel, or weights that
            do not belong to its ``config.json``.
    """
    checkpoint = find_checkpoint(source, precomputed=precomputed or settings().precomputed)
    vocoder: FourierVocoder | HifiGanVocoder
    if checkpoint.model_type == fourier.MODEL_TYPE:
        vocoder = fourier.load(checkpoint)
    elif checkpoint.model_type in _HIFIGAN_TYPES:
        vocoder = _load_hifigan(checkpoint)
    else:
        raise ModelError(
            f"{source} is no vocoder that can be used here (model_type "
            f"{checkpoint.model_type!r}): name a folder with a {fourier.MODEL_TYPE} or a "
            f"{_HIFIGAN}, or the hub id {PUBLIC}."
        )
    return vocoder.to(device)


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


class GriffinLim:
    """Phases from consistency alone: nothing learned, the floor that others must beat.

    Magnitudes are the mel times the pseudo-inverse of its filters, negative ones set to 0; phases
    follow from fast Griffin-Lim (Perraudin et al., WASPAA 2013) starting from seeded random ones,
    the same for every row. Computed on the CPU, row by row.
    """

    name = "Griffin-Lim"
    weights_sha256 = ""

    def __init__(self, iterations: int = 60, seed: int = 0) -> None:
        self.iterations = iterations
        self.seed = seed

    def __call__(self, mel: Tensor) -> Tensor:
        """Waveforms, float32 (B, 256 T), of log-mels (B, T, 80).

        Raises:
            ModelError: Not of that shape, or fewer than 3 frames (513 samples have 3).
        """
        fourier.check_mel(mel, shortest=3)
        inverse = torch.linalg.pinv(mel_filters(torch.device("cpu")))
        magnitudes = ((10.0 ** mel.cpu().double()) @ inverse).clamp(min=0).float()
        # One frame more, so that the samples behind the last frame's middle are estimated too.
        magnitudes = torch.cat([magnitudes, magnitudes[:, -1:]], dim=1).transpose(1, 2)
        return torch.stack([self._phases(row) for row in magnitudes]).to(mel.device)

    def _phases(self, magnitudes: Tensor) -> Tensor:
        import torchaudio

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return torchaudio.functional.griffinlim(
                magnitudes,
                window=torch.hann_window(WINDOW),
                n_fft=WINDOW,
                hop_length=HOP,
                win_length=WINDOW,
                power=1.0,
                n_iter=self.iterations,
                momentum=0.99,
                length=None,
                rand_init=True,
            )
