"""The four heatmaps in words and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from insidessl_dash.core.types import LEVEL_DBFS
from insidessl_dash.dashboard.figures.gcm_sheets import Matrix, Sheet
from insidessl_dash.dashboard.figures.insights import signed_number
from insidessl_dash.dashboard.figures.points import number
from insidessl_dash.dashboard.figures.words import Table, corpus_title
from insidessl_dash.results.copy_synthesis import CopySynthesis, Scores
from insidessl_dash.results.matrix import MatrixResult, Spread

READING = (
    "Row i is decoder D(i), trained on layer i; column j is the tokens z(j) that it reads. Rings "
    "mark a decoder on its own layer; below them, deep decoders read shallower layers. A cross "
    "marks a cell that could be measured in fewer than a quarter of the utterances. Every colour "
    "scale is turned the same way: the further from the ground of the page, the better."
)


def caption(shown: Sequence[Matrix]) -> list[str]:
    """What the figure shows, one sentence or more an item; nothing for no matrix."""
    if not shown:
        return []
    names = " and ".join(matrix.title for matrix in shown)
    sentences = [f"Every layer of {names}, spoken again by every decoder.", READING]
    return [*sentences, *(_said(matrix, len(shown) > 1) for matrix in shown)]


def heard(result: MatrixResult) -> str:
    """Which decoders and which vocoder one hears, at which gain."""
    kind = "flow matching" if result.decoders.preset == "flow" else result.decoders.preset
    first = "" if result.decoders.preset == "flow" else " (a first look, not the paper's method)"
    trained = f", {result.decoders.updates:,} updates" if result.decoders.updates else ""
    tokens = (
        f", layers quantised to {result.decoders.tokens} tokens"
        if result.decoders.tokens
        else ", continuous layers"
    )
    return (
        f"{kind} decoders{first}{_size(result.decoders.size)}{trained}{tokens}; vocoder "
        f"{result.vocoder.name}; all of speech at {LEVEL_DBFS:g} dBFS, one gain of "
        f"{result.config.gain_db:+.1f} dB for all cells"
    )


def _size(size: dict[str, Any]) -> str:
    if not {"blocks", "width"} <= size.keys():
        return ""
    return f" of {size['blocks']} blocks of {size['width']} (the paper's: 6 of 512)"


def _said(matrix: Matrix, named: bool) -> str:
    result = matrix.result
    corpus = result.corpus
    voices = f" by {corpus.speakers} speakers" if corpus.speakers else ""
    start = f"{matrix.title}: means" if named else "Means"
    text = f"{start} over {corpus.utterances} utterances{voices} of {corpus_title(corpus.name)}."
    for measure in list(result.in_group("content").values())[:1]:
        known = (measure.ceiling.mean, measure.diagonal.mean, measure.off_diagonal.mean)
        ceiling, own, other = known
        if ceiling is None or own is None or other is None:
            continue
        sign = 1 if measure.higher_is_better else -1
        in_order = sign * ceiling > sign * own > sign * other
        text += (
            f" {measure.title} is {number(ceiling)} through the vocoder alone, {number(own)} where "
            f"a decoder reads its own layer and {number(other)} elsewhere"
            f"{', in the order one expects' if in_order else ', not in the order one expects'}."
        )
    for layer, why in result.missing.items():
        text += f" Layer {layer} has no decoder: {why}."
    return text


def summary_table(result: MatrixResult) -> Table:
    """A row a metric: through the vocoder alone, diagonal, elsewhere, triangles and their test."""
    rows = []
    for measure in result.metrics.values():
        sides = measure.asymmetry
        unit = f" ({measure.unit})" if measure.unit else ""
        interval = sides.difference.ci95
        between = (
            ""
            if interval is None
            else (f" [{signed_number(interval[0])}, {signed_number(interval[1])}]")
        )
        difference = sides.difference.mean
        rows.append(
            (
                f"{measure.title}{unit}",
                [
                    "higher" if measure.higher_is_better else "lower",
                    *(_mean(s) for s in (measure.ceiling, measure.diagonal, measure.off_diagonal,
                                         sides.lower, sides.upper)),
                    "–" if difference is None else signed_number(difference) + between,
                    "–" if sides.p is None else f"{sides.p:.2g}",
                    sides.better or "neither",
                ],
            )
        )  # fmt: skip
    columns = [
        "Good is", "Vocoder", "Own layer", "Elsewhere", "Lower", "Upper",
        "Lower − upper [95%]", "p", "Better",
    ]  # fmt: skip
    return Table(columns, rows)


def vocoder_table(result: CopySynthesis) -> Table:
    """What each vocoder keeps of speech, and what its mel does: mean and deviation."""

    def cells(measures: dict[str, Scores]) -> list[str]:
        return [_spread(measures[name]) for name in result.measures]

    columns = [
        f"{measure.title}{f' ({measure.unit})' if measure.unit else ''}, "
        f"{'higher' if measure.higher_is_better else 'lower'} is better"
        for measure in result.measures.values()
    ]
    rows = [(vocoder.name, cells(vocoder.measures)) for vocoder in result.vocoders]
    return Table(
        columns, [*rows, ("Mel with the recording's own phases", cells(result.own_phases))]
    )


def vocoder_said(result: CopySynthesis, heard: str) -> str:
    """How well the vocoder that one hears does, beside the others.

    Args:
        result: What vocoders keep.
        heard: Name of the one that one hears.
    """
    measured = f"{result.corpus.utterances} utterances, {result.speakers}"
    best = result.best("stoi")
    own = next((v for v in result.vocoders if v.name == heard), None)
    if best is None or own is None or own.measures["stoi"].mean is None:
        return f"Speech to mel and back, {measured}."
    rank = "the highest STOI" if own is best else "not the highest STOI"
    return (
        f"Speech to mel and back, {measured}: {heard}, the one heard here, has {rank} of those "
        f"measured ({number(own.measures['stoi'].mean)}). The last row is not a vocoder: the same "
        "magnitudes with the recording's own phases, which is what STOI and F0 could reach; its "
        "mel is no nearer, since those phases do not quite fit magnitudes smoothed to 80 bands."
    )


def cell_table(result: MatrixResult, found: Sheet) -> Table:
    """A heatmap as numbers: a row a decoder, a column a token layer."""
    rows = []
    for layer, values in zip(result.layers, found.grid, strict=True):
        if layer in result.missing:
            rows.append((f"D({layer})", ["no decoder", *[""] * (len(values) - 1)]))
        else:
            rows.append((f"D({layer})", ["–" if v is None else number(v) for v in values]))
    return Table([f"z({layer})" for layer in result.layers], rows)


def _spread(scores: Scores) -> str:
    if scores.mean is None:
        return "not measurable"
    return number(scores.mean) + ("" if scores.std is None else f" ± {number(scores.std)}")


def _mean(spread: Spread) -> str:
    return "–" if spread.mean is None else number(spread.mean)
