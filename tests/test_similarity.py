"""Similarity of two versions of a layer: closed forms, and a plain version of each formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

from insidessl_dash.analyses.similarity import Similarity, debiased_cka, similarity
from insidessl_dash.core.lab import MEASURES


def frames(rows: int = 60, width: int = 12, seed: int = 0, offset: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width)) + offset


def rotation(width: int, seed: int = 1) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))[0]


def plain(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Every measure as its definition says it, frame by frame."""

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / math.sqrt((a @ a) * (b @ b)))

    def hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
        n, one = len(k), np.ones(len(k))
        k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
        return (
            np.trace(k @ l)
            + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (one @ k @ l @ one)
        ) / (n * (n - 3))

    mu = x.mean(axis=0)
    k, l = x @ x.T, y @ y.T  # noqa: E741
    return {
        "frames": float(np.mean([cosine(a, b) for a, b in zip(x, y, strict=True)])),
        "centred": float(np.mean([cosine(a - mu, b - mu) for a, b in zip(x, y, strict=True)])),
        "means": cosine(mu, y.mean(axis=0)),
        "cka": hsic(k, l) / math.sqrt(hsic(k, k) * hsic(l, l)),
    }


@pytest.mark.parametrize(("rows", "width"), [(60, 12), (20, 80)])
def test_every_measure_is_its_definition(rows: int, width: int) -> None:
    x = frames(rows, width, offset=2.0)
    y = 0.7 * x + 0.5 * frames(rows, width, seed=5)
    found = similarity(x.astype(np.float32), y.astype(np.float32))
    for name, value in plain(x, y).items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-5), name


def test_the_same_is_one_and_the_opposite_minus_one() -> None:
    x = frames()
    same = similarity(x, x.copy())
    for info in MEASURES:
        assert getattr(same, info.name) == pytest.approx(1), info.name
    x -= x.mean(axis=0)
    x[0] += 1e-3  # a mean that has a direction
    opposite = similarity(x, -x)
    assert opposite.frames == pytest.approx(-1)
    assert opposite.centred == pytest.approx(-1, abs=1e-3)
    assert opposite.means == pytest.approx(-1)
    assert opposite.cka == pytest.approx(1)


def test_a_common_direction_makes_plain_cosines_high_and_centred_ones_not() -> None:
    x, y = frames(200, offset=20.0), frames(200, seed=9, offset=20.0)
    found = similarity(x, y)
    assert found.frames > 0.99
    assert found.means > 0.999
    assert abs(found.centred) < 0.1
    assert abs(found.cka) < 0.1


def test_noise_of_the_same_size_leaves_a_cosine_of_one_over_root_two() -> None:
    x = frames(400, 300)
    found = similarity(x, x + frames(400, 300, seed=3))
    assert found.centred == pytest.approx(1 / math.sqrt(2), abs=0.01)
    assert found.frames == pytest.approx(1 / math.sqrt(2), abs=0.01)


def test_cka_ignores_rotation_and_scale_and_few_frames() -> None:
    x = frames(40, 16)
    assert debiased_cka(x, 3 * x @ rotation(16)) == pytest.approx(1)
    pairs = [(frames(30, 400, seed=s), frames(30, 400, seed=100 + s)) for s in range(20)]
    assert min(biased_cka(*pair) for pair in pairs) > 0.85  # why the plain estimate is not taken
    values = [debiased_cka(*pair) for pair in pairs]
    assert abs(np.mean(values)) < 0.03
    assert np.std(values) < 0.1


def biased_cka(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    norm = np.linalg.norm
    return float(norm(x.T @ y) ** 2 / (norm(x.T @ x) * norm(y.T @ y)))


def test_other_durations_leave_only_the_means() -> None:
    x = frames(60, offset=1.0)
    found = similarity(x, x[::2])
    assert math.isnan(found.frames)
    assert math.isnan(found.centred)
    assert math.isnan(found.cka)
    expected = x.mean(0) @ x[::2].mean(0)
    expected /= np.linalg.norm(x.mean(0)) * np.linalg.norm(x[::2].mean(0))
    assert found.means == pytest.approx(expected)


def test_what_has_no_direction_is_not_defined() -> None:
    still = np.ones((20, 4), dtype=np.float32)
    found = similarity(still, still)
    assert found.frames == pytest.approx(1)
    assert math.isnan(found.centred)
    assert math.isnan(found.cka)
    silent = similarity(frames(20, 4), np.zeros((20, 4)))
    assert all(math.isnan(getattr(silent, name)) for name in ("frames", "means", "cka"))
    half = frames(20, 4, offset=1.0)
    masked = half.copy()
    masked[:10] = 0.0
    assert similarity(half, masked).frames == pytest.approx(1)  # over the frames that have one
    one = similarity(np.ones((1, 3)), np.ones((1, 3)))
    assert (one.frames, one.means) == (pytest.approx(1), pytest.approx(1))
    assert math.isnan(one.cka)


def test_the_description_and_the_numbers_name_the_same() -> None:
    assert {info.name for info in MEASURES} == set(Similarity.__dataclass_fields__)
    with pytest.raises(ValueError, match="not frames of one layer"):
        similarity(np.ones((3, 2)), np.ones((3, 4)))
