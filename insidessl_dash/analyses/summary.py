"""From values an utterance to a curve: mean, spread, and how sure the mean is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from insidessl_dash.core.types import stable_seed

_MOST_WEIGHTS = 1 << 17  # numbers in memory at once: 1 MB, and as much again for their sums


class Summary(NamedTuple):
    """One entry a layer; None where it is not defined.

    Attributes:
        mean: Over the utterances where the value is defined.
        std: Sample deviation (n - 1); from two utterances on.
        ci95: Percentile bootstrap interval of the mean, (low, high); from two utterances on, or
            from two groups on where they are grouped.
    """

    mean: list[float | None]
    std: list[float | None]
    ci95: list[tuple[float, float] | None]


def summarise(
    values: NDArray[np.float64],
    seed: int = 0,
    resamples: int = 1000,
    groups: NDArray[np.int64] | None = None,
) -> Summary:
    """Mean, deviation, and 95% interval of the mean over utterances.

    The interval is the 2.5 to 97.5 percentile of the mean over `resamples` draws of as many
    utterances with replacement (Efron 1979). The draws follow from `seed` and the number of
    utterances, so rows in sorted order give the same interval however they were computed, and
    the same draws serve all layers.

    Args:
        values: float64 (utterances, layers); NaN: not defined there.
        seed: Of the draws.
        resamples: How many.
        groups: int64 (utterances,), e.g. who speaks: utterances of one group are not independent,
            so whole groups are drawn, each as often as there are groups. None: utterances are.

    Example:
        >>> summarise(np.array([[1.0, np.nan], [3.0, 2.0]])).mean
        [2.0, 2.0]
    """
    layers = values.shape[1]
    summary = Summary([None] * layers, [None] * layers, [None] * layers)
    defined = ~np.isnan(values)
    # Layers defined for the same utterances (nearly always all of them) share the draws.
    for pattern in np.unique(defined, axis=1).T if layers else []:
        here = np.flatnonzero((defined == pattern[:, None]).all(axis=0))
        chosen = values[np.ix_(pattern, here)]
        if not len(chosen):
            continue
        _fill(summary.mean, here, chosen.mean(axis=0).tolist())
        if len(chosen) > 1:
            _fill(summary.std, here, chosen.std(axis=0, ddof=1).tolist())
        sums, sizes = chosen, np.ones(len(chosen))
        if groups is not None:
            _, of = np.unique(groups[pattern], return_inverse=True)
            sizes = np.bincount(of).astype(np.float64)
            sums = np.zeros((len(sizes), chosen.shape[1]))
            np.add.at(sums, of, chosen)
        if len(sizes) > 1:
            means = _resampled_means(sums, sizes, seed, resamples)
            low, high = np.percentile(means, [2.5, 97.5], axis=0)
            _fill(summary.ci95, here, list(zip(low.tolist(), high.tolist(), strict=True)))
    return summary


def _fill(into: list, places: NDArray, values: list) -> None:
    for place, value in zip(places, values, strict=True):
        into[place] = value


def _resampled_means(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], seed: int, resamples: int
) -> NDArray[np.float64]:
    """Means of bootstrap draws of groups, float64 (resamples, layers).

    Args:
        sums: float64 (groups, layers), over the utterances of each.
        sizes: float64 (groups,), how many they are.
        seed, resamples: Of the draws.
    """
    count = len(sums)
    rng = np.random.default_rng(stable_seed("bootstrap", seed))
    centre = sums.sum(axis=0) / sizes.sum()
    off = sums - sizes[:, None] * centre
    means = np.empty((resamples, sums.shape[1]))
    step = max(1, _MOST_WEIGHTS // count)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(count, size=(size, count))
        drawn += count * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        means[start : start + size] = weights @ off / (weights @ sizes)[:, None]
    return means + centre
