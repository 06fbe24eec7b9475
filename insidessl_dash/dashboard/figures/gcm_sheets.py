"""What a heatmap of the Generative Compatibility Matrix shows: one metric of one matrix, square."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from insidessl_dash.results.matrix import Grid, Group, MatrixMeasure, MatrixResult

DROP = "drop"
"""The reading of the last heatmap that is no metric: content lost from the column before."""

KINDS: dict[Group, str] = {
    "content": "Phonetic consistency",
    "identity": "Identity volatility",
    "prosody": "Prosodic features",
    "function": "Functional rupture",
}
FEW = 0.25
"""A cell that was measured in a smaller share of the utterances is not drawn: its mean is of those
that happened to be, e.g., voiced, and cannot be held against its neighbours."""


@dataclass(frozen=True)
class Matrix:
    """A matrix as drawn.

    Attributes:
        result: Its values.
        title: What the model is called.
        name: Of its folder, which the examples of the audio explorer share.
    """

    result: MatrixResult
    title: str
    name: str


@dataclass(frozen=True)
class Sheet:
    """One heatmap of a matrix.

    Attributes:
        kind: Which of the four.
        metric: Name; `DROP` for the content lost from the column before.
        title, unit: Of the values.
        higher_is_better: Which end is good.
        grid: Square, one row a layer; None where there is no value, or one of `FEW` utterances.
        std, n, why: As in the measure, square too; None of a drop.
    """

    kind: Group
    metric: str
    title: str
    unit: str
    higher_is_better: bool
    grid: Grid
    std: Grid | None = None
    n: list[list[int | None]] | None = None
    why: list[list[str | None]] | None = None

    @property
    def direction(self) -> str:
        """Which end is good, in words."""
        return "higher is better" if self.higher_is_better else "lower is better"


def choices(results: Sequence[MatrixResult], kind: Group) -> list[tuple[str, str]]:
    """What a heatmap can show: names and titles; the first is its default."""
    found: dict[str, str] = {}
    if kind == "function" and any("content" in result.metrics for result in results):
        found[DROP] = "Content lost from the column before"
    for result in results:
        found |= {name: m.title for name, m in result.in_group(kind).items() if name not in found}
    return list(found.items())


def sheet(result: MatrixResult, kind: Group, metric: str) -> Sheet | None:
    """A heatmap of a matrix; None where its metric is not there."""
    if metric == DROP:
        content = result.metrics.get("content")
        if content is None:
            return None
        title = "Content lost from the column before"
        return Sheet(kind, DROP, title, content.unit, False, result.full(result.drops("content")))
    measure: MatrixMeasure | None = result.metrics.get(metric)
    if measure is None:
        return None
    mean, n, why = (result.full(grid) for grid in (measure.mean, measure.n, measure.why))
    every = result.corpus.utterances
    for i, row in enumerate(n):
        for j, count in enumerate(row):
            if count and count < FEW * every:
                mean[i][j], why[i][j] = None, f"only in {count} of {every} utterances"
    return Sheet(
        kind,
        metric,
        measure.title,
        measure.unit,
        measure.higher_is_better,
        mean,
        result.full(measure.std),
        n,
        why,
    )
