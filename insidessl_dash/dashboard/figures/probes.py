"""What a model's layers hold, as its card shows it: probes over depth, in figures and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from insidessl_dash.dashboard import theme
from insidessl_dash.dashboard.figures.cards import level_line, shown
from insidessl_dash.dashboard.figures.lens import lens_figure
from insidessl_dash.dashboard.figures.style import Style, is_baseline, is_random
from insidessl_dash.dashboard.figures.words import corpus_title, duration
from insidessl_dash.results.schema import Result


@dataclass(frozen=True)
class Probe:
    """A way to ask what the layers of a model hold, by results of one lens.

    Attributes:
        lens: Name of the lens.
        title: As a heading.
        asks: What it asks, in a sentence.
        measure: Its measure.
        floor: The measure, if any, that says what knowing nothing gives; else `chance`.
        chance: What knowing nothing gives by definition.
        chance_is: That, in words.
        higher_is_better: Whether more is better.
    """

    lens: str
    title: str
    asks: str
    measure: str
    floor: str
    chance: float | None
    chance_is: str
    higher_is_better: bool

    def level(self, result: Result) -> float | None:
        """What knowing nothing gives on the data of a result."""
        if self.floor in result.measures:
            known = [v for v in result.measures[self.floor].mean if v is not None]
            return known[0] if known else self.chance
        return self.chance


PROBES = (
    Probe(
        lens="phone_probe",
        title="Phones, read off single frames",
        asks="A linear classifier is fitted on the frames of some speakers and names the phones "
        "of others: the more it gets right, the more plainly a layer holds what is being said.",
        measure="accuracy",
        floor="majority",
        chance=None,
        chance_is="always the commonest phone",
        higher_is_better=True,
    ),
    Probe(
        lens="verification",
        title="Who speaks",
        asks="Two recordings are compared by the cosine of their vectors: the equal error rate is "
        "where as many pairs of one speaker are refused as pairs of two are accepted.",
        measure="eer",
        floor="",
        chance=0.5,
        chance_is="a coin toss",
        higher_is_better=False,
    ),
)


def probe_figure(
    probe: Probe,
    results: Sequence[Result],
    looks: dict[str, Style],
    *,
    scheme: theme.Scheme = "light",
    compact: bool = False,
) -> dict[str, Any]:
    """What a probe reads from every layer, over the features that learned nothing."""
    figure = lens_figure(
        results,
        probe.measure,
        looks=looks,
        scheme=scheme,
        compact=compact,
        height=380 if compact else 440,
    )
    level = next((v for r in results if (v := probe.level(r)) is not None), None)
    if level is None:
        return figure
    layout, palette = figure["layout"], theme.PALETTES[scheme]
    low, high = layout["yaxis"]["range"]
    pad = 0.06 * (high - low)
    layout["yaxis"]["range"] = limits = [min(low, level - pad), max(high, level + pad)]
    layout["shapes"] = [*layout["shapes"], level_line(level, "1px,4px", palette)]
    side = 1 if level <= (limits[0] + limits[1]) / 2 else -1
    layout["annotations"] = [
        *layout["annotations"],
        {
            "text": f"{probe.chance_is}, {shown(probe.measure, level)}",
            "x": 0,
            "xref": "paper",
            "xanchor": "left",
            "xshift": 4,
            "y": level,
            "yshift": 10 * side,
            "showarrow": False,
            "font": {"family": theme.SANS, "size": 12, "color": palette.soft},
        },
    ]
    return figure


def probe_sentences(probe: Probe, model: str, results: Sequence[Result]) -> list[str]:
    """What the figure of a probe shows, computed from its results; the first is its title."""
    own = next((r for r in results if r.model.name == model), None)
    if own is None:
        return []
    best = max if probe.higher_is_better else min
    known = _known(own, probe.measure)
    if not known:
        return [f"{probe.title}: not defined for this model."]
    value, layer = best(known, key=lambda pair: pair[0])
    told = f"Best at layer {layer}: {shown(probe.measure, value)}"
    others = []
    for result in results:
        values = [v for v, _layer in _known(result, probe.measure)]
        if result is not own and values:
            what = result.model.title if is_baseline(result.model) else (
                "the same architecture as initialised" if is_random(result.model)
                else result.model.title
            )  # fmt: skip
            others.append(f"{what} {shown(probe.measure, best(values))}")
    level = probe.level(own)
    if level is not None:
        others.append(f"{probe.chance_is} {shown(probe.measure, level)}")
    against = f"; {', '.join(others)}." if others else "."
    corpus = own.corpus
    speakers = f", {corpus.speakers} speakers" if corpus.speakers else ""
    return [
        f"{probe.title}: every layer of {own.model.title}.",
        told + against,
        f"Measured on {corpus_title(corpus.name)} ({duration(corpus.seconds)}{speakers}).",
    ]


def _known(result: Result, measure: str) -> list[tuple[float, str]]:
    curve = result.measures.get(measure)
    values = curve.mean if curve else []
    return [(v, n) for v, n in zip(values, result.layers, strict=False) if v is not None]
