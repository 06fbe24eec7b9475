"""Small pieces that several sections share."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

from dash import html

from insidessl_dash.dashboard import urls
from insidessl_dash.dashboard.figures.style import Style
from insidessl_dash.dashboard.figures.words import Table
from insidessl_dash.results.schema import Result

Children = Sequence[Any]


def section(id: str, number: str, title: str, lead: Any, children: Children) -> html.Section:
    """A numbered section with an anchor."""
    head = html.Header(
        [
            html.Span(number, className="section-number", **{"aria-hidden": "true"}),
            html.H2(title, id=f"{id}-title"),
            html.P(lead, className="lead"),
        ],
        className="section-head",
    )
    return html.Section(
        [head, *children], id=id, className="section", **{"aria-labelledby": f"{id}-title"}
    )


def field(label: str, control: Any, *, id: str | None = None, note: str = "") -> html.Div:
    """A labelled control."""
    head = html.Div(label, className="field-label")
    extra = [html.P(note, className="field-note")] if note else []
    identity = {"id": id} if id else {}
    return html.Div([head, control, *extra], className="field", **identity)


def disclosure(title: str, children: Children, **extra: Any) -> html.Details:
    """Something that opens."""
    return html.Details([html.Summary(title), *children], className="disclosure", **extra)


def command(text: str) -> html.Div:
    """A command line with a copy button."""
    button = html.Button(
        "Copy", className="quiet", **{"data-copy": text, "aria-label": f"Copy the command: {text}"}
    )
    return html.Div([html.Code(text), button], className="command")


def state(kind: str, title: str, children: Children = ()) -> html.Div:
    """An empty, error or not-computed state; `kind` is part of its class."""
    return html.Div(
        [html.P(title, className="state-title"), *children], className=f"state state-{kind}"
    )


def swatch(style: Style, *, line_only: bool = False) -> html.Img:
    """A sample of a line as the figure draws it."""
    dash = "" if style.dash == "solid" else f'stroke-dasharray="{style.dash.replace("px", "")}"'
    marker = "" if line_only else _marker(style)
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="34" height="12" viewBox="0 0 34 12">'
        f'<path d="M1 6H33" stroke="{style.colour}" stroke-width="{style.width}" {dash}/>'
        f"{marker}</svg>"
    )
    source = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    return html.Img(src=source, alt="", width=34, height=12, className="swatch")


_SIDES = {"triangle-up": (3, -90), "triangle-down": (3, 90), "square": (4, 45), "diamond": (4, 0),
          "pentagon": (5, -90)}  # fmt: skip


def _marker(style: Style) -> str:
    name, hollow = style.symbol.removesuffix("-open"), style.symbol.endswith("-open")
    paint = (
        f'fill="{"none" if hollow else style.colour}" stroke="{style.colour}" stroke-width="1.3"'
    )
    if name == "circle":
        return f'<circle cx="17" cy="6" r="3.1" {paint}/>'
    sides, start = _SIDES.get(name, (4, 45))
    turns = [math.radians(start + 360 * i / sides) for i in range(sides)]
    corners = " ".join(f"{17 + 4.1 * math.cos(t):.2f},{6 + 4.1 * math.sin(t):.2f}" for t in turns)
    return f'<polygon points="{corners}" {paint}/>'


def data_table(table: Table, label: str, corner: str) -> html.Div:
    """A scrolling table with heads on both sides; a column of notes is set as text."""
    kinds = ["text" if column == "Notes" else "" for column in table.columns]
    heads = [
        html.Th(column, scope="col", className=kind)
        for column, kind in zip(table.columns, kinds, strict=True)
    ]
    rows = []
    for name, cells in table.rows:
        values = [html.Td(c, className=kind) for c, kind in zip(cells, kinds, strict=True)]
        rows.append(html.Tr([html.Th(name, scope="row"), *values]))
    head = html.Tr([html.Th(corner, scope="col"), *heads])
    return html.Div(
        html.Table([html.Thead(head), html.Tbody(rows)]),
        className="table-scroll",
        role="region",
        tabIndex=0,
        **{"aria-label": label},
    )


def export_bar(graph: str, results: Sequence[Result], name: str) -> html.Div:
    """Buttons that save a figure and the numbers of its results."""
    keys = [result.key for result in results]
    return save_bar(
        graph,
        {kind: [urls.result_export(key, kind) for key in keys] for kind in ("csv", "json")},
        name,
    )


def save_bar(graph: str, places: Mapping[str, Sequence[str]], name: str) -> html.Div:
    """Buttons that save a figure and its numbers; assets/js/2-figures.js acts on them.

    Args:
        graph: Id of the figure.
        places: ``csv`` and ``json`` -> addresses of the numbers, joined into one file; where there
            are none, nothing can be saved.
        name: Of the files, without suffix.
    """
    empty = not any(places.values())
    buttons = [
        html.Button(
            kind,
            className="quiet",
            disabled=empty,
            **{
                "data-export": kind.lower(),
                "data-graph": graph,
                "data-name": name,
                "data-urls": " ".join(places.get(kind.lower(), ())),
                "aria-label": f"Save as {kind}",
            },
        )
        for kind in ("SVG", "PNG", "CSV", "JSON")
    ]
    return html.Div(
        [html.Span("Save", className="export-label"), *buttons],
        className="export",
        role="group",
        **{"aria-label": "Save this figure"},
    )
