"""Training dynamics: how the layers come to be what they are, checkpoint by checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from insidessl_dash.core.lenses import LENSES
from insidessl_dash.dashboard import ids, urls
from insidessl_dash.dashboard.figures.insights import PAPER_UPDATES, Insight
from insidessl_dash.dashboard.figures.training_runs import Panel
from insidessl_dash.dashboard.figures.words import corpus_title, duration
from insidessl_dash.dashboard.pages.dynamics import GRAPH_CONFIG, segment_data
from insidessl_dash.dashboard.pages.insights import insight_card
from insidessl_dash.dashboard.pages.parts import command, field, section, state
from insidessl_dash.results.training_card import TrainingCard
from insidessl_dash.results.trajectories import Run

LENS = urls.TrainingView.lens
_LEAD = (
    "The same layers at every saved checkpoint of a training run, from initialisation on. Move the "
    "slider, or play it, to see the curve take shape."
)
_COMMAND = "insidessl-dash dynamics --checkpoints RUN/checkpoints"


def training() -> html.Section:
    """The section; callbacks fill it, and assets/js/5-training.js runs the slider."""
    lens = urls.lens_or_first(LENS)
    tabs = dmc.SegmentedControl(
        id=ids.TRAINING_LENS,
        data=segment_data([(entry.name, entry.short) for entry in LENSES]),
        value=LENS,
        className="lens-tabs",
        withItemsBorders=False,
        **{"aria-label": "Lens of the run"},
    )
    scrubber = html.Div(id=ids.TRAINING_SCRUBBER, className="scrubber", hidden=True)
    curves = html.Div(
        _figure(ids.TRAINING_CURVES, ids.TRAINING_CAPTION, [scrubber]),
        id=ids.TRAINING_PANEL,
        className="panel training-panel is-loading",
    )
    mapped = html.Div(
        _figure(ids.TRAINING_MAP, ids.TRAINING_MAP_CAPTION, []),
        id=ids.TRAINING_MAP_PANEL,
        className="panel map-panel is-loading",
    )
    main = html.Div(
        [
            tabs,
            html.P(id=ids.TRAINING_SUMMARY, className="summary"),
            curves,
            html.Div(id=ids.TRAINING_EXPORT),
            mapped,
            html.Div(id=ids.TRAINING_MAP_EXPORT),
            html.Div(id=ids.TRAINING_INSIGHTS),
            html.Div(id=ids.TRAINING_PROVENANCE),
            html.Div(id=ids.TRAINING_NUMBERS),
        ],
        className="instrument-main",
    )
    instrument = html.Div(
        [_controls([(m.name, m.label) for m in lens.measures]), main], className="instrument"
    )
    return section(
        "training",
        "2",
        "Training dynamics",
        _LEAD,
        [html.Div(id=ids.TRAINING_MISSING), html.Div(instrument, id=ids.TRAINING_VIEW)],
    )


def _figure(graph: str, caption: str, between: Sequence[Any]) -> html.Figure:
    drawing = dcc.Graph(
        id=graph,
        figure={"data": [], "layout": {}},
        config=GRAPH_CONFIG,
        className="graph",
    )
    return html.Figure(
        [
            html.Div(drawing, className="graph-frame"),
            *between,
            html.Figcaption(id=caption, className="caption"),
        ],
        className="figure",
        **{"aria-labelledby": caption},
    )


def _controls(measures: Sequence[tuple[str, str]]) -> html.Div:
    return html.Div(
        [
            field("Model", _select(ids.TRAINING_RUN, "Model in training")),
            field("Beside it", _select(ids.TRAINING_BESIDE, "Another model beside it")),
            field(
                "Measure",
                dmc.SegmentedControl(
                    id=ids.TRAINING_MEASURE,
                    data=segment_data(measures),
                    value=urls.training_measure(LENS, ""),
                    orientation="vertical",
                    fullWidth=True,
                    size="xs",
                    withItemsBorders=False,
                    **{"aria-label": "Measure of the run"},
                ),
            ),
            field(
                "Held-out speech",
                _select(ids.TRAINING_CORPUS, "Held-out speech of the run"),
                id=ids.TRAINING_CORPUS_FIELD,
            ),
            html.Div(
                [
                    html.P("A run of yours appears here too:", className="field-note"),
                    html.P(html.Code(_COMMAND), className="field-note"),
                ],
                className="field own-run",
            ),
        ],
        className="rail",
        role="group",
        **{"aria-label": "What the training figures show"},
    )


def _select(id: str, label: str) -> dmc.Select:
    return dmc.Select(
        id=id, data=[], allowDeselect=False, comboboxProps={"shadow": "none"},
        **{"aria-label": label},
    )  # fmt: skip


def run_options(runs: Sequence[Run], titles: dict[str, str]) -> list[dict[str, str]]:
    """Runs for their control."""
    return [{"value": run.id, "label": titles[run.id]} for run in runs]


def nothing_here() -> html.Div:
    """Said where no run was computed."""
    return state(
        "missing",
        "No training run has been computed on this installation",
        [
            html.P(
                "Nothing is drawn that was not computed. Save checkpoints of a run at update 0, 1, "
                "2, 4 and so on (insidessl-dash pretrain does), compute the lenses at each of "
                "them, and open this page again."
            ),
            command(_COMMAND),
        ],
    )


def not_shown(messages: Sequence[str]) -> html.Div | None:
    """Why something that was asked for is not drawn."""
    if not messages:
        return None
    return state("missing", "Not shown", [html.P(message) for message in messages])


def insight_cards(groups: Sequence[tuple[str, str, Sequence[Insight]]]) -> list:
    """Cards of each run, and whose claim they are held against.

    Args:
        groups: Title of the run, unit of the measure, and its cards; a run without cards says so.
    """
    children: list[Any] = []
    judged = any(card.paper for _title, _unit, cards in groups for card in cards)
    for title, unit, cards in groups:
        head = html.H3(f"What happens to {title}", className="small-head")
        if not cards:
            note = "A layer without a value at some checkpoint leaves nothing to compare."
            children += [head, html.P(note, className="field-note")]
            continue
        children += [head, html.Div([insight_card(c, unit) for c in cards], className="insights")]
    if judged:
        children.append(_paper())
    return children


def _paper() -> html.Aside:
    return html.Aside(
        [
            html.Strong("The paper's figures. "),
            "The numbers marked as the paper's are those that Sadok & Alameda-Pineda report for "
            f"HuBERT, iteration 1, plotted to {PAPER_UPDATES:,} updates (",
            html.A("Interspeech 2026", href=urls.PAPER_DOI),
            ", ",
            html.A("arXiv 2607.06392", href=urls.PAPER_ARXIV),
            "). Its own plots are there and on ",
            html.A("the authors' page", href=urls.PROJECT),
            "; nothing of them is drawn above, where every curve was computed here on a smaller "
            "model and fewer updates.",
        ],
        className="paper-note",
    )


def provenance(panels: Sequence[Panel], facts: Sequence[TrainingCard | None]) -> html.Ul:
    """A line a run: what was measured, after how much training, and where the numbers are."""
    return html.Ul(
        [_provenance(panel, known) for panel, known in zip(panels, facts, strict=True)],
        className="run-lines",
    )


def _provenance(panel: Panel, known: TrainingCard | None) -> html.Li:
    found = panel.trajectory
    parts = [
        f"{len(found.updates)} checkpoints, updates {found.updates[0]:,} to "
        f"{found.updates[-1]:,}, measured on {corpus_title(found.corpus.name)}"
    ]
    if known and known.seconds_of_audio_seen is not None:
        seconds = known.seconds_of_audio_seen
        seen = f"{seconds:,.0f} s ({duration(seconds)}) of audio seen"
        ended = "" if known.finished else ", in a run that ended early"
        parts.append(f"{seen} in {known.updates:,} updates{ended}")
    if known and known.device:
        parts.append(f"trained on {known.device}")
    parts.append(f"computed {found.created[:10]} on {', '.join(found.devices)}, seed {found.seed}")
    links = [
        html.A(
            kind.upper(),
            href=urls.trajectory_export(found.run.corpus, found.run.id, found.lens, kind),
            download=True,
            **{"aria-label": f"{panel.title} as {kind.upper()}"},
        )
        for kind in ("json", "csv")
    ]
    return html.Li(
        [html.Strong(panel.title), " ", "; ".join(parts), ". ",
         html.Span(links, className="provenance-links")]
    )  # fmt: skip
