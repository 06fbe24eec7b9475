"""The equal error rate, by hand and against scikit-learn; trial lists; a model from end to end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_curve
from typer.testing import CliRunner

from insidessl_dash.analyses.verification import (
    VerificationConfig,
    draw_trials,
    equal_error_rate,
    unit_mean,
    verify,
)
from insidessl_dash.cli.main import app
from insidessl_dash.core.errors import AudioError, CorpusError
from insidessl_dash.core.registry import registry
from insidessl_dash.core.types import Utterance
from insidessl_dash.corpora.manifest import open_corpus
from insidessl_dash.encoders import load_encoder
from insidessl_dash.engine.verification import verify_speakers
from insidessl_dash.results.schema import Result


def utterances(speakers: dict[str, int], corpus: str = "c") -> list[Utterance]:
    return [
        Utterance(id=f"{corpus}-{who}-{i}", path=Path("x"), corpus=corpus, speaker=who)
        for who, count in speakers.items()
        for i in range(count)
    ]


def by_scikit_learn(scores: np.ndarray, same: np.ndarray, weights: np.ndarray | None = None):
    """Where the ROC of scikit-learn, as straight pieces, crosses the line of equal errors."""
    accepted, found, _ = roc_curve(same, scores, sample_weight=weights, drop_intermediate=False)
    gap = (1 - found) - accepted
    after = np.flatnonzero(gap <= 0)[0]
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return accepted[after - 1] + share * (accepted[after] - accepted[after - 1])


# -- the equal error rate -----------------------------------------------------------------------


def rate(same: list[float], different: list[float]) -> float:
    scores = np.array([*same, *different])
    return equal_error_rate(scores, np.arange(len(scores)) < len(same))


def test_by_hand() -> None:
    assert rate([3, 4, 5], [0, 1, 2]) == 0
    assert rate([0, 1, 2], [3, 4, 5]) == 1
    # At any threshold in (1, 2] one of four same is refused, and one of four others accepted.
    assert rate([1, 5, 6, 7], [0, 0.5, 0.7, 2]) == pytest.approx(0.25)
    # One same under all others: refused 1/2 from there on, accepted 1, 2/3, 1/3, 0: they meet
    # on the straight piece from (2/3, 1/2) to (1/3, 1/2), whose refusals are 1/2 throughout.
    assert rate([0, 9], [1, 2, 3]) == pytest.approx(0.5)
    # All tied: one straight piece from (1, 0) to (0, 1).
    assert rate([1, 1], [1, 1, 1]) == pytest.approx(0.5)


@pytest.mark.parametrize("digits", [1, 9])
def test_against_scikit_learn(digits: int) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        same = rng.random(150) < 0.4
        scores = np.round(rng.standard_normal(150) + same, digits)  # one digit: many ties
        weights = rng.integers(0, 3, 150).astype(float)
        assert equal_error_rate(scores, same) == pytest.approx(by_scikit_learn(scores, same))
        assert equal_error_rate(scores, same, weights) == pytest.approx(
            by_scikit_learn(scores, same, weights)
        )


def test_a_weight_is_a_repetition() -> None:
    rng = np.random.default_rng(4)
    same = np.arange(40) % 2 == 0
    scores, weights = rng.standard_normal(40) + same, rng.integers(0, 4, 40)
    repeated = np.repeat(np.arange(40), weights)
    assert equal_error_rate(scores, same, weights.astype(float)) == pytest.approx(
        equal_error_rate(scores[repeated], same[repeated])
    )


def test_what_has_no_rate() -> None:
    both = np.array([True, False])
    assert np.isnan(equal_error_rate(np.array([1.0, np.nan]), both))
    assert np.isnan(equal_error_rate(np.array([1.0, 2.0]), np.array([True, True])))
    assert np.isnan(equal_error_rate(np.array([1.0, 2.0]), both, np.array([0.0, 1.0])))


def test_the_interval_is_over_speakers() -> None:
    people = utterances({f"s{i}": 6 for i in range(12)})
    trials = draw_trials(people, 200, seed=0)
    speakers = [u.speaker or "" for u in people]
    rng = np.random.default_rng(5)
    noise = rng.standard_normal(len(trials.same))
    scores = np.stack([noise + 1.5 * trials.same, np.full_like(noise, np.nan)], axis=1)
    one, again = (verify(scores, trials, speakers, resamples=300) for _ in range(2))
    assert one == again
    assert one.eer[1] is None
    assert one.ci95[1] is None
    low, high = one.ci95[0]
    assert low < one.eer[0] < high
    # A speaker that is confused with itself alone widens it: its trials come and go together.
    hard = np.array([speakers[place] == "s0" for place in trials.first]) & trials.same
    wide = verify(np.where(hard, -9, scores[:, 0])[:, None], trials, speakers, resamples=300)
    assert wide.ci95[0][1] - wide.ci95[0][0] > high - low


# -- trial lists ----------------------------------------------------------------------------------


def test_trials_are_balanced_distinct_and_within_a_corpus() -> None:
    people = [*utterances({"a": 5, "b": 4, "c": 1}), *utterances({"a": 3, "d": 3}, "other")]
    trials = draw_trials(people, 200, seed=1)
    assert trials.same.sum() == 10 + 6 + 3 + 3  # every pair of a speaker in a corpus
    assert (~trials.same).sum() == 22
    pairs = {frozenset(pair) for pair in zip(trials.first, trials.second, strict=True)}
    assert len(pairs) == 44
    assert all(len(pair) == 2 for pair in pairs)
    for first, second, same in zip(*trials, strict=True):
        one, other = people[first], people[second]
        assert one.corpus == other.corpus
        assert (one.speaker == other.speaker) == same
    assert "c" not in {people[place].speaker for place in trials.first}, "has one utterance only"


def test_trials_follow_from_ids_and_seed() -> None:
    people = utterances({"a": 8, "b": 8, "c": 8})

    def drawn(of: list[Utterance], seed: int) -> set[frozenset[str]]:
        trials = draw_trials(of, 10, seed)
        assert trials.same.sum() == 30
        return {
            frozenset((of[a].id, of[b].id))
            for a, b in zip(trials.first, trials.second, strict=True)
        }

    assert drawn(people, 0) == drawn(people[::-1], 0)
    assert drawn(people, 0) != drawn(people, 1)


def test_fewer_pairs_of_two_speakers_than_wanted_are_all_taken() -> None:
    trials = draw_trials(utterances({"a": 9, "b": 2}), 200, seed=0)
    assert (trials.same.sum(), (~trials.same).sum()) == (37, 18)


def test_what_makes_no_trials() -> None:
    with pytest.raises(CorpusError, match="at least two speakers"):
        draw_trials(utterances({"a": 5, "b": 1}), 200, seed=0)
    with pytest.raises(CorpusError, match="at least two speakers"):
        draw_trials([*utterances({"a": 2}), *utterances({"b": 2}, "other")], 200, seed=0)
    nobody = [replace(u, speaker=None) for u in utterances({"a": 2})]
    with pytest.raises(CorpusError, match="'c-a-0' has no speaker"):
        draw_trials(nobody, 200, seed=0)


def test_a_mean_that_is_rounding_has_no_direction() -> None:
    frames = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32) + 3
    assert unit_mean(frames) == pytest.approx(
        frames.mean(axis=0) / np.linalg.norm(frames.mean(axis=0)), abs=1e-6
    )
    assert np.isnan(unit_mean(frames - frames.mean(axis=0))).all()
    assert np.isnan(unit_mean(np.zeros((3, 4)))).all()


# -- a model ------------------------------------------------------------------------------------


def test_a_result_from_end_to_end(folder: Path) -> None:
    corpus = open_corpus(folder)
    result, values = verify_speakers(registry().get("melspec"), corpus)
    assert (result.lens, result.primary) == ("verification", "eer")
    assert (result.config["trials_same"], result.config["trials_different"]) == (3, 3)
    assert result.corpus.speakers == 3
    curve = result.curve()
    assert "6 trials, 3 of them of one speaker; 3 speakers" in curve.note
    # The same by hand from the encoder's own output.
    encoder = load_encoder("melspec", device="cpu")
    import torch

    from insidessl_dash.audio.decode import load

    means = []
    for utterance in corpus.utterances:
        mel = encoder(torch.from_numpy(load(utterance.path).samples)[None])[0][0].double()
        means.append((mel.mean(dim=0) / mel.mean(dim=0).norm()).numpy())
    trials = draw_trials(corpus.utterances, VerificationConfig().pairs_per_speaker, 0)
    scores = np.array([means[a] @ means[b] for a, b in zip(*trials[:2], strict=True)])
    assert curve.mean[0] == pytest.approx(equal_error_rate(scores, trials.same))
    assert result.curve("same").mean[0] == pytest.approx(scores[trials.same].mean())
    assert values.ids == [f"u{i}" for i in range(6)]
    again, _ = verify_speakers(registry().get("melspec"), corpus)
    assert again.key == result.key
    assert verify_speakers(registry().get("melspec"), corpus, seed=1)[0].key != result.key


def test_a_file_that_cannot_be_read_leaves_its_trials_out(folder: Path) -> None:
    (folder / "u5.wav").write_bytes(b"RIFF")
    result, values = verify_speakers(registry().get("melspec"), open_corpus(folder))
    assert "u5" not in values.ids
    assert [u.id for u in result.utterances if u.error] == ["u5"]
    assert result.config["trials_same"] == 2
    for index in range(2):
        (folder / f"u{index}.wav").write_bytes(b"RIFF")
    (folder / "u2.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match="too few"):
        verify_speakers(registry().get("melspec"), open_corpus(folder))


def test_the_command_writes_a_result(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    words = ["verification", "--corpus", str(folder), "--model", "melspec", "--out", str(target)]
    held_out = CliRunner().invoke(app, words)
    assert "none of the speakers that hubert-nano held out" in str(held_out.exception)
    done = CliRunner().invoke(app, [*words, "--all-speakers"])
    assert done.exit_code == 0, done.output
    result = Result.model_validate_json(
        (target / "corpus" / "melspec__verification.json").read_bytes()
    )
    assert result.provenance.command == (
        f"insidessl-dash verification --corpus {folder} --model melspec --all-speakers"
    )
    assert json.loads(result.model_dump_json())["measures"]["eer"]["mean"][0] is not None
