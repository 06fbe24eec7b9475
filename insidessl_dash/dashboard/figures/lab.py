"""The Signal Lab's figure and its words: how alike each layer finds two versions of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from insidessl_dash.core.dials import Dial
from insidessl_dash.core.lab import MEASURES, measure
from insidessl_dash.core.lenses import MeasureInfo
from insidessl_dash.dashboard import theme
from insidessl_dash.dashboard.figures.lens import lens_figure
from insidessl_dash.dashboard.figures.points import number
from insidessl_dash.dashboard.figures.style import Style, is_baseline, order
from insidessl_dash.results.schema import Result

_FLOOR = -0.04
_CEILING = 1.04
_LEGEND_PX = 26


def shown_measure(results: Sequence[Result], asked: str | None) -> MeasureInfo:
    """The measure asked for where it is defined, else the first that is."""
    defined = [info for info in MEASURES if any(_values(r, info.name) for r in results)]
    wanted = measure(asked)
    return wanted if wanted in defined or not defined else defined[0]


def lab_figure(
    results: Sequence[Result],
    measure: str,
    looks: dict[str, Style],
    *,
    scheme: theme.Scheme = "light",
    compact: bool = False,
    height: int = 420,
) -> dict[str, Any]:
    """Similarity over layers, on an axis that stays while the dial is turned.

    Args:
        results: One a model, of lens ``similarity``.
        measure: Which of their measures.
        looks: Style of each model by name.
        scheme: ``light`` or ``dark``.
        compact: For a narrow screen.
        height: Pixels.
    """
    lowest = min((value for r in results for value in _values(r, measure)), default=0.0)
    limits = (_FLOOR if lowest >= 0 else lowest - 0.06, _CEILING)
    figure = lens_figure(
        results, measure, looks=looks, band="none", scheme=scheme, compact=compact,
        height=height, limits=limits,
    )  # fmt: skip
    if compact and len(results) > 1:  # where lines have no labels, two need to be told apart
        layout = figure["layout"]
        layout["margin"] = {**layout["margin"], "b": layout["margin"]["b"] + _LEGEND_PX}
        layout["showlegend"] = True
        layout["legend"] = {
            "orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom",
            "itemclick": False, "itemdoubleclick": False,
        }  # fmt: skip
    return figure


def lab_caption(
    results: Sequence[Result],
    dial: Dial,
    strength: float,
    shown: MeasureInfo,
    asked: str | None = None,
) -> list[str]:
    """What the figure shows, a sentence an item.

    Args:
        results: What is drawn.
        dial: What was done to the sound.
        strength: How much of it.
        shown: The measure drawn.
        asked: The one that was wanted, where that is another.
    """
    sentences = [
        f"{shown.title} in every layer, between the clip and the clip "
        f"{dial.phrase.format(dial.written(strength))}."
    ]
    for result in sorted(results, key=lambda r: order(r.model)):
        sentences.append(_course(result, shown))
    if strength == dial.neutral:
        sentences.append("At this place the dial changes nothing.")
    if asked and asked != shown.name:
        sentences.append(dial.alignment)
    notes = {r.measures[shown.name].note for r in results if shown.name in r.measures}
    return [*sentences, *sorted(filter(None, notes))]


def _course(result: Result, shown: MeasureInfo) -> str:
    """Where a curve begins, ends, and is highest and lowest."""
    pairs = zip(result.layers, result.measures[shown.name].mean, strict=True)
    known = [(layer, value) for layer, value in pairs if value is not None]
    title = result.model.title
    if not known:
        return f"{title} has no value here."
    if is_baseline(result.model) or len(known) == 1:
        return f"{title} keeps {number(known[0][1])}."
    low, high = min(known, key=lambda p: p[1]), max(known, key=lambda p: p[1])
    if number(low[1]) == number(high[1]):
        return f"{title} keeps {number(low[1])} in every layer."
    first, last = known[0], known[-1]
    ends = f"{title} keeps {number(first[1])} at layer {first[0]} and {number(last[1])} at layer "
    text = f"{ends}{last[0]}"
    inner = [
        f"{word} at layer {point[0]} ({number(point[1])})"
        for word, point in (("least", low), ("most", high))
        if point not in (first, last)
    ]
    return text + (f", {' and '.join(inner)}." if inner else ".")


def _values(result: Result, name: str) -> list[float]:
    curve = result.measures.get(name)
    return [] if curve is None else [value for value in curve.mean if value is not None]
