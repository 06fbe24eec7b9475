"""The Generative Compatibility Matrix: every layer decoded by every decoder, as four heatmaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from insidessl_dash.dashboard import ids, urls
from insidessl_dash.dashboard.figures.gcm_sheets import KINDS, Matrix
from insidessl_dash.dashboard.figures.gcm_words import heard, vocoder_said, vocoder_table
from insidessl_dash.dashboard.figures.insights import Insight
from insidessl_dash.dashboard.figures.words import corpus_title, first_up
from insidessl_dash.dashboard.pages.dynamics import GRAPH_CONFIG
from insidessl_dash.dashboard.pages.insights import insight_card
from insidessl_dash.dashboard.pages.parts import (
    command,
    data_table,
    disclosure,
    field,
    section,
    state,
)
from insidessl_dash.results.copy_synthesis import CopySynthesis

_LEAD = (
    "A decoder is trained to speak from each layer of a model. Then each decoder is given every "
    "layer in turn, and what comes out is held against the original: what layers share survives, "
    "what one layer alone holds does not."
)
TRAIN = "insidessl-dash gcm train --model MODEL --data MANIFEST --out RUN"
EVALUATE = "insidessl-dash gcm evaluate --model MODEL --corpus CORPUS"
_METRICS = {
    "content": ("Consistency as", ids.GCM_CONTENT),
    "identity": ("Identity as", ids.GCM_IDENTITY),
    "prosody": ("Prosody as", ids.GCM_PROSODY),
    "function": ("Rupture as", ids.GCM_FUNCTION),
}


def gcm() -> html.Section:
    """The section; callbacks fill it, and assets/js/7-gcm.js moves the cursor."""
    figure = html.Figure(
        [
            html.Div(
                dcc.Graph(
                    id=ids.GCM_GRAPH,
                    figure={"data": [], "layout": {}},
                    config=GRAPH_CONFIG,
                    className="graph",
                ),
                className="graph-frame",
            ),
            html.Div(id=ids.GCM_READING, className="gcm-reading", hidden=True),
            html.Figcaption(id=ids.GCM_CAPTION, className="caption"),
        ],
        className="figure",
        **{"aria-labelledby": ids.GCM_CAPTION},
    )
    main = html.Div(
        [
            html.Div(figure, id=ids.GCM_PANEL, className="panel gcm-panel is-loading"),
            html.Div(id=ids.GCM_EXPORT),
            html.Div(id=ids.GCM_INSIGHTS),
            html.Div(id=ids.GCM_SUMMARY),
            html.Div(id=ids.GCM_PROVENANCE),
            html.Div(id=ids.GCM_NUMBERS),
        ],
        className="instrument-main",
    )
    instrument = html.Div([_controls(), main], className="instrument")
    return section(
        "gcm",
        "3",
        "Generative Compatibility Matrix",
        _LEAD,
        [html.Div(id=ids.GCM_MISSING), html.Div(instrument, id=ids.GCM_VIEW)],
    )


def _controls() -> html.Div:
    return html.Div(
        [
            field("Model", _select(ids.GCM_MATRIX, "Model whose layers are decoded")),
            field("Beside it", _select(ids.GCM_BESIDE, "Another model's matrix beside it")),
            *(
                field(title, _select(id, f"Metric of {KINDS[kind]}"))  # type: ignore[index]
                for kind, (title, id) in _METRICS.items()
            ),
            html.Div(
                [
                    html.P("A matrix of another model, on this installation:",
                           className="field-note"),
                    html.P(html.Code(TRAIN), className="field-note"),
                    html.P(html.Code(EVALUATE), className="field-note"),
                ],
                className="field own-run",
            ),
        ],
        className="rail",
        role="group",
        **{"aria-label": "What the matrices show"},
    )  # fmt: skip


def _select(id: str, label: str) -> dmc.Select:
    return dmc.Select(
        id=id, data=[], allowDeselect=False, comboboxProps={"shadow": "none"},
        **{"aria-label": label},
    )  # fmt: skip


def nothing_here() -> html.Div:
    """Said where no matrix was computed."""
    return state(
        "missing",
        "No matrix has been computed on this installation",
        [
            html.P(
                "Nothing is drawn that was not computed. Train a decoder on each layer of a model, "
                "decode held-out speech with all of them, and open this page again."
            ),
            command(TRAIN),
            command(EVALUATE),
        ],
    )


def insight_cards(shown: Sequence[tuple[Matrix, Sequence[Insight]]]) -> list:
    """Cards of each matrix, and whose claims they are held against."""
    children: list[Any] = []
    for matrix, cards in shown:
        if cards:
            children += [
                html.H3(f"What {matrix.title} shares between its layers", className="small-head"),
                html.Div([insight_card(card, "") for card in cards], className="insights"),
            ]
    if any(card.paper for _matrix, cards in shown for card in cards):
        children.append(_paper())
    return children


def _paper() -> html.Aside:
    return html.Aside(
        [
            html.Strong("The paper's claims. "),
            "What is marked as the paper's is what Sadok & Alameda-Pineda report for Base models "
            "with decoders trained on 100 h of speech (",
            html.A("Interspeech 2026", href=urls.PAPER_DOI),
            ", ",
            html.A("arXiv 2607.06392", href=urls.PAPER_ARXIV),
            "). Models and decoders here are smaller and other models score, so levels compare "
            "loosely and shapes better; nothing of the paper's own matrices is drawn.",
        ],
        className="paper-note",
    )


def vocoders(result: CopySynthesis | None, shown: Sequence[Matrix]) -> list[html.Details]:
    """What vocoders keep of speech, and which of them one hears; nothing where not measured."""
    if result is None or not shown:
        return []
    made = result.provenance
    return [
        disclosure(
            "What the vocoder keeps",
            [
                html.P(vocoder_said(result, shown[0].result.vocoder.name)),
                data_table(vocoder_table(result), "What each vocoder keeps of speech", "Vocoder"),
                html.P(
                    f"Means and deviations over {corpus_title(result.corpus.name)}; computed "
                    f"{made.created[:10]} on {made.device}, seed {made.seed}.",
                    className="field-note",
                ),
                command(made.command),
            ],
        )
    ]


def provenance(shown: Sequence[Matrix], places: Sequence[tuple[str, str]]) -> html.Ul | None:
    """A line a matrix: what one hears, who scored, and where the numbers are.

    Args:
        shown: The matrices.
        places: Corpus and name of each.
    """
    if not shown:
        return None
    return html.Ul(
        [_line(matrix, *place) for matrix, place in zip(shown, places, strict=True)],
        className="run-lines",
    )


def _line(matrix: Matrix, corpus: str, name: str) -> html.Li:
    result = matrix.result
    made = result.provenance
    scorers = list(dict.fromkeys(
        measure.scored_by
        for group in ("content", "identity")
        for measure in result.in_group(group).values()  # type: ignore[arg-type]
    ))  # fmt: skip
    parts = [
        first_up(heard(result)),
        f"scored by {' and '.join(scorers)}" if scorers else "",
        f"measured on {corpus_title(result.corpus.name)}, {result.corpus.utterances} utterances",
        f"computed {made.created[:10]} on {made.device}, seed {result.config.seed}",
    ]
    links = [
        html.A(
            kind.upper(),
            href=urls.matrix_export(corpus, name, kind),
            download=True,
            **{"aria-label": f"Matrix of {matrix.title} as {kind.upper()}"},
        )
        for kind in ("json", "csv")
    ]
    return html.Li(
        [html.Strong(matrix.title), " ", "; ".join(part for part in parts if part), ". ",
         html.Span(links, className="provenance-links"), command(made.command)]
    )  # fmt: skip
