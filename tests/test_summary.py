"""Curves from values: means, deviations and bootstrap intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from insidessl_dash.analyses.summary import summarise


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_summary_is_mean_and_sample_deviation(rng):
    values = rng.standard_normal((30, 4))
    mean, std, ci95 = summarise(values, seed=1)
    np.testing.assert_allclose(mean, values.mean(axis=0))
    np.testing.assert_allclose(std, values.std(axis=0, ddof=1))
    assert all(low < m < high for m, (low, high) in zip(mean, ci95, strict=True))


def test_bootstrap_interval_is_the_normal_one_for_many_utterances(rng):
    values = 5 + 2 * rng.standard_normal((2000, 3))
    mean, std, ci95 = summarise(values, seed=0, resamples=4000)
    for m, s, (low, high) in zip(mean, std, ci95, strict=True):
        half = 1.959964 * s / math.sqrt(2000)
        assert low == pytest.approx(m - half, abs=0.08 * half)
        assert high == pytest.approx(m + half, abs=0.08 * half)


def test_bootstrap_of_two_utterances_is_exact():
    """Means of two draws are 0, 1/2 and 1 with probabilities 1/4, 1/2, 1/4."""
    assert summarise(np.array([[0.0], [1.0]]), resamples=4000).ci95 == [(0.0, 1.0)]


def test_bootstrap_covers_the_true_mean_about_95_times_in_100(rng):
    inside = 0
    for seed in range(200):
        ((low, high),) = summarise(rng.exponential(size=(100, 1)), seed, resamples=300).ci95
        inside += low <= 1 <= high
    assert 178 <= inside <= 198


def test_summary_is_repeatable_and_depends_on_the_seed(rng):
    values = rng.standard_normal((50, 2))
    assert summarise(values, 3) == summarise(values.copy(), 3)
    assert summarise(values, 3).ci95 != summarise(values, 4).ci95


def test_summary_does_not_depend_on_the_chunks_of_the_draws(rng, monkeypatch):
    values = rng.standard_normal((50, 2))
    whole = summarise(values)
    monkeypatch.setattr("insidessl_dash.analyses.summary._MOST_WEIGHTS", 777)
    chunked = summarise(values)
    np.testing.assert_allclose(chunked.ci95, whole.ci95, rtol=1e-12)


def test_summary_of_undefined_values(rng):
    values = rng.standard_normal((6, 4))
    values[:, 1] = np.nan
    values[1:, 2] = np.nan
    values[0, 3] = np.nan
    mean, std, ci95 = summarise(values)
    assert (mean[1], std[1], ci95[1]) == (None, None, None)
    assert (mean[2], std[2], ci95[2]) == (values[0, 2], None, None)
    assert mean[3] == pytest.approx(values[1:, 3].mean())
    assert summarise(values[1:, 3:]).ci95[0] == ci95[3]
    assert ci95[0] == summarise(values[:, :1]).ci95[0]


@pytest.mark.parametrize("shape", [(0, 3), (0, 0), (4, 0)])
def test_summary_of_nothing(shape):
    assert summarise(np.zeros(shape)) == ([None] * shape[1],) * 3
