"""The Generative Compatibility Matrix as four heatmaps, of one model or of two side by side.

Row i is decoder D^(i), the top one the shallowest, column j the tokens z^(j): deep decoders on
shallow layers are the lower left triangle. Every colour scale is turned so that better lies
further from the ground of the page. Which cell is pointed at is marked in every heatmap by
assets/js/7-gcm.js, which moves the outlines that are drawn here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from insidessl_dash.dashboard import theme
from insidessl_dash.dashboard.figures.gcm_sheets import KINDS, Matrix, Sheet, sheet
from insidessl_dash.dashboard.figures.notes import nothing
from insidessl_dash.dashboard.figures.points import number
from insidessl_dash.dashboard.figures.training_parts import axis, colour_scale
from insidessl_dash.dashboard.figures.training_runs import VALUES
from insidessl_dash.results.matrix import Group, MatrixResult

_PANEL = 368  # pixels of a heatmap, and of what is above and below it
_ROW = 112
_COMPACT = (276, 92)


def matrix_figure(
    shown: Sequence[Matrix],
    metrics: dict[Group, str],
    *,
    scheme: theme.Scheme = "light",
    compact: bool = False,
) -> dict[str, Any]:
    """Four heatmaps a matrix, each kind with one colour scale for all matrices.

    Args:
        shown: One matrix, or two side by side (one above the other on a narrow screen).
        metrics: Of each kind the metric; a kind that no matrix has is left empty.
        scheme: ``light`` or ``dark``.
        compact: For a narrow screen.
    """
    palette = theme.PALETTES[scheme]
    columns = 1 if compact else 2
    pair = len(shown) > 1
    rows = -(-len(KINDS) * max(1, len(shown)) // columns)
    panel, around = _COMPACT if compact else (_PANEL, _ROW)
    whole = rows * (panel + around)
    layout: dict[str, Any] = {
        "template": theme.template(scheme),
        "height": whole + 16,
        "margin": {"t": 8, "b": 8, "l": 44 if compact else 58, "r": 4},
        "dragmode": False,
        "uirevision": "matrix",
    }
    data: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    place = 0
    for kind in KINDS:
        sheets = [sheet(matrix.result, kind, metrics.get(kind, "")) for matrix in shown]
        limits = _limits([s for s in sheets if s is not None])
        for index, (matrix, found) in enumerate(zip(shown, sheets, strict=True)):
            row, column = divmod(place, columns)
            top = 1 - (row * (panel + around) + 46) / whole
            y = [top - panel / whole, top]
            x = [0.0, 0.84] if compact else [[0.0, 0.40], [0.54, 0.94]][column]
            barred = index == len(shown) - 1 or compact
            layout |= _axes(matrix.result, place, x, y, palette)
            notes += _titles(kind, matrix, found, place, pair, palette)
            if found is not None:
                bar = _bar(found, x, y, palette) if barred else None
                data += _traces(found, matrix, index, place, limits, bar, scheme, palette)
                notes += _missing(matrix.result, place, palette)
                shapes.append(_cursor(place, palette))
            place += 1
    if not shown:
        notes.append(nothing(palette))
    return {"data": data, "layout": {**layout, "annotations": notes, "shapes": shapes}}


def _limits(sheets: Sequence[Sheet]) -> tuple[float, float]:
    values = [v for found in sheets for row in found.grid for v in row if v is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _traces(
    found: Sheet,
    matrix: Matrix,
    index: int,
    place: int,
    limits: tuple[float, float],
    bar: dict[str, Any] | None,
    scheme: theme.Scheme,
    palette: theme.Palette,
) -> list[dict[str, Any]]:
    """The heatmap, rings where a decoder reads its own layer, crosses where nothing is measured."""
    count = len(matrix.result.layers)
    places = list(range(count))
    axes = {"xaxis": axis("x", place), "yaxis": axis("y", place)}
    shades = VALUES[scheme] if found.higher_is_better else VALUES[scheme][::-1]
    heat = {
        "type": "heatmap",
        "uid": f"gcm-{found.kind}-{index}",
        "name": f"{KINDS[found.kind]}, {matrix.title}",
        "meta": {
            "panel": index, "kind": found.kind, "title": found.title, "unit": found.unit,
            "matrix": matrix.name, "model": matrix.title, "place": place,
            "layers": matrix.result.layers,
        },
        **axes,
        "x": places,
        "y": places,
        "z": found.grid,
        "customdata": [["–" if v is None else number(v) for v in row] for row in found.grid],
        "text": [[_hover(found, matrix, i, j) for j in places] for i in places],
        "hovertemplate": "%{text}<extra></extra>",
        "hoverongaps": False,
        "zmin": limits[0],
        "zmax": limits[1],
        "colorscale": colour_scale(shades),
        "showscale": bar is not None,
        "xgap": 1,
        "ygap": 1,
        **({"colorbar": bar} if bar else {}),
    }  # fmt: skip
    own = [k for k in places if found.grid[k][k] is not None]
    low, high = limits
    strong = []
    for k in own:
        value = found.grid[k][k] or 0.0
        share = (value - low) / (high - low)
        strong.append((share if found.higher_is_better else 1 - share) > 0.5)
    ring = {
        "type": "scatter",
        "uid": f"gcm-diagonal-{found.kind}-{index}",
        **axes,
        "x": own,
        "y": own,
        "mode": "markers",
        "hoverinfo": "skip",
        "marker": {
            "symbol": "circle-open", "size": 6,
            "color": [palette.surface if far else palette.ink for far in strong],
            "line": {"width": 1.3},
        },
    }  # fmt: skip
    empty = [
        (i, j, found.why[i][j])
        for i in places
        for j in places
        if found.why and found.grid[i][j] is None and found.why[i][j]
    ]
    if not empty:
        return [heat, ring]
    cross = {
        "type": "scatter",
        "uid": f"gcm-empty-{found.kind}-{index}",
        "meta": heat["meta"],
        **axes,
        "x": [j for _i, j, _why in empty],
        "y": [i for i, _j, _why in empty],
        "mode": "markers",
        "marker": {
            "symbol": "x-thin", "size": 7, "line": {"width": 1.3, "color": palette.faint},
        },
        "text": [f"not measurable: {why}" for _i, _j, why in empty],
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    return [heat, ring, cross]


def _hover(found: Sheet, matrix: Matrix, i: int, j: int) -> str:
    value = found.grid[i][j]
    if value is None:
        return ""
    layers = matrix.result.layers
    unit = f" {found.unit}" if found.unit else ""
    lines = [
        f"<b>{matrix.title}: decoder {layers[i]}, tokens of layer {layers[j]}</b>",
        f"{found.title}",
        f"mean   {number(value)}{unit}, {found.direction}",
    ]
    spread = found.std[i][j] if found.std else None
    if spread is not None:
        lines.append(f"s.d.   {number(spread)}")
    if found.n:
        lines.append(f"n      {found.n[i][j]}")
    return "<br>".join(lines)


def _axes(
    result: MatrixResult,
    place: int,
    x: list[float],
    y: list[float],
    palette: theme.Palette,
) -> dict[str, Any]:
    count = len(result.layers)
    step = 1 if count <= 13 else 2
    ticks = list(range(0, count, step))
    shared = {
        "fixedrange": True,
        "showgrid": False,
        "showline": False,
        "ticks": "",
        "tickvals": ticks,
        "ticktext": [result.layers[k] for k in ticks],
        "tickfont": {"family": theme.MONO, "size": 11, "color": palette.soft},
        "tickangle": 0,
    }
    title = {"font": {"family": theme.SANS, "size": 12.5, "color": palette.soft}, "standoff": 6}
    across = {**title, "text": "Tokens z<sup>(j)</sup> of layer j"}
    down = {**title, "text": "Decoder D<sup>(i)</sup>"}
    return {
        axis("xaxis", place): {
            **shared, "domain": x, "anchor": axis("y", place), "range": [-0.5, count - 0.5],
            "title": across,
        },
        axis("yaxis", place): {
            **shared, "domain": y, "anchor": axis("x", place), "range": [count - 0.5, -0.5],
            "title": down,
        },
    }  # fmt: skip


def _titles(
    kind: Group,
    matrix: Matrix,
    found: Sheet | None,
    place: int,
    pair: bool,
    palette: theme.Palette,
) -> list[dict[str, Any]]:
    title = KINDS[kind] + (f": {matrix.title}" if pair else "")
    below = "not measured here"
    if found is not None:
        unit = f" ({found.unit})" if found.unit else ""
        below = f"{found.title}{unit}, {found.direction}"
    return [
        {
            "text": f"<b>{title}</b><br><span style='font-size:12px'>{below}</span>",
            "xref": f"{axis('x', place)} domain",
            "yref": f"{axis('y', place)} domain",
            "x": 0,
            "y": 1,
            "xanchor": "left",
            "yanchor": "bottom",
            "align": "left",
            "yshift": 3,
            "showarrow": False,
            "font": {"family": theme.SANS, "size": 13.5, "color": palette.ink},
        }
    ]


def _missing(result: MatrixResult, place: int, palette: theme.Palette) -> list[dict[str, Any]]:
    """What is written in the rows of layers that have no decoder."""
    return [
        {
            "text": "no decoder",
            "xref": f"{axis('x', place)} domain",
            "yref": axis("y", place),
            "x": 0.5,
            "y": k,
            "showarrow": False,
            "font": {"family": theme.SANS, "size": 11, "color": palette.faint},
        }
        for k, name in enumerate(result.layers)
        if name in result.missing
    ]


def _bar(found: Sheet, x: list[float], y: list[float], palette: theme.Palette) -> dict[str, Any]:
    return {
        "x": x[1],
        "xanchor": "left",
        "xpad": 8,
        "y": (y[0] + y[1]) / 2,
        "yanchor": "middle",
        "len": y[1] - y[0],
        "ypad": 0,
        "thickness": 9,
        "outlinewidth": 0,
        "ticks": "outside",
        "ticklen": 3,
        "nticks": 5,
        "tickcolor": palette.faint,
        "tickfont": {"family": theme.MONO, "size": 10.5, "color": palette.soft},
        "title": {
            "text": "better ↑" if found.higher_is_better else "better ↓",
            "side": "right",
            "font": {"family": theme.SANS, "size": 11, "color": palette.soft},
        },
    }


def _cursor(place: int, palette: theme.Palette) -> dict[str, Any]:
    """The outline of the cell that is pointed at; drawn at the first cell, and moved from there."""
    return {
        "type": "rect",
        "xref": axis("x", place),
        "yref": axis("y", place),
        "x0": -0.5,
        "x1": 0.5,
        "y0": -0.5,
        "y1": 0.5,
        "opacity": 0,
        "line": {"width": 2.5, "color": palette.ink},
        "fillcolor": "rgba(0,0,0,0)",
    }
