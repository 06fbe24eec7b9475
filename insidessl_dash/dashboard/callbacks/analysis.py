"""Analyze: from an ended job to the visitor's curves and table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import dash
from dash import ClientsideFunction, Input, Output, State, no_update
from dash.exceptions import PreventUpdate

from insidessl_dash.core.lenses import LENSES, LensInfo, MeasureInfo
from insidessl_dash.dashboard import ids, urls
from insidessl_dash.dashboard.callbacks.choice import Catalogue
from insidessl_dash.dashboard.callbacks.screen import Screen, Shown, read
from insidessl_dash.dashboard.figures.lens import lens_figure
from insidessl_dash.dashboard.figures.own import own_caption, utterance_table
from insidessl_dash.dashboard.figures.points import Line
from insidessl_dash.dashboard.figures.style import is_baseline
from insidessl_dash.dashboard.figures.words import layer_table
from insidessl_dash.dashboard.pages.dynamics import (
    caption_children,
    corpus_options,
    measure_options,
    segment_data,
)
from insidessl_dash.dashboard.pages.markup import markup
from insidessl_dash.dashboard.pages.parts import data_table, disclosure, export_bar
from insidessl_dash.results.schema import Result

_ADDRESS = {"lens": "own", "measure": "own_measure", "corpus": "reference", "layer": "at"}
_CONTROLS = {
    "lens": (ids.OWN_LENS, "value"),
    "measure": (ids.OWN_MEASURE, "value"),
    "corpus": (ids.OWN_CORPUS, "value"),
    "layer": (ids.OWN_LAYER, "value"),
}
_PARTS = {
    "lenses": (ids.OWN_LENS, "data"),
    "measures": (ids.OWN_MEASURE, "data"),
    "corpora": (ids.OWN_CORPUS, "data"),
    "layers": (ids.OWN_LAYER, "data"),
    "empty_hidden": (ids.OWN_EMPTY, "hidden"),
    "view_hidden": (ids.OWN_VIEW, "hidden"),
    "figure": (ids.OWN_GRAPH, "figure"),
    "paint": (ids.OWN_PAINT, "data"),
    "shown": (ids.OWN_SHOWN, "data"),
}


class Analysis(TypedDict):
    """An ended job, as assets/js/4-jobs.js keeps it in the browser.

    Attributes:
        job: Its id.
        search: The query string when it ended: what of it is to be shown first.
        results: Keys.
        names: Utterance id -> the name its owner gave the file.
        skipped: That name -> why the file is in no curve.
    """

    job: str
    search: str
    results: list[str]
    names: dict[str, str]
    skipped: dict[str, str]


def register(app: dash.Dash, catalogue: Catalogue) -> None:
    """Wire the section."""
    app.clientside_callback(
        ClientsideFunction("insidessl", "choices"),
        Input(ids.MODELS, "value"),
        Input(ids.LENSES, "value"),
        Input(ids.OWN_PERTURBATION, "value"),
    )

    @app.callback(
        output={
            **{name: Output(*place) for name, place in {**_CONTROLS, **_PARTS}.items()},
            "followed": Output(ids.OWN_FOLLOWED, "data"),
        },
        inputs={
            "analysis": Input(ids.ANALYSIS, "data"),
            "controls": {name: Input(*place) for name, place in _CONTROLS.items()},
            "depth": Input(ids.DEPTH, "value"),
            "band": Input(ids.BAND, "value"),
            "screen": Input(ids.SCREEN, "data"),
            "followed": State(ids.OWN_FOLLOWED, "data"),
        },
        prevent_initial_call=True,
    )
    def show(
        analysis: Analysis | None,
        controls: dict[str, str | None],
        depth: str,
        band: str,
        screen: Screen | None,
        followed: str | None,
    ) -> dict[str, Any]:
        if analysis is None and followed is None:
            raise PreventUpdate  # nothing to show, and the address may name what is on its way
        job = analysis["job"] if analysis else None
        found = update(
            catalogue, analysis, controls, depth=depth, band=band, screen=screen,
            fresh=job != followed,
        )  # fmt: skip
        return {**found, "followed": job}


def update(
    catalogue: Catalogue,
    analysis: Analysis | None,
    controls: dict[str, str | None],
    *,
    depth: str = "index",
    band: str = "ci95",
    screen: Screen | None = None,
    fresh: bool = False,
) -> dict[str, Any]:
    """What the right half shows of an analysis.

    Args:
        catalogue: What there is to show.
        analysis: The ended job; None once its owner deleted it.
        controls: Values of lens, measure, corpus (the reference) and layer.
        depth, band: As in the section above.
        screen: What the browser said of itself.
        fresh: Whether the analysis is new, so that the address decides what is shown of it.
    """
    outputs = [*_CONTROLS, *_PARTS]
    own = _own(catalogue, analysis)
    if analysis is None or not own:
        gone = Shown(values=dict.fromkeys([*_ADDRESS.values(), "job"]), replace=False)
        return {
            **dict.fromkeys(outputs, no_update),
            "empty_hidden": False,
            "view_hidden": True,
            "shown": gone if analysis is None else no_update,
        }
    search = analysis["search"]
    asked = {k: urls.parameter(search, v) for k, v in _ADDRESS.items()} if fresh else controls
    lenses = [lens for lens in LENSES if any(r.lens == lens.name for r in own)]
    lens = next((entry for entry in lenses if entry.name == asked["lens"]), lenses[0])
    mine = [r for r in own if r.lens == lens.name]
    measure, note = _measure(lens, asked["measure"], mine)
    references = catalogue.corpus_names()
    first = references[0] if references else ""
    corpus = str(asked["corpus"]) if asked["corpus"] in references else first
    layers = _layers(mine)
    layer = str(asked["layer"]) if asked["layer"] in layers else "mean"
    scheme, compact = read(screen)
    muted = catalogue.beside(mine, catalogue.results(lens, corpus, mine[0].config))
    lines = [*(Line(r, "reference") for r in muted), *(Line(r, "own") for r in mine)]
    figure = lens_figure(
        lines,
        measure.name,
        looks=catalogue.looks(scheme),
        depth=depth,
        band=band,
        scheme=scheme,
        compact=compact,
        height=400 if compact else 480,
    )
    values = {r.model.name: catalogue.store.values(r.key) for r in mine}
    rows = utterance_table(
        mine, values, measure.name, layer, analysis["names"], analysis["skipped"]
    )
    chosen = {"lens": lens.name, "measure": measure.name, "corpus": corpus, "layer": layer}
    address = {
        "job": analysis["job"],
        "own": None if lens is lenses[0] else lens.name,
        "own_measure": None if measure.name == lens.measures[0].name else measure.name,
        "reference": None if corpus == first else corpus,
        "at": None if layer == "mean" else layer,
    }
    by_layer = data_table(
        layer_table(mine, measure.name, band), f"{measure.title} by layer", "Layer"
    )
    painted = {
        ids.OWN_CAPTION: caption_children(own_caption(mine, muted, measure, corpus, note)),
        ids.OWN_TABLE: data_table(rows, f"{measure.title} of each recording", "Recording"),
        ids.OWN_NUMBERS: disclosure("The numbers behind the figure", [by_layer]),
        ids.OWN_EXPORT: export_bar(ids.OWN_GRAPH, mine, f"own-{lens.name}-{measure.name}"),
    }
    return {
        **{k: no_update if controls.get(k) == v else v for k, v in chosen.items()},
        "lenses": segment_data([(entry.name, entry.short) for entry in lenses]),
        "measures": segment_data(measure_options(lens)),
        "corpora": corpus_options(references),
        "layers": [
            {"value": "mean", "label": "mean over layers"},
            *({"value": name, "label": f"layer {name}"} for name in layers if name != "mean"),
        ],
        "empty_hidden": True,
        "view_hidden": False,
        "figure": figure,
        "paint": {id: markup(content) for id, content in painted.items()},
        "shown": Shown(values=address, replace=fresh),
    }


def _own(catalogue: Catalogue, analysis: Analysis | None) -> list[Result]:
    keys = analysis["results"] if analysis else []
    found = [catalogue.store.get(key) for key in keys if catalogue.visible(key)]
    return [result for result in found if result is not None]


def _measure(lens: LensInfo, asked: str | None, mine: Sequence[Result]) -> tuple[MeasureInfo, str]:
    """The measure asked for, else the first that has values here, and why if it is another."""
    defined = [
        m
        for m in lens.measures
        if any(v is not None for r in mine if m.name in r.measures for v in r.measures[m.name].mean)
    ]
    if asked in {m.name for m in lens.measures}:
        return lens.measure(asked), ""
    if not defined or defined[0] is lens.measures[0]:
        return lens.measures[0], ""
    first = mine[0].measures.get(lens.measures[0].name)
    why = f" {first.note}" if first and first.note else ""
    return defined[0], f"{lens.measures[0].title} is not defined here.{why}"


def _layers(mine: Sequence[Result]) -> list[str]:
    names: dict[str, None] = {"mean": None}
    for result in mine:
        if not is_baseline(result.model):
            names.update(dict.fromkeys(result.layers))
    return list(names)
