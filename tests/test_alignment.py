"""Phone alignment: with the real aligner on shipped speech, and the file around it with a fake."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from insidessl_dash.audio.decode import load
from insidessl_dash.core.errors import ConfigError, CorpusError
from insidessl_dash.corpora.alignment import (
    PHONES,
    SILENCE,
    Aligner,
    Segment,
    align_corpus,
    label_at,
    read_alignment,
)
from insidessl_dash.corpora.known import known_corpus
from insidessl_dash.corpora.manifest import Corpus, open_corpus

VOWELS = {"AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"}


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return Aligner()


@pytest.fixture
def utterances():
    from insidessl_dash.core.settings import settings

    return known_corpus("demo", settings()).utterances


def spoken(segments: list[Segment]) -> list[str]:
    return [segment.phone for segment in segments if segment.phone != SILENCE]


def test_segments_cover_the_utterance_in_order(aligner, utterances) -> None:
    samples = load(utterances[0].path).samples
    segments = aligner.align(samples, utterances[0])
    assert segments[0].start == 0
    assert segments[-1].end == pytest.approx(len(samples) / 16_000, abs=1e-4)
    for before, after in pairwise(segments):
        assert before.start < before.end == after.start
        assert (before.phone, after.phone) != (SILENCE, SILENCE)
    assert set(spoken(segments)) <= set(PHONES)
    assert re.match(r"(HH )?W (EH|IH) N DH (AH|IY) K EH T ", " ".join(spoken(segments)))


def test_vowels_are_where_the_energy_is(aligner, utterances) -> None:
    samples = load(utterances[0].path).samples
    segments = aligner.align(samples, utterances[0])

    def level(chosen: set[str]) -> float:
        cut = [samples[int(s.start * 16_000) : int(s.end * 16_000)] for s in segments
               if s.phone in chosen]  # fmt: skip
        return float(10 * np.log10(np.mean(np.concatenate(cut) ** 2)))

    assert level(VOWELS) > level({SILENCE}) + 20
    assert level(VOWELS) > level({"S", "F", "TH", "T", "P", "K", "HH"}) + 3


def test_an_alignment_does_not_depend_on_what_came_before(aligner, utterances) -> None:
    first, second = utterances[1], utterances[6]
    aligner.align(load(second.path).samples, second)
    after = aligner.align(load(first.path).samples, first)
    assert after == Aligner().align(load(first.path).samples, first)


def test_given_phones_are_used_without_their_stress(aligner, utterances) -> None:
    phones = [[p] for p in aligned_phones(aligner, utterances[0])]
    words = tuple({"word": "X", "phones": [f"{p}1" if p in VOWELS else p for p in row]}
                  for row in phones)  # fmt: skip
    given = replace(utterances[0], words=words, text="something else")
    found = aligner.align(load(given.path).samples, given)
    assert spoken(found) == [row[0] for row in phones]


def aligned_phones(aligner, utterance) -> list[str]:
    return spoken(aligner.align(load(utterance.path).samples, utterance))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"text": None}, "no transcript"),
        ({"text": " ... "}, "no transcript"),
        ({"text": "when the xqzzy finally"}, "'xqzzy'"),
        ({"words": ({"word": "A", "phones": ["AH0", "Q9"]},)}, "'Q'"),
        ({"words": ({"word": "A", "phones": []},)}, "'A'"),
        ({"words": ({"word": "LONG", "phones": ["L", "AO", "NG"] * 400},)}, "does not fit"),
    ],
)
def test_what_cannot_be_aligned_says_why(aligner, utterances, fields, why) -> None:
    with pytest.raises(CorpusError, match=why):
        aligner.align(load(utterances[0].path).samples, replace(utterances[0], **fields))


def test_a_missing_aligner_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(ConfigError, match=r"pip install 'insidessl-dash\[align\]'"):
        Aligner()


def test_a_beam_of_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="beam"):
        Aligner(beam=1.0)


def test_labels_at_times() -> None:
    segments = [Segment("SIL", 0.0, 0.1), Segment("AA", 0.1, 0.3), Segment("T", 0.3, 0.4)]
    found = label_at(segments, np.array([0.0, 0.0999, 0.1, 0.2, 0.3, 9.0]))
    assert list(found) == ["SIL", "SIL", "AA", "AA", "T", "T"]


class FakeAligner:
    """One segment an utterance; counts its calls, and cannot align u4."""

    name = "fake 1.0"

    def __init__(self, **settings: object) -> None:
        self.settings, self.calls = settings, []

    def align(self, samples, utterance):
        self.calls.append(utterance.id)
        if utterance.id == "u4":
            raise CorpusError(f"no pronunciation of {utterance.id!r} is known")
        return [Segment("AA", 0.0, round(len(samples) / 16_000, 4))]


@pytest.fixture
def corpus(folder: Path) -> Corpus:
    return open_corpus(folder)


def test_the_file_lists_every_utterance_and_counts_failures(corpus, tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    found = align_corpus(corpus, path, aligner=FakeAligner())
    assert sorted(found.phones) == ["u0", "u1", "u2", "u3", "u5"]
    assert found.errors == {"u4": "no pronunciation of 'u4' is known"}
    assert found.header["failures"] == {"no pronunciation of ... is known": 1}
    assert (found.header["aligned"], found.header["utterances"]) == (5, 6)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row.get("id") for row in rows] == [None, "u0", "u1", "u2", "u3", "u4", "u5"]
    assert read_alignment(path).digest() == found.digest()
    assert found.phones["u1"] == [Segment("AA", 0.0, 0.85)]


def test_an_interrupted_run_goes_on_where_it_stopped(corpus, tmp_path) -> None:
    path, whole = tmp_path / "a.jsonl", tmp_path / "whole.jsonl"
    align_corpus(corpus, whole, aligner=FakeAligner())

    def stop(step: str, completed: float, total: float) -> None:
        if completed == 3:
            raise KeyboardInterrupt

    first = FakeAligner()
    with pytest.raises(KeyboardInterrupt):
        align_corpus(corpus, path, aligner=first, progress=stop)
    assert first.calls == ["u0", "u1", "u2"]
    assert not path.exists()
    journal = tmp_path / "a.jsonl.part"
    journal.write_text(journal.read_text()[:-20])  # cut off within the line of u2
    second = FakeAligner()
    align_corpus(corpus, path, aligner=second)
    assert second.calls == ["u2", "u3", "u4", "u5"]
    assert path.read_bytes() == whole.read_bytes()
    assert not journal.exists()


def test_only_what_changed_is_aligned_again(corpus, tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    before = align_corpus(corpus, path, aligner=FakeAligner(beam=1))
    again = FakeAligner(beam=1)
    assert align_corpus(corpus, path, aligner=again).digest() == before.digest()
    assert again.calls == []
    text = replace(corpus.utterances[2], text="new words")
    changed = replace(corpus, utterances=(*corpus.utterances[:2], text, *corpus.utterances[3:]))
    again = FakeAligner(beam=1)
    align_corpus(changed, path, aligner=again)
    assert again.calls == ["u2"]
    other = FakeAligner(beam=2)
    assert align_corpus(changed, path, aligner=other).digest() != before.digest()
    assert len(other.calls) == 6


def test_an_unreadable_file_is_a_failure_of_its_own(corpus, tmp_path) -> None:
    corpus.utterances[0].path.write_bytes(b"not audio")
    corpus.utterances[1].path.unlink()
    found = align_corpus(corpus, tmp_path / "a.jsonl", aligner=FakeAligner())
    assert found.header["failures"]["unreadable"] == 2
    assert {"u0", "u1", "u4"} == set(found.errors)


def test_a_corpus_without_transcripts_is_refused(corpus, tmp_path, aligner) -> None:
    with pytest.raises(CorpusError, match=r"No utterance .* no transcript"):
        align_corpus(corpus, tmp_path / "a.jsonl", aligner=aligner)


@pytest.mark.parametrize(
    "text", ["", "{}\n", "not json\n", '{"format": "phone alignment", "version": 99}\n']
)
def test_another_file_is_not_an_alignment(tmp_path, text) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(CorpusError, match="data align"):
        read_alignment(path)
    with pytest.raises(CorpusError, match="data align"):
        read_alignment(tmp_path / "absent.jsonl")
