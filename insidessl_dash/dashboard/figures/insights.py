"""What a training run does over updates and depth: numbers, sentences, and the paper's claim.

Three moments, all on means over layers (V is updates x layers, "shallow" is 0-40% of the depth and
"deep" the rest, as the paper divides it):

surge
    The first maximum over updates of the mean over all layers, against initialisation: the highest
    value before the mean first falls again. What moves by less than `NOISE` = 1% of the value at
    initialisation neither rises nor falls.
separation
    The mean of the shallow layers less that of the deep ones, at initialisation and at the end;
    and how much of their own rise the shallow layers keep.
relaxation
    How far the deep layers fall from their maximum over updates to the end.

InsideSSL (arXiv 2607.06392) reports for the curvature of HuBERT, iteration 1: about 1.16 rad at
initialisation, up to about 1.42, then the deep layers relax while the shallow ones stay high,
plotted to 100,000 updates. Each judgement is a predicate on the shown numbers, and only curvature
is judged. With `RISE` = 5% of the value at initialisation (the paper's rise is 22%; the interval of
a mean over 40 utterances is about 0.5%) and `KEPT` = one half:

- surge holds where there is such a maximum and it lies at least `RISE` above initialisation;
- separation holds where at the end the shallow layers lie at least `RISE` above the deep ones,
  further apart than at initialisation, and keep at least `KEPT` of their rise;
- relaxation holds where the deep layers rise by at least `RISE` and then lose at least `KEPT` of
  that rise by the end.

Without an initialisation (update 0) or with fewer than three checkpoints nothing is judged, nor
where layers have different frame rates: turns from one frame to the next are then not alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from insidessl_dash.dashboard.figures.points import number

SHALLOW = 40.0
NOISE = 0.01
RISE = 0.05
KEPT = 0.5
PAPER_INITIAL = 1.16
PAPER_PEAK = 1.42
PAPER_UPDATES = 100_000
_FEWEST = 3


@dataclass(frozen=True)
class Course:
    """How a measure moves over a run.

    Attributes:
        updates: Of the checkpoints, ascending.
        mean, shallow, deep: Means over all, shallow and deep layers, one a checkpoint.
        peak: Index of the first maximum of `mean`; 0 where it never rises above its beginning.
        deep_peak: Index of the highest value of `deep`.
        highest: Value, update and layer of the highest single layer.
        rates: How many frame rates the layers have.
    """

    updates: tuple[int, ...]
    mean: tuple[float, ...]
    shallow: tuple[float, ...]
    deep: tuple[float, ...]
    peak: int
    deep_peak: int
    highest: tuple[float, int, str]
    rates: int = 1

    @property
    def from_initialisation(self) -> bool:
        """Whether the first checkpoint is the untrained model."""
        return self.updates[0] == 0

    @property
    def gaps(self) -> tuple[float, float]:
        """Shallow less deep, at the first checkpoint and at the last."""
        return self.shallow[0] - self.deep[0], self.shallow[-1] - self.deep[-1]

    @property
    def kept(self) -> float | None:
        """Share of the shallow layers' rise that is left at the end; None where they never rose."""
        rise = max(self.shallow) - self.shallow[0]
        return (self.shallow[-1] - self.shallow[0]) / rise if rise > 0 else None

    @property
    def deep_drop(self) -> float:
        """From the maximum of the deep layers to their end."""
        return self.deep[self.deep_peak] - self.deep[-1]


@dataclass(frozen=True)
class Insight:
    """One card.

    Attributes:
        name: ``surge``, ``separation`` or ``relaxation``.
        title: As shown.
        value: The number the card leads with.
        sentences: What was computed, with its numbers.
        paper: The paper's side, with its numbers; "" where it says nothing.
        holds: The judgement; None where there is none.
        why: What was held against what, or why there is no judgement.
    """

    name: str
    title: str
    value: str
    sentences: tuple[str, ...]
    paper: str = ""
    holds: bool | None = None
    why: str = ""


def course(
    values: NDArray[np.float64],
    updates: Sequence[int],
    layers: Sequence[str],
    frame_rates_hz: Sequence[float] = (),
) -> Course | None:
    """The moments of a run.

    Args:
        values: (updates, layers); a layer that is undefined at any update is left out.
        updates: Of the rows, ascending.
        layers: Names of the columns, shallow to deep.
        frame_rates_hz: Of the layers; 0 for one that is a vector an utterance.

    Returns:
        None where no layer is defined throughout, or all are on one side of the division.
    """
    depth = np.linspace(0, 100, len(layers)) if len(layers) > 1 else np.zeros(len(layers))
    whole = np.isfinite(values).all(axis=0)
    shallow, deep = whole & (depth <= SHALLOW), whole & (depth > SHALLOW)
    if not len(updates) or not shallow.any() or not deep.any():
        return None
    means = values[:, whole].mean(axis=1)
    deeps = values[:, deep].mean(axis=1)
    row, column = np.unravel_index(np.nanargmax(np.where(whole, values, np.nan)), values.shape)
    return Course(
        updates=tuple(updates),
        mean=tuple(means.tolist()),
        shallow=tuple(values[:, shallow].mean(axis=1).tolist()),
        deep=tuple(deeps.tolist()),
        peak=first_maximum(means.tolist()),
        deep_peak=int(np.argmax(deeps)),
        highest=(float(values[row, column]), updates[int(row)], layers[int(column)]),
        rates=max(1, len({rate for rate in frame_rates_hz if rate > 0})),
    )


def first_maximum(values: Sequence[float]) -> int:
    """Where values that rose above their first one first fall again, or end; 0 if they never rose.

    >>> first_maximum([1.0, 0.9, 1.2, 1.1, 1.3]), first_maximum([1.0, 1.1, 1.2])
    (2, 2)
    >>> first_maximum([1.0, 1.005, 0.8])
    0
    """
    least = NOISE * abs(values[0])
    top = 0
    for index, value in enumerate(values):
        if top and values[top] - value >= least:
            return top
        if value - values[0] >= least and value > values[top]:
            top = index
    return top


def insights(found: Course, lens: str, measure: str, unit: str) -> list[Insight]:
    """The three cards of a run.

    Args:
        found: Its course.
        lens: Only ``curvature`` is judged: the paper says nothing of the others here.
        measure: Of the lens; the signed reading is judged like the folded one, and says so.
        unit: Of the values.
    """
    cards = [_surge(found, unit), _separation(found, unit), _relaxation(found, unit)]
    if lens != "curvature":
        return cards
    judged = [_judge_surge(found), _judge_separation(found), _judge_relaxation(found)]
    says = [
        f"Mean curvature about {PAPER_INITIAL} rad at initialisation, up to about {PAPER_PEAK} "
        f"(+{PAPER_PEAK / PAPER_INITIAL - 1:.0%}).",
        f"Layers at 0–{SHALLOW:.0f}% of the depth stay high while the deeper ones do not.",
        f"Layers beyond {SHALLOW:.0f}% of the depth relax after the surge.",
    ]
    return [
        Insight(c.name, c.title, c.value, c.sentences, paper, holds, why + _signed(measure, holds))
        for c, paper, (holds, why) in zip(cards, says, judged, strict=True)
    ]


def at_update(update: int) -> str:
    """A checkpoint as a sentence names it.

    >>> at_update(0), at_update(9600)
    ('initialisation', 'update 9,600')
    """
    return "initialisation" if update == 0 else f"update {update:,}"


def _surge(found: Course, unit: str) -> Insight:
    first, top = found.mean[0], found.mean[found.peak]
    start, peak = at_update(found.updates[0]), at_update(found.updates[found.peak])
    high, update, layer = found.highest
    if found.peak == 0:
        text = (
            f"The mean over layers is {_with(first, unit)} at {start} and does not rise above it."
        )
    else:
        what = "the end" if found.peak == len(found.mean) - 1 else "its first maximum"
        text = (
            f"The mean over layers goes from {number(first)} at {start} to {_with(top, unit)} at "
            f"{peak}, {what} ({_change(top, first)})."
        )
        highest = int(np.argmax(found.mean))
        if found.mean[highest] - top >= NOISE * abs(first):
            text += (
                f" Later it is higher: {number(found.mean[highest])} at "
                f"{at_update(found.updates[highest])}."
            )
    more = f"The highest single value is {number(high)}, at layer {layer} and {at_update(update)}."
    return Insight("surge", "Surge", signed_number(top - first), (text, more))


def _separation(found: Course, unit: str) -> Insight:
    before, after = found.gaps
    end = at_update(found.updates[-1])
    text = (
        f"At {end} layers at 0–{SHALLOW:.0f}% of the depth average {number(found.shallow[-1])} and "
        f"the deeper ones {number(found.deep[-1])}: {signed_number(after)}{_unit(unit)} apart, "
        f"against {signed_number(before)} at {at_update(found.updates[0])}."
    )
    more = (
        f"The shallow layers began at {number(found.shallow[0])} and were highest at "
        f"{number(max(found.shallow))}."
    )
    return Insight("separation", "Separation", signed_number(after), (text, more))


def _relaxation(found: Course, unit: str) -> Insight:
    top, end = found.deep[found.deep_peak], found.deep[-1]
    where = at_update(found.updates[found.deep_peak])
    if found.deep_drop <= 0:
        text = f"The deep layers are highest at the end, {_with(end, unit)} at {where}."
    else:
        text = (
            f"The deep layers fall from {number(top)} at {where}, where they are highest, to "
            f"{_with(end, unit)} at {at_update(found.updates[-1])}."
        )
    more = f"They began at {number(found.deep[0])}."
    return Insight("relaxation", "Relaxation", signed_number(end - top), (text, more))


Judgement = tuple[bool | None, str]


def _cannot(found: Course) -> Judgement | None:
    if not found.from_initialisation:
        return None, "Not judged: this run has no checkpoint at initialisation."
    if len(found.updates) < _FEWEST:
        return None, f"Not judged: {len(found.updates)} checkpoints tell no course."
    if found.rates > 1:
        return None, (
            f"Not judged: its layers have {found.rates} frame rates, and turns from one frame to "
            "the next are not alike at different rates."
        )
    return None


def _judge_surge(found: Course) -> Judgement:
    if cannot := _cannot(found):
        return cannot
    rise = found.mean[found.peak] / found.mean[0] - 1
    if found.peak == 0:
        return False, f"The mean never rises by {NOISE:.0%} of its value at initialisation."
    return rise >= RISE, f"It rises by {rise:.1%}; at least {RISE:.0%} counts as a surge."


def _judge_separation(found: Course) -> Judgement:
    if cannot := _cannot(found):
        return cannot
    before, after = found.gaps
    apart = after / found.shallow[0]
    wide = apart >= RISE and after > abs(before)
    high = found.kept is not None and found.kept >= KEPT
    if found.kept is None:
        kept = "the shallow layers never rose"
    elif found.kept < 0:
        kept = "the shallow layers end below where they began"
    else:
        kept = f"the shallow layers keep {found.kept:.0%} of their rise"
    return wide and high, (
        f"The gap is {_percent(apart)} of the value at initialisation (at least {RISE:.0%}, and "
        f"wider than there, is asked), and {kept} (at least {KEPT:.0%} is asked)."
    )


def _judge_relaxation(found: Course) -> Judgement:
    if cannot := _cannot(found):
        return cannot
    rise = found.deep[found.deep_peak] - found.deep[0]
    if rise < RISE * found.deep[0]:
        return False, (
            f"The deep layers rise by {_percent(rise / found.deep[0])} at most; what rises by less "
            f"than {RISE:.0%} has nothing to relax from."
        )
    lost = found.deep_drop / rise
    return lost >= KEPT, f"They lose {lost:.0%} of their rise; at least {KEPT:.0%} is asked."


def _signed(measure: str, holds: bool | None) -> str:
    """The signed reading cannot be what the paper's numbers are."""
    if measure != "signed" or holds is None:
        return ""
    return " The paper's numbers fit the folded reading, not this one."


def _with(value: float, unit: str) -> str:
    return number(value) + _unit(unit)


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""


def signed_number(value: float) -> str:
    """A difference with its sign, which zero has not.

    >>> signed_number(0.25), signed_number(-0.25), signed_number(0.0)
    ('+0.250', '−0.250', '0.000')
    """
    text = number(value)
    if float(text.replace("−", "")) == 0:
        return text.removeprefix("−")
    return text if text.startswith("−") else f"+{text}"


def _change(value: float, reference: float) -> str:
    if reference == 0:
        return signed_number(value)
    return ("+" if value >= reference else "") + _percent(value / reference - 1)


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("-", "−")
