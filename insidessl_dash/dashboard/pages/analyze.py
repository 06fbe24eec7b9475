"""Analyze: your audio through the same layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from insidessl_dash.audio.limits import ACCEPTED, EXTENSIONS
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.lenses import LENSES
from insidessl_dash.core.settings import Settings
from insidessl_dash.dashboard import ids
from insidessl_dash.dashboard.pages.dynamics import (
    GRAPH_CONFIG,
    SIZE_TITLES,
    perturbation_options,
    segment_data,
)
from insidessl_dash.dashboard.pages.parts import field, section

_LEAD = (
    "Drop recordings of speech, choose models and lenses, and see your curves over the reference "
    "curves. Your audio stays on this machine, is seen by nobody but you, and can be deleted at "
    "any time."
)


def analyze(cards: Sequence[ModelCard], settings: Settings) -> html.Section:
    """The section; assets/js/uploads.js and jobs.js run the left half, callbacks the right."""
    return section(
        "analyze",
        "6",
        "Analyze your own audio",
        _LEAD,
        [html.Div([_form(cards, settings), _view()], className="bench")],
    )


def _form(cards: Sequence[ModelCard], settings: Settings) -> html.Div:
    return html.Div(
        [
            _step("a", "Audio", [_drop(settings), html.Ul(id=ids.FILE_LIST, className="files")]),
            _step(
                "b",
                "Models",
                [
                    dmc.MultiSelect(
                        id=ids.MODELS,
                        data=model_options(cards),
                        value=["hubert-nano"]
                        if any(c.name == "hubert-nano" for c in cards)
                        else [],
                        searchable=True,
                        hidePickedOptions=True,
                        nothingFoundMessage="No such model here.",
                        comboboxProps={"shadow": "none"},
                        maxDropdownHeight=320,
                        **{"aria-label": "Models"},
                    ),
                    html.P(
                        "Nano ships with the project and answers in a second or two. Weights of "
                        "the others are fetched from their hub the first time.",
                        className="field-note",
                    ),
                ],
            ),
            _step("c", "Lenses", [_lenses()]),
            html.Div(
                [
                    html.Button("Analyze", id=ids.RUN, className="button primary"),
                    html.Span("Add a recording first.", id=ids.RUN_NOTE, className="field-note"),
                ],
                className="run",
            ),
            html.Div(id=ids.JOB, className="job"),
        ],
        className="bench-form",
    )


def _step(letter: str, title: str, children: Sequence[Any]) -> html.Div:
    head = html.H3(
        [html.Span(letter, className="step-letter", **{"aria-hidden": "true"}), title],
        className="small-head",
    )
    return html.Div([head, *children], className="step")


def _drop(settings: Settings) -> html.Div:
    return html.Div(
        [
            html.P(
                [
                    html.Span("Drop recordings here, or ", className="drop-words"),
                    html.Button("choose files", className="link", **{"data-choose": ids.FILES}),
                ],
                className="drop-title",
            ),
            html.P(
                f"{ACCEPTED}. Deleted by itself after {settings.upload_hours:g} hours.",
                className="field-note",
            ),
            # assets/js/uploads.js puts the file input here: Dash has no component that streams.
            html.Div(
                id=ids.FILES,
                **{"data-accept": ",".join(EXTENSIONS), "data-at-once": str(settings.upload_files)},
            ),
        ],
        id=ids.DROP,
        className="drop",
    )


def _lenses() -> html.Div:
    boxes = [
        dmc.Checkbox(label=lens.title, description=lens.summary, value=lens.name, size="xs")
        for lens in LENSES
    ]
    return html.Div(
        [
            dmc.CheckboxGroup(
                boxes,
                id=ids.LENSES,
                value=[lens.name for lens in LENSES],
                className="lens-boxes",
                **{"aria-label": "Lenses"},
            ),
            field(
                "Perturbation for invariance",
                dmc.Select(
                    id=ids.OWN_PERTURBATION,
                    data=perturbation_options(),
                    value="chain",
                    allowDeselect=False,
                    comboboxProps={"shadow": "none"},
                    **{"aria-label": "Perturbation for invariance"},
                ),
            ),
        ]
    )


def _view() -> html.Div:
    controls = html.Div(
        [
            dmc.SegmentedControl(
                id=ids.OWN_LENS,
                data=segment_data([(lens.name, lens.short) for lens in LENSES]),
                value=LENSES[0].name,
                className="lens-tabs small",
                withItemsBorders=False,
                **{"aria-label": "Lens of your curves"},
            ),
            html.Div(
                [
                    _select(ids.OWN_MEASURE, "Measure"),
                    _select(ids.OWN_CORPUS, "Reference"),
                ],
                className="own-selects",
            ),
        ],
        className="own-controls",
    )
    figure = html.Figure(
        [
            html.Div(
                dcc.Graph(
                    id=ids.OWN_GRAPH,
                    figure={"data": [], "layout": {}},
                    config=GRAPH_CONFIG,
                    className="graph",
                ),
                className="graph-frame",
            ),
            html.Figcaption(id=ids.OWN_CAPTION, className="caption"),
        ],
        className="figure",
        **{"aria-labelledby": ids.OWN_CAPTION},
    )
    table = html.Div(
        [
            html.Div(
                [
                    html.H3("By utterance", className="small-head"),
                    _select(ids.OWN_LAYER, "At"),
                ],
                className="own-table-head",
            ),
            html.Div(id=ids.OWN_TABLE),
        ],
        className="own-table",
    )
    return html.Div(
        [
            html.Div(_empty(), id=ids.OWN_EMPTY, className="own-empty"),
            html.Div(
                [
                    controls,
                    figure,
                    html.Div(id=ids.OWN_EXPORT),
                    table,
                    html.Div(id=ids.OWN_NUMBERS),
                ],
                id=ids.OWN_VIEW,
                className="own-view",
                hidden=True,
            ),
        ],
        className="bench-view",
    )


def _select(id: str, label: str) -> html.Label:
    select = dmc.Select(
        id=id,
        data=[],
        allowDeselect=False,
        size="xs",
        comboboxProps={"shadow": "none"},
        **{"aria-label": label},
    )
    return html.Label(
        [html.Span(label, className="inline-label"), select], className="inline-field"
    )


def _empty() -> list:
    return [
        html.Div(className="empty-plot", **{"aria-hidden": "true"}),
        html.P("Your curves appear here", className="state-title"),
        html.P(
            "One bold curve a model, over what the same models do on a reference corpus; below it, "
            "each recording's own values, and what could not be read and why.",
            className="field-note",
        ),
    ]


def model_options(cards: Sequence[ModelCard]) -> list[dict[str, Any]]:
    """Models for the picker, grouped by size."""
    titles: Mapping[str, str] = {**SIZE_TITLES, "baseline": "Baseline"}
    groups = []
    for size, title in titles.items():
        items = [{"value": c.name, "label": c.title} for c in cards if c.size == size]
        if items:
            groups.append({"group": title, "items": items})
    return groups
