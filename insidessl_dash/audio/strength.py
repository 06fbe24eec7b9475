"""Perturbations on a dial: one change of the audio, from barely there to hardly speech.

Where `audio.perturb` draws a parameter from a range, here it is given. What else is random (the
noise, where a mask lies, the tail of a room) follows from the audio, the perturbation and the seed
but never from the strength: turning the dial makes the same change larger, and two positions differ
by the strength alone. Nothing clips: samples may leave [-1, 1], and encoders take them as they are.

Importing this module is cheap; SciPy, audiomentations and torch are loaded on first use.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from insidessl_dash.audio.perturb import Samples, noise_at, speed, transformed
from insidessl_dash.core.dials import DIALS, find
from insidessl_dash.core.types import SAMPLE_RATE, stable_seed

_BUTTERWORTH = 4
Turn = Callable[[Samples, float, np.random.Generator], Samples]


def turn(samples: Samples, name: str, strength: float, seed: int) -> Samples:
    """The perturbed utterance.

    Args:
        samples: float32 (n,), 16 kHz.
        name: One of `DIALS`.
        strength: In the unit of the dial, within its range.
        seed: Same samples, name, strength and seed: same result. `dial_seed` makes one.

    Returns:
        float32 (n,), of another length for ``speed``. Not clipped.

    Raises:
        ConfigError: No such perturbation, or a strength outside its range.
    """
    dial = find(name)
    strength = dial.taken(strength)
    if strength == dial.neutral:
        return samples.copy()
    changed = TURNS[name](samples, strength, np.random.default_rng(seed))
    return np.ascontiguousarray(changed, dtype=np.float32)


def dial_seed(sha256: str, name: str, seed: int) -> int:
    """Seed of a dial: of this audio, this perturbation and this run, for every strength."""
    return stable_seed("dial", sha256, name, seed)


def room(rt60_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A synthetic room impulse response: white noise that decays by 60 dB in `rt60_s` seconds.

    The first sample is the direct sound, so nothing is late; it holds as much energy as all that
    follows, as at a room's critical distance, and the whole has energy 1, so that the level stays.

    Args:
        rt60_s: Reverberation time.
        rng: Draws the same tail for every reverberation time.

    Returns:
        float64 (n,), n as long as the reverberation time.
    """
    tail = rng.standard_normal(round(DIALS["reverb"].high * SAMPLE_RATE))[
        : round(rt60_s * SAMPLE_RATE)
    ]
    seconds = np.arange(1, len(tail) + 1) / SAMPLE_RATE
    tail = tail * 10.0 ** (-3.0 * seconds / rt60_s)
    tail /= np.sqrt(np.sum(np.square(tail)))
    return np.concatenate([[1.0], tail]) / math.sqrt(2.0)


def _noise(samples: Samples, snr_db: float, rng: np.random.Generator) -> Samples:
    return noise_at(samples, rng, snr_db=snr_db)


def _pitch(samples: Samples, semitones: float, _rng: np.random.Generator) -> Samples:
    from audiomentations import PitchShift

    return transformed(PitchShift, samples, num_semitones=semitones)


def _gain(samples: Samples, db: float, _rng: np.random.Generator) -> Samples:
    return samples * np.float32(10.0 ** (db / 20.0))


def _mask(samples: Samples, percent: float, rng: np.random.Generator) -> Samples:
    """Silence one stretch; a longer one holds every shorter one of the same seed."""
    from audiomentations import TimeMask

    length = round(percent / 100.0 * len(samples))
    start = round(rng.random() * (len(samples) - length))
    return transformed(TimeMask, samples, t=length, t0=start)


def _speed(samples: Samples, factor: float, rng: np.random.Generator) -> Samples:
    return speed(samples, rng, factor=factor)


def _low_pass(samples: Samples, cutoff_hz: float, _rng: np.random.Generator) -> Samples:
    """Butterworth, run forwards and backwards: no phase, so nothing moves in time."""
    from scipy.signal import butter, sosfiltfilt

    sections = butter(_BUTTERWORTH, cutoff_hz, fs=SAMPLE_RATE, output="sos")
    return sosfiltfilt(sections, samples.astype(np.float64)).astype(np.float32)


def _reverb(samples: Samples, rt60_s: float, rng: np.random.Generator) -> Samples:
    from scipy.signal import fftconvolve

    wet = fftconvolve(samples.astype(np.float64), room(rt60_s, rng))
    return wet[: len(samples)].astype(np.float32)


TURNS: dict[str, Turn] = {
    "noise": _noise,
    "pitch": _pitch,
    "gain": _gain,
    "mask": _mask,
    "speed": _speed,
    "low-pass": _low_pass,
    "reverb": _reverb,
}
"""What each of `core.dials.DIALS` does."""
