"""Layer-wise dynamics: from the address and the controls to the figure, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import dash
from dash import Input, Output, State, no_update
from dash.exceptions import PreventUpdate

from insidessl_dash.dashboard import ids, urls
from insidessl_dash.dashboard.callbacks.choice import Catalogue, options
from insidessl_dash.dashboard.callbacks.screen import Asked, Screen, Shown, read
from insidessl_dash.dashboard.figures.lens import lens_figure
from insidessl_dash.dashboard.figures.words import caption, layer_table
from insidessl_dash.dashboard.pages import dynamics as page
from insidessl_dash.dashboard.pages.markup import markup
from insidessl_dash.dashboard.pages.parts import data_table, disclosure, export_bar
from insidessl_dash.dashboard.urls import View

_CONTROLS = {
    "lens": (ids.LENS, "value"),
    "measure": (ids.MEASURE, "value"),
    "sizes": (ids.SIZES, "value"),
    "corpus": (ids.CORPUS, "value"),
    "perturbation": (ids.PERTURBATION, "value"),
    "depth": (ids.DEPTH, "value"),
    "band": (ids.BAND, "value"),
    "hide": (ids.HIDE, "data"),
}
_PARTS = {
    "shown": (ids.SHOWN, "data"),
    "measures": (ids.MEASURE, "data"),
    "corpora": (ids.CORPUS, "data"),
    "perturbation_hidden": (ids.PERTURBATION_FIELD, "hidden"),
    "figure": (ids.GRAPH, "figure"),
    "panel": (ids.PANEL, "className"),
    "paint": (ids.PAINT, "data"),
}


def register(app: dash.Dash, catalogue: Catalogue) -> None:
    """Wire the section."""

    @app.callback(
        output={
            **{name: Output(*place) for name, place in {**_CONTROLS, **_PARTS}.items()},
            "followed": Output(ids.FOLLOWED, "data"),
        },
        inputs={
            "asked": Input(ids.ASKED, "data"),
            "controls": {name: Input(*place) for name, place in _CONTROLS.items()},
            "screen": Input(ids.SCREEN, "data"),
            "refresh": Input(ids.REFRESH, "data"),
            "followed": State(ids.FOLLOWED, "data"),
        },
    )
    def show(
        asked: Asked | None,
        controls: dict[str, Any],
        screen: Screen | None,
        refresh: int,
        followed: int | None,
    ) -> dict[str, Any]:
        if screen is None or asked is None:
            raise PreventUpdate
        search = None if asked["visit"] == followed else asked["search"]
        return {
            **update(catalogue, controls, screen, search),
            "followed": asked["visit"],
        }


def update(
    catalogue: Catalogue,
    controls: dict[str, Any],
    screen: Screen | None,
    search: str | None = None,
) -> dict[str, Any]:
    """New values of the controls that changed, and everything that follows from them.

    Args:
        catalogue: What there is to show.
        controls: Values of the controls, by field of `View`.
        screen: What the browser said of itself.
        search: A query string to follow; None where the controls decide.
    """
    view = from_controls(controls) if search is None else urls.parse(search)
    scheme, compact = read(screen)
    names = catalogue.corpus_names()
    if not view.corpus and names:
        view = replace(view, corpus=names[0])
    if view.corpus and view.corpus not in names:
        names.append(view.corpus)
    plain = bool(names) and view.corpus == names[0]
    values = urls.parameters(replace(view, corpus="") if plain else view)
    return {
        **_changed(view, controls),
        "shown": Shown(values=values, replace=search is not None),
        "corpora": page.corpus_options(names),
        **render(catalogue, view, scheme=scheme, compact=compact),
    }


def render(catalogue: Catalogue, view: View, *, scheme: Any, compact: bool) -> dict[str, Any]:
    """Everything the section shows of a view."""
    lens = urls.lens_or_first(view.lens)
    measure = lens.measure(view.measure)
    looks = catalogue.looks(scheme)
    found = catalogue.results(lens, view.corpus, options(lens, view), view.sizes)
    drawn = [r for r in found if r.model.name not in view.hide and measure.name in r.measures]
    lacking = catalogue.lacking(found, view.sizes)
    figure = lens_figure(
        drawn,
        measure.name,
        looks=looks,
        depth=view.depth,
        band=view.band,
        scheme=scheme,
        compact=compact,
        height=420 if compact else 580,
    )
    table = layer_table(drawn, measure.name, view.band)
    numbers = data_table(table, f"{measure.title} by layer and model", "Layer")
    painted = {
        ids.SUMMARY: page.summary(lens, measure),
        ids.CAPTION: page.caption_children(caption(drawn, lens, measure, view.band)),
        ids.LEGEND: page.legend(found, view.hide, looks),
        ids.NUMBERS: disclosure("The numbers behind the figure", [numbers]) if drawn else None,
        ids.PROVENANCE: page.provenance(drawn),
        ids.MISSING: page.missing(lacking, view.corpus, lens, view.perturbation, nothing=not found),
        ids.EXPORT: export_bar(ids.GRAPH, drawn, f"{lens.name}-{measure.name}-{view.corpus}"),
    }
    return {
        "measures": page.segment_data(page.measure_options(lens)),
        "perturbation_hidden": not lens.options,
        "figure": figure,
        "panel": "panel" if drawn else "panel is-empty",
        "paint": {id: markup(content) for id, content in painted.items()},
    }


def from_controls(controls: dict[str, Any]) -> View:
    """The view that the controls show."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in controls.items()
        if value is not None
    }
    return View(**values).tidy()


def _changed(view: View, controls: dict[str, Any]) -> dict[str, Any]:
    lens = urls.lens_or_first(view.lens)
    wanted = {field.name: getattr(view, field.name) for field in fields(View)}
    wanted["measure"] = lens.measure(view.measure).name
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in wanted.items()}
    return {
        name: no_update if plain[name] == controls.get(name) else plain[name] for name in _CONTROLS
    }
