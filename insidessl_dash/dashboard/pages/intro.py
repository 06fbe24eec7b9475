"""Title, abstract and contributions, in our own words."""

from __future__ import annotations

from dash import html

from insidessl_dash.dashboard import urls


def intro() -> html.Section:
    """What the page is about."""
    paper = html.A("InsideSSL", href=urls.PAPER_DOI)
    abstract = [
        html.P(
            [
                "A speech model that learned without labels is a stack of layers, and no two of "
                "them hold the same thing. ",
                paper,
                " (Sadok & Alameda-Pineda, Interspeech 2026) opens wav2vec 2.0, HuBERT, WavLM, "
                "data2vec and UniSpeech and reads every layer without asking for a transcript: how "
                "many directions it uses, how sharply its path through time turns, and whether an "
                "utterance is still itself after its audio was disturbed.",
            ]
        ),
        html.P(
            "This dashboard is that reading, live. Each curve below was computed by the code that "
            "serves this page, from weights and audio it names, with an interval; and your own "
            "recordings can go through the same layers."
        ),
    ]
    items = [
        ("Three lenses, no labels", "entropy, curvature and invariance at every depth, over a "
         "log-mel baseline that learned nothing."),
        ("Models side by side", "families, sizes and fine-tuning on one axis."),
        ("Training, checkpoint by checkpoint", "how the curves take shape from initialisation on, "
         "and whether they do it as the paper found."),
        ("Every number accounted for", "weights, versions, seed and command beside each curve."),
    ]  # fmt: skip
    contributions = html.Ol(
        [html.Li(html.P([html.Strong(f"{title}: "), html.Span(what)])) for title, what in items],
        className="contributions",
        **{"aria-label": "Contributions"},
    )
    return html.Section(
        [
            html.H1("Inside speech models, layer by layer"),
            html.Div(
                [
                    html.Div(abstract, className="abstract"),
                    html.P(
                        [
                            html.A("doi 10.21437/Interspeech.2026-733", href=urls.PAPER_DOI),
                            html.A("arXiv 2607.06392", href=urls.PAPER_ARXIV),
                            html.A("the authors' project page", href=urls.PROJECT),
                        ],
                        className="references",
                    ),
                ],
                className="intro-text",
            ),
            html.Div(
                [html.H2("Contributions", className="small-head"), contributions],
                className="intro-side",
            ),
        ],
        className="wrap intro",
        **{"aria-label": "About"},
    )
