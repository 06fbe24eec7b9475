"""From values an utterance and cell to a metric of the matrix: means, diagonal, triangles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from insidessl_dash.analyses.summary import summarise
from insidessl_dash.results.matrix import Asymmetry, Grid, Group, MatrixMeasure, Spread


def summarise_metric(
    cells: NDArray[np.float64],
    ceiling: NDArray[np.float64],
    rows: Sequence[int],
    speakers: NDArray[np.int64],
    *,
    title: str,
    unit: str,
    group: Group,
    higher_is_better: bool,
    scored_by: str,
    why: Sequence[Sequence[Sequence[str]]],
    seed: int = 0,
) -> MatrixMeasure:
    """One metric over utterances.

    Diagonal, off-diagonal and triangle means are taken within each utterance first, over its
    cells that could be measured, then over utterances. Utterances of one speaker are not
    independent: intervals draw speakers, and the test is of one difference a speaker.

    Args:
        cells: float64 (utterances, decoders, layers); NaN where not measurable.
        ceiling: float64 (utterances,), vocoder only.
        rows: Of each decoder the place of its layer among the layers.
        speakers: int64 (utterances,), a number for each speaker.
        title, unit, group, higher_is_better, scored_by: As in `MatrixMeasure`.
        why: Of each utterance [i][j], why it has no value; "" where it has.
        seed: Of the bootstrap.
    """
    on = np.asarray(rows)[:, None] == np.arange(cells.shape[2])
    there = ~np.isnan(cells)
    n = there.sum(axis=0)
    total = np.where(there, cells, 0.0).sum(axis=0)
    mean = np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
    squares = np.where(there, (cells - mean) ** 2, 0.0).sum(axis=0)
    std = np.sqrt(np.divide(squares, n - 1, out=np.full(n.shape, np.nan), where=n > 1))
    return MatrixMeasure(
        title=title,
        unit=unit,
        group=group,
        higher_is_better=higher_is_better,
        scored_by=scored_by,
        mean=_grid(mean),
        std=_grid(std),
        n=n.tolist(),
        why=[
            [_commonest([of[i][j] for of in why]) for j in range(cells.shape[2])]
            for i in range(cells.shape[1])
        ],
        ceiling=_spread(ceiling, speakers, seed),
        diagonal=_spread(_within(cells[:, on]), speakers, seed),
        off_diagonal=_spread(_within(cells[:, ~on]), speakers, seed),
        asymmetry=_asymmetry(cells, rows, speakers, higher_is_better, seed),
    )


def triangles(
    cells: NDArray[np.float64], rows: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of the lower (i > j) and of the upper triangle of each utterance, float64 (n,) each.

    Over the pairs of mirrored cells, (i, j) and (j, i), that were both measured, so that both
    means are over the same pairs of layers; NaN where there is no such pair. A layer without a
    decoder has no pairs.

    Args:
        cells: float64 (n, decoders, layers); NaN where not measurable.
        rows: Of each decoder the place of its layer among the layers.
    """
    pairs = [
        (deep, shallow)
        for deep in range(len(rows))
        for shallow in range(len(rows))
        if rows[deep] > rows[shallow]
    ]
    lower = np.full((len(cells), len(pairs)), np.nan)
    upper = lower.copy()
    for place, (deep, shallow) in enumerate(pairs):
        lower[:, place] = cells[:, deep, rows[shallow]]
        upper[:, place] = cells[:, shallow, rows[deep]]
    both = ~(np.isnan(lower) | np.isnan(upper))
    return _within(np.where(both, lower, np.nan)), _within(np.where(both, upper, np.nan))


def _asymmetry(
    cells: NDArray[np.float64],
    rows: Sequence[int],
    speakers: NDArray[np.int64],
    higher_is_better: bool,
    seed: int,
) -> Asymmetry:
    lower, upper = triangles(cells, rows)
    difference = lower - upper
    spread = _spread(difference, speakers, seed)
    there = ~np.isnan(difference)
    differs = np.array(
        [difference[there & (speakers == one)].mean() for one in np.unique(speakers[there])]
    )
    p = float(wilcoxon(differs).pvalue) if differs.any() else None
    better = None
    if spread.ci95 is not None and not spread.ci95[0] <= 0.0 <= spread.ci95[1]:
        better = "lower" if (spread.ci95[0] > 0.0) == higher_is_better else "upper"
    return Asymmetry(
        lower=_spread(lower, speakers, seed),
        upper=_spread(upper, speakers, seed),
        difference=spread,
        p=p,
        speakers=len(differs),
        better=better,
    )


def _within(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each utterance over what it has, (n, k) to (n,); NaN where it has nothing."""
    there = ~np.isnan(values)
    count = there.sum(axis=1)
    total = np.where(there, values, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _spread(values: NDArray[np.float64], speakers: NDArray[np.int64], seed: int) -> Spread:
    found = summarise(values[:, None], seed=seed, groups=speakers)
    return Spread(
        mean=found.mean[0],
        std=found.std[0],
        ci95=found.ci95[0],
        n=int((~np.isnan(values)).sum()),
    )


def _grid(values: NDArray[np.float64]) -> Grid:
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]


def _commonest(reasons: Sequence[str]) -> str:
    counts = Counter(reason for reason in reasons if reason)
    return min(counts, key=lambda reason: (-counts[reason], reason), default="")
