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
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from insidessl_dash.audio.perturb import Samples, noise_at, speed, transformed
from insidessl_dash.core.errors import ConfigError
from insidessl_dash.core.types import SAMPLE_RATE, stable_seed

VERSION = 1
"""Raised when what a dial does changes; part of every key."""

LONGEST_RT60_S = 1.0
_BUTTERWORTH = 4
Turn = Callable[[Samples, float, np.random.Generator], Samples]


@dataclass(frozen=True)
class Dial:
    """One perturbation with a strength; the form, the API and the docs derive from it.

    Attributes:
        name: As requested, e.g. ``noise``.
        title: As shown.
        parameter: What the strength is, e.g. ``Signal-to-noise ratio``.
        unit: Of the strength; "" where it has none.
        low, high: The range, both included.
        step: Strengths are taken at whole multiples of it.
        default: Where the control stands first.
        neutral: The strength that changes nothing; None where every one does.
        logarithmic: Whether the control moves in ratios instead of differences.
        ends: What the lowest and the highest strength sound like, in a few words.
        description: What is done, in a sentence or two.
        alignment: What it does to the frames, in a sentence.
        apply: From samples, a strength and a generator to new samples.
    """

    name: str
    title: str
    parameter: str
    unit: str
    low: float
    high: float
    step: float
    default: float
    ends: tuple[str, str]
    description: str
    apply: Turn
    alignment: str = "Frames stay where they are."
    neutral: float | None = None
    logarithmic: bool = False

    def taken(self, strength: float) -> float:
        """The strength at the nearest step.

        Raises:
            ConfigError: Outside the range.

        >>> DIALS["speed"].taken(1.1049)
        1.1
        """
        if not (math.isfinite(strength) and self.low <= strength <= self.high):
            raise ConfigError(
                f"{self.parameter} is {strength:g}: {self.title} takes {self.low:g} to "
                f"{self.high:g}{f' {self.unit}' if self.unit else ''}."
            )
        return round(round(strength / self.step) * self.step, 6)

    def keeps_length(self, strength: float) -> bool:
        """Whether the result is as long as the original."""
        return self.name != "speed" or strength == self.neutral

    def written(self, strength: float) -> str:
        """A strength with its unit, as a sentence has it.

        >>> DIALS["pitch"].written(-2), DIALS["speed"].written(1.1)
        ('−2 semitones', '1.1 ×')
        """
        sign = "+" if self.neutral == 0 and self.low < 0 < strength else ""
        return f"{sign}{strength:g} {self.unit}".replace("-", "−").strip()


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
    changed = dial.apply(samples, strength, np.random.default_rng(seed))
    return np.ascontiguousarray(changed, dtype=np.float32)


def find(name: str) -> Dial:
    """The dial of a name.

    Raises:
        ConfigError: There is none; the message names those there are.
    """
    if name not in DIALS:
        raise ConfigError(
            f"There is no perturbation named {name[:64]!r} here. There are: {', '.join(DIALS)}."
        )
    return DIALS[name]


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
    tail = rng.standard_normal(round(LONGEST_RT60_S * SAMPLE_RATE))[: round(rt60_s * SAMPLE_RATE)]
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


_ALL = (
    Dial(
        "noise", "White noise", "Signal-to-noise ratio", "dB", -5, 30, 1, 10,
        ("louder than the voice", "barely there"),
        "White noise at a ratio of mean powers over the whole clip; the same noise at every ratio, "
        "only louder or softer.",
        _noise,
    ),
    Dial(
        "pitch", "Pitch shift", "Shift", "semitones", -6, 6, 0.5, 3,
        ("deeper", "higher"),
        "The voice up or down, formants with it; durations stay.",
        _pitch, neutral=0,
        alignment="Frames stay where they are, to within the windows that the shift works in.",
    ),
    Dial(
        "gain", "Gain", "Gain", "dB", -20, 20, 1, -10,
        ("softer", "louder"),
        "Louder or softer, without clipping; models that normalise their input never see it.",
        _gain, neutral=0,
    ),
    Dial(
        "mask", "Time mask", "Share silenced", "%", 0, 40, 1, 15,
        ("nothing", "two fifths of the clip"),
        "One stretch is silenced, with fades of 5 ms; a longer one covers every shorter one.",
        _mask, neutral=0,
    ),
    Dial(
        "speed", "Speed", "Speed", "×", 0.8, 1.25, 0.05, 1.1,
        ("slower and deeper", "faster and higher"),
        "Played faster or slower: duration and pitch change together.",
        _speed, neutral=1,
        alignment="The duration changes, so frames no longer match: only the means over the clip "
        "can be compared.",
    ),
    Dial(
        "low-pass", "Low-pass", "Cut-off", "Hz", 250, 7500, 50, 2000,
        ("muffled", "nearly all of it"),
        "What lies above the cut-off goes: a Butterworth filter of order 4, run forwards and "
        "backwards, 6 dB down at the cut-off and 48 dB an octave above it.",
        _low_pass, logarithmic=True,
    ),
    Dial(
        "reverb", "Reverberation", "Reverberation time RT60", "s", 0.1, LONGEST_RT60_S, 0.05, 0.4,
        ("a small dry room", "a hall"),
        "A synthetic room: white noise that decays by 60 dB in this time, after a direct sound of "
        "the same energy.",
        _reverb,
        alignment="Frames stay where they are: the direct sound comes first, without delay.",
    ),
)  # fmt: skip

DIALS: dict[str, Dial] = {dial.name: dial for dial in _ALL}
"""By the name that a request uses."""
