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
        ci95: Percentile bootstrap interval of the mean, (low, high); from two utterances on.
    """

    mean: list[float | None]
    std: list[float | None]
    ci95: list[tuple[float, float] | None]


def summarise(values: NDArray[np.float64], seed: int = 0, resamples: int = 1000) -> Summary:
    """Mean, deviation, and 95% interval of the mean over utterances.

    The interval is the 2.5 to 97.5 percentile of the mean over `resamples` draws of as many
    utterances with replacement (Efron 1979). The draws follow from `seed` and the number of
    utterances, so rows in sorted order give the same interval however they were computed, and
    the same draws serve all layers.

    Args:
        values: float64 (utterances, layers); NaN: not defined there.
        seed: Of the draws.
        resamples: How many.

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
            low, high = np.percentile(
                _resampled_means(chosen, seed, resamples), [2.5, 97.5], axis=0
            )
            _fill(summary.ci95, here, list(zip(low.tolist(), high.tolist(), strict=True)))
    return summary


def _fill(into: list, places: NDArray, values: list) -> None:
    for place, value in zip(places, values, strict=True):
        into[place] = value


def _resampled_means(values: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    """Means of bootstrap draws, float64 (resamples, layers)."""
    count = len(values)
    rng = np.random.default_rng(stable_seed("bootstrap", seed))
    centre = values.mean(axis=0)
    means = np.empty((resamples, values.shape[1]))
    step = max(1, _MOST_WEIGHTS // count)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(count, size=(size, count))
        drawn += count * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        means[start : start + size] = weights @ (values - centre) / count
    return means + centre
