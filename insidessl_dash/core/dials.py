"""Perturbations on a dial, as forms, the API and the page know them: nothing heavy here.

What each does to samples is in `insidessl_dash.audio.strength`; a test holds the two together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from insidessl_dash.core.errors import ConfigError

VERSION = 1
"""Raised when what a dial does changes; part of every key."""


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
        phrase: What the clip is then, with ``{}`` for the strength, e.g. ``shifted by {}``.
        description: What is done, in a sentence or two.
        alignment: What it does to the frames, in a sentence.
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
    phrase: str
    description: str
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

    def written(self, strength: float) -> str:
        """A strength with its unit, as a sentence has it.

        >>> DIALS["pitch"].written(1), DIALS["gain"].written(-2), DIALS["speed"].written(1.1)
        ('+1 semitone', '−2 dB', '1.1 ×')
        """
        sign = "+" if self.neutral == 0 and self.low < 0 < strength else ""
        unit = (
            self.unit.removesuffix("s") if abs(strength) == 1 and len(self.unit) > 2 else self.unit
        )
        return f"{sign}{strength:g} {unit}".replace("-", "−").strip()


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


_ALL = (
    Dial(
        "noise", "White noise", "Signal-to-noise ratio", "dB", -5, 30, 1, 10,
        ("louder than the voice", "barely there"), "with white noise at {}",
        "White noise at a ratio of mean powers over the whole clip; the same noise at every ratio, "
        "only louder or softer.",
    ),
    Dial(
        "pitch", "Pitch shift", "Shift", "semitones", -6, 6, 0.5, 3,
        ("deeper", "higher"), "shifted by {}",
        "The whole spectrum up or down, formants with the pitch; durations stay.",
        neutral=0,
        alignment="Frames stay where they are, to within the windows that the shift works in.",
    ),
    Dial(
        "gain", "Gain", "Gain", "dB", -20, 20, 1, -10,
        ("softer", "louder"), "with a gain of {}",
        "Louder or softer, without clipping; models that normalise their input never see it.",
        neutral=0,
    ),
    Dial(
        "mask", "Time mask", "Share silenced", "%", 0, 40, 1, 15,
        ("nothing", "two fifths of the clip"), "with {} of it silenced",
        "One stretch is silenced, with fades of 5 ms; a longer one covers every shorter one.",
        neutral=0,
    ),
    Dial(
        "speed", "Speed", "Speed", "×", 0.8, 1.25, 0.05, 1.1,
        ("slower and deeper", "faster and higher"), "played at {} its speed",
        "Played faster or slower: duration and pitch change together.",
        neutral=1,
        alignment="The duration changes, so frames no longer match: only the means over the clip "
        "can be compared.",
    ),
    Dial(
        "low-pass", "Low-pass", "Cut-off", "Hz", 250, 7500, 50, 2000,
        ("muffled", "nearly all of it"), "low-passed at {}",
        "What lies above the cut-off goes: a Butterworth filter of order 4, run forwards and "
        "backwards, 6 dB down at the cut-off and 48 dB an octave above it.",
        logarithmic=True,
    ),
    Dial(
        "reverb", "Reverb", "Reverberation time RT60", "s", 0.1, 1.0, 0.05, 0.4,
        ("a small dry room", "a hall"), "in a room of {}",
        "A synthetic room: white noise that decays by 60 dB in this time, after a direct sound of "
        "the same energy.",
        alignment="Frames stay where they are: the direct sound comes first, without delay.",
    ),
)  # fmt: skip

DIALS: dict[str, Dial] = {dial.name: dial for dial in _ALL}
"""By the name that a request uses."""
