"""Invariance against a loop over candidates, against chance, and group by group."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_layers import batch, run
from pydantic import ValidationError

from insidessl_dash.analyses import ANALYSES
from insidessl_dash.analyses.base import State
from insidessl_dash.analyses.invariance import InvarianceConfig, group_size
from insidessl_dash.audio.perturb import PERTURBATIONS


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def nt_xent_by_loops(clean, noisy, temperature):
    """Each utterance's mean loss of its two anchors, over 2N - 1 candidates."""
    both = [x / math.sqrt(x @ x) for x in [*clean, *noisy]]
    n = len(clean)
    losses = []
    for i in range(2 * n):
        others = [math.exp(both[i] @ both[j] / temperature) for j in range(2 * n) if j != i]
        positive = math.exp(both[i] @ both[(i + n) % (2 * n)] / temperature)
        losses.append(-math.log(positive / sum(others)))
    return np.array([(losses[i] + losses[i + n]) / 2 for i in range(n)])


def group(rng, n=5, noise=0.5, frames=9, width=12):
    clean = rng.standard_normal((n, frames, width)) + rng.standard_normal((n, 1, width)) + 0.5
    return clean, clean + noise * rng.standard_normal((n, 1, width))


def invariance(clean, noisy, config=None, groups=None):
    n = len(clean)
    ids = [f"u{i}" for i in range(n)]
    config = config or InvarianceConfig()
    whole = batch(ids, [clean], {config.perturbation: [noisy]}, groups or [f"g/{n}"] * n)
    return run(ANALYSES["invariance"](config), whole)[1][:, :, 0]


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_invariance_against_loops(temperature, rng):
    clean, noisy = group(rng)
    values = invariance(clean, noisy, InvarianceConfig(temperature=temperature))
    a, b = clean.mean(axis=1), noisy.mean(axis=1)
    loss = nt_xent_by_loops(a, b, temperature)
    np.testing.assert_allclose(values[:, 0], loss, rtol=1e-12)
    np.testing.assert_allclose(values[:, 1], loss / math.log(5), rtol=1e-12)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    np.testing.assert_allclose(values[:, 2], (a * b).sum(axis=1), rtol=1e-12)
    centre = np.concatenate([a, b]).mean(axis=0)
    a, b = a - centre, b - centre
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(values[:, 3], cosine, rtol=1e-10)


def test_a_layer_that_tells_nothing_is_at_chance():
    """All vectors equal: every candidate is as likely, and the loss is ln(2N - 1) exactly."""
    same = np.ones((64, 4, 8))
    values = invariance(same, same)
    np.testing.assert_allclose(values[:, 0], math.log(127), rtol=1e-12)
    np.testing.assert_allclose(values[:, 2], 1.0, rtol=1e-12)
    assert np.isnan(values[:, 3]).all()  # nothing is left after centring


def test_unrelated_views_are_about_at_chance(rng):
    """Random directions in many dimensions: chance, plus 1/(2 D tau^2) from the spread."""
    clean, noisy = rng.standard_normal((2, 64, 1, 20_000))
    values = invariance(clean, noisy)
    assert values[:, 0].mean() == pytest.approx(math.log(127), abs=0.05)
    assert values[:, 2].mean() == pytest.approx(0, abs=0.01)


def test_perfect_views_of_orthogonal_utterances():
    """-ln(e^10 / (e^10 + 2N - 2)) at temperature 0.1."""
    eye = np.eye(6)[:, None, :]
    values = invariance(eye, eye)
    np.testing.assert_allclose(values[:, 0], math.log1p(10 * math.exp(-10)), rtol=1e-9)
    np.testing.assert_allclose(values[:, 3], 1.0, rtol=1e-12)


def test_scale_of_a_vector_does_not_matter(rng):
    clean, noisy = group(rng)
    np.testing.assert_allclose(invariance(1e-3 * clean, 50 * noisy), invariance(clean, noisy))


def test_groups_are_compared_only_inside(rng):
    clean, noisy = group(rng, n=6)
    together = invariance(clean, noisy, groups=["a/3"] * 3 + ["b/3"] * 3)
    np.testing.assert_array_equal(together[:3], invariance(clean[:3], noisy[:3]))
    np.testing.assert_array_equal(together[3:], invariance(clean[3:], noisy[3:]))


def test_an_incomplete_group_is_compared_as_far_as_it_is_there(rng):
    clean, noisy = group(rng, n=4)
    incomplete = invariance(clean, noisy, groups=["a/9"] * 4)
    np.testing.assert_array_equal(incomplete, invariance(clean, noisy))


def test_one_utterance_alone_has_a_cosine_only(rng):
    clean, noisy = group(rng, n=1)
    for groups in (["a/1"], ["a/5"]):
        values = invariance(clean, noisy, groups=groups)
        assert np.isnan(values[:, [0, 1, 3]]).all()
        assert np.isfinite(values[:, 2]).all()


def test_compute_can_be_asked_before_the_end(rng):
    clean, noisy = group(rng, n=4)
    analysis, state = ANALYSES["invariance"](), State()
    for i in range(4):
        analysis.update(
            state, batch([f"u{i}"], [clean[i : i + 1]], {"chain": [noisy[i : i + 1]]}, ["a/4"])
        )
        ids, values = analysis.compute(state)
        np.testing.assert_array_equal(values[:, :, 0], invariance(clean[: i + 1], noisy[: i + 1]))
        assert len(ids) == i + 1
    assert not state.pending


def test_memory_is_that_of_the_open_groups(rng):
    analysis, state = ANALYSES["invariance"](), State()
    for start in range(0, 40, 4):
        clean, noisy = group(rng, n=4)
        ids = [f"u{start + i}" for i in range(4)]
        analysis.update(state, batch(ids, [clean], {"chain": [noisy]}, [f"{start}/4"] * 4))
        assert not state.pending
    assert len(state.values) == 40


def test_an_undefined_member_leaves_its_group_in_that_layer(rng):
    clean, noisy = group(rng, n=5)
    clean[2, 4, 1] = np.nan
    values = invariance(clean, noisy)
    keep = [0, 1, 3, 4]
    np.testing.assert_array_equal(values[keep], invariance(clean[keep], noisy[keep]))
    assert np.isnan(values[2]).all()


@pytest.mark.parametrize("name", ["3", "3/", "3/x", "3/0", "3/-2"])
def test_a_group_says_its_size(name, rng):
    assert group_size("a/b/12") == 12
    clean, noisy = group(rng, n=1)
    with pytest.raises(ValueError, match="GROUP/SIZE"):
        invariance(clean, noisy, groups=[name])


def test_a_group_cannot_overflow(rng):
    clean, noisy = group(rng, n=3)
    with pytest.raises(ValueError, match="holds 3"):
        invariance(clean, noisy, groups=["a/2"] * 3)


def test_invariance_asks_for_its_view():
    for name in PERTURBATIONS:
        assert ANALYSES["invariance"](InvarianceConfig(perturbation=name)).views == (name,)
    assert ANALYSES["entropy"]().views == ANALYSES["curvature"]().views == ()
    with pytest.raises(ValidationError, match=r"no perturbation named 'reverb'.*gaussian_noise"):
        InvarianceConfig(perturbation="reverb")
