"""Compatibility matrices: from the address and the controls to the figure.

The section follows an address once it comes near the screen (assets/js/7-gcm.js), so that a visit
that never scrolls here fetches nothing. Pointing at a cell never comes here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dash
from dash import ClientsideFunction, Input, Output, State, no_update
from dash.exceptions import PreventUpdate

from insidessl_dash.core.errors import InsideSSLError
from insidessl_dash.dashboard import ids, urls
from insidessl_dash.dashboard.callbacks.choice import Catalogue
from insidessl_dash.dashboard.callbacks.screen import Asked, Screen, Shown, read
from insidessl_dash.dashboard.figures.gcm import matrix_figure
from insidessl_dash.dashboard.figures.gcm_insights import insights
from insidessl_dash.dashboard.figures.gcm_sheets import KINDS, Matrix, choices, sheet
from insidessl_dash.dashboard.figures.gcm_words import caption, cell_table, summary_table
from insidessl_dash.dashboard.pages import gcm as page
from insidessl_dash.dashboard.pages.dynamics import caption_children, segment_data
from insidessl_dash.dashboard.pages.markup import markup
from insidessl_dash.dashboard.pages.parts import data_table, disclosure, save_bar
from insidessl_dash.dashboard.pages.training import not_shown
from insidessl_dash.dashboard.urls import GcmView
from insidessl_dash.results.copy_synthesis import CopySynthesis
from insidessl_dash.results.matrix import Group
from insidessl_dash.results.matrix_files import Matrices, MatrixHeader

FIRST = "wav2vec2-nano"
"""The matrix shown first where there is one of this name: the paper's own case in small."""
ALONE = "none"
_CONTROLS = {
    "matrix": (ids.GCM_MATRIX, "value"),
    "beside": (ids.GCM_BESIDE, "value"),
    "content": (ids.GCM_CONTENT, "value"),
    "identity": (ids.GCM_IDENTITY, "value"),
    "prosody": (ids.GCM_PROSODY, "value"),
    "function": (ids.GCM_FUNCTION, "value"),
}
_PARTS = {
    "matrices": (ids.GCM_MATRIX, "data"),
    "besides": (ids.GCM_BESIDE, "data"),
    "contents": (ids.GCM_CONTENT, "data"),
    "identities": (ids.GCM_IDENTITY, "data"),
    "prosodies": (ids.GCM_PROSODY, "data"),
    "functions": (ids.GCM_FUNCTION, "data"),
    "view_hidden": (ids.GCM_VIEW, "hidden"),
    "figure": (ids.GCM_GRAPH, "figure"),
    "panel": (ids.GCM_PANEL, "className"),
    "paint": (ids.GCM_PAINT, "data"),
    "shown": (ids.GCM_SHOWN, "data"),
}
_OPTIONS: dict[Group, str] = {
    "content": "contents", "identity": "identities", "prosody": "prosodies",
    "function": "functions",
}  # fmt: skip


def register(app: dash.Dash, catalogue: Catalogue, matrices: Matrices) -> None:
    """Wire the section."""
    for store, function in ((ids.GCM_PAINT, "paint"), (ids.GCM_SHOWN, "shown")):
        app.clientside_callback(ClientsideFunction("insidessl", function), Input(store, "data"))
    app.clientside_callback(
        ClientsideFunction("insidessl", "gcmDrawn"), Input(ids.GCM_GRAPH, "figure")
    )
    app.clientside_callback(
        ClientsideFunction("insidessl", "gcmAsked"),
        Input(ids.FOLLOWED, "data"),
        State(ids.ASKED, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        output={
            **{name: Output(*place) for name, place in {**_CONTROLS, **_PARTS}.items()},
            "followed": Output(ids.GCM_FOLLOWED, "data"),
        },
        inputs={
            "asked": Input(ids.GCM_ASKED, "data"),
            "controls": {name: Input(*place) for name, place in _CONTROLS.items()},
            "screen": Input(ids.SCREEN, "data"),
            "followed": State(ids.GCM_FOLLOWED, "data"),
        },
    )
    def show(
        asked: Asked | None,
        controls: dict[str, str | None],
        screen: Screen | None,
        followed: dict[str, Any] | None,
    ) -> dict[str, Any]:
        if screen is None or asked is None:
            raise PreventUpdate
        answered = {"visit": asked["visit"], "controls": controls, "screen": screen}
        if answered == followed:
            raise PreventUpdate  # a control that was set here says so once more
        old = followed is not None and followed["visit"] == asked["visit"]
        found = update(
            catalogue, matrices, controls, screen, search=None if old else asked["search"]
        )
        chosen = {k: controls[k] if found[k] is no_update else found[k] for k in _CONTROLS}
        return {**found, "followed": {**answered, "controls": chosen}}


def update(
    catalogue: Catalogue,
    matrices: Matrices,
    controls: dict[str, str | None],
    screen: Screen | None,
    *,
    search: str | None = None,
) -> dict[str, Any]:
    """New values of the controls that changed, and everything that follows from them.

    Args:
        catalogue: Models.
        matrices: What was computed.
        controls: Values of the controls, by field of `GcmView`.
        screen: What the browser said of itself.
        search: A query string to follow; None where the controls decide.
    """
    view = _from_controls(controls) if search is None else urls.parse_gcm(search)
    headers = matrices.headers()
    if not headers and not view.matrix:
        return _nothing()
    known = {f"{header.corpus}/{header.name}": header for header in headers}
    first = next((k for k, h in known.items() if h.name == FIRST), next(iter(known), ""))
    view = replace(view, matrix=view.matrix or first)
    if view.beside == view.matrix:
        view = replace(view, beside="")
    titles = _titles(catalogue, known)
    shown, messages = _shown(matrices, view, titles)
    metrics: dict[Group, str] = {}
    named: dict[str, str] = {}
    options: dict[str, Any] = {}
    for kind in KINDS:
        found = choices([matrix.result for matrix in shown], kind)
        names = [name for name, _title in found]
        asked = getattr(view, kind)
        metrics[kind] = asked if asked in names else next(iter(names), "")
        named[kind] = "" if metrics[kind] == next(iter(names), "") else metrics[kind]
        options[_OPTIONS[kind]] = segment_data(found)
    entries = [{"value": key, "label": titles[key]} for key in known]
    for missing in sorted({view.matrix, view.beside} - {*known, ""}):
        entries.append({"value": missing, "label": missing})
    first_one = "" if view.matrix == first else view.matrix
    address = GcmView(matrix=first_one, beside=view.beside, **named)
    chosen: dict[str, str | None] = {"matrix": view.matrix, "beside": view.beside or ALONE}
    chosen |= {kind: metric or None for kind, metric in metrics.items()}
    return {
        **{name: no_update if controls.get(name) == value else value
           for name, value in chosen.items()},
        "matrices": entries,
        "besides": [{"value": ALONE, "label": "Nothing"},
                    *(entry for entry in entries if entry["value"] != view.matrix)],
        **options,
        "view_hidden": False,
        "shown": Shown(values=urls.gcm_parameters(address), replace=search is not None),
        **render(shown, metrics, messages, screen, matrices.vocoders()),
    }  # fmt: skip


def render(
    shown: Sequence[Matrix],
    metrics: dict[Group, str],
    messages: Sequence[str],
    screen: Screen | None,
    vocoders: CopySynthesis | None = None,
) -> dict[str, Any]:
    """Everything the section shows.

    Args:
        shown: One matrix or two.
        metrics: Of each heatmap.
        messages: Why something that was asked for is not there.
        screen: What the browser said of itself.
        vocoders: What vocoders keep of speech; None where that was not measured.
    """
    scheme, compact = read(screen)
    places = [(matrix.result.corpus.name, matrix.name) for matrix in shown]
    exports = {
        kind: [urls.matrix_export(corpus, name, kind) for corpus, name in places]
        for kind in ("csv", "json")
    }
    tables = [
        data_table(cell_table(matrix.result, found), f"{found.title} of {matrix.title}", "Decoder")
        for matrix in shown
        for kind in KINDS
        if (found := sheet(matrix.result, kind, metrics[kind]))
    ]
    painted = {
        ids.GCM_CAPTION: caption_children(caption(shown)),
        ids.GCM_EXPORT: save_bar(
            ids.GCM_GRAPH, exports, "-".join(["matrix", *(matrix.name for matrix in shown)])
        ),
        ids.GCM_MISSING: not_shown(messages),
        ids.GCM_INSIGHTS: page.insight_cards([(m, insights(m.result)) for m in shown]),
        ids.GCM_SUMMARY: [
            data_table(summary_table(matrix.result), f"Means of {matrix.title}", matrix.title)
            for matrix in shown
        ],
        ids.GCM_PROVENANCE: page.provenance(shown, places),
        ids.GCM_NUMBERS: [
            disclosure("The numbers behind the heatmaps", tables),
            *page.vocoders(vocoders, shown),
        ]
        if shown
        else None,
    }
    kind = "" if shown else " is-empty"
    return {
        "figure": matrix_figure(shown, metrics, scheme=scheme, compact=compact),
        "panel": f"panel gcm-panel{kind}{' is-pair' if len(shown) > 1 else ''}",
        "paint": {id: markup(content) for id, content in painted.items()},
    }


def _shown(
    matrices: Matrices, view: GcmView, titles: dict[str, str]
) -> tuple[list[Matrix], list[str]]:
    """What can be drawn, and why the rest cannot."""
    shown, messages = [], []
    for key in filter(None, (view.matrix, view.beside)):
        corpus, _, name = key.partition("/")
        try:
            found = matrices.get(corpus, name)
        except InsideSSLError as error:
            messages.append(str(error))
            continue
        shown.append(Matrix(found, titles.get(key, name), name))
    return shown, messages


def _titles(catalogue: Catalogue, known: dict[str, MatrixHeader]) -> dict[str, str]:
    """What each matrix is called: its model, and what sets it apart from the others."""
    models = {card.name: card.title for card in catalogue.cards()}
    several = len({header.corpus for header in known.values()}) > 1
    titles = {}
    for key, header in known.items():
        marks = [
            header.preset if header.preset != "flow" else "",
            header.corpus if several else "",
            "yours" if header.own else "",
        ]
        extra = ", ".join(mark for mark in marks if mark)
        title = models.get(header.model, header.model)
        titles[key] = f"{title} ({extra})" if extra else title
    return titles


def _nothing() -> dict[str, Any]:
    return {
        **dict.fromkeys([*_CONTROLS, *_PARTS], no_update),
        "view_hidden": True,
        "paint": {ids.GCM_MISSING: markup(page.nothing_here())},
    }


def _from_controls(controls: dict[str, str | None]) -> GcmView:
    known = {name: value or "" for name, value in controls.items()}
    return GcmView(**{**known, "beside": "" if known["beside"] == ALONE else known["beside"]})
