"""Pieces of the figures of a training run: panels, axes, bars, lines across and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from insidessl_dash.dashboard import theme
from insidessl_dash.dashboard.figures.insights import SHALLOW, at_update
from insidessl_dash.dashboard.figures.points import number, told_layers
from insidessl_dash.dashboard.figures.training_runs import UPDATES, Panel, short_update
from insidessl_dash.results.schema import Curve
from insidessl_dash.results.trajectories import Surface

_GAP = 0.13  # between two panels, a share of the width: room for the label at a line's end
_STACK = 0.16  # the same for panels one above the other


def colour_bar(palette: theme.Palette, compact: bool, extra: dict[str, Any]) -> dict[str, Any]:
    """A colour bar at the right, or below on a narrow screen."""
    place: dict[str, Any] = (
        {
            "orientation": "h", "x": 0.5, "xanchor": "center", "yref": "container", "y": 0.0,
            "yanchor": "bottom", "len": 0.94, "ypad": 4,
        }
        if compact
        else {"xref": "container", "x": 1.0, "xanchor": "right", "y": 0.5, "len": 1.0, "xpad": 16,
              "ypad": 0}
    )  # fmt: skip
    extra = dict(extra)
    title = {**extra.pop("title", {"text": ""})}
    if compact:
        title["side"] = "right"
    return {
        "thickness": 10,
        "outlinewidth": 0,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": palette.faint,
        "tickfont": {"family": theme.MONO, "size": 11, "color": palette.soft},
        "title": {**title, "font": {"family": theme.SANS, "size": 12, "color": palette.soft}},
        **place,
        **extra,
    }


def panel_title(panel: Panel, index: int, palette: theme.Palette, compact: bool) -> dict[str, Any]:
    """The run's name over its panel."""
    return {
        "text": f"<b>{panel.title}</b>",
        "xref": f"{axis('x', index)} domain",
        "yref": f"{axis('y', index)} domain",
        "x": 0.0 if compact else 0.5,
        "y": 1,
        "xanchor": "left" if compact else "center",
        "yanchor": "bottom",
        "xshift": 4 if compact else 0,
        "yshift": 3,
        "showarrow": False,
        "font": {"family": theme.SANS, "size": 13, "color": palette.ink},
    }


def above(text: str, palette: theme.Palette, compact: bool) -> dict[str, Any]:
    """The title of the value axis, written level above it."""
    return {
        "text": text,
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": 1,
        "xanchor": "left",
        "yanchor": "bottom",
        "xshift": -34 if compact else -52,
        "yshift": 8,
        "showarrow": False,
        "font": {"family": theme.SANS, "size": 13, "color": palette.soft},
    }


def domains(index: int, count: int, compact: bool) -> tuple[list[float], list[float]]:
    """Where a panel is: side by side, or one above the other on a narrow screen."""
    whole = [0.0, 1.0]
    if count < 2:
        return whole, whole
    if compact:
        half = (1 - _STACK) / 2
        return whole, [1 - half, 1.0] if index == 0 else [0.0, half]
    half = (1 - _GAP) / 2
    return [0.0, half] if index == 0 else [1 - half, 1.0], whole


def has_axis_title(index: int, count: int, compact: bool) -> bool:
    """Whether a panel carries the title of the layer or update axis."""
    return not compact or index == count - 1


def panel_height(count: int, wide: int, narrow: int, compact: bool) -> int:
    """Pixels of a figure of one or two panels."""
    return (narrow + (240 if count > 1 else 0)) if compact else wide


def axis(name: str, index: int) -> str:
    """An axis of a panel.

    >>> axis("x", 0), axis("xaxis", 1)
    ('x', 'xaxis2')
    """
    return name if index == 0 else f"{name}{index + 1}"


def layer_ticks(layers: Sequence[str], sparse: bool) -> dict[str, Any]:
    """Names of the layers as ticks."""
    step = (1 if len(layers) <= 13 else 2) * (2 if sparse else 1)
    places = list(range(0, len(layers), step))
    return {"tickvals": places, "ticktext": [layers[place] for place in places]}


def update_ticks(updates: Sequence[int], sparse: bool) -> dict[str, Any]:
    """Every column has a tick, or every third from the first, and the last."""
    places = list(range(len(updates)))
    if sparse and len(updates) > 8:
        places = [p for p in places if p % 3 == 0 and p < len(updates) - 2] + [len(updates) - 1]
    return {"tickvals": places, "ticktext": [short_update(updates[p]) for p in places],
            "tickangle": 0}  # fmt: skip


def colour_scale(colours: Sequence[str]) -> list[list[Any]]:
    """Colours as Plotly takes a scale."""
    return [[index / (len(colours) - 1), shade] for index, shade in enumerate(colours)]


def hovers(panel: Panel, surface: Surface) -> list[list[str]]:
    """What pointing at each value says: a row an update, in it a text a layer."""
    found = panel.trajectory
    layers = told_layers(found.layers, found.depth_percent, found.frame_rates_hz)
    unit = f" {surface.unit}" if surface.unit else ""

    def told(row: int, column: int) -> str:
        grids = (surface.mean, surface.low, surface.high)
        value, low, high = (float(grid[row, column]) for grid in grids)
        if not math.isfinite(value):
            return ""
        lines = [
            f"<b>{panel.title}, {at_update(found.updates[row])}</b>",
            layers[column],
            f"mean   {number(value)}{unit}",
        ]
        if math.isfinite(low) and math.isfinite(high):
            lines.append(f"95% CI {number(low)} to {number(high)}")
        return "<br>".join([*lines, f"n      {surface.n}"])

    return [
        [told(row, column) for column in range(len(layers))] for row in range(len(found.updates))
    ]


def plain(value: float) -> float | None:
    """A value as JSON has it: None where it is not defined.

    >>> plain(float("nan")), plain(0.5)
    (None, 0.5)
    """
    return float(value) if math.isfinite(value) else None


def baseline_trace(
    curve: Curve, index: int, x: list[int], axes: dict[str, str], scheme: theme.Scheme
) -> dict[str, Any]:
    """A line across at the value of MelSpec."""
    value = curve.mean[0]
    said = "" if value is None else f"<b>MelSpec</b><br>mean   {number(value)}"
    return {
        "type": "scatter",
        **axes,
        "uid": f"baseline-{index}",
        "meta": {"panel": index, "role": "baseline"},
        "name": "MelSpec",
        "x": x,
        "y": [value] * len(x),
        "mode": "lines",
        "line": {
            "color": theme.family_colour("melspec", "baseline", scheme),
            "dash": theme.BASELINE_DASH,
            "width": 1.25,
        },
        "text": [said] * len(x),
        "hovertemplate": "%{text}<extra></extra>",
    }


def update_scale(last: int, scheme: theme.Scheme, compact: bool) -> dict[str, Any]:
    """An empty trace that carries the scale of updates."""
    end = math.log10(max(last, 10))
    ticks = [float(power) for power in range(int(end) + 1)]
    bar = {
        "tickvals": ticks,
        "ticktext": [f"{10 ** int(tick):,}" for tick in ticks],
        "title": {"text": "Update", "side": "top"},
    }
    return {
        "type": "scatter",
        "uid": "scale",
        "x": [None],
        "y": [None],
        "mode": "markers",
        "hoverinfo": "skip",
        "marker": {
            "color": [0.0],
            "cmin": 0.0,
            "cmax": end,
            "colorscale": colour_scale(UPDATES[scheme]),
            "showscale": True,
            "colorbar": colour_bar(theme.PALETTES[scheme], compact, bar),
        },
    }


def panel_notes(
    panel: Panel, index: int, count: int, palette: theme.Palette, compact: bool
) -> list[dict[str, Any]]:
    """What stands in a panel: where shallow ends and, beside another panel, whose it is."""
    notes = [
        {
            "text": f"{SHALLOW:.0f}% depth",
            "xref": axis("x", index),
            "yref": f"{axis('y', index)} domain",
            "x": _shallow_end(panel),
            "y": 0,
            "xanchor": "left",
            "yanchor": "bottom",
            "xshift": 4,
            "showarrow": False,
            "font": {"family": theme.MONO, "size": 11, "color": palette.faint},
        }
    ]
    if count > 1:
        notes.append(panel_title(panel, index, palette, compact))
    return notes


def _shallow_end(panel: Panel) -> float:
    """Where on the axis of layers shallow ones end."""
    depths = panel.trajectory.depth_percent
    return float(np.interp(SHALLOW, depths, range(len(depths))))


def division(panel: Panel, index: int, palette: theme.Palette) -> dict[str, Any]:
    """A line where the paper divides shallow from deep."""
    place = _shallow_end(panel)
    return {
        "type": "line",
        "layer": "below",
        "xref": axis("x", index),
        "yref": f"{axis('y', index)} domain",
        "x0": place,
        "x1": place,
        "y0": 0,
        "y1": 1,
        "line": {"width": 1, "dash": "1px,4px", "color": palette.faint},
    }
