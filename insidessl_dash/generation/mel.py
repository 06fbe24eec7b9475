"""The log-mel spectrogram that decoders produce and vocoders read.

The convention is that of transformers' `SpeechT5FeatureExtractor` for targets, which the public
checkpoint microsoft/speecht5_hifigan was trained with, so that it and the vocoders trained here
are interchangeable: 16 kHz; periodic Hann window of 64 ms every 16 ms, centred on sample 256 k,
the ends reflected; magnitudes of a 1024-point FFT; 80 triangular filters of equal area on
Slaney's scale from 80 Hz to 7.6 kHz; log10, floored at 1e-10. No pre-emphasis, no loudness
normalisation.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede torchaudio
from insidessl_dash.core.errors import AudioError
from insidessl_dash.core.types import LEVEL_DBFS, SAMPLE_RATE

N_MELS = 80
WINDOW = 1024
HOP = 256
F_MIN_HZ = 80.0
F_MAX_HZ = 7600.0
FLOOR = 1e-10
"""Smallest band magnitude: digital silence is -10 everywhere."""

QUIET = -5.0
"""Log-mel below which nothing is told apart: what rounding to 16 bits alone leaves (-5.03).

Losses, distances and the Fourier vocoder raise what is lower to this, so that digital silence
(-10) weighs no more than a silent room.
"""

FRAME_RATE_HZ = SAMPLE_RATE / HOP
SHORTEST = WINDOW // 2 + 1
"""Fewest samples with a mel: reflection needs more than half a window."""


CONVENTION: dict[str, int | float] = {
    "sample_rate": SAMPLE_RATE,
    "bands": N_MELS,
    "window": WINDOW,
    "hop": HOP,
    "f_min_hz": F_MIN_HZ,
    "f_max_hz": F_MAX_HZ,
    "floor": FLOOR,
}
"""What a stored vocoder or decoder says of the mel it was trained with."""


def frames_of(samples: int) -> int:
    """Number of mel frames of a waveform: 1 + samples // 256.

    >>> frames_of(16_000)
    63
    """
    return 1 + samples // HOP


def samples_of(frames: int) -> int:
    """Number of samples that every vocoder makes of a mel: 256 a frame.

    That is the original length, rounded up to the next multiple of 256 (one hop more where it is
    one): cut the waveform to the original's length.

    >>> samples_of(frames_of(16_000))
    16128
    """
    return frames * HOP


def log_mel(waveforms: Tensor) -> Tensor:
    """Log-mel spectrograms, float32 (B, 1 + n // 256, 80), on the device of the input.

    Computed in float64, so that bands far below the loudest come out as in the reference, which
    does the same, and so that automatic mixed precision leaves them alone. Differentiable.

    Args:
        waveforms: float (B, n), 16 kHz, full scale 1; rows are whole signals, without padding.

    Raises:
        AudioError: Not two-dimensional, or fewer than 513 samples.

    Example:
        >>> log_mel(torch.zeros(2, 16_000)).shape
        torch.Size([2, 63, 80])
    """
    check_waveforms(waveforms, SHORTEST, "a mel spectrogram")
    window, filters = _window(waveforms.device), mel_filters(waveforms.device)
    magnitudes = torch.stft(
        waveforms.double(), WINDOW, HOP, window=window, pad_mode="reflect", return_complex=True
    ).abs()
    mel = magnitudes.transpose(1, 2) @ filters
    return mel.clamp(min=FLOOR).log10().float()


def levelled(waveforms: Tensor) -> Tensor:
    """Each waveform brought to one level: a mean square of -26 dB below full scale.

    Less where a peak would leave full scale; silence stays.

    Args:
        waveforms: float (..., n); rows are whole signals.

    Returns:
        Of the same shape and type.

    Example:
        >>> levelled(torch.tensor([0.001, -0.001])).tolist() == levelled(
        ...     torch.tensor([0.5, -0.5])
        ... ).tolist()
        True
    """
    power = waveforms.double().square().mean(-1, keepdim=True)
    peak = waveforms.abs().amax(-1, keepdim=True).double()
    gain = torch.minimum(10 ** (LEVEL_DBFS / 20) / power.sqrt(), 1 / peak)
    return (waveforms * gain.nan_to_num(1.0, posinf=1.0)).to(waveforms.dtype)


def check_waveforms(waveforms: Tensor, shortest: int, what: str) -> None:
    """Refuse anything but (B, n) with n >= `shortest`, which `what` needs.

    Raises:
        AudioError: Another number of dimensions, or too short.
    """
    if waveforms.dim() != 2:
        raise AudioError(
            f"For {what}, waveforms have the shape (batch, samples), not "
            f"{tuple(waveforms.shape)}: use waveform[None] for a single one."
        )
    samples = waveforms.shape[-1]
    if samples < shortest:
        raise AudioError(
            f"{samples} samples are too short for {what}: it needs at least {shortest} "
            f"({1000 * shortest / SAMPLE_RATE:.0f} ms at 16 kHz)."
        )


@lru_cache(maxsize=4)
def mel_filters(device: torch.device) -> Tensor:
    """The triangular filters, float64 (513, 80)."""
    import torchaudio

    with torch.inference_mode(False):  # kept for later calls, which may need gradients
        filters = torchaudio.functional.melscale_fbanks(
            n_freqs=WINDOW // 2 + 1,
            f_min=F_MIN_HZ,
            f_max=F_MAX_HZ,
            n_mels=N_MELS,
            sample_rate=SAMPLE_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        return filters.to(device, torch.float64)


@lru_cache(maxsize=4)
def _window(device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.hann_window(WINDOW, dtype=torch.float64, device=device)
