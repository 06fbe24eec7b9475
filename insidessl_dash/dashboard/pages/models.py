"""The list of all models, each a link to its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dash import html

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.dashboard import theme, urls
from insidessl_dash.dashboard.figures.cards import shown
from insidessl_dash.dashboard.figures.style import Style
from insidessl_dash.dashboard.figures.words import first_up
from insidessl_dash.dashboard.pages.dynamics import SIZE_TITLES
from insidessl_dash.dashboard.pages.parts import swatch
from insidessl_dash.results.schema import Result
from insidessl_dash.results.training_card import TrainingCard

Looks = Mapping[theme.Scheme, Mapping[str, Style]]
_GROUPS = {**SIZE_TITLES, "baseline": "Baselines"}
_ABOUT = {
    "nano": "Trained by this project and shipped with it; of ablations the results ship, and the "
    "weights can be trained again.",
    "base": "Public models; their weights are fetched from their hub the first time.",
    "large": "Public models; their weights are fetched from their hub the first time.",
    "baseline": "Features that learned nothing.",
}


@dataclass(frozen=True)
class Entry:
    """What there is to say of one model.

    Attributes:
        card: Its registry card.
        training: How this project trained it; None for the models of others.
        results: Lens of a probe -> results to draw together, its own among them; without an
            entry where it was not computed.
        lenses: How many ordinary results there are of it.
        without_weights: Whether its results ship and its weights do not.
    """

    card: ModelCard
    training: TrainingCard | None
    results: Mapping[str, Sequence[Result]]
    lenses: int = 0
    without_weights: bool = False


def index(entries: Sequence[Entry], looks: Looks) -> html.Div:
    """Every model by size, each a link to its card."""
    groups = []
    for size, title in _GROUPS.items():
        items = [_item(entry, looks) for entry in entries if entry.card.size == size]
        if items:
            head = html.Header(
                [html.H2(title), html.P(_ABOUT[size], className="lead")], className="section-head"
            )
            groups.append(html.Section([head, html.Ul(items, className="model-list")]))
    return html.Div(
        [
            html.Header(
                [
                    html.H1("The models"),
                    html.P(
                        "What each one is, what it learned from, under which licence, and what it "
                        "is not good for. Those trained here show how they learned.",
                        className="lead",
                    ),
                ],
                className="card-head",
            ),
            *groups,
        ],
        className="wrap card-page",
    )


def unknown(message: str) -> html.Div:
    """What an address of no model says."""
    return html.Div(
        [
            html.P("404", className="section-number"),
            html.H1("There is no such model here"),
            html.P(message, className="lead"),
            html.P(
                [
                    html.A("All models", href=urls.MODELS, className="button"),
                    html.A("The dashboard", href="/", className="button"),
                ],
                className="card-actions",
            ),
        ],
        className="wrap not-found",
    )


def _item(entry: Entry, looks: Looks) -> html.Li:
    card, score = entry.card, entry.training.scored() if entry.training else None
    facts = [card.licence, f"{card.layers} layers" if card.layers else ""]
    if score:
        facts.insert(0, f"{score.title.lower()} {shown(score.metric, score.value)}")
    return html.Li(
        [
            swatches(card, looks),
            html.A(card.title, href=urls.model_card(card.name), className="model-name"),
            html.Span(first_up(card.objective), className="model-what"),
            html.Span(" · ".join(fact for fact in facts if fact), className="model-facts"),
        ]
    )


def swatches(card: ModelCard, looks: Looks) -> html.Span:
    """The model's line in both schemes; the style sheet shows the right one."""
    return html.Span(
        [
            html.Span(
                swatch(looks[scheme][card.name], line_only=card.size == "baseline"),
                className=f"only-{scheme}",
            )
            for scheme in theme.PALETTES
            if card.name in looks[scheme]
        ],
        className="swatches",
    )
