"""The layer figure: every model a curve over depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from insidessl_dash.core.types import stable_hash
from insidessl_dash.dashboard import theme
from insidessl_dash.dashboard.figures import notes
from insidessl_dash.dashboard.figures.points import Line, Points, number
from insidessl_dash.dashboard.figures.style import Style, is_baseline, order, styles
from insidessl_dash.results.schema import Result, layer_places

_MARGIN = {"t": 46, "b": 62, "l": 64}
_COMPACT_MARGIN = {"t": 40, "b": 54, "l": 46, "r": 12}


def lens_figure(
    results: Sequence[Result | Line],
    measure: str | None = None,
    *,
    looks: dict[str, Style] | None = None,
    depth: str = "index",
    band: str = "ci95",
    scheme: theme.Scheme = "light",
    compact: bool = False,
    height: int = 560,
    limits: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """The curves of one measure over depth, as a Plotly figure.

    Args:
        results: What to draw, all of one lens; a `Line` says as what.
        measure: Its name; None is the first result's primary one. Results without it are left out.
        looks: Style of each model by name; None makes them from `results` alone.
        depth: ``index`` or ``percent``.
        band: ``ci95``, ``std`` or ``none``.
        scheme: ``light`` or ``dark``.
        compact: For a narrow screen: no labels at the line ends.
        height: Pixels.
        limits: Of the value axis; None fits it to what is drawn.

    Returns:
        A figure as a dictionary; ``plotly.graph_objects.Figure(...)`` takes it as it is.
    """
    lines = [entry if isinstance(entry, Line) else Line(entry) for entry in results]
    looks = looks or styles([line.result.model for line in lines], scheme)
    measure = measure or (lines[0].result.primary if lines else "")
    drawn = [line for line in lines if measure in line.result.measures]
    drawn.sort(key=lambda line: (line.role != "reference", order(line.result.model)))
    deepest = max((line.result.layer_places[-1] for line in drawn), default=0.0) or 12.0
    end = 100.0 if depth == "percent" else deepest
    points = [Points.of(line, measure, depth, end) for line in drawn]
    low, high = limits or _range(points, band)
    bands, curves = [], []
    for each in points:
        style = looks[each.line.result.model.name]
        if band != "none" and each.line.role != "reference":
            bands.append(_band(each, band, style))
        curves.append(_curve(each, style))
    margin = _COMPACT_MARGIN if compact else {**_MARGIN, "r": notes.right_margin(drawn)}
    plot = height - margin["t"] - margin["b"]
    shapes, marks = notes.landmarks(drawn, measure, (low, high), theme.PALETTES[scheme])
    annotations = [notes.axis_title(drawn, measure, theme.PALETTES[scheme], compact), *marks]
    if not any(each.last() is not None for each in points):
        annotations.append(notes.nothing(theme.PALETTES[scheme]))
    if not compact:
        annotations += notes.end_labels(points, looks, end, plot, (low, high), scheme)
    pad = end * (0.03 if compact else 0.012)
    data = bands + curves
    return {
        "data": data,
        "layout": {
            "datarevision": stable_hash(data),  # the same curves again are not drawn again
            "template": theme.template(scheme),
            "height": height,
            "margin": margin,
            "xaxis": {
                "range": [-pad, end + pad],
                "fixedrange": compact,
                "title": {"text": "Depth (%)" if depth == "percent" else "Layer"},
                **_ticks(depth, int(deepest), compact, _names(points)),
            },
            "yaxis": {"range": [low, high], "fixedrange": compact, "nticks": 7},
            "annotations": annotations,
            "shapes": shapes,
            "dragmode": False if compact else "zoom",
            "uirevision": f"{measure}/{depth}",
        },
    }


def _range(points: Sequence[Points], band: str) -> tuple[float, float]:
    values = [value for each in points for value in each.extent(band)]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    pad = 0.07 * (high - low) or 0.05 * max(1.0, abs(high))
    return low - pad, high + pad


def _band(points: Points, band: str, style: Style) -> dict[str, Any]:
    """A filled polygon for each stretch of layers that has a band."""
    x: list[float | None] = []
    y: list[float | None] = []
    stretch: list[tuple[float, float, float]] = []
    for index in range(len(points.x) + 1):
        both = points.interval(index, band) if index < len(points.x) else None
        if both is not None:
            stretch.append((points.x[index], *both))
        elif stretch:
            back = stretch[::-1]
            x += [p[0] for p in stretch] + [p[0] for p in back] + [None]
            y += [p[2] for p in stretch] + [p[1] for p in back] + [None]
            stretch = []
    return {
        "type": "scatter",
        "x": x[:-1],
        "y": y[:-1],
        "mode": "lines",
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": style.faded(0.16 if band == "ci95" else 0.11),
        "hoverinfo": "skip",
    }


def _curve(points: Points, style: Style) -> dict[str, Any]:
    line = points.line
    own, muted = line.role == "own", line.role == "reference"
    plain = muted or is_baseline(line.result.model)
    return {
        "type": "scatter",
        "name": line.label,
        "meta": {"model": line.result.model.name, "role": line.role},
        "x": points.x,
        "y": points.mean,
        "mode": "lines" if plain else "lines+markers",
        "line": {
            "color": style.colour,
            "width": 1.25 if muted else style.width + (0.8 if own else 0),
            "dash": style.dash,
        },
        "marker": {
            "symbol": style.symbol,
            "size": style.marker + (2 if own else 0),
            "color": style.colour,
            "line": {"width": 1.4, "color": style.colour},
        },
        "opacity": 0.55 if muted else 1,
        "text": [_hover(points, index) for index in range(len(points.x))],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _hover(points: Points, index: int) -> str:
    mean, std, both = points.mean[index], points.std[index], points.ci95[index]
    if mean is None:
        return ""
    unit = f" {points.curve.unit}" if points.curve.unit else ""
    parts = [f"<b>{points.line.label}</b>", points.layers[index], f"mean   {number(mean)}{unit}"]
    if both is not None:
        parts.append(f"95% CI {number(both[0])} to {number(both[1])}")
    if std is not None:
        parts.append(f"s.d.   {number(std)}")
    return "<br>".join([*parts, f"n      {points.curve.n}"])


def _names(points: Sequence[Points]) -> dict[float, str]:
    """Place -> name of a layer, where every curve that has several layers has the same."""
    named = {tuple(p.line.result.layers) for p in points if len(p.line.result.layers) > 1}
    names = named.pop() if len(named) == 1 else ()
    return dict(zip(layer_places(names), names, strict=True))


def _ticks(depth: str, deepest: int, compact: bool, names: dict[float, str]) -> dict[str, Any]:
    if depth == "percent":
        return {"tickvals": list(range(0, 101, 25 if compact else 10))}
    step = (1 if deepest <= 13 else 2) * (2 if compact else 1)
    places = list(range(0, deepest + 1, step))
    return {"tickvals": places, "ticktext": [names.get(p, str(p)) for p in places]}
