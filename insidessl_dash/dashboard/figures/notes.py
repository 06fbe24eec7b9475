"""What is written in a figure: the axis title, landmarks, and labels that never collide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from insidessl_dash.dashboard import theme
from insidessl_dash.dashboard.figures.points import Line, Points
from insidessl_dash.dashboard.figures.style import Style

_LABEL_GAP = 18
_CHARACTER = 7.1
_INSIDE_AY = -16.0
# Closed forms for many dimensions: steps at right angles, and steps between unrelated frames.
_LANDMARKS = {
    ("curvature", "signed"): (
        (math.pi / 2, "π/2, a random walk"),
        (2 * math.pi / 3, "2π/3, unrelated frames"),
    ),
    ("curvature", "folded"): (
        (math.pi / 3, "π/3, unrelated frames"),
        (math.pi / 2, "π/2, a random walk"),
    ),
}


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions as little as possible (least squares) so that neighbours are `gap` apart.

    The order is kept. With offsets i * gap taken away, the task is isotonic regression, solved by
    pooling adjacent violators; the result is then moved inside [low, high], as far as it fits.

    >>> spread([10.0, 10.0, 50.0], gap=10, low=0, high=100)
    [5.0, 15.0, 50.0]
    """
    ranked = sorted(range(len(positions)), key=lambda i: positions[i])
    blocks: list[tuple[float, int]] = []
    for rank, index in enumerate(ranked):
        mean, count = positions[index] - rank * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, many = blocks.pop()
            mean = (before * many + mean * count) / (many + count)
            count += many
        blocks.append((mean, count))
    ceiling = high - gap * max(0, len(ranked) - 1)
    flat = [max(low, min(mean, ceiling)) for mean, count in blocks for _ in range(count)]
    placed = [0.0] * len(positions)
    for rank, index in enumerate(ranked):
        placed[index] = flat[rank] + rank * gap
    return placed


def end_labels(
    points: Sequence[Points],
    looks: dict[str, Style],
    end: float,
    plot: float,
    limits: tuple[float, float],
    scheme: theme.Scheme,
) -> list[dict[str, Any]]:
    """A label at the end of each line, moved apart, with a leader in the line's colour.

    Args:
        points: The lines.
        looks: Style of each model, by name.
        end: Where the axis ends; a line that ends before has its label inside the plot.
        plot: Height of the plot, pixels.
        limits: Of the value axis.
        scheme: ``light`` or ``dark``.
    """
    low, high = limits
    ends = []
    for each in points:
        last = each.last()
        if last is not None:
            y = each.mean[last] or 0.0
            ends.append((each, each.x[last], y, plot * (high - y) / (high - low)))
    outside = [i for i, (_points, x, _y, _pixel) in enumerate(ends) if x >= end - 1e-9]
    pixels = [ends[i][3] for i in outside]
    moved = zip(outside, spread(pixels, _LABEL_GAP, 4, plot - 4), pixels, strict=True)
    offsets = {index: place - pixel for index, place, pixel in moved}
    return [
        _end_label(each, x, y, offsets.get(index), looks[each.line.result.model.name], scheme)
        for index, (each, x, y, _pixel) in enumerate(ends)
    ]


def _end_label(
    points: Points,
    x: float,
    y: float,
    offset: float | None,
    style: Style,
    scheme: theme.Scheme,
) -> dict[str, Any]:
    palette = theme.PALETTES[scheme]
    muted = points.line.role == "reference"
    return {
        "text": short(points.line),
        "x": x,
        "y": y,
        "ax": 14 if offset is None else 26,
        "ay": _INSIDE_AY if offset is None else offset,
        "xanchor": "left",
        "yanchor": "middle",
        "align": "left",
        "showarrow": True,
        "arrowhead": 0,
        "arrowwidth": 1.2,
        "arrowcolor": style.colour,
        "standoff": 7,
        "borderpad": 2,
        "bgcolor": palette.surface if offset is None else "rgba(0,0,0,0)",
        "font": {
            "family": theme.SANS,
            "size": 12 if muted else 13,
            "color": palette.faint if muted else palette.ink,
        },
    }


def right_margin(lines: Sequence[Line]) -> int:
    """Room for the labels, in pixels."""
    return min(250, 44 + max((room(short(line)) for line in lines), default=70))


def room(label: str) -> int:
    """How wide a label is at most, in pixels."""
    return int(_CHARACTER * len(label))


def short(line: Line) -> str:
    """A label short enough for a line end."""
    label = line.label
    for long, brief in ((", fine-tuned on", ","), (" (encoder)", ""), (" (log-mel)", "")):
        label = label.replace(long, brief)
    return label


def axis_title(
    lines: Sequence[Line], measure: str, palette: theme.Palette, compact: bool
) -> dict[str, Any]:
    """The title of the value axis, written level above it."""
    curve = lines[0].result.measures[measure] if lines else None
    unit = f" ({curve.unit})" if curve and curve.unit else ""
    return {
        "text": f"{curve.title}{unit}" if curve else "",
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": 1,
        "xanchor": "left",
        "yanchor": "bottom",
        "xshift": -34 if compact else -52,
        "yshift": 16,
        "showarrow": False,
        "font": {"family": theme.SANS, "size": 13, "color": palette.soft},
    }


def nothing(palette: theme.Palette) -> dict[str, Any]:
    """Said in a figure without a curve."""
    return {
        "text": "No curve for this choice",
        "xref": "paper",
        "yref": "paper",
        "x": 0.5,
        "y": 0.5,
        "showarrow": False,
        "font": {"family": theme.SERIF, "size": 20, "color": palette.soft},
    }


def landmarks(
    lines: Sequence[Line],
    measure: str,
    limits: tuple[float, float],
    palette: theme.Palette,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Shapes and annotations of the values that theory gives, where the axis reaches them."""
    shapes, texts = [], []
    lens = lines[0].result.lens if lines else ""
    for value, text in _LANDMARKS.get((lens, measure), ()):
        if not limits[0] < value < limits[1]:
            continue
        shapes.append(
            {
                "type": "line",
                "layer": "below",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": value,
                "y1": value,
                "line": {"width": 1, "dash": "1px,4px", "color": palette.faint},
            }
        )
        texts.append(
            {
                "text": text,
                "xref": "paper",
                "x": 0,
                "y": value,
                "xanchor": "left",
                "yanchor": "bottom",
                "xshift": 6,
                "showarrow": False,
                "font": {"family": theme.MONO, "size": 11, "color": palette.faint},
            }
        )
    return shapes, texts
