"""Layer-wise dynamics: the figure first, and the controls that change it."""

from __future__ import annotations

from collections.abc import Sequence

import dash_mantine_components as dmc
from dash import dcc, html

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.lenses import LENSES, LensInfo, MeasureInfo
from insidessl_dash.dashboard import ids, urls
from insidessl_dash.dashboard.figures.style import Style, is_baseline, is_random, order
from insidessl_dash.dashboard.figures.words import corpus_title
from insidessl_dash.dashboard.pages.parts import command, disclosure, field, section, state, swatch
from insidessl_dash.dashboard.routes.models import public_source
from insidessl_dash.results.schema import Result

GRAPH_CONFIG = {"displayModeBar": False, "responsive": True, "doubleClick": "reset"}
SIZE_TITLES = {"nano": "Nano", "base": "Base", "large": "Large"}
_LEAD = "From what enters the first Transformer block (layer 0) to what the last block puts out."


def dynamics(corpora: Sequence[str]) -> html.Section:
    """The section; callbacks fill it."""
    first = LENSES[0]
    tabs = dmc.SegmentedControl(
        id=ids.LENS,
        data=[{"value": lens.name, "label": lens.short} for lens in LENSES],
        value=first.name,
        className="lens-tabs",
        withItemsBorders=False,
        **{"aria-label": "Lens"},
    )
    figure = html.Figure(
        [
            html.Div(
                dcc.Graph(
                    id=ids.GRAPH,
                    figure={"data": [], "layout": {}},
                    config=GRAPH_CONFIG,
                    className="graph",
                ),
                className="graph-frame",
            ),
            html.Figcaption(id=ids.CAPTION, className="caption"),
        ],
        className="figure",
        **{"aria-labelledby": ids.CAPTION},
    )
    main = html.Div(
        [
            tabs,
            html.P(id=ids.SUMMARY, className="summary"),
            html.Div(figure, id=ids.PANEL, className="panel is-loading"),
            html.Div(id=ids.EXPORT),
            html.Div(id=ids.MISSING),
            html.Div(id=ids.NUMBERS),
            html.Div(id=ids.PROVENANCE),
        ],
        className="instrument-main",
    )
    return section(
        "dynamics",
        "1",
        "Layer-wise dynamics",
        _LEAD,
        [html.Div([_controls(first, corpora), main], className="instrument")],
    )


def _controls(lens: LensInfo, corpora: Sequence[str]) -> html.Div:
    return html.Div(
        [
            field(
                "Measure", _segments(ids.MEASURE, measure_options(lens), "Measure", upright=True)
            ),
            field(
                "Perturbation",
                dmc.Select(
                    id=ids.PERTURBATION,
                    data=perturbation_options(),
                    value="chain",
                    allowDeselect=False,
                    comboboxProps={"shadow": "none"},
                    **{"aria-label": "Perturbation"},
                ),
                id=ids.PERTURBATION_FIELD,
            ),
            field(
                "Model size",
                html.Div(
                    dmc.ChipGroup(
                        [dmc.Chip(title, value=size) for size, title in SIZE_TITLES.items()],
                        id=ids.SIZES,
                        multiple=True,
                        value=list(urls.SIZES),
                    ),
                    className="chips",
                    role="group",
                    **{"aria-label": "Model size"},
                ),
            ),
            field(
                "Speech",
                dmc.Select(
                    id=ids.CORPUS,
                    data=corpus_options(corpora),
                    value=corpora[0] if corpora else None,
                    allowDeselect=False,
                    comboboxProps={"shadow": "none"},
                    **{"aria-label": "Speech corpus"},
                ),
            ),
            field(
                "Depth as",
                _segments(ids.DEPTH, [("index", "Layer"), ("percent", "Percent")], "Depth as"),
            ),
            field(
                "Shade",
                _segments(
                    ids.BAND, [("ci95", "95% CI"), ("std", "s.d."), ("none", "Off")], "Shade"
                ),
            ),
            html.Div(
                [html.Div("Curves", className="field-label"), html.Div(id=ids.LEGEND)],
                className="field field-curves",
            ),
        ],
        className="rail",
        role="group",
        **{"aria-label": "What the figure shows"},
    )


def _segments(
    id: str, options: Sequence[tuple[str, str]], label: str, *, upright: bool = False
) -> dmc.SegmentedControl:
    return dmc.SegmentedControl(
        id=id,
        data=segment_data(options),
        value=options[0][0],
        orientation="vertical" if upright else "horizontal",
        fullWidth=True,
        size="xs",
        withItemsBorders=False,
        **{"aria-label": label},
    )


def segment_data(options: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Options as a segmented control takes them."""
    return [{"value": value, "label": label} for value, label in options]


def measure_options(lens: LensInfo) -> list[tuple[str, str]]:
    """The measures of a lens, for its control."""
    return [(measure.name, measure.label) for measure in lens.measures]


def perturbation_options() -> list[dict[str, str]]:
    """What can be done to the audio, for the invariance lens."""
    option = next(option for lens in LENSES for option in lens.options)
    return segment_data(option.choices)


def corpus_options(names: Sequence[str]) -> list[dict[str, str]]:
    """Corpora, for their control."""
    titled = ((name, corpus_title(name)) for name in names)
    return [{"value": name, "label": title[0].upper() + title[1:]} for name, title in titled]


def summary(lens: LensInfo, measure: MeasureInfo) -> list:
    """What the lens measures, and how to read the measure."""
    return [html.Span(lens.summary + " "), html.Span(measure.reading, className="reading")]


def legend(
    shown: Sequence[Result], hidden: Sequence[str], looks: dict[str, Style]
) -> html.Ul | html.P:
    """A switch for each curve; assets/js/legend.js acts on them."""
    if not shown:
        return html.P("None for these choices.", className="field-note")
    items = []
    for result in sorted(shown, key=lambda r: order(r.model)):
        model = result.model
        on = model.name not in hidden
        button = html.Button(
            [
                swatch(looks[model.name], line_only=is_baseline(model)),
                html.Span(model.title, className="curve-name"),
            ],
            className="curve",
            **{
                "data-model": model.name,
                "aria-pressed": "true" if on else "false",
                "title": "Hide this curve" if on else "Show this curve",
            },
        )
        card = html.A(
            "card",
            href=urls.model_card(model.name),
            className="curve-card",
            **{"aria-label": f"Card of {model.title}"},
        )
        items.append(html.Li([button, card]))
    return html.Ul(items, className="curves")


def caption_children(sentences: Sequence[str]) -> list:
    """A caption: what it is in ink, what to see after it."""
    if not sentences:
        return []
    rest = " ".join(sentences[1:])
    return [html.Strong(sentences[0] + " "), rest]


def missing(
    cards: Sequence[ModelCard], corpus: str, lens: LensInfo, perturbation: str, *, nothing: bool
) -> html.Div:
    """Models of the chosen sizes that were not computed here, with the ways to compute them.

    Args:
        cards: Those models.
        corpus: On which corpus.
        lens: Through which lens.
        perturbation: With which perturbation, if the lens has one.
        nothing: Whether the figure has no curve at all.
    """
    if not cards:
        return html.Div()
    by_size = {size: [c for c in cards if c.size == size] for size in (*urls.SIZES, "baseline")}
    option = perturbation if lens.options else ""
    groups = [
        _missing_group(size, found, corpus, lens.name, option)
        for size, found in by_size.items()
        if found
    ]
    names = ", ".join(card.title for card in cards[:3])
    more = f" and {len(cards) - 3} more" if len(cards) > 3 else ""
    note = html.P(
        [
            f"{names}{more} ",
            "has" if len(cards) == 1 else "have",
            f" no {lens.short.lower()} on {corpus_title(corpus)} on this installation, and nothing "
            "is drawn that was not computed. Compute it here (weights that are not on this machine "
            "are fetched from their hub first) or from a terminal.",
        ]
    )
    title = "Nothing computed for this choice yet" if nothing else "Not computed here"
    body = [note, *groups] if nothing else [note, disclosure("Compute them", groups)]
    return state("missing", title, body)


def _missing_group(
    size: str, cards: Sequence[ModelCard], corpus: str, lens: str, option: str
) -> html.Div:
    buttons = [
        html.Li(
            [
                html.Span(card.title, className="missing-name"),
                html.Span(card.objective, className="missing-what"),
                html.Button(
                    "Compute",
                    className="button small",
                    **{
                        "data-compute": card.name,
                        "data-corpus": corpus,
                        "data-lens": lens,
                        "data-perturbation": option,
                        "aria-label": f"Compute {card.title} on {corpus_title(corpus)}",
                    },
                ),
                html.Div(className="missing-progress", **{"data-progress": card.name}),
            ]
        )
        for card in cards
    ]
    choice = f"--size {size}" if size in urls.SIZES else f"--model {cards[0].name}"
    extra = f" --perturbation {option}" if option not in ("", "chain") else ""
    return html.Div(
        [
            command(f"insidessl-dash precompute {choice} --corpus {corpus} --lens {lens}{extra}"),
            html.Ul(buttons, className="missing-list"),
        ],
        className="missing-group",
    )


def provenance(results: Sequence[Result]) -> html.Details | html.Div:
    """How each number came about."""
    if not results:
        return html.Div()
    entries = [_provenance(r) for r in sorted(results, key=lambda r: order(r.model))]
    return disclosure("Where these numbers come from", entries)


_NO_SOURCE = {True: "none: nothing was learned", False: "not recorded"}


def _provenance(result: Result) -> html.Article:
    model, made = result.model, result.provenance
    plain = is_baseline(model) or is_random(model)
    facts = [
        ("Weights", public_source(model.source) or _NO_SOURCE[plain]),
        ("Revision", model.revision),
        ("SHA-256", model.weights_sha256),
        ("Licence", model.licence),
        ("Layers", ", ".join(f"{k} {v}" for k, v in model.layer_policy.items())),
        ("Options", ", ".join(f"{k} {v}" for k, v in result.config.items())),
        ("Audio digest", result.corpus.digest),
        ("Computed", f"{made.created} on {made.device}, {made.wall_s:.1f} s, seed {made.seed}"),
        ("Versions", ", ".join(f"{name} {number}" for name, number in made.versions.items())),
    ]
    rows: list[html.Dt | html.Dd] = []
    for name, value in facts:
        if value:
            rows += [html.Dt(name), html.Dd(value)]
    downloads = [
        html.A(kind.upper(), href=urls.result_export(result.key, kind), download=True)
        for kind in ("csv", "json")
    ]
    return html.Article(
        [
            html.H4([model.title, html.Span(downloads, className="provenance-links")]),
            html.Dl(rows),
            command(made.command),
        ],
        className="provenance",
    )
