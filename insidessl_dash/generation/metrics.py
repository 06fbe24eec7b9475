"""What survives of an utterance, measured without a network: STOI, mel, pitch, loudness.

The original comes first, the generated waveform second, both float (n,) at 16 kHz; the longer one
is cut to the shorter. What cannot be measured has no value and a reason; it is never a number.

F0 is that of librosa's pYIN (Mauch & Dixon, ICASSP 2014): ISC licence, pure Python, and installed
already (audiomentations needs it), with a voicing decision. Measured on read speech: 0.054 s of
one core a second of audio, after a compilation on first use. Not used: pyworld (no wheels
everywhere, imports pkg_resources), praat-parselmouth (GPL), torchaudio's detector (no voicing).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from insidessl_dash.core.errors import AudioError
from insidessl_dash.core.types import SAMPLE_RATE
from insidessl_dash.generation import losses
from insidessl_dash.generation.mel import HOP, SHORTEST, WINDOW, log_mel

Waveform = NDArray[np.floating]

F0_MIN_HZ, F0_MAX_HZ = 65.0, 500.0
MIN_STOI_SECONDS = 0.5
MIN_VOICED_FRAMES = 10
"""Fewest frames voiced in both for an F0 error."""

MIN_ENERGY_FRAMES = 10
ENERGY_FLOOR = 1e-8
"""Mean square below which frames count as equally silent: 80 dB below full scale."""

_STOI_TOO_FEW_FRAMES = 1e-5
"""What pystoi returns, with a warning, when under 30 frames are left without silence."""


@dataclass(frozen=True)
class Measured:
    """A number, or why there is none.

    Attributes:
        value: None where it cannot be measured.
        reason: Why not; "" where there is a value.
    """

    value: float | None
    reason: str = ""


def stoi(original: Waveform, generated: Waveform) -> Measured:
    """Short-time objective intelligibility (Taal et al., 2011) by pystoi; 1 is identical.

    Not measurable below 0.5 s, where the original is silent, or where fewer than 30 frames of
    25.6 ms remain once its silence (40 dB below the loudest frame) is removed.

    Raises:
        AudioError: Not one-dimensional, or not finite.
    """
    x, y = _pair(original, generated)
    if len(x) < MIN_STOI_SECONDS * SAMPLE_RATE:
        return Measured(None, f"{len(x) / SAMPLE_RATE:.2f} s: STOI needs {MIN_STOI_SECONDS:g} s")
    if not x.any():
        return Measured(None, "the original is silent")
    import pystoi

    value = float(pystoi.stoi(x, y, SAMPLE_RATE))
    if value == _STOI_TOO_FEW_FRAMES:
        return Measured(None, "fewer than 30 frames with speech: too short for STOI")
    return Measured(value)


def mel_l1(original: Waveform, generated: Waveform) -> Measured:
    """Mean absolute difference of log10-mels, as in `losses.mel_l1`; 0.05 is 1 dB.

    Not measurable below 513 samples.

    Raises:
        AudioError: Not one-dimensional, or not finite.
    """
    x, y = _pair(original, generated)
    if len(x) < SHORTEST:
        return Measured(None, f"{len(x)} samples: a mel needs {SHORTEST}")
    mels = log_mel(torch.from_numpy(np.stack([x, y])))
    return Measured(float(losses.mel_l1(mels[1:], mels[:1])))


def f0_hz(waveform: Waveform, hop: int = HOP) -> NDArray[np.float64]:
    """F0 by pYIN, float64 (1 + n // hop,), NaN where unvoiced; frames are those of the mel.

    65-500 Hz in steps of 10 cents, windows of 64 ms. Nearly all of the time goes with the number
    of frames, so where thousands of waveforms are compared, every second one does.

    Args:
        waveform: float (n,), 16 kHz.
        hop: Samples between frames.

    Raises:
        AudioError: Not one-dimensional, or not finite.
    """
    import librosa

    x = _checked(waveform)
    if not x.any():
        return np.full(1 + len(x) // hop, np.nan)
    track, _, _ = librosa.pyin(
        x,
        fmin=F0_MIN_HZ,
        fmax=F0_MAX_HZ,
        sr=SAMPLE_RATE,
        frame_length=WINDOW,
        hop_length=hop,
        resolution=0.1,
        fill_na=np.nan,
    )
    return np.asarray(track, dtype=np.float64)


def f0_rmse_cents(original: NDArray[np.float64], generated: NDArray[np.float64]) -> Measured:
    """Root of the mean of (1200 log2(f_generated / f_original))^2 over frames voiced in both.

    Not measurable with fewer than 10 such frames.

    Args:
        original: F0 in Hz (T,), NaN where unvoiced, of `f0_hz`; computed once for many cells.
        generated: Likewise; the longer one is cut.
    """
    frames = min(len(original), len(generated))
    x, y = original[:frames], generated[:frames]
    both = ~(np.isnan(x) | np.isnan(y))
    if both.sum() < MIN_VOICED_FRAMES:
        return Measured(
            None, f"{both.sum()} frames voiced in both: F0 error needs {MIN_VOICED_FRAMES}"
        )
    cents = 1200 * np.log2(y[both] / x[both])
    return Measured(float(np.sqrt(np.mean(cents**2))))


def energy_correlation(original: Waveform, generated: Waveform) -> Measured:
    """Pearson correlation of log energy: ln of the mean square of 64 ms every 16 ms.

    Only whole windows, floored 80 dB below full scale. A gain leaves it at 1 as long as no frame
    crosses that floor. Not measurable with fewer than 10 frames or where one signal's energy does
    not vary.

    Raises:
        AudioError: Not one-dimensional, or not finite.
    """
    x, y = _pair(original, generated)
    if len(x) < WINDOW + (MIN_ENERGY_FRAMES - 1) * HOP:
        return Measured(None, f"fewer than {MIN_ENERGY_FRAMES} frames of 64 ms")
    a, b = _log_energy(x), _log_energy(y)
    if min(np.ptp(a), np.ptp(b)) < 1e-6:
        which = "original" if np.ptp(a) < 1e-6 else "generated waveform"
        return Measured(None, f"the energy of the {which} does not vary")
    return Measured(float(np.corrcoef(a, b)[0, 1]))


def _log_energy(waveform: NDArray[np.float64]) -> NDArray[np.float64]:
    frames = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP]
    return np.log(np.maximum(np.mean(frames**2, axis=-1), ENERGY_FLOOR))


def _pair(
    original: Waveform, generated: Waveform
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = _checked(original), _checked(generated)
    samples = min(len(x), len(y))
    return x[:samples], y[:samples]


def _checked(waveform: Waveform) -> NDArray[np.float64]:
    if waveform.ndim != 1 or not np.isfinite(waveform).all():
        raise AudioError(
            f"A metric takes one waveform of finite samples, not shape {waveform.shape}"
            f"{'' if waveform.ndim != 1 else ' with NaN or infinity'}: check what was generated."
        )
    return waveform.astype(np.float64)
