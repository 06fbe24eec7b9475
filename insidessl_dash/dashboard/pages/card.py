"""A model's card: how it learned and what its layers hold, plain HTML around a few figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.dashboard import urls
from insidessl_dash.dashboard.figures.cards import curve_sentences, curve_table, ending, shown
from insidessl_dash.dashboard.figures.probes import PROBES, Probe, probe_sentences
from insidessl_dash.dashboard.figures.words import corpus_title, duration, first_up, layer_table
from insidessl_dash.dashboard.pages.dynamics import caption_children
from insidessl_dash.dashboard.pages.models import Entry, Looks, swatches
from insidessl_dash.dashboard.pages.parts import (
    Children,
    command,
    data_table,
    disclosure,
    export_bar,
    state,
)
from insidessl_dash.dashboard.routes.models import public_source
from insidessl_dash.results.training_card import Score, TrainingCard

HELD_OUT, LOSS = "held-out", "loss"


def page(entry: Entry, looks: Looks) -> html.Article:
    """The card of one model."""
    card, training = entry.card, entry.training
    head = html.Header(
        [
            html.P(html.A("All models", href=urls.MODELS), className="breadcrumb"),
            html.H1([card.title, swatches(card, looks)]),
            html.P(_sentence(card.objective), className="lead"),
        ],
        className="card-head",
    )
    main = [*(_training(training) if training else []), *_probes(entry)]
    if not training and not entry.results:
        main.append(_nothing_yet(card))
    main.append(_where_next(entry))
    return html.Article(
        [head, html.Div([_facts(entry), html.Div(main)], className="card-grid")],
        className="wrap card-page",
    )


def _facts(entry: Entry) -> html.Aside:
    card, training = entry.card, entry.training
    facts: list[tuple[str, Any]] = [
        ("Name", html.Code(card.name)),
        ("Weights", _source(entry)),
        ("Licence", card.licence),
        ("Learned from", card.data),
        ("Layers", card.layers),
        ("Reference", _paper(card.paper)),
        ("Labels", "used" if card.supervised else ""),
        ("Starts from", _base(card)),
    ]
    if training:
        facts += _training_facts(training)
    rows: list[Any] = []
    for name, value in facts:
        if value not in (None, ""):
            rows += [html.Dt(name), html.Dd(value)]
    warnings = dict.fromkeys(
        text for text in (card.not_for, training.not_for if training else "") if text
    )
    notes = [html.H2("Not good for", className="small-head")] if warnings else []
    return html.Aside(
        [html.Dl(rows), *notes, *(html.P(text, className="not-for") for text in warnings)],
        className="card-facts",
        **{"aria-label": "What it is"},
    )


def _training_facts(card: TrainingCard) -> list[tuple[str, Any]]:
    data = card.data
    heard = ", ".join(f"{name} ({count:,})" for name, count in data.corpora.items())
    split = ""
    if data.train_seconds is not None and data.held_out_seconds is not None:
        split = (
            f"{duration(data.train_seconds)} of {data.train_speakers} speakers; held out "
            f"{duration(data.held_out_seconds)} of {len(data.held_out_speakers)} others"
        )
    return [
        ("Utterances", heard),
        ("Speech", split),
        ("Licence of the speech", data.licence),
        ("Updates", f"{card.updates:,}"),
        ("Audio seen", _span(card.seconds_of_audio_seen)),
        ("Wall time", _span(card.wall_s)),
        ("Device", card.device),
        ("Seed", card.settings.get("seed")),
        ("Made", card.created[:10]),
    ]


def _training(card: TrainingCard) -> Children:
    """How it learned: the score, the two curves, and the settings behind them."""
    score = card.scored()
    parts: list[Any] = [
        html.P(ending(card), className="ending" if card.finished else "ending is-early")
    ]
    if score:
        parts = [_figures_of(score), *parts]
        if card.curve(score.metric):
            parts.append(_figure(HELD_OUT, curve_sentences(card, score)))
    if card.loss():
        parts.append(
            _figure(
                LOSS,
                ["Training loss.", "Each point is the mean over an equal stretch of updates, on "
                 "the batches as they came."],
            )
        )  # fmt: skip
    if card.held_out_curve:
        table = data_table(curve_table(card), "Held-out scores by update", "Update")
        parts.append(disclosure("Every held-out evaluation", [table]))
    parts.append(_settings(card))
    return [_section("How it learned", parts)]


def _figures_of(score: Score) -> html.Dl:
    """The score large, beside what it has to be compared with."""
    numbers = [(first_up(score.title), score.value, "is-score")]
    if score.chance is not None:
        numbers.append((first_up(score.chance_is or "chance"), score.chance, ""))
    if score.at_initialisation is not None:
        numbers.append(("Before training", score.at_initialisation, ""))
    return html.Dl(
        [
            html.Div([html.Dt(title), html.Dd(shown(score.metric, value))], className=kind)
            for title, value, kind in numbers
        ],
        className="score",
    )


def _settings(card: TrainingCard) -> html.Details:
    stretches = [
        f"from update {part.get('from_update', 0):,} planned to {part.get('updates', 0):,}"
        for part in card.schedule
    ]
    rows = [(name.replace("_", " "), _plain(value)) for name, value in card.settings.items()]
    rows += [("schedule", "; ".join(stretches))] if len(stretches) > 1 else []
    rows += [
        ("versions", ", ".join(f"{name} {number}" for name, number in card.versions.items())),
        ("digest of the speech", card.data.digest),
        ("SHA-256 of the weights", card.weights_sha256),
    ]
    terms: list[Any] = []
    for name, value in rows:
        if value:
            terms += [html.Dt(name), html.Dd(value)]
    return disclosure(
        "Settings, versions, and how to train it again",
        [
            html.Div(html.Dl(terms), className="provenance"),
            command(f"insidessl-dash models rebuild {card.name} --data MANIFEST --out RUN"),
            html.P(
                "The speech is that of its card, known by its digest: "
                f"{', '.join(card.data.corpora)}. Other speech is refused.",
                className="field-note",
            ),
            html.P(
                html.A("The card as JSON", href=urls.training_card(card.name)),
                className="field-note",
            ),
        ],
    )


def _probes(entry: Entry) -> Children:
    """What its layers hold, by stored results; what was not computed says so."""
    wanted = [p for p in PROBES if p.lens in entry.results or (entry.training and _suits(p, entry))]
    if not wanted:
        return []
    return [_section("What its layers hold", [part for p in wanted for part in _probe(p, entry)])]


def _probe(probe: Probe, entry: Entry) -> Children:
    head = [html.H3(probe.title), html.P(probe.asks, className="summary")]
    results = entry.results.get(probe.lens)
    if not results:
        note = html.P("Nothing is drawn that was not computed.")
        return [*head, state("missing", f"{probe.title}: not computed here", [note])]
    sentences = probe_sentences(probe, entry.card.name, results)
    table = data_table(layer_table(results, probe.measure), f"{probe.title} by layer", "Layer")
    own = next(r for r in results if r.model.name == entry.card.name)
    return [
        *head,
        _figure(probe.lens, sentences),
        export_bar(f"card-{probe.lens}", results, f"{entry.card.name}-{probe.lens}"),
        disclosure(
            "The numbers, and where they come from",
            [
                table,
                html.P(
                    f"Computed {own.provenance.created} on {own.provenance.device}, seed "
                    f"{own.provenance.seed}, {corpus_title(own.corpus.name)}.",
                    className="field-note",
                ),
                command(own.provenance.command),
            ],
        ),
    ]


def _suits(probe: Probe, entry: Entry) -> bool:
    """Phones are asked of models of speech content, speakers of models of speakers."""
    speakers = entry.card.kind == "ecapa" or "ecapa" in entry.card.family
    return speakers == (probe.lens == "verification")


def _nothing_yet(card: ModelCard) -> html.Div:
    if card.size == "baseline" or card.kind == "random":
        return state(
            "missing",
            "Nothing was learned here",
            [html.P("It stands beside the trained models, to be compared with.")],
        )
    if card.source.startswith("shipped:"):
        return state(
            "missing",
            "Its training card is not in this installation",
            [html.P("What it learned is told by that card alone; nothing is said from memory.")],
        )
    return state(
        "missing",
        "Trained elsewhere",
        [html.P("How it learned is told by its publishers; see the reference beside this.")],
    )


def _where_next(entry: Entry) -> html.P:
    card = entry.card
    sizes = card.size if card.size in urls.SIZES else ""
    curves = html.A(
        "Its curves over depth" if entry.lenses else "Compute its curves over depth",
        href=f"/{urls.query({'sizes': sizes or None})}#dynamics",
        className="button",
    )
    if entry.without_weights:
        return html.P(curves, className="card-actions")
    yours = html.A("Your audio through it", href="/#analyze", className="button")
    return html.P([curves, yours], className="card-actions")


def _section(title: str, children: Children) -> html.Section:
    return html.Section(
        [html.Header(html.H2(title), className="section-head"), *children], className="card-section"
    )


def _figure(name: str, sentences: Sequence[str]) -> html.Figure:
    """A place for a figure, which assets/cards/card.js draws."""
    id = f"card-{name}"
    return html.Figure(
        [
            html.Div(
                html.Div(className="graph", **{"data-figure": name}),
                id=id,
                className="graph-frame",
            ),
            html.Figcaption(
                caption_children(sentences), id=f"{id}-caption", className="caption"
            ),
        ],
        className="figure panel is-loading",
        **{"aria-labelledby": f"{id}-caption"},
    )  # fmt: skip


def _source(entry: Entry) -> Any:
    source = public_source(entry.card.source)
    if entry.without_weights:
        return "not in this installation; its results are"
    if source.startswith("shipped:"):
        return "in this installation"
    return source or "none: nothing was learned"


def _base(card: ModelCard) -> Any:
    if card.base is None:
        return ""
    return html.Span(
        [html.A(card.base, href=urls.model_card(card.base)), f", initialised with seed {card.seed}"]
    )


def _paper(paper: str) -> Any:
    if not paper.lower().startswith("arxiv:"):
        return paper
    number = paper.split(":", 1)[1]
    return html.A(f"arXiv {number}", href=f"https://arxiv.org/abs/{number}")


def _span(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)


def _sentence(text: str) -> str:
    return f"{first_up(text)}." if text and not text.endswith(".") else first_up(text)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
