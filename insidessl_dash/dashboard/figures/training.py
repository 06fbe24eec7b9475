"""Training dynamics: a curve over depth for every checkpoint, and a map of depth by update.

Everything that scrubbing shows is in the figures from the start: each checkpoint has a thin curve
and a bold one, and only the chosen bold one is opaque. assets/js/5-training.js moves from one to
the next by opacity alone, so no repaint waits for the server or for Plotly's layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from insidessl_dash.dashboard import theme
from insidessl_dash.dashboard.figures.insights import at_update
from insidessl_dash.dashboard.figures.notes import nothing
from insidessl_dash.dashboard.figures.training_parts import (
    above,
    axis,
    baseline_trace,
    colour_bar,
    colour_scale,
    division,
    domains,
    has_axis_title,
    hovers,
    layer_ticks,
    panel_height,
    panel_notes,
    panel_title,
    plain,
    update_scale,
    update_ticks,
)
from insidessl_dash.dashboard.figures.training_runs import (
    VALUES,
    Panel,
    colour,
    reading,
    short_update,
    steps,
)

_DIM = 0.42


def curves_figure(
    panels: Sequence[Panel],
    measure: str,
    *,
    step: int,
    scheme: theme.Scheme = "light",
    compact: bool = False,
) -> dict[str, Any]:
    """Curves over depth, one a checkpoint, in one panel a run with the same scales.

    Args:
        panels: One run, or two side by side (one above the other on a narrow screen).
        measure: Name of the measure.
        step: Which stop of `steps` is bold.
        scheme: ``light`` or ``dark``.
        compact: For a narrow screen.
    """
    palette = theme.PALETTES[scheme]
    stops = steps(panels) or [0]
    last = stops[-1]
    data: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    low, high = _range(panels, measure)
    for index, panel in enumerate(panels):
        data += _panel_traces(panel, measure, index, stops[step], last, scheme, compact)
        notes += panel_notes(panel, index, len(panels), palette, compact)
        shapes.append(division(panel, index, palette))
    if last > 0:
        data.append(update_scale(last, scheme, compact))
    notes.append(_axis_title(panels, measure, palette, compact))
    if not panels:
        notes.append(nothing(palette))
    margin = {"t": 46, "b": 62, "l": 64, "r": 172}
    if compact:
        margin = {"t": 40, "b": 112, "l": 46, "r": 18}
    layout: dict[str, Any] = {
        "template": theme.template(scheme),
        "height": panel_height(len(panels), 470, 420, compact),
        "margin": margin,
        "annotations": notes,
        "shapes": shapes,
        "dragmode": False,
        "uirevision": measure,
    }
    for index, panel in enumerate(panels):
        x, y = domains(index, len(panels), compact)
        end = len(panel.trajectory.layers) - 1
        layout[axis("xaxis", index)] = {
            "domain": x,
            "anchor": axis("y", index),
            "range": [-0.02 * end, end * (1.24 if compact else 1.01)],
            "fixedrange": True,
            **layer_ticks(panel.trajectory.layers, compact),
            **({"title": {"text": "Layer"}} if has_axis_title(index, len(panels), compact) else {}),
        }
        layout[axis("yaxis", index)] = {
            "domain": y,
            "anchor": axis("x", index),
            "range": [low, high],
            "fixedrange": True,
            "nticks": 7,
            "showticklabels": compact or index == 0,
        }
    return {"data": data, "layout": layout}


def map_figure(
    panels: Sequence[Panel],
    measure: str,
    *,
    step: int,
    scheme: theme.Scheme = "light",
    compact: bool = False,
) -> dict[str, Any]:
    """Depth by update as a map, one colour scale for all panels; the chosen column is outlined.

    Columns are evenly spaced, whatever the updates between them. Arguments as `curves_figure`.
    """
    palette = theme.PALETTES[scheme]
    stops = steps(panels) or [0]
    means = [panel.surface(measure).mean for panel in panels]
    finite = np.concatenate([m[np.isfinite(m)] for m in means]) if means else np.zeros(0)
    title = ""
    if panels:
        unit = panels[0].surface(measure).unit
        title = panels[0].surface(measure).title + (f" ({unit})" if unit else "")
    data, shapes, notes = [], [], []
    layout: dict[str, Any] = {
        "template": theme.template(scheme),
        "height": panel_height(len(panels), 330, 330, compact),
        "margin": {"t": 34, "b": 104 if compact else 58, "l": 46 if compact else 64,
                   "r": 14 if compact else 172},
        "dragmode": False,
        "uirevision": measure,
        "coloraxis": {
            "colorscale": colour_scale(VALUES[scheme]),
            "cmin": float(finite.min()) if finite.size else 0.0,
            "cmax": float(finite.max()) if finite.size else 1.0,
            "colorbar": colour_bar(palette, compact, {"nticks": 5}),
        },
    }  # fmt: skip
    for index, panel in enumerate(panels):
        x, y = domains(index, len(panels), compact)
        found, layers = panel.trajectory, panel.trajectory.layers
        surface = panel.surface(measure)
        data.append(
            {
                "type": "heatmap",
                "uid": f"map-{index}",
                "xaxis": axis("x", index),
                "yaxis": axis("y", index),
                "x": list(range(len(found.updates))),
                "y": list(range(len(layers))),
                "z": [[plain(v) for v in column] for column in surface.mean.T],
                "text": list(map(list, zip(*hovers(panel, surface), strict=True))),
                "hovertemplate": "%{text}<extra></extra>",
                "hoverongaps": False,
                "coloraxis": "coloraxis",
                "xgap": 1,
                "ygap": 1,
            }
        )  # fmt: skip
        row = panel.row(stops[step])
        shapes.append(
            {
                "type": "rect",
                "xref": axis("x", index),
                "yref": f"{axis('y', index)} domain",
                "x0": (row or 0) - 0.5,
                "x1": (row or 0) + 0.5,
                "y0": 0,
                "y1": 1,
                "opacity": 0 if row is None else 1,
                "line": {"width": 2, "color": palette.ink},
                "fillcolor": "rgba(0,0,0,0)",
            }
        )
        layout[axis("xaxis", index)] = {
            "domain": x,
            "anchor": axis("y", index),
            "range": [-0.5, len(found.updates) - 0.5],
            "fixedrange": True,
            "showline": False,
            "ticks": "",
            **update_ticks(found.updates, compact or len(panels) > 1),
            **(
                {"title": {"text": "Update"}} if has_axis_title(index, len(panels), compact) else {}
            ),
        }
        layout[axis("yaxis", index)] = {
            "domain": y,
            "anchor": axis("x", index),
            "range": [-0.5, len(layers) - 0.5],
            "fixedrange": True,
            "showgrid": False,
            **layer_ticks(layers, True),
        }
        if len(panels) > 1:
            notes.append(panel_title(panel, index, palette, compact))
    text = f"Layer by update, {title} as colour" if title else ""
    if len(panels) < 2:
        notes.append(above(text, palette, compact))
    layout |= {"shapes": shapes, "annotations": notes}
    return {"data": data, "layout": layout}


def frames(
    panels: Sequence[Panel], measure: str, *, step: int, scheme: theme.Scheme = "light"
) -> dict[str, Any]:
    """What the slider needs: its stops, and which bold curve and which column belong to each.

    Returns:
        ``step``; ``traces``, for each panel the index of each checkpoint's bold curve in
        `curves_figure`; and ``stops``, each with its update, label, colour, the row of each panel
        and a reading of the figure there in words.
    """
    stops, last = steps(panels), max(steps(panels), default=1)
    traces, start = [], 0
    for panel in panels:
        count = len(panel.trajectory.updates)
        first = start + count + (panel.baseline is not None)
        traces.append(list(range(first, first + count)))
        start = first + count
    return {
        "step": step,
        "traces": traces,
        "stops": [
            {
                "update": stop,
                "label": short_update(stop),
                "title": at_update(stop).capitalize(),
                "colour": colour(stop, last, scheme),
                "rows": [panel.row(stop) for panel in panels],
                "reading": [reading(panel, measure, stop, len(panels) > 1) for panel in panels],
            }
            for stop in stops
        ],
    }


def _panel_traces(
    panel: Panel,
    measure: str,
    index: int,
    chosen: int,
    last: int,
    scheme: theme.Scheme,
    compact: bool,
) -> list[dict[str, Any]]:
    """Thin curves, then the baseline, then the bold curves: the order that `frames` counts on."""
    found, surface = panel.trajectory, panel.surface(measure)
    axes = {"xaxis": axis("x", index), "yaxis": axis("y", index)}
    x = list(range(len(found.layers)))
    texts = hovers(panel, surface)
    thin, bold = [], []
    for row, update in enumerate(found.updates):
        shade = colour(update, last, scheme)
        end = max(np.flatnonzero(np.isfinite(surface.mean[row])), default=len(x) - 1)
        shared = {
            "type": "scatter",
            **axes,
            "x": x,
            "y": [plain(value) for value in surface.mean[row]],
            "name": f"{panel.title}, {at_update(update)}",
        }
        line = {"color": shade, "dash": theme.RANDOM_DASH if update == 0 else "solid"}
        thin.append(
            {
                **shared,
                "uid": f"thin-{index}-{row}",
                "meta": {"panel": index, "update": update, "role": "checkpoint"},
                "mode": "lines",
                "line": {**line, "width": 1.8 if update == 0 else 1.5},
                "opacity": 0.8 if update == 0 else _DIM,
                "text": texts[row],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
        bold.append(
            {
                **shared,
                "uid": f"bold-{index}-{row}",
                "meta": {"panel": index, "update": update, "role": "chosen"},
                "mode": "lines+markers+text",
                "line": {**line, "width": 3.2},
                "marker": {"size": 6.5, "color": shade},
                "text": [f"  {short_update(update)}" if at == end else "" for at in x],
                "textposition": "middle right",
                "textfont": {"family": theme.SANS, "size": 13, "color": theme.PALETTES[scheme].ink},
                "cliponaxis": False,
                "hoverinfo": "skip",
                "opacity": 1 if row == panel.row(chosen) else 0,
            }
        )
    middle = (
        [] if panel.baseline is None else [baseline_trace(panel.baseline, index, x, axes, scheme)]
    )
    return thin + middle + bold


def _axis_title(
    panels: Sequence[Panel], measure: str, palette: theme.Palette, compact: bool
) -> dict[str, Any]:
    if not panels:
        return above("", palette, compact)
    surface = panels[0].surface(measure)
    unit = f" ({surface.unit})" if surface.unit else ""
    note = above(f"{surface.title}{unit}", palette, compact)
    return {**note, "yshift": 20} if compact and len(panels) > 1 else note


def _range(panels: Sequence[Panel], measure: str) -> tuple[float, float]:
    means = [panel.surface(measure).mean for panel in panels]
    values: list[float] = [v for mean in means for v in mean[np.isfinite(mean)].tolist()]
    values += [
        panel.baseline.mean[0]
        for panel in panels
        if panel.baseline is not None and panel.baseline.mean[0] is not None
    ]
    if not values:
        return 0.0, 1.0
    low, high = float(min(values)), float(max(values))
    pad = 0.06 * (high - low) or 0.05 * max(1.0, abs(high))
    return low - pad, high + pad
