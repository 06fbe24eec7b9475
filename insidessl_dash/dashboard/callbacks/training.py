"""Training dynamics: from the address and the controls to the figures. Scrubbing never comes here.

The slider lives in the browser (assets/js/5-training.js), which moves between curves that are drawn
already and tells the server nothing; where it stands is only read when something else changes.

The section follows an address once the first section has shown it, so that the first figure does
not wait for figures further down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dash
from dash import ClientsideFunction, Input, Output, State, no_update
from dash.exceptions import PreventUpdate

from insidessl_dash.core.errors import InsideSSLError
from insidessl_dash.core.lenses import LensInfo
from insidessl_dash.dashboard import ids, urls
from insidessl_dash.dashboard.callbacks.choice import Catalogue
from insidessl_dash.dashboard.callbacks.screen import Asked, Screen, Shown, read
from insidessl_dash.dashboard.figures.insights import course, insights
from insidessl_dash.dashboard.figures.style import is_baseline
from insidessl_dash.dashboard.figures.training import curves_figure, frames, map_figure
from insidessl_dash.dashboard.figures.training_runs import Panel, captions, step_of, update_table
from insidessl_dash.dashboard.pages import training as page
from insidessl_dash.dashboard.pages.dynamics import (
    caption_children,
    corpus_options,
    measure_options,
    segment_data,
    summary,
)
from insidessl_dash.dashboard.pages.markup import markup
from insidessl_dash.dashboard.pages.parts import data_table, disclosure, save_bar
from insidessl_dash.dashboard.urls import TrainingView
from insidessl_dash.results.schema import Curve
from insidessl_dash.results.trajectories import Run, Trajectories, Trajectory

FIRST = "hubert-nano"
"""The run shown first where there is one of this name: the paper's own case in small."""
ALONE = "none"
_CONTROLS = {
    "lens": (ids.TRAINING_LENS, "value"),
    "measure": (ids.TRAINING_MEASURE, "value"),
    "run": (ids.TRAINING_RUN, "value"),
    "beside": (ids.TRAINING_BESIDE, "value"),
    "corpus": (ids.TRAINING_CORPUS, "value"),
}
_PARTS = {
    "measures": (ids.TRAINING_MEASURE, "data"),
    "runs": (ids.TRAINING_RUN, "data"),
    "besides": (ids.TRAINING_BESIDE, "data"),
    "corpora": (ids.TRAINING_CORPUS, "data"),
    "corpus_hidden": (ids.TRAINING_CORPUS_FIELD, "hidden"),
    "view_hidden": (ids.TRAINING_VIEW, "hidden"),
    "curves": (ids.TRAINING_CURVES, "figure"),
    "map": (ids.TRAINING_MAP, "figure"),
    "panel": (ids.TRAINING_PANEL, "className"),
    "map_panel": (ids.TRAINING_MAP_PANEL, "className"),
    "frames": (ids.TRAINING_FRAMES, "data"),
    "paint": (ids.TRAINING_PAINT, "data"),
    "shown": (ids.TRAINING_SHOWN, "data"),
}


def register(app: dash.Dash, catalogue: Catalogue, trajectories: Trajectories) -> None:
    """Wire the section."""
    for store, function in (
        (ids.TRAINING_PAINT, "paint"),
        (ids.TRAINING_SHOWN, "shown"),
        (ids.TRAINING_FRAMES, "scrubber"),
    ):
        app.clientside_callback(ClientsideFunction("insidessl", function), Input(store, "data"))
    app.clientside_callback(
        ClientsideFunction("insidessl", "trainingAsked"),
        Output(ids.TRAINING_ASKED, "data"),
        Input(ids.FOLLOWED, "data"),
        State(ids.ASKED, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        output={
            **{name: Output(*place) for name, place in {**_CONTROLS, **_PARTS}.items()},
            "followed": Output(ids.TRAINING_FOLLOWED, "data"),
        },
        inputs={
            "asked": Input(ids.TRAINING_ASKED, "data"),
            "controls": {name: Input(*place) for name, place in _CONTROLS.items()},
            "screen": Input(ids.SCREEN, "data"),
            "at": State(ids.TRAINING_AT, "data"),
            "followed": State(ids.TRAINING_FOLLOWED, "data"),
        },
    )
    def show(
        asked: Asked | None,
        controls: dict[str, str | None],
        screen: Screen | None,
        at: int | None,
        followed: dict[str, Any] | None,
    ) -> dict[str, Any]:
        if screen is None or asked is None:
            raise PreventUpdate
        answered = {"visit": asked["visit"], "controls": controls, "screen": screen}
        if answered == followed:
            raise PreventUpdate  # a control that was set here says so once more
        old = followed is not None and followed["visit"] == asked["visit"]
        search = None if old else asked["search"]
        found = update(catalogue, trajectories, controls, screen, at=at, search=search)
        chosen = {k: controls[k] if found[k] is no_update else found[k] for k in _CONTROLS}
        return {**found, "followed": {**answered, "controls": chosen}}


def update(
    catalogue: Catalogue,
    trajectories: Trajectories,
    controls: dict[str, str | None],
    screen: Screen | None,
    *,
    at: int | None = None,
    search: str | None = None,
) -> dict[str, Any]:
    """New values of the controls that changed, and everything that follows from them.

    Args:
        catalogue: Models, and the results that the baseline comes from.
        trajectories: Runs.
        controls: Values of the controls, by field of `TrainingView`.
        screen: What the browser said of itself.
        at: The update under the slider; None before it was moved.
        search: A query string to follow; None where the controls decide.
    """
    view = _from_controls(controls, at) if search is None else urls.parse_training(search)
    corpora = trajectories.corpora()
    if not view.corpus and corpora:
        view = replace(view, corpus=corpora[0])
    runs = trajectories.runs(view.corpus)
    if not corpora and not view.run:
        return _nothing()
    known = [run.id for run in runs]
    first = FIRST if FIRST in known or not known else known[0]
    view = replace(view, run=view.run or first)
    if view.beside == view.run:
        view = replace(view, beside="")
    lens = urls.lens_or_first(view.lens)
    view = replace(view, measure=urls.training_measure(lens.name, view.measure))
    titles = _titles(catalogue, runs)
    chosen = {"lens": view.lens, "measure": view.measure, "run": view.run,
              "beside": view.beside or ALONE, "corpus": view.corpus}  # fmt: skip
    address = replace(
        view,
        run="" if view.run == first else view.run,
        corpus="" if corpora and view.corpus == corpora[0] else view.corpus,
    )
    options = page.run_options(runs, titles)
    for missing in sorted({view.run, view.beside} - {*known, ""}):
        options.append({"value": missing, "label": missing})
    return {
        **{name: no_update if controls.get(name) == value else value
           for name, value in chosen.items()},
        "measures": segment_data(measure_options(lens)),
        "runs": options,
        "besides": [{"value": ALONE, "label": "Nothing"},
                    *(option for option in options if option["value"] != view.run)],
        "corpora": corpus_options(list(dict.fromkeys([*corpora, view.corpus]))),
        "corpus_hidden": len(corpora) < 2,
        "view_hidden": False,
        "shown": Shown(values=urls.training_parameters(address), replace=search is not None),
        **render(catalogue, trajectories, view, titles, screen),
    }  # fmt: skip


def render(
    catalogue: Catalogue,
    trajectories: Trajectories,
    view: TrainingView,
    titles: dict[str, str],
    screen: Screen | None,
) -> dict[str, Any]:
    """Everything the section shows of a view whose fields are all known."""
    scheme, compact = read(screen)
    lens = urls.lens_or_first(view.lens)
    measure = lens.measure(view.measure)
    panels, messages = _panels(catalogue, trajectories, view, lens, titles)
    step = step_of(panels, view.update) if panels else 0
    curves, mapped = (
        draw(panels, measure.name, step=step, scheme=scheme, compact=compact)
        for draw in (curves_figure, map_figure)
    )
    said, said_of_map = captions(panels, measure.name)
    groups = [
        (panel.title, panel.surface(measure.name).unit, _cards(panel, lens, measure.name))
        for panel in panels
    ]
    tables = [
        data_table(update_table(panel, measure.name), f"{measure.title} of {panel.title}", "Update")
        for panel in panels
    ]
    exports = {
        kind: [
            urls.trajectory_export(p.trajectory.run.corpus, p.trajectory.run.id, lens.name, kind)
            for p in panels
        ]
        for kind in ("csv", "json")
    }
    name = "-".join([p.trajectory.run.member for p in panels] + [lens.name, measure.name])
    painted = {
        ids.TRAINING_SUMMARY: summary(lens, measure),
        ids.TRAINING_CAPTION: caption_children(said),
        ids.TRAINING_MAP_CAPTION: caption_children(said_of_map),
        ids.TRAINING_EXPORT: save_bar(ids.TRAINING_CURVES, exports, f"training-{name}"),
        ids.TRAINING_MAP_EXPORT: save_bar(ids.TRAINING_MAP, exports, f"training-map-{name}"),
        ids.TRAINING_MISSING: page.not_shown(messages),
        ids.TRAINING_INSIGHTS: page.insight_cards(groups),
        ids.TRAINING_PROVENANCE: page.provenance(
            panels, [trajectories.training(panel.trajectory.run) for panel in panels]
        ),
        ids.TRAINING_NUMBERS: disclosure("The numbers behind the figures", tables)
        if panels
        else None,
    }
    kind = "" if panels else " is-empty"
    return {
        "curves": curves,
        "map": mapped,
        "panel": f"panel training-panel{kind}{' is-pair' if len(panels) > 1 else ''}",
        "map_panel": f"panel map-panel{kind}{' is-pair' if len(panels) > 1 else ''}",
        "frames": frames(panels, measure.name, step=step, scheme=scheme) if panels else None,
        "paint": {id: markup(content) for id, content in painted.items()},
    }


def _panels(
    catalogue: Catalogue,
    trajectories: Trajectories,
    view: TrainingView,
    lens: LensInfo,
    titles: dict[str, str],
) -> tuple[list[Panel], list[str]]:
    """What can be drawn, and why the rest cannot."""
    panels, messages = [], []
    for run_id in filter(None, (view.run, view.beside)):
        try:
            found = trajectories.get(view.corpus, run_id, lens.name)
        except InsideSSLError as error:
            messages.append(str(error))
            continue
        if lens.measure(view.measure).name not in found.measures:
            messages.append(f"{titles[run_id]} has no {view.measure} here: it was not computed.")
            continue
        panels.append(Panel(found, titles[run_id], _baseline(catalogue, lens, found, view.measure)))
    return panels, messages


def _baseline(
    catalogue: Catalogue, lens: LensInfo, found: Trajectory, measure: str
) -> Curve | None:
    """MelSpec on the very same audio and options, if that was computed."""
    for result in catalogue.results(lens, found.corpus.name, {}, sizes=()):
        if is_baseline(result.model) and result.corpus.digest == found.corpus.digest:
            return result.measures.get(measure)
    return None


def _cards(panel: Panel, lens: LensInfo, measure: str) -> list:
    found = panel.trajectory
    surface = found.measures[measure]
    moments = course(surface.mean, found.updates, found.layers, found.frame_rates_hz)
    return [] if moments is None else insights(moments, lens.name, measure, surface.unit)


def _titles(catalogue: Catalogue, runs: Sequence[Run]) -> dict[str, str]:
    """What each run is called: as the model's card says, or as its owner named it."""
    known = {card.name: card.title for card in catalogue.cards()}
    return {
        run.id: f"{run.member} (your run)" if run.own else known.get(run.member, run.member)
        for run in runs
    }


def _nothing() -> dict[str, Any]:
    return {
        **dict.fromkeys([*_CONTROLS, *_PARTS], no_update),
        "view_hidden": True,
        "frames": None,
        "paint": {ids.TRAINING_MISSING: markup(page.nothing_here())},
    }


def _from_controls(controls: dict[str, str | None], at: int | None) -> TrainingView:
    known = {name: value or "" for name, value in controls.items()}
    beside = "" if known["beside"] == ALONE else known["beside"]
    return TrainingView(**{**known, "beside": beside}, update=at)  # type: ignore[arg-type]
