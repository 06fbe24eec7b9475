"""What each lens measures and how to read it, for forms, the API and the page: no torch here.

The formulas are in `insidessl_dash.analyses`; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from insidessl_dash.core.errors import ConfigError


@dataclass(frozen=True)
class MeasureInfo:
    """One number of a lens.

    Attributes:
        name: E.g. ``normalised``.
        title: Axis title.
        label: A word or two, for a button.
        unit: "" where it has none.
        reading: One sentence: what a high or low value means.
        diverging: Whether zero means something (so that a scale may be centred on it).
    """

    name: str
    title: str
    label: str
    unit: str
    reading: str
    diverging: bool = False


@dataclass(frozen=True)
class OptionInfo:
    """A choice that changes what is computed, not only what is shown."""

    name: str
    title: str
    choices: tuple[tuple[str, str], ...]

    @property
    def default(self) -> str:
        """The choice taken when nothing is said."""
        return self.choices[0][0]


@dataclass(frozen=True)
class LensInfo:
    """A lens as a visitor sees it.

    Attributes:
        name: As requested, e.g. ``entropy``.
        title: As shown.
        short: One word, for a toggle.
        summary: What it measures, in a sentence.
        measures: The first is the default one.
        options: What else can be chosen.
        settings: The remaining options at their defaults. A result computed with others stands
            on its own, and is not drawn among these.
    """

    name: str
    title: str
    short: str
    summary: str
    measures: tuple[MeasureInfo, ...]
    options: tuple[OptionInfo, ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()

    def measure(self, name: str | None = None) -> MeasureInfo:
        """The measure of a name; the default one for None or a name this lens does not have."""
        return next((m for m in self.measures if m.name == name), self.measures[0])

    def defaults(self) -> dict[str, str]:
        """Every option at its default."""
        return {option.name: option.default for option in self.options}

    def matches(self, config: dict[str, Any], wanted: dict[str, str]) -> bool:
        """Whether a result's `config` is the one asked for, all else being at its default."""
        return all(
            config.get(option.name, option.default) == wanted.get(option.name, option.default)
            for option in self.options
        ) and all(config.get(name, default) == default for name, default in self.settings)


LENSES: tuple[LensInfo, ...] = (
    LensInfo(
        name="entropy",
        title="Matrix entropy",
        short="Entropy",
        summary=(
            "How many directions of its space a layer uses within one utterance: the entropy of "
            "the eigenvalues of the frames' Gram matrix."
        ),
        measures=(
            MeasureInfo(
                "normalised",
                "Normalised matrix entropy",
                "Normalised",
                "",
                "Near 1, frames spread over every direction they could; near 0, they share one.",
            ),
            MeasureInfo(
                "nats",
                "Matrix entropy",
                "Nats",
                "nats",
                "Higher means more directions in use; longer utterances allow more of them.",
            ),
            MeasureInfo(
                "effective_rank",
                "Effective rank",
                "Effective rank",
                "dimensions",
                "The number of equally used directions that would have the same entropy.",
            ),
        ),
        settings=(("alpha", 1.0),),
    ),
    LensInfo(
        name="curvature",
        title="Curvature",
        short="Curvature",
        summary=(
            "How sharply a layer's path through its space turns from one frame to the next: "
            "the mean angle between successive differences of frames."
        ),
        measures=(
            MeasureInfo(
                "signed",
                "Curvature",
                "Signed",
                "rad",
                "A straight path has 0, a random walk π/2, unrelated frames 2π/3; lower is "
                "smoother.",
            ),
            MeasureInfo(
                "folded",
                "Folded curvature",
                "Folded",
                "rad",
                "Angles folded to at most π/2, as the paper's figures suggest: a reversal counts "
                "as straight, so compare shapes here and directions in the signed reading.",
            ),
        ),
    ),
    LensInfo(
        name="invariance",
        title="Invariance",
        short="Invariance",
        summary=(
            "How well an utterance is still told from the others after its audio was changed: "
            "utterance means of the clean and the changed signal, compared layer by layer."
        ),
        measures=(
            MeasureInfo(
                "infonce",
                "InfoNCE loss",
                "InfoNCE",
                "nats",
                "Lower is more invariant: the changed utterance is still closest to itself.",
            ),
            MeasureInfo(
                "infonce_normalised",
                "InfoNCE loss / ln N",
                "InfoNCE / ln N",
                "",
                "The loss as a share of ln N, so that groups of different size compare; chance is "
                "ln(2N - 1) / ln N, a little over 1.",
            ),
            MeasureInfo(
                "cosine",
                "Cosine to the perturbed view",
                "Cosine",
                "",
                "Higher is more invariant; a layer whose vectors all point one way is high too.",
                diverging=True,
            ),
            MeasureInfo(
                "cosine_centred",
                "Centred cosine to the perturbed view",
                "Centred cosine",
                "",
                "The cosine after the comparison group's mean is taken away: higher is more "
                "invariant.",
                diverging=True,
            ),
        ),
        options=(
            OptionInfo(
                "perturbation",
                "Perturbation",
                (
                    ("chain", "The paper's chain"),
                    ("gaussian_noise", "Gaussian noise"),
                    ("pitch_shift", "Pitch shift"),
                    ("gain", "Gain"),
                    ("time_mask", "Time mask"),
                ),
            ),
        ),
        settings=(("batch_size", 64), ("temperature", 0.1)),
    ),
)


PHONE_PROBE = LensInfo(
    name="phone_probe",
    title="Linear phone probe",
    short="Phone accuracy",
    summary=(
        "How much of the phone being said a linear classifier reads from a single frame: fitted on "
        "some speakers, measured on others."
    ),
    measures=(
        MeasureInfo(
            "accuracy",
            "Frame phone accuracy",
            "Accuracy",
            "",
            "Higher means that the phone is easier to read off; 39 phones, pauses left out.",
        ),
        MeasureInfo(
            "majority",
            "Accuracy of always saying the commonest phone",
            "Majority",
            "",
            "What knowing nothing of the audio gives: a floor under every layer.",
        ),
    ),
    settings=(
        ("train_frames", 40_000),
        ("test_frames", 20_000),
        ("per_utterance", 50),
        ("steps", 60),
    ),
)
"""Not among `LENSES`: it needs an alignment, so no job or upload can ask for it."""


def lens(name: str) -> LensInfo:
    """The lens of a name.

    Raises:
        ConfigError: No such lens.
    """
    for info in LENSES:
        if info.name == name:
            return info
    known = ", ".join(info.name for info in LENSES)
    raise ConfigError(f"There is no lens named {name!r}. Lenses: {known}.")
