"""Insights against closed forms: constructed arrays whose moments are known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from insidessl_dash.dashboard.figures.insights import Course, Insight, course, insights

UPDATES = (0, 1, 2, 4)
LAYERS = [str(index) for index in range(11)]  # depth 0, 10, ..., 100: layers 0 to 4 are shallow


def run(*rows: tuple[float, float], updates: tuple[int, ...] = UPDATES) -> Course:
    """A run whose shallow layers all have one value and whose deep layers another."""
    values = np.array([[s if k <= 4 else d for k in range(11)] for s, d in rows])
    found = course(values, updates, LAYERS)
    assert found
    return found


def cards(found: Course, lens: str = "curvature", measure: str = "folded") -> dict[str, Insight]:
    return {card.name: card for card in insights(found, lens, measure, "rad")}


PAPER = run((1.16, 1.16), (1.42, 1.42), (1.40, 1.20), (1.40, 1.18))


def test_the_moments_are_means_over_their_layers() -> None:
    found = run((1.0, 1.0), (2.0, 3.0), (1.5, 1.0), (1.5, 0.5))
    np.testing.assert_allclose(found.mean, [1.0, (5 * 2 + 6 * 3) / 11, (7.5 + 6) / 11, 10.5 / 11])
    assert found.shallow == (1.0, 2.0, 1.5, 1.5)
    assert found.deep == (1.0, 3.0, 1.0, 0.5)
    assert (found.peak, found.deep_peak) == (1, 1)
    assert found.gaps == (0.0, 1.0)
    assert found.kept == 0.5
    assert found.deep_drop == 2.5
    assert found.highest == (3.0, 1, "5")


def test_forty_percent_is_shallow_and_what_is_beyond_is_deep() -> None:
    values = np.zeros((1, 11))
    values[0, 4] = 5.0
    found = course(values, (0,), LAYERS)
    assert found
    assert found.shallow == (1.0,)
    assert found.deep == (0.0,)


def test_the_first_of_equal_maxima_counts() -> None:
    assert run((1, 1), (2, 2), (2, 2), (1, 1)).peak == 1


def test_the_first_maximum_is_before_the_first_fall_and_a_later_higher_one_is_said() -> None:
    found = run((1, 1), (1.1, 1.1), (0.9, 0.9), (1.3, 1.3))
    assert found.peak == 1
    said = cards(found)["surge"].sentences[0]
    assert "1.100 rad at update 1, its first maximum (+10.0%)" in said
    assert "Later it is higher: 1.300 at update 4" in said


def test_a_rise_that_lasts_to_the_end_is_no_maximum() -> None:
    said = cards(run((1, 1), (1.1, 1.1), (1.2, 1.2), (1.3, 1.3)))["surge"].sentences[0]
    assert "1.300 rad at update 4, the end (+30.0%)" in said


def test_rounding_is_no_rise() -> None:
    found = run((1, 1), (1.0001, 1.0001), (0.8, 0.8), (0.7, 0.7))
    assert found.peak == 0
    assert "does not rise above it" in cards(found)["surge"].sentences[0]


def test_two_frame_rates_are_not_judged() -> None:
    values = np.array([[1.0] * 11, [1.4] * 11, [1.1] * 11, [1.0] * 11])
    rates = [50.0] * 5 + [25.0] * 3 + [50.0] * 2 + [0.0]
    found = course(values, UPDATES, LAYERS, rates)
    assert found
    judged = cards(found)
    assert {card.holds for card in judged.values()} == {None}
    assert all("2 frame rates" in card.why for card in judged.values())


def test_a_layer_that_is_undefined_once_is_left_out_throughout() -> None:
    values = np.ones((2, 11))
    values[0, 0] = np.nan
    values[1, 0] = 99.0
    found = course(values, (0, 1), LAYERS)
    assert found
    assert found.mean == (1.0, 1.0)
    assert found.highest[0] == 1.0


@pytest.mark.parametrize("layers", [1, 0])
def test_one_layer_is_no_course(layers: int) -> None:
    assert course(np.ones((2, layers)), (0, 1), [str(i) for i in range(layers)]) is None


def test_the_papers_own_numbers_are_as_in_the_paper() -> None:
    found = cards(PAPER)
    assert [card.holds for card in found.values()] == [True, True, True]
    assert "1.160 at initialisation to 1.420 rad at update 1" in found["surge"].sentences[0]
    assert "+22.4%" in found["surge"].sentences[0]
    assert "1.16" in found["surge"].paper
    assert "1.42" in found["surge"].paper
    assert found["relaxation"].value == "−0.240"
    assert found["separation"].value == "+0.220"


@pytest.mark.parametrize(
    ("rows", "holds"),
    [
        (((1, 1), (1.049, 1.049), (1, 1), (1, 1)), False),
        (((1, 1), (1.051, 1.051), (1, 1), (1, 1)), True),
        (((1, 1), (0.9, 0.9), (0.8, 0.8), (0.7, 0.7)), False),
    ],
)
def test_a_surge_is_a_rise_of_five_percent(rows: tuple, holds: bool) -> None:
    assert cards(run(*rows))["surge"].holds is holds


@pytest.mark.parametrize(
    ("end", "holds"),
    [
        ((1.2, 1.0), True),
        ((1.09, 0.9), False),  # far apart, but the shallow layers lost more than half of their rise
        ((1.2, 1.19), False),  # high, but together
        ((0.9, 0.7), False),  # apart, below where they began
        ((1.0, 1.2), False),  # the other way round
    ],
)
def test_separation_is_apart_and_still_high(end: tuple[float, float], holds: bool) -> None:
    card = cards(run((1, 1), (1.2, 1.2), (1.2, 1.1), end))["separation"]
    assert card.holds is holds


def test_a_gap_that_was_there_from_the_start_is_no_separation() -> None:
    assert cards(run((1.3, 1.0), (1.6, 1.5), (1.5, 1.3), (1.5, 1.3)))["separation"].holds is False


@pytest.mark.parametrize(
    ("rows", "holds"),
    [
        (((1, 1), (1.2, 1.2), (1.2, 1.2), (1.2, 1.09)), True),
        (((1, 1), (1.2, 1.2), (1.2, 1.2), (1.2, 1.11)), False),
        (((1, 1), (1.0, 1.04), (1.0, 1.0), (1.0, 0.5)), False),
    ],
)
def test_relaxation_loses_half_of_a_rise(rows: tuple, holds: bool) -> None:
    assert cards(run(*rows))["relaxation"].holds is holds


@pytest.mark.parametrize("updates", [(1, 2, 4, 8), (10, 20, 30, 40)])
def test_without_initialisation_nothing_is_judged(updates: tuple[int, ...]) -> None:
    found = run((1.16, 1.16), (1.42, 1.42), (1.4, 1.2), (1.4, 1.1), updates=updates)
    for card in cards(found).values():
        assert card.holds is None
        assert "no checkpoint at initialisation" in card.why


def test_two_checkpoints_tell_no_course() -> None:
    found = run((1.16, 1.16), (1.42, 1.42), updates=(0, 1))
    assert {card.holds for card in cards(found).values()} == {None}


@pytest.mark.parametrize("lens", ["entropy", "invariance"])
def test_other_lenses_have_numbers_and_no_judgement(lens: str) -> None:
    for card in cards(PAPER, lens, "normalised").values():
        assert card.sentences
        assert (card.paper, card.holds, card.why) == ("", None, "")


def test_the_signed_reading_says_that_the_paper_means_the_other() -> None:
    assert "folded reading" in cards(PAPER, measure="signed")["surge"].why
    assert "folded reading" not in cards(PAPER)["surge"].why


def test_no_number_is_a_negative_zero() -> None:
    found = cards(run((1, 1), (1.1, 1.1), (1, 1), (0.99999, 1.00001)))
    assert "−0.000" not in " ".join(s for card in found.values() for s in card.sentences)
    assert found["separation"].value == "0.000"
