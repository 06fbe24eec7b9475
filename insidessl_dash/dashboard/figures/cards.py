"""Figures and sentences of a model's card: how it learned, from the card that training wrote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from insidessl_dash.dashboard import theme
from insidessl_dash.dashboard.figures import notes
from insidessl_dash.dashboard.figures.points import number
from insidessl_dash.dashboard.figures.style import Style
from insidessl_dash.dashboard.figures.words import Table, first_up
from insidessl_dash.results.training_card import Score, TrainingCard

_SHARES = ("accuracy", "rate", "eer", "purity")
_LABEL_GAP = 17.0
_MARGIN = {"t": 46, "b": 58, "l": 64, "r": 196}
_COMPACT = {"t": 42, "b": 54, "l": 50, "r": 14}


def shown(metric: str, value: float) -> str:
    """A score as text: shares in percent, all else as a number.

    >>> shown("masked_accuracy", 0.1378), shown("masked_loss", 3.4347)
    ('13.8%', '3.435')
    """
    return f"{100 * value:.1f}%" if _is_share(metric) else number(value)


def score_sentences(score: Score) -> list[str]:
    """What a score says: against chance, and against where training began.

    >>> score_sentences(Score(metric="accuracy", title="Accuracy", value=0.3, chance=0.1,
    ...                       chance_is="a guess", at_initialisation=0.05))[0]
    'Accuracy is 30.0% on speakers it never heard, 3.0 times what a guess gives (10.0%).'
    """
    metric, value = score.metric, score.value
    first = f"{first_up(score.title)} is {shown(metric, value)} on speakers it never heard"
    if score.chance is not None:
        level = f"{score.chance_is or 'chance'} gives ({shown(metric, score.chance)})"
        if score.higher_is_better and score.chance > 0 and value > score.chance:
            first += f", {value / score.chance:.1f} times what {level}"
        else:
            first += f", against what {level}"
    sentences = [f"{first}."]
    if score.at_initialisation is not None:
        better = (value > score.at_initialisation) == score.higher_is_better
        same = value == score.at_initialisation
        told = "no better than" if same or not better else "up from" if score.higher_is_better \
            else "down from"  # fmt: skip
        sentences.append(
            f"That is {told} {shown(metric, score.at_initialisation)} before the first update."
        )
    return sentences


def curve_sentences(card: TrainingCard, score: Score) -> list[str]:
    """What the figure of the held-out score shows: `score_sentences`, and on which speech."""
    sentences = score_sentences(score)
    counts = sorted(card.utterances())
    if card.on_all(score.metric):
        sentences.append(
            f"The line is of {counts[0]} of their utterances, the same at every update; the "
            f"diamonds are of all {counts[-1]}, and theirs are the numbers above."
        )
    if score.note:
        sentences.append(score.note)
    return sentences


def ending(card: TrainingCard) -> str:
    """Whether training went to its planned end.

    >>> ending(TrainingCard(name="x", updates=40, settings={"updates": 100}))
    'Ended early: 40 of 100 planned updates were made.'
    """
    planned = card.settings.get("updates")
    if card.finished:
        return f"Finished: all {card.updates:,} planned updates were made."
    if isinstance(planned, int) and planned > card.updates:
        return f"Ended early: {card.updates:,} of {planned:,} planned updates were made."
    return f"Ended early, after {card.updates:,} updates."


def held_out_figure(
    card: TrainingCard,
    score: Score,
    style: Style,
    *,
    scheme: theme.Scheme = "light",
    compact: bool = False,
) -> dict[str, Any]:
    """The held-out score over updates, with chance and the initialisation as levels.

    The axis is that of the checkpoints: logarithmic, with update 0 at its left end.
    """
    points, whole = card.curve(score.metric), card.on_all(score.metric)
    palette = theme.PALETTES[scheme]
    factor = 100.0 if _is_share(score.metric) else 1.0
    levels = []
    if score.chance is not None:
        levels.append((score.chance * factor, score.chance_is or "chance", theme.BASELINE_DASH))
    if score.at_initialisation is not None:
        start = score.at_initialisation * factor
        levels.append((start, "before training", theme.RANDOM_DASH))
    values = [value * factor for _update, value in points]
    ends = [value * factor for _update, value in whole]
    limits = _limits([*values, *ends, *(level for level, _name, _dash in levels)])
    last = max((update for update, _value in points + whole), default=1)
    end = (last + 1) * 1.06
    figure = _frame(
        f"{first_up(score.title)} on held-out speakers{' (%)' if factor == 100 else ''}",
        _decades(last),
        limits,
        scheme,
        compact,
    )
    figure["layout"]["xaxis"].update(
        {"type": "log", "range": [-0.04, math.log10(end)], "title": {"text": "Update"}}
    )
    unit = "%" if factor == 100 else ""
    figure["data"] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": score.title,
            "x": [update + 1 for update, _value in points],
            "y": values,
            "line": {"color": style.colour, "width": style.width + 0.4},
            "marker": {"color": style.colour, "symbol": style.symbol, "size": style.marker},
            "text": [
                f"update {update:,}<br>{number(value)}{unit}"
                for (update, _v), value in zip(points, values, strict=True)
            ],
            "hovertemplate": "%{text}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": f"{score.title}, all held-out speech",
            "cliponaxis": False,
            "x": [update + 1 for update, _value in whole],
            "y": ends,
            "marker": {
                "color": palette.surface,
                "symbol": "diamond",
                "size": 11,
                "line": {"color": style.colour, "width": 2},
            },
            "text": [
                f"update {update:,}, all held-out speech<br>{number(value)}{unit}"
                for (update, _v), value in zip(whole, ends, strict=True)
            ],
            "hovertemplate": "%{text}<extra></extra>",
        },
    ]
    figure["layout"]["shapes"] = [level_line(value, dash, palette) for value, _name, dash in levels]
    figure["layout"]["annotations"] += _level_labels(
        [(value, name) for value, name, _dash in levels], limits, figure["layout"], palette, compact
    )
    return figure


def loss_figure(
    card: TrainingCard, style: Style, *, scheme: theme.Scheme = "light", compact: bool = False
) -> dict[str, Any]:
    """The training loss over updates, as means of equal stretches."""
    points = card.loss()
    last = max((update for update, _value in points), default=1)
    values = [value for _update, value in points]
    figure = _frame("Training loss", None, _limits(values), scheme, compact)
    figure["layout"]["margin"] = {**figure["layout"]["margin"], "r": 18}
    figure["layout"]["xaxis"].update({"range": [0, last * 1.01], "title": {"text": "Update"}})
    figure["layout"]["xaxis"]["tickformat"] = ",d"
    figure["data"] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "Training loss",
            "x": [update for update, _value in points],
            "y": values,
            "line": {"color": style.colour, "width": style.width},
            "hovertemplate": "update %{x:,d}<br>loss %{y:.3f}<extra></extra>",
        }
    ]
    return figure


def curve_table(card: TrainingCard) -> Table:
    """Every held-out evaluation, a row an update."""
    names = [
        name
        for name, value in (card.held_out_curve[0] if card.held_out_curve else {}).items()
        if name != "update" and isinstance(value, int | float)
    ]
    rows = [
        (f"{entry.get('update', 0):,}", [_cell(name, entry.get(name)) for name in names])
        for entry in card.held_out_curve
    ]
    return Table([name.replace("_", " ").capitalize() for name in names], rows)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return shown(name, value) if isinstance(value, float) else ""


def _is_share(metric: str) -> bool:
    return any(part in metric.lower() for part in _SHARES)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    pad = 0.08 * (high - low) or 0.05 * max(1.0, abs(high))
    return low - pad, high + pad


def _decades(last: int) -> dict[str, Any]:
    """Ticks at update 0, 1, 10, 100, ... on an axis of update + 1."""
    ticks = [0, 1]
    while ticks[-1] * 10 <= last:
        ticks.append(ticks[-1] * 10)
    return {"tickvals": [tick + 1 for tick in ticks], "ticktext": [f"{tick:,}" for tick in ticks]}


def _frame(
    title: str,
    ticks: dict[str, Any] | None,
    limits: tuple[float, float],
    scheme: theme.Scheme,
    compact: bool,
) -> dict[str, Any]:
    palette = theme.PALETTES[scheme]
    return {
        "data": [],
        "layout": {
            "template": theme.template(scheme),
            "height": 340 if compact else 400,
            "margin": dict(_COMPACT if compact else _MARGIN),
            "xaxis": {"fixedrange": compact, **(ticks or {})},
            "yaxis": {"range": list(limits), "fixedrange": compact, "nticks": 7},
            "annotations": [
                {
                    "text": title,
                    "x": 0,
                    "xref": "paper",
                    "xanchor": "left",
                    "xshift": -46 if compact else -56,
                    "y": 1,
                    "yref": "paper",
                    "yanchor": "bottom",
                    "yshift": 14,
                    "showarrow": False,
                    "font": {"family": theme.SANS, "size": 13, "color": palette.soft},
                }
            ],
            "shapes": [],
            "dragmode": False if compact else "zoom",
        },
    }


def level_line(value: float, dash: str, palette: theme.Palette) -> dict[str, Any]:
    """A line across at a value that needs no model."""
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": value,
        "y1": value,
        "line": {"color": palette.faint, "width": 1.4, "dash": dash},
        "layer": "below",
    }


def _level_labels(
    levels: Sequence[tuple[float, str]],
    limits: tuple[float, float],
    layout: dict[str, Any],
    palette: theme.Palette,
    compact: bool,
) -> list[dict[str, Any]]:
    """Names of the levels: right of the plot, or inside it where the screen is narrow."""
    margin = layout["margin"]
    if not compact:
        margin["r"] = max(16 + notes.room(name) for _value, name in levels) if levels else 24
    plot = layout["height"] - margin["t"] - margin["b"]
    low, high = limits
    pixels = [plot * (high - value) / (high - low) for value, _name in levels]
    places = notes.spread(pixels, _LABEL_GAP, 6, plot - 6)
    labels = []
    for (value, name), place, pixel in zip(levels, places, pixels, strict=True):
        labels.append(
            {
                "text": name,
                "xref": "paper",
                "x": 1,
                "xanchor": "right" if compact else "left",
                "xshift": -2 if compact else 8,
                "y": value,
                "yshift": pixel - place + (9 if compact else 0),
                "showarrow": False,
                "align": "left",
                "font": {"family": theme.SANS, "size": 12, "color": palette.soft},
            }
        )
    return labels
