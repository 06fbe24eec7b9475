"""A card that says what was computed, and holds it against the paper's claim."""

from __future__ import annotations

from dash import html

from insidessl_dash.dashboard.figures.insights import Insight

VERDICTS = {True: "As in the paper", False: "Not as in the paper", None: "Not judged"}


def insight_card(card: Insight, unit: str) -> html.Article:
    """What was computed, and below it the judgement with the paper's side."""
    ours = [
        html.H4(card.title),
        html.P(
            [card.value, html.Span(f" {unit}", className="insight-unit") if unit else ""],
            className="insight-value",
        ),
        *(html.P(sentence) for sentence in card.sentences),
    ]
    theirs = []
    if card.paper:
        kind = {True: "holds", False: "fails", None: "open"}[card.holds]
        theirs = [
            html.Div(
                [
                    html.P(VERDICTS[card.holds], className=f"verdict verdict-{kind}"),
                    html.P(card.why, className="insight-why"),
                    html.P(
                        [html.Span("In the paper: ", className="paper-label"), card.paper],
                        className="insight-paper",
                    ),
                ],
                className="insight-judgement",
            )
        ]
    return html.Article([html.Div(ours, className="insight-ours"), *theirs], className="insight")
