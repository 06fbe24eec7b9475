"""Uploads: private, checked, bounded, expiring; and nothing is left of what was refused."""

from __future__ import annotations

import errno
import io
import os
import pickle
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from insidessl_dash.audio.limits import AudioLimits
from insidessl_dash.core.errors import (
    AudioError,
    ConflictError,
    InsideSSLError,
    NotFoundError,
    StorageError,
)
from insidessl_dash.core.settings import Settings
from insidessl_dash.engine import incoming as incoming_module
from insidessl_dash.engine import uploads as module
from insidessl_dash.engine.incoming import display_name
from insidessl_dash.engine.uploads import Uploads

OWNER, OTHER = "0" * 32, "1" * 32


def wav(seconds: float = 0.5, seed: int = 0, **options) -> bytes:
    """A WAV file of seeded noise."""
    noise = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * 16_000))
    buffer = io.BytesIO()
    soundfile.write(buffer, noise, 16_000, format="WAV", **options)
    return buffer.getvalue()


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def uploads(home: Path, clock: Clock) -> Uploads:
    return Uploads(Settings(home=home, upload_mb=1, upload_files=5), clock=clock)


def left(home: Path) -> list[Path]:
    """Every file below the upload folder."""
    return [path for path in (home / "uploads").rglob("*") if path.is_file()]


def test_an_upload_is_kept_as_it_came(uploads: Uploads, home: Path) -> None:
    data = wav(1.25)
    upload = uploads.add(OWNER, "hello there.WAV", io.BytesIO(data))
    assert upload.name == "hello there.WAV"
    assert (upload.seconds, upload.bytes, upload.notes) == (1.25, len(data), [])
    assert upload.created == "2023-11-14T22:13:20+00:00"
    assert upload.expires == "2023-11-15T22:13:20+00:00"
    path = uploads.path(OWNER, upload.id)
    assert path.read_bytes() == data
    assert path.name == f"{upload.id}.wav"
    assert uploads.get(OWNER, upload.id) == upload
    assert uploads.list(OWNER) == [upload]
    assert len(left(home)) == 2
    assert OWNER not in str(path)


def test_uploads_survive_a_restart(uploads: Uploads, home: Path, clock: Clock) -> None:
    upload = uploads.add(OWNER, "a.wav", io.BytesIO(wav()))
    assert Uploads(uploads.settings, clock=clock).list(OWNER) == [upload]


def test_nobody_else_sees_an_upload(uploads: Uploads) -> None:
    upload = uploads.add(OWNER, "a.wav", io.BytesIO(wav()))
    assert uploads.list(OTHER) == []
    for ask in (uploads.get, uploads.path, uploads.delete):
        with pytest.raises(NotFoundError):
            ask(OTHER, upload.id)
    assert uploads.delete_all(OTHER) == 0
    assert uploads.list(OWNER) == [upload]


@pytest.mark.parametrize("id", ["", "..", "../x", "a" * 16 + "/..", "0" * 16, "\x00", "A" * 16])
def test_an_id_is_never_a_path(uploads: Uploads, id: str) -> None:
    uploads.add(OWNER, "a.wav", io.BytesIO(wav()))
    with pytest.raises(NotFoundError):
        uploads.path(OWNER, id)


def test_the_same_bytes_are_one_upload(uploads: Uploads, clock: Clock, home: Path) -> None:
    first = uploads.add(OWNER, "a.wav", io.BytesIO(wav()))
    clock.now += 3600
    again = uploads.add(OWNER, "b.wav", io.BytesIO(wav()))
    assert again.id == first.id
    assert again.expires > first.expires
    assert len(left(home)) == 2
    assert uploads.add(OTHER, "a.wav", io.BytesIO(wav())).id != first.id


def test_expiry(uploads: Uploads, clock: Clock, home: Path) -> None:
    old = uploads.add(OWNER, "a.wav", io.BytesIO(wav(seed=1)))
    clock.now += 20 * 3600
    new = uploads.add(OWNER, "b.wav", io.BytesIO(wav(seed=2)))
    assert uploads.expire() == 0
    clock.now += 5 * 3600
    assert uploads.list(OWNER) == [new]
    with pytest.raises(NotFoundError):
        uploads.get(OWNER, old.id)
    assert uploads.expire() == 1
    assert len(left(home)) == 2
    clock.now += 24 * 3600
    assert uploads.expire() == 1
    assert list((home / "uploads").iterdir()) == []


def test_who_wants_to_know_hears_of_expiry(uploads: Uploads, clock: Clock) -> None:
    heard = []
    uploads.on_expire = lambda owner, ids: heard.append((owner, ids))
    mine = {uploads.add(OWNER, "a.wav", io.BytesIO(wav(seed=s))).id for s in (1, 2)}
    theirs = uploads.add(OTHER, "a.wav", io.BytesIO(wav())).id
    uploads.add(OTHER, "again.wav", io.BytesIO(wav()))
    assert uploads.expire() == 0
    clock.now += 25 * 3600
    assert uploads.expire() == 3
    assert sorted(heard) == [(OWNER, mine), (OTHER, {theirs})]
    assert uploads.expire() == 0
    assert len(heard) == 2


def test_expired_uploads_go_without_a_visitor(
    uploads: Uploads, clock: Clock, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    upload = uploads.add(OWNER, "a.wav", io.BytesIO(wav()))
    heard = threading.Event()

    def hear(owner: str, ids: set[str]) -> None:
        assert (owner, ids) == (OWNER, {upload.id})
        heard.set()
        raise RuntimeError("whoever listens may fail")

    with uploads.keep_clean(every_s=0.01, on_expire=hear):
        assert left(home)
        clock.now += 25 * 3600
        assert heard.wait(10)
        while "tried again later" not in caplog.text:
            time.sleep(0.01)
        again = uploads.add(OWNER, "a.wav", io.BytesIO(wav()))
        uploads.delete(OWNER, again.id)
    assert left(home) == []
    assert "expire" not in {thread.name for thread in threading.enumerate()}


def test_what_a_crash_left_is_swept(uploads: Uploads, clock: Clock, home: Path) -> None:
    incoming = uploads.open(OWNER, "a.wav")
    incoming.write(wav())
    assert len(left(home)) == 1
    clock.now = os.stat(left(home)[0]).st_mtime + 60
    assert uploads.expire() == 0
    clock.now += 2 * 3600
    assert uploads.expire() == 1
    assert left(home) == []


def test_delete(uploads: Uploads, home: Path) -> None:
    one = uploads.add(OWNER, "a.wav", io.BytesIO(wav(seed=1)))
    uploads.add(OWNER, "b.wav", io.BytesIO(wav(seed=2)))
    uploads.delete(OWNER, one.id)
    assert [upload.name for upload in uploads.list(OWNER)] == ["b.wav"]
    assert uploads.delete_all(OWNER) == 1
    assert list((home / "uploads").iterdir()) == []


def test_quota(uploads: Uploads, home: Path) -> None:
    for seed in range(2):
        uploads.add(OWNER, "a.wav", io.BytesIO(wav(15, seed)))
    with pytest.raises(ConflictError, match=r"c\.wav: your uploads would exceed"):
        uploads.add(OWNER, "c.wav", io.BytesIO(wav(15, 3)))
    assert len(left(home)) == 4
    uploads.add(OTHER, "c.wav", io.BytesIO(wav(15, 3)))


def test_a_file_too_large_is_refused_while_it_comes(home: Path) -> None:
    limits = AudioLimits(max_bytes=2**20)
    uploads = Uploads(Settings(home=home), limits)
    incoming = uploads.open(OWNER, "a.wav")
    for _ in range(3):
        incoming.write(bytes(2**19))
    assert left(home) == []
    incoming.write(bytes(2**19))
    with pytest.raises(AudioError, match=r"a\.wav: over the limit of 1 MB"):
        incoming.finish()
    assert left(home) == []


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.wav", b"", "empty"),
        ("a.wav", b"hello " * 999, "cannot be decoded"),
        ("a.pkl", pickle.dumps([1]), "not an accepted kind"),
        ("a", wav(), "not an accepted kind"),
        ("a.wav", wav(0.05), "under the minimum"),
    ],
)
def test_refused_files_leave_nothing(
    uploads: Uploads, home: Path, name: str, data: bytes, message: str
) -> None:
    with pytest.raises(AudioError, match=message):
        uploads.add(OWNER, name, io.BytesIO(data))
    assert left(home) == []


class FullDisk(io.FileIO):
    def write(self, data) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk(uploads: Uploads, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_module, "_create", lambda path: FullDisk(_made(path), "x"))
    with pytest.raises(StorageError, match=r"Cannot write a\.wav: the disk is full"):
        uploads.add(OWNER, "a.wav", io.BytesIO(wav()))
    assert left(home) == []


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_disk_full_at_the_record(
    uploads: Uploads, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, value: object) -> None:
        raise StorageError("Cannot write: the disk is full.")

    monkeypatch.setattr(module, "write_json", full)
    with pytest.raises(StorageError):
        uploads.add(OWNER, "a.wav", io.BytesIO(wav()))
    assert left(home) == []


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_read_only_folder(
    uploads: Uploads, home: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(incoming_module, "_create", refuse)
    with pytest.raises(StorageError, match="read-only"):
        uploads.add(OWNER, "a.wav", io.BytesIO(wav()))
    assert left(home) == []
    assert uploads.list(OWNER) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_read_only_folder_of_the_system(uploads: Uploads, home: Path) -> None:
    home.mkdir(mode=0o500)
    with pytest.raises(StorageError, match="read-only"):
        uploads.add(OWNER, "a.wav", io.BytesIO(wav()))


def test_an_error_while_checking_leaves_nothing(
    uploads: Uploads, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: object, **kwargs: object) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "probe", crash)
    with pytest.raises(MemoryError):
        uploads.add(OWNER, "a.wav", io.BytesIO(wav()))
    assert left(home) == []


NAMES = {
    "../../etc/passwd.wav": "../../etc/passwd.wav",
    "<img src=x onerror=alert(1)>.wav": "<img src=x onerror=alert(1)>.wav",
    "a\x00b\r\nc\u202e\u200b.wav": "ab c.wav",
    "C:\\Users\\me\\speech.wav": "C:\\Users\\me\\speech.wav",
    "  spaced   out .wav": "spaced out .wav",
    "e\u0301t\u00e9.wav": "\u00e9t\u00e9.wav",
    "": "unnamed",
    "\ud800.wav": "unnamed.wav",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_and_nothing_else(name: str) -> None:
    assert display_name(name) == NAMES[name]


def test_long_names_are_cut_and_keep_their_kind() -> None:
    name = display_name("x" * 5000 + ".wav")
    assert len(name) == 120
    assert name.endswith("x….wav")


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith(".wav")])
def test_no_name_reaches_a_path(uploads: Uploads, home: Path, name: str) -> None:
    upload = uploads.add(OWNER, name, io.BytesIO(wav()))
    path = uploads.path(OWNER, upload.id)
    assert path.parent.parent == home / "uploads"
    assert path.stem == upload.id
    assert {p.suffix for p in left(home)} <= {".wav", ".json", ""}


def test_a_damaged_record_is_no_upload(uploads: Uploads, home: Path) -> None:
    upload = uploads.add(OWNER, "a.wav", io.BytesIO(wav()))
    uploads.path(OWNER, upload.id).with_suffix(".json").write_text("{")
    assert uploads.list(OWNER) == []
    with pytest.raises(InsideSSLError):
        uploads.path(OWNER, upload.id)
    assert uploads.expire() == 1
    assert left(home) == []
