"""Downloads by name, against a server of this machine with tiny archives of the same layout."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from made_archives import LIBRISPEECH, SPEECHOCEAN, Mirror, tar

from insidessl_dash.core.errors import Cancelled, CorpusError, StorageError
from insidessl_dash.core.settings import Settings
from insidessl_dash.corpora import downloads
from insidessl_dash.corpora.downloads import DOWNLOADS, fetch
from insidessl_dash.corpora.known import known_corpora, known_corpus


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    with Mirror() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("INSIDESSL_OPENSLR", server.url)
        monkeypatch.setattr(downloads, "_PAUSE_S", 0.0)
        monkeypatch.setattr(downloads, "_CHUNK", 4096)
        for name in ("librispeech-test-clean", "speechocean762"):
            expect(monkeypatch, name, server.files[f"/{DOWNLOADS[name].file}"])
        yield server
        server.shutdown()


def expect(monkeypatch: pytest.MonkeyPatch, name: str, data: bytes) -> None:
    """Publish the digests of `data`, where this corpus has published ones."""
    item = DOWNLOADS[name]
    if item.md5 is not None:
        digests = {
            "md5": hashlib.md5(data).hexdigest(),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        item = replace(item, **digests)
    monkeypatch.setitem(DOWNLOADS, name, replace(item, bytes=len(data)))


def left(home: Path) -> set[str]:
    return {path.name for path in (home / "data").iterdir()}


def test_published_digests() -> None:
    """From md5sum.txt of OpenSLR 12; OpenSLR 101 publishes none."""
    assert {name: item.md5 for name, item in DOWNLOADS.items()} == {
        "speechocean762": None,
        "librispeech-test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
        "librispeech-dev-clean": "42e2234ba48799c1f50f24a7926300a1",
        "librispeech-train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    }


def test_librispeech(mirror: Mirror, home: Path) -> None:
    steps: list[tuple[str, float, float]] = []
    corpus = fetch("librispeech-test-clean", home, lambda *step: steps.append(step))
    assert [utterance.id for utterance in corpus.utterances] == [
        "1089-134686-0000", "1089-134686-0001", "121-121726-0000",
    ]  # fmt: skip
    first, _, third = corpus.utterances
    assert first.text == "HE HOPED THERE WOULD BE STEW FOR DINNER"
    assert (first.speaker, first.gender, first.seconds) == ("ls1089", "m", 1.5)
    assert (first.corpus, first.split, first.words) == ("librispeech", "test-clean", None)
    assert (third.speaker, third.gender) == ("ls121", "f")
    assert all(utterance.path.is_file() for utterance in corpus.utterances)
    assert corpus.licence == "CC-BY-4.0"
    assert left(home) == {"librispeech-test-clean"}
    source = json.loads((home / "data" / "librispeech-test-clean" / "SOURCE.json").read_text())
    assert source["sha256"] == hashlib.sha256(LIBRISPEECH).hexdigest()
    assert source["digest_published"] is True
    names = list(dict.fromkeys(step.split()[0] for step, _, _ in steps))
    assert names == ["downloading", "checking", "unpacking", "reading"]
    for _, completed, total in steps:
        assert 0 <= completed <= total
    assert steps[-1][1] == steps[-1][2] == 3
    settings = Settings(home=home, precomputed=home / "none")
    assert [card.name for card in known_corpora(settings)] == ["librispeech-test-clean"]
    assert known_corpus("librispeech-test-clean", settings) == corpus


def test_speechocean762(mirror: Mirror, home: Path) -> None:
    train, test = fetch("speechocean762", home).utterances
    assert (train.id, train.split, train.speaker) == ("000010011", "train", "so0001")
    assert (train.gender, train.age, train.text, train.seconds) == ("m", 6, "WE CALL", 0.5)
    assert train.words == (
        {"word": "WE", "phones": ["W", "IY0"]},
        {"word": "CALL", "phones": ["K", "AO0", "L"]},
    )
    assert (test.id, test.split, test.speaker) == ("000030012", "test", "so0003")
    assert (test.gender, test.age, test.text, test.words) == ("f", 34, "MARK IS GOING", None)
    source = json.loads((home / "data" / "speechocean762" / "SOURCE.json").read_text())
    assert source["digest_published"] is False
    assert source["sha256"] == hashlib.sha256(SPEECHOCEAN).hexdigest()


def test_the_same_fields_as_the_demo_corpus(mirror: Mirror, home: Path) -> None:
    demo = (Settings().precomputed / "demo" / "manifest.jsonl").read_text("utf-8").splitlines()[0]
    fields = {"id", "path", "corpus", "split", "speaker", "gender", "age", "text", "words"}
    fields |= {"seconds", "licence"}
    assert fields <= json.loads(demo).keys()
    for name in ("speechocean762", "librispeech-test-clean"):
        fetch(name, home)
        for line in (home / "data" / name / "manifest.jsonl").read_text("utf-8").splitlines():
            assert json.loads(line).keys() == fields


def test_what_is_here_is_not_fetched_again(mirror: Mirror, home: Path) -> None:
    corpus = fetch("librispeech-test-clean", home)
    assert fetch("librispeech-test-clean", home) == corpus
    assert len(mirror.requests) == 1


def test_a_broken_connection_is_taken_up(mirror: Mirror, home: Path) -> None:
    mirror.break_after = [10_000, 20_000]
    assert len(fetch("librispeech-test-clean", home).utterances) == 3
    assert [asked for _, asked in mirror.requests] == [None, "bytes=10000-", "bytes=30000-"]


def test_an_interrupted_download_is_resumed_later(mirror: Mirror, home: Path) -> None:
    def stop(step: str, completed: float, total: float) -> None:
        if completed > 20_000:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        fetch("librispeech-test-clean", home, stop)
    assert left(home) == {"librispeech-test-clean.tar.gz.part"}
    assert known_corpora(Settings(home=home, precomputed=home / "none")) == []
    assert len(fetch("librispeech-test-clean", home).utterances) == 3
    have = int(mirror.requests[1][1].removeprefix("bytes=").rstrip("-"))
    assert have >= 20_000
    assert left(home) == {"librispeech-test-clean"}


def test_a_server_without_range_sends_all_again(mirror: Mirror, home: Path) -> None:
    mirror.ranges = False
    mirror.break_after = [10_000]
    assert len(fetch("librispeech-test-clean", home).utterances) == 3


def test_a_part_that_is_whole_is_not_asked_for_more(mirror: Mirror, home: Path) -> None:
    (home / "data").mkdir(parents=True)
    (home / "data" / "librispeech-test-clean.tar.gz.part").write_bytes(LIBRISPEECH)
    assert len(fetch("librispeech-test-clean", home).utterances) == 3


def test_a_part_of_another_file_is_dropped(mirror: Mirror, home: Path) -> None:
    (home / "data").mkdir(parents=True)
    part = home / "data" / "librispeech-test-clean.tar.gz.part"
    part.write_bytes(LIBRISPEECH + b"more")
    assert len(fetch("librispeech-test-clean", home).utterances) == 3


def test_a_busy_server_is_asked_again(mirror: Mirror, home: Path) -> None:
    mirror.statuses = [503, 429, 500]
    assert len(fetch("librispeech-test-clean", home).utterances) == 3


def test_interrupted_for_good(mirror: Mirror, home: Path) -> None:
    mirror.break_after = [1000] * 9
    with pytest.raises(CorpusError, match="interrupted after") as caught:
        fetch("librispeech-test-clean", home)
    assert "insidessl-dash data get librispeech-test-clean" in str(caught.value)
    assert "\n" not in str(caught.value)
    mirror.break_after = []
    assert len(fetch("librispeech-test-clean", home).utterances) == 3


def test_no_network(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_PAUSE_S", 0.0)
    monkeypatch.setattr(downloads, "_check_space", lambda *_: None)
    with pytest.raises(CorpusError, match=r"Cannot reach .*INSIDESSL_OPENSLR") as caught:
        fetch("speechocean762", home, base_url="http://127.0.0.1:9")
    assert "\n" not in str(caught.value)
    assert left(home) == set()


def test_not_there(mirror: Mirror, home: Path) -> None:
    mirror.files.clear()
    with pytest.raises(CorpusError, match=r"answers 404 Not Found. Set INSIDESSL_OPENSLR"):
        fetch("speechocean762", home)
    assert left(home) == set()


def test_a_wrong_digest(mirror: Mirror, home: Path) -> None:
    changed = bytearray(LIBRISPEECH)
    changed[len(changed) // 2] ^= 1
    mirror.files["/12/test-clean.tar.gz"] = bytes(changed)
    with pytest.raises(CorpusError, match=r"md5 is .*, published is .* removed"):
        fetch("librispeech-test-clean", home)
    assert left(home) == set()
    mirror.files["/12/test-clean.tar.gz"] = LIBRISPEECH
    assert len(fetch("librispeech-test-clean", home).utterances) == 3


@pytest.mark.parametrize("damage", ["cut", "changed", "text"])
def test_a_damaged_archive_without_a_published_digest(
    mirror: Mirror, home: Path, damage: str
) -> None:
    data = bytearray(SPEECHOCEAN)
    data[len(data) // 2] ^= 1
    mirror.files["/101/speechocean762.tar.gz"] = {
        "cut": SPEECHOCEAN[: len(SPEECHOCEAN) // 2],
        "changed": bytes(data),
        "text": b"<html>sorry</html>",
    }[damage]
    with pytest.raises(CorpusError, match="the archive is damaged"):
        fetch("speechocean762", home)
    assert left(home) == set()


@pytest.mark.parametrize("name", ["../../evil.txt", "/tmp/insidessl-evil.txt", "a/../../../evil"])
def test_an_archive_cannot_write_elsewhere(mirror: Mirror, home: Path, name: str) -> None:
    mirror.files["/101/speechocean762.tar.gz"] = tar({name: "evil"})
    with contextlib.suppress(CorpusError):
        fetch("speechocean762", home)
    assert left(home) == set()
    assert not list(home.parent.rglob("*evil*"))
    assert not Path("/tmp/insidessl-evil.txt").exists()


def test_a_link_out_of_the_archive(mirror: Mirror, home: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        link = tarfile.TarInfo("speechocean762")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    mirror.files["/101/speechocean762.tar.gz"] = buffer.getvalue()
    with pytest.raises(CorpusError, match="tries to write elsewhere"):
        fetch("speechocean762", home)
    assert left(home) == set()


@pytest.mark.parametrize("wav", ["../../../../etc/passwd", "/etc/passwd"])
def test_a_table_that_points_elsewhere(mirror: Mirror, home: Path, wav: str) -> None:
    table = {
        f"speechocean762/{split}/{name}": f"a {wav}\n" if name == "wav.scp" else "a b\n"
        for split in ("train", "test")
        for name in ("wav.scp", "text", "utt2spk", "spk2age", "spk2gender")
    }
    mirror.files["/101/speechocean762.tar.gz"] = tar(
        {"speechocean762/resource/scores.json": "{}", **table}
    )
    with pytest.raises(CorpusError, match="points outside"):
        fetch("speechocean762", home)
    assert left(home) == set()


def test_another_archive(mirror: Mirror, home: Path) -> None:
    mirror.files["/101/speechocean762.tar.gz"] = LIBRISPEECH
    with pytest.raises(CorpusError, match="no folder speechocean762"):
        fetch("speechocean762", home)


def test_a_disk_too_small(mirror: Mirror, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = shutil._ntuple_diskusage(10, 10, 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: small)
    with pytest.raises(StorageError, match=r"needs .* GB .* free"):
        fetch("speechocean762", home)
    assert mirror.requests == []


def test_a_full_disk_keeps_what_came(
    mirror: Mirror, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads, "_unpack", full)
    with pytest.raises(StorageError, match="disk is full"):
        fetch("speechocean762", home)
    assert left(home) == {"speechocean762.tar.gz.part"}


def test_an_unknown_name(home: Path) -> None:
    with pytest.raises(CorpusError, match="There are: speechocean762, librispeech-test-clean"):
        fetch("common-voice", home)
