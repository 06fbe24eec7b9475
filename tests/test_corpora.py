"""Manifests, folders, and corpora by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from insidessl_dash.core.errors import ConfigError, ConflictError, CorpusError, NotFoundError
from insidessl_dash.core.settings import Settings
from insidessl_dash.corpora import known
from insidessl_dash.corpora.known import add_corpus, known_corpora, known_corpus, remove_corpus
from insidessl_dash.corpora.manifest import open_corpus


def write_manifest(folder: Path, *rows: dict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def settings(home: Path, tmp_path: Path) -> Settings:
    return Settings(home=home, precomputed=tmp_path / "precomputed")


# -- opening ------------------------------------------------------------------------------------


def test_manifest(tmp_path: Path) -> None:
    words = [{"word": "ONE", "phones": ["W", "AH1", "N"]}]
    path = write_manifest(
        tmp_path,
        {"id": "a", "path": "x/a.flac", "speaker": "s1", "gender": "f", "age": 7, "text": "ONE",
         "words": words, "seconds": 1.5, "corpus": "c", "split": "test", "licence": "MIT",
         "something": "else"},
        {"id": "b", "path": "x/b.flac", "seconds": 2.0},
    )  # fmt: skip
    corpus = open_corpus(path, "mine")
    assert (corpus.name, corpus.seconds, corpus.licence) == ("mine", 3.5, "MIT")
    first, second = corpus.utterances
    assert first.path == tmp_path / "x/a.flac"
    assert first.words == tuple(words)
    assert (first.speaker, first.gender, first.age, first.text) == ("s1", "f", 7, "ONE")
    assert (second.speaker, second.split, second.words) == (None, "", None)
    assert open_corpus(tmp_path).utterances == corpus.utterances


def test_licences_are_joined(tmp_path: Path) -> None:
    rows = [{"id": str(i), "path": "a", "licence": x} for i, x in enumerate(["MIT", "CC0-1.0"])]
    assert open_corpus(write_manifest(tmp_path, *rows)).licence == "CC0-1.0 AND MIT"


def test_text_with_odd_line_ends_is_one_row(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, {"id": "a", "path": "a", "text": "one\u2028two\x85three"})
    assert open_corpus(path).utterances[0].text == "one\u2028two\x85three"


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.wav", "sub/a.FLAC", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    corpus = open_corpus(tmp_path)
    assert [utterance.id for utterance in corpus.utterances] == ["b", "sub/a"]
    assert all(utterance.path.is_absolute() for utterance in corpus.utterances)


def test_files_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.wav").write_bytes(b"x")
    corpus = open_corpus([tmp_path / "x" / "a.wav", tmp_path / "y" / "a.wav"])
    assert [utterance.id for utterance in corpus.utterances] == ["a", "a (2)"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 2: not a JSON object"),
        ("[]", r"line 2: not a JSON object: it is a list"),
        ("7", r"line 2: not a JSON object: it is a int"),
        ('{"path": "a.wav"}', r"line 2: field 'id' is missing"),
        ('{"id": "a"}', r"line 2: field 'path' is missing"),
        ('{"id": "a", "path": 7}', r"line 2"),
        ('{"id": "a", "path": "a", "words": 7}', r"line 2"),
        ('{"id": "a", "path": "a\\u0000.wav"}', r"manifest\.jsonl, line 2: field 'path'.*NUL"),
        ('{"id": "a", "path": "\\ud800.wav"}', r"line 2: "),
        ('{"id": "a", "path": ""}', r"line 2: field 'path'.*empty"),
        ('{"id": "", "path": "a"}', r"line 2: field 'id'.*empty"),
        ('{"id": "a", "path": "a", "seconds": "long"}', r"line 2: field 'seconds' is 'long'"),
        ('{"id": "a", "path": "a", "seconds": -1}', r"line 2: field 'seconds' is '-1'"),
        ('{"id": "a", "path": "a", "seconds": NaN}', r"line 2: field 'seconds'"),
        ('{"id": "a", "path": "a", "speaker": ["x"]}', r"line 2: field 'speaker'"),
        ('{"id": "0", "path": "a"}', r"line 2: the id '0' is that of line 1"),
        ("[" * 100_000, r"line 2: not a JSON object"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write_manifest(tmp_path, {"id": "0", "path": "0.wav"})
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(CorpusError, match=message):
        open_corpus(path)


def test_numbers_and_text_become_what_is_meant(tmp_path: Path) -> None:
    row = {"id": 7, "path": "a", "speaker": 12, "licence": 0, "seconds": "1.5", "text": 3}
    corpus = open_corpus(write_manifest(tmp_path, row))
    (utterance,) = corpus.utterances
    assert (utterance.id, utterance.speaker, utterance.text) == ("7", "12", "3")
    assert (utterance.seconds, corpus.seconds, corpus.licence) == (1.5, 1.5, "0")


def test_generated_names_do_not_collide(tmp_path: Path) -> None:
    for name in ("talk.mp3", "talk.wav", "talk (2).wav"):
        (tmp_path / name).write_bytes(b"x")
    ids = {u.path.name: u.id for u in open_corpus(tmp_path).utterances}
    assert ids == {"talk (2).wav": "talk (2)", "talk.mp3": "talk", "talk.wav": "talk (3)"}
    files = [tmp_path / "talk.wav", tmp_path / "talk.mp3", tmp_path / "talk (2).wav"]
    assert [u.id for u in open_corpus(files).utterances] == ["talk", "talk (3)", "talk (2)"]


@pytest.mark.parametrize("source", ["", "  ", ["a.wav", ""]])
def test_an_empty_path_is_not_the_current_folder(source: str | list[str]) -> None:
    with pytest.raises(CorpusError, match="empty path"):
        open_corpus(source)


def test_a_path_that_no_file_can_have(tmp_path: Path) -> None:
    for source in ("x" * 5000, "a\0b", "~nobody-of-this-name/x.wav"):
        with pytest.raises(CorpusError):
            open_corpus(source)


def test_what_is_no_corpus(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "\xe9"}')
    for path, message in {
        "gone": "no such file",
        "empty": "no audio file",
        "empty.jsonl": "no utterance",
        "latin.jsonl": "UTF-8",
    }.items():
        with pytest.raises(CorpusError, match=message):
            open_corpus(tmp_path / path)
    with pytest.raises(CorpusError, match="No audio given"):
        open_corpus([])


def test_an_empty_selection_is_no_corpus(folder: Path) -> None:
    corpus = open_corpus(folder)
    assert len(corpus.select(lambda u: u.speaker == "s1").utterances) == 2
    with pytest.raises(CorpusError, match="no utterance"):
        corpus.select(lambda u: False)


# -- by name ------------------------------------------------------------------------------------


def test_the_demo_corpus_ships() -> None:
    corpus = known_corpus("demo", Settings())
    assert len(corpus.utterances) == 40
    assert corpus.licence
    assert len({utterance.speaker for utterance in corpus.utterances}) >= 6
    assert {utterance.gender for utterance in corpus.utterances} == {"f", "m"}
    for utterance in corpus.utterances:
        info = soundfile.info(utterance.path)
        assert (info.samplerate, info.channels, info.format) == (16_000, 1, "FLAC")
        assert info.duration == pytest.approx(utterance.seconds, abs=0.01)
    assert 240 <= corpus.seconds <= 420


def test_what_is_downloaded_or_added_is_known(settings: Settings, folder: Path) -> None:
    assert known_corpora(settings) == []
    write_manifest(settings.precomputed / "demo", {"id": "a", "path": "a.wav", "seconds": 1})
    write_manifest(settings.home / "data" / "speechocean762", {"id": "a", "path": "a.wav"})
    write_manifest(settings.home / "data" / ".half.unpacking", {"id": "a", "path": "a.wav"})
    add_corpus("mine", folder, settings)
    cards = {card.name: card for card in known_corpora(settings)}
    assert {name: card.origin for name, card in cards.items()} == {
        "demo": "shipped",
        "speechocean762": "downloaded",
        "mine": "added",
    }
    assert cards["mine"].utterances == 6
    assert cards["mine"].speakers == 3
    assert cards["speechocean762"].licence == "CC-BY-4.0"
    assert cards["speechocean762"].seconds is None
    for name in cards:
        assert known_corpus(name, settings).name == name
    assert str(folder) not in "".join(card.model_dump_json() for card in cards.values())


def test_a_changed_manifest_is_read_again(settings: Settings, tmp_path: Path) -> None:
    write_manifest(tmp_path / "c", {"id": "a", "path": "a.wav"})
    add_corpus("mine", tmp_path / "c", settings)
    assert len(known_corpus("mine", settings).utterances) == 1
    write_manifest(tmp_path / "c", {"id": "a", "path": "a.wav"}, {"id": "b", "path": "b.wav"})
    assert len(known_corpus("mine", settings).utterances) == 2


def test_a_name_leads_nowhere(settings: Settings, folder: Path) -> None:
    add_corpus("mine", folder, settings)
    for name in ("other", "..", "../mine", "", "/etc"):
        with pytest.raises(NotFoundError, match="There are: mine"):
            known_corpus(name, settings)
    with pytest.raises(NotFoundError, match="insidessl-dash data get speechocean762"):
        known_corpus("speechocean762", settings)


def test_names_that_cannot_be_added(settings: Settings, folder: Path) -> None:
    write_manifest(settings.precomputed / "demo", {"id": "a", "path": "a.wav"})
    for name in ("demo", "speechocean762"):
        with pytest.raises(ConflictError, match="taken"):
            add_corpus(name, folder, settings)
    for name in ("", "Mine", "../x", "a b", "x" * 65):
        with pytest.raises(ConfigError, match="not a name"):
            add_corpus(name, folder, settings)
    with pytest.raises(CorpusError, match="no such file"):
        add_corpus("mine", folder / "gone", settings)
    assert not (settings.home / "corpora.json").exists()


def test_a_corpus_that_moved(
    settings: Settings, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_corpus("mine", folder, settings)
    folder.rename(folder.with_name("elsewhere"))
    assert known_corpora(settings) == []
    with pytest.raises(CorpusError, match="moved or is damaged") as caught:
        known_corpus("mine", settings)
    assert str(folder) not in str(caught.value)
    assert str(folder) in caplog.text
    add_corpus("mine", folder.with_name("elsewhere"), settings)
    assert len(known_corpus("mine", settings).utterances) == 6
    remove_corpus("mine", settings)
    with pytest.raises(NotFoundError):
        remove_corpus("mine", settings)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "\xff"])
def test_a_damaged_list_of_corpora_is_no_crash(settings: Settings, text: str) -> None:
    settings.home.mkdir()
    (settings.home / "corpora.json").write_text(text, encoding="latin-1")
    assert known_corpora(settings) == []


def test_a_folder_without_manifest_is_seen_as_it_is(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "talks").mkdir()
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / "talks" / name, np.zeros(1600), 16_000)
    add_corpus("talks", tmp_path / "talks", settings)
    (tmp_path / "talks" / "b.wav").unlink()
    assert [u.id for u in known_corpus("talks", settings).utterances] == ["a"]
    assert known._read.cache_info().maxsize == 16
