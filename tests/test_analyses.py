"""The analyses against closed forms and against plain NumPy written again here."""

from __future__ import annotations

import inspect
import json
import math

import numpy as np
import pytest
import torch
from made_layers import batch, run
from pydantic import ValidationError

from insidessl_dash.analyses import ANALYSES
from insidessl_dash.analyses.base import LayerBatch, State
from insidessl_dash.analyses.curvature import turning_angles
from insidessl_dash.analyses.entropy import EntropyConfig, matrix_entropy
from insidessl_dash.core.lenses import LENSES


@pytest.fixture
def rng():
    return np.random.default_rng(7)


# Every analysis


@pytest.mark.parametrize("name", ANALYSES)
def test_describes_itself_for_the_page(name):
    analysis = ANALYSES[name]
    assert analysis.name == name
    assert analysis.version >= 1
    assert analysis.measures
    assert len({m.name for m in analysis.measures}) == len(analysis.measures)
    first = inspect.getdoc(analysis).split("\n\n")[0]
    assert len(first) > 100
    schema = analysis.Config.model_json_schema()
    json.dumps(schema)
    assert all("description" in option for option in schema["properties"].values())
    with pytest.raises(ValidationError):
        analysis.Config.model_validate({"no_such_option": 1})


def test_every_lens_of_the_page_is_an_analysis_and_offers_what_it_takes():
    assert set(ANALYSES) == {info.name for info in LENSES}
    for info in LENSES:
        assert ANALYSES[info.name].title == info.title
        for option in info.options:
            for choice, _ in option.choices:
                ANALYSES[info.name].Config.model_validate({option.name: choice})
            default = ANALYSES[info.name].Config().model_dump()[option.name]
            assert default == option.default
        options = ANALYSES[info.name].Config().model_dump()
        offered = {option.name for option in info.options}
        assert dict(info.settings) == {k: v for k, v in options.items() if k not in offered}


def random_batches(rng, sizes=(3, 2, 4, 1), view="chain", group_of=lambda i, n: "all/10"):
    """Batches of a corpus of ten utterances, two layers of unequal width."""
    batches, count = [], 0
    for place, size in enumerate(sizes):
        ids = [f"u{count + i:02d}" for i in range(size)]
        frames = 20 + 7 * place
        clean = [rng.standard_normal((size, frames, width)).astype("f4") for width in (6, 40)]
        noisy = [x + 0.3 * rng.standard_normal(x.shape).astype("f4") for x in clean]
        groups = [group_of(count + i, 10) for i in range(size)]
        batches.append(batch(ids, clean, {view: noisy}, groups))
        count += size
    return batches


def split(whole):
    """The same batch one utterance at a time."""
    for i, id in enumerate(whole.ids):
        yield LayerBatch(
            [id],
            [whole.groups[i]],
            [x[i : i + 1] for x in whole.layers],
            {name: [x[i : i + 1] for x in view] for name, view in whole.views.items()},
        )


@pytest.mark.parametrize("name", ANALYSES)
@pytest.mark.parametrize(
    "group_of", [lambda i, n: "all/10", lambda i, n: f"{i % 3}/{4 - (i % 3 > 0)}"]
)
def test_any_sharding_in_any_order_gives_exactly_the_whole(name, group_of, rng):
    batches = random_batches(rng, group_of=group_of)
    analysis = ANALYSES[name]()
    ids, whole = run(analysis, *batches)
    assert ids == sorted(ids)
    assert len(ids) == 10
    assert np.isfinite(whole).all()
    pieces = [piece for each in batches for piece in split(each)]
    for shards in (2, 5, 10):
        order = rng.permutation(len(pieces))
        states = [State() for _ in range(shards)]
        for place, index in enumerate(order):
            analysis.update(states[place % shards], pieces[index])
        total = State()
        for place in rng.permutation(shards):
            analysis.merge(total, states[place])
        sharded_ids, sharded = analysis.compute(total)
        assert sharded_ids == ids
        np.testing.assert_array_equal(sharded, whole)
        assert not total.pending


@pytest.mark.parametrize("name", ANALYSES)
def test_threads_change_nothing(name, rng):
    batches = random_batches(rng)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(run(ANALYSES[name](), *batches)[1])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("name", ANALYSES)
def test_an_utterance_twice_is_refused(name, rng):
    analysis = ANALYSES[name]()
    first, *_ = random_batches(rng)
    for finished in (True, False):
        groups = ["g/3"] * 3 if finished else ["g/9"] * 3
        once = LayerBatch(first.ids, groups, first.layers, first.views)
        state, other = State(), State()
        analysis.update(state, once)
        analysis.update(other, once)
        with pytest.raises(ValueError, match=r"'u0\d' was added twice"):
            analysis.update(state, once)
        with pytest.raises(ValueError, match=r"'u0\d' was added twice"):
            analysis.merge(state, other)


@pytest.mark.parametrize("name", ANALYSES)
def test_nothing_in_gives_nothing_out(name):
    ids, values = ANALYSES[name]().compute(State())
    assert ids == []
    assert values.shape == (0, len(ANALYSES[name].measures), 0)


@pytest.mark.parametrize("name", ANALYSES)
def test_input_is_left_as_it_was(name, rng):
    whole = random_batches(rng)[0]
    before = [x.clone() for x in whole.layers]
    run(ANALYSES[name](), whole)
    assert all(torch.equal(a, b) for a, b in zip(before, whole.layers, strict=True))


@pytest.mark.parametrize("name", ANALYSES)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.filterwarnings("error")
def test_a_layer_that_is_not_finite_is_undefined_and_spoils_no_other(name, bad, rng):
    whole = random_batches(rng)[0]
    _, clean = run(ANALYSES[name](), *split(whole))
    whole.layers[0][1, 3:5, 2] = bad
    _, values = run(ANALYSES[name](), *split(whole))
    assert np.isnan(values[1, :, 0]).all()
    np.testing.assert_array_equal(values[:, :, 1], clean[:, :, 1])
    if name != "invariance":
        np.testing.assert_array_equal(values[::2], clean[::2])


@pytest.mark.parametrize("name", ANALYSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_taken(name, dtype, rng):
    whole = random_batches(rng)[0]
    rounded = LayerBatch(
        whole.ids,
        whole.groups,
        [x.to(dtype) for x in whole.layers],
        {k: [x.to(dtype) for x in v] for k, v in whole.views.items()},
    )
    exact = LayerBatch(
        whole.ids,
        whole.groups,
        [x.to(dtype).double() for x in whole.layers],
        {k: [x.to(dtype).double() for x in v] for k, v in whole.views.items()},
    )
    np.testing.assert_allclose(
        run(ANALYSES[name](), rounded)[1], run(ANALYSES[name](), exact)[1], atol=1e-9
    )


# Entropy


def entropy_by_singular_values(frames, alpha=1.0):
    """Nats and ln min(T, D), through the singular values of Z instead of a Gram matrix."""
    z = np.asarray(frames, np.float64)
    z = z - z.mean(axis=0)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    p = np.linalg.svd(z, compute_uv=False) ** 2
    p = p / p.sum()
    p = p[p > 1e-12]
    nats = -np.sum(p * np.log(p)) if alpha == 1 else np.log(np.sum(p**alpha)) / (1 - alpha)
    return nats, math.log(min(z.shape))


@pytest.mark.parametrize("shape", [(50, 80), (80, 50), (64, 64), (2, 9), (9, 2)])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 7.0])
def test_entropy_is_that_of_the_singular_values(shape, alpha, rng):
    frames = (rng.standard_normal(shape) * np.arange(1, shape[1] + 1) ** -1.0 + 3).astype("f4")
    expected, largest = entropy_by_singular_values(frames, alpha)
    config = EntropyConfig(alpha=alpha)
    _, values = run(ANALYSES["entropy"](config), batch(["a"], [frames[None]]))
    np.testing.assert_allclose(
        values[0, :, 0], [expected / largest, expected, math.exp(expected)], rtol=1e-6
    )


@pytest.mark.parametrize("noise", [1e-1, 1e-3, 1e-5])
def test_entropy_of_collapsed_layers_is_exact(noise, rng):
    """Where float32 products would leave no correct digit."""
    frames = np.outer(rng.standard_normal(200), rng.standard_normal(300))
    frames = (frames + noise * rng.standard_normal(frames.shape)).astype("f4")
    expected, _ = entropy_by_singular_values(frames)
    assert matrix_entropy(frames)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_entropy_of_opposite_axes_is_ln_d(alpha):
    """±e_1 .. ±e_D: mean zero, D equal eigenvalues."""
    frames = np.concatenate([np.eye(8), -np.eye(8)])
    assert matrix_entropy(frames, alpha) == pytest.approx((math.log(8), math.log(8)))


def test_entropy_of_a_simplex_is_ln_of_its_rank():
    """Orthonormal frames, centred, are a simplex: T - 1 equal eigenvalues."""
    nats, largest = matrix_entropy(np.eye(12, 30))
    assert nats == pytest.approx(math.log(11))
    assert largest == pytest.approx(math.log(12))


def test_entropy_of_one_direction_is_zero(rng):
    frames = np.outer(rng.standard_normal(40), rng.standard_normal(20)) + 5.0
    nats, _ = matrix_entropy(frames)
    assert nats == pytest.approx(0.0, abs=1e-9)
    assert nats >= 0


def test_entropy_of_order_two_is_the_collision_entropy(rng):
    frames = rng.standard_normal((30, 50))
    z = frames - frames.mean(axis=0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    purity = np.sum((z @ z.T) ** 2) / len(z) ** 2  # tr(K^2) / tr(K)^2
    assert matrix_entropy(frames, 2.0)[0] == pytest.approx(-math.log(purity))


def test_entropy_forgets_offset_scale_rotation_and_order(rng):
    frames = rng.standard_normal((40, 25))
    rotation, _ = np.linalg.qr(rng.standard_normal((25, 25)))
    changed = 30 * (frames @ rotation)[rng.permutation(40)] + rng.standard_normal(25)
    assert matrix_entropy(changed)[0] == pytest.approx(matrix_entropy(frames)[0], rel=1e-9)


def test_frames_at_the_mean_are_dropped(rng):
    frames = np.concatenate([np.eye(5), -np.eye(5)])
    padded = np.concatenate([frames, np.zeros((7, 5))])
    assert matrix_entropy(padded) == pytest.approx(matrix_entropy(frames))
    # 17 rows remain of which 10 count: with D = 50 the largest entropy is ln 10.
    wide = np.pad(padded, ((0, 0), (0, 45)))
    assert matrix_entropy(wide)[1] == pytest.approx(math.log(10))


@pytest.mark.parametrize(
    "frames",
    [np.ones((1, 8)), np.zeros((20, 8)), np.full((20, 8), 0.1), np.zeros((0, 8))],
    ids=["one frame", "zeros", "constant", "no frame"],
)
def test_entropy_needs_two_different_frames(frames):
    _, values = run(ANALYSES["entropy"](), batch(["a"], [frames[None].astype("f4")]))
    assert np.isnan(values).all()


def test_entropy_of_one_dimension_has_no_normalised_value(rng):
    _, values = run(ANALYSES["entropy"](), batch(["a"], [rng.standard_normal((1, 9, 1))]))
    assert np.isnan(values[0, 0, 0])
    assert values[0, 1:, 0] == pytest.approx([0.0, 1.0], abs=1e-9)


# Curvature


def curvature(frames):
    _, values = run(ANALYSES["curvature"](), batch(["a"], [np.asarray(frames)[None]]))
    return values[0, :, 0]


def test_curvature_of_a_line_is_zero(rng):
    line = np.arange(50)[:, None] * rng.standard_normal(30) + rng.standard_normal(30)
    assert curvature(line) == pytest.approx([0, 0], abs=1e-6)
    assert curvature(line.astype("f4")) == pytest.approx([0, 0], abs=1e-4)


def test_curvature_of_a_zigzag_is_pi_and_folds_to_zero(rng):
    frames = (np.arange(50) % 2)[:, None] * rng.standard_normal(30)
    assert curvature(frames) == pytest.approx([math.pi, 0], abs=1e-6)


def test_curvature_of_a_polygon_is_its_turn():
    angle = 2 * math.pi * np.arange(200) / 7
    assert curvature(np.stack([np.cos(angle), np.sin(angle)], axis=1)) == pytest.approx(
        [2 * math.pi / 7] * 2
    )


def test_curvature_of_a_random_walk_is_a_right_angle(rng):
    walk = np.cumsum(rng.standard_normal((400, 3000)), axis=0)
    signed, folded = curvature(walk.astype("f4"))
    assert signed == pytest.approx(math.pi / 2, abs=0.005)
    assert folded < signed


def test_curvature_of_independent_frames_is_two_thirds_of_pi(rng):
    signed, folded = curvature(rng.standard_normal((400, 3000)).astype("f4"))
    assert signed == pytest.approx(2 * math.pi / 3, abs=0.005)
    assert folded == pytest.approx(math.pi / 3, abs=0.005)


def test_curvature_against_a_loop(rng):
    frames = rng.standard_normal((30, 5)).astype("f4")
    angles = []
    for t in range(28):
        a = frames[t + 1].astype(float) - frames[t]
        b = frames[t + 2].astype(float) - frames[t + 1]
        angles.append(math.acos(a @ b / math.sqrt((a @ a) * (b @ b))))
    expected = [np.mean(angles), np.mean([min(x, math.pi - x) for x in angles])]
    assert curvature(frames) == pytest.approx(expected, rel=1e-9)


def test_standing_still_is_left_out(rng):
    frames = rng.standard_normal((20, 6))
    paused = np.concatenate([frames[:10], frames[9:10], frames[9:]])  # two steps of length zero
    angles = turning_angles(paused)
    expected = turning_angles(frames)
    assert len(angles) == len(expected) - 1  # the turn across the pause is not defined
    np.testing.assert_allclose(angles, np.delete(expected, 8))


@pytest.mark.parametrize("frames", [np.zeros((0, 4)), np.ones((2, 4)), np.ones((30, 4))])
def test_curvature_needs_three_different_frames(frames):
    assert np.isnan(curvature(frames)).all()
