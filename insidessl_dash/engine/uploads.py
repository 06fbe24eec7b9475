"""Uploads: private to their owner, checked at once, gone after a day.

A file lies at ``<home>/uploads/<hash of owner>/<id><extension>`` beside a JSON record; it exists
once the record does. What a visitor calls a file is only ever shown, never part of a path.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO

from pydantic import BaseModel, Field, ValidationError

from insidessl_dash.audio.decode import probe
from insidessl_dash.audio.limits import LIMITS, AudioLimits
from insidessl_dash.core.errors import NotFoundError, StorageError
from insidessl_dash.core.files import owner_folder, storage_error, write_json
from insidessl_dash.core.settings import Settings
from insidessl_dash.engine.incoming import Incoming, display_name

log = logging.getLogger(__name__)
_ID = re.compile(r"[0-9a-f]{16}")
_CHUNK = 1 << 20
_ABANDONED_S = 3600.0
_SWEEP_S = 300.0
_CLEAN_S = 600.0
_MOST_FILES = 10
"""Files a visitor may keep, in multiples of the files of one upload."""


class Upload(BaseModel):
    """One accepted file.

    Attributes:
        id: Names it in requests; means nothing elsewhere.
        name: What the visitor called it: text to show, never a path or markup.
        bytes: Size of the file.
        expires: UTC, ISO 8601.
        notes: What was done that a listener should know.
        sha256: Of the bytes.
    """

    id: str
    name: str
    seconds: float
    bytes: int
    created: str
    expires: str
    sha256: str
    notes: list[str] = Field(default_factory=list)


class Uploads:
    """The uploads of every visitor; each sees their own.

    Args:
        settings: ``home``, ``upload_hours``, ``upload_mb`` and ``upload_files`` are used.
        limits: Bounds on one file.
        clock: Seconds since the epoch.

    Attributes:
        on_expire: Told an owner and the ids of theirs that were removed past their time.
    """

    def __init__(
        self,
        settings: Settings,
        limits: AudioLimits = LIMITS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings, self.limits = settings, limits
        self._clock = clock
        self._root = settings.home / "uploads"
        self._lock = threading.RLock()
        self._swept = float("-inf")
        self.on_expire: Callable[[str, set[str]], None] | None = None

    def open(self, owner: str, filename: str | None) -> Incoming[Upload]:
        """A stream to write one file to; end it with `Incoming.finish` or `Incoming.discard`."""
        self._sweep()
        name = display_name(filename)
        folder = self._folder(owner)
        held = _scan(folder)
        room = self.settings.upload_mb * 2**20 - sum(map(_size, held))
        if len(held) >= 2 * _MOST_FILES * self.settings.upload_files:
            room = 0
        part = folder / f"{secrets.token_hex(8)}.part"
        return Incoming(
            name, part, room=room, limits=self.limits, commit=partial(self._commit, owner)
        )

    def add(self, owner: str, filename: str | None, stream: IO[bytes]) -> Upload:
        """Copy a stream in, check it, and keep it.

        Raises:
            AudioError: It is not audio within the limits.
            StorageError: Disk full, folder read-only, or the owner's quota used up.
        """
        incoming = self.open(owner, filename)
        try:
            while data := stream.read(_CHUNK):
                incoming.write(data)
            return incoming.finish()
        finally:
            incoming.discard()

    def list(self, owner: str) -> list[Upload]:
        """The owner's uploads, oldest first."""
        found = [record for record in map(self._read, self._records(owner)) if record]
        return sorted(found, key=lambda upload: (upload.created, upload.name, upload.id))

    def get(self, owner: str, id: str) -> Upload:
        """One upload.

        Raises:
            NotFoundError: No such upload, expired, or somebody else's.
        """
        record = self._read(self._folder(owner) / f"{id}.json") if _ID.fullmatch(id) else None
        if record is None or not self._audio(owner, record).is_file():
            raise NotFoundError(f"No upload {id[:32]!r}: it expired, was deleted, or never was.")
        return record

    def path(self, owner: str, id: str) -> Path:
        """Where the audio of an upload lies.

        Raises:
            NotFoundError: As `get`.
        """
        return self._audio(owner, self.get(owner, id))

    def delete(self, owner: str, id: str) -> None:
        """Remove an upload.

        Raises:
            NotFoundError: As `get`.
            StorageError: The folder is read-only.
        """
        self._remove(self._audio(owner, self.get(owner, id)))

    def delete_all(self, owner: str) -> int:
        """Remove every upload of an owner; returns how many."""
        uploads = self.list(owner)
        for upload in uploads:
            self._remove(self._audio(owner, upload))
        return len(uploads)

    def holds(self, folder: str, id: str) -> bool:
        """Whether there is an upload, by the name of its owner's folder (`files.owner_folder`)."""
        return (self._root / folder / f"{id}.json").is_file()

    def expire(self) -> int:
        """Remove what is past its time, and what an interrupted request left; returns how many."""
        removed = 0
        gone: dict[str, set[str]] = {}
        for folder in _scan(self._root):
            for path in _scan(folder):
                try:
                    removed += self._expire_one(path, gone)
                except (OSError, StorageError) as error:
                    log.warning("Cannot remove an expired upload: %s", error)
            _remove_empty(folder)
        for owner, ids in gone.items():
            if self.on_expire is not None:
                self.on_expire(owner, ids)
        return removed

    @contextlib.contextmanager
    def keep_clean(
        self,
        every_s: float = _CLEAN_S,
        on_expire: Callable[[str, set[str]], None] | None = None,
    ) -> Iterator[None]:
        """Expire in the background while the block runs, and tell `on_expire` if it is given."""
        self.on_expire = on_expire or self.on_expire
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(every_s):
                try:
                    self.expire()
                except Exception:
                    log.exception("Expired uploads could not be removed; tried again later")

        thread = threading.Thread(target=work, name="expire", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(5.0)

    def _expire_one(self, path: Path, gone: dict[str, set[str]]) -> int:
        if path.suffix == ".json":
            if self._read(path) is None:
                owner = _owner_in(path)
                for other in path.parent.glob(f"{path.stem}.*"):
                    other.unlink(missing_ok=True)
                if owner:
                    gone.setdefault(owner, set()).add(path.stem)
                return 1
            return 0
        abandoned = self._clock() - path.stat().st_mtime > _ABANDONED_S
        if abandoned and not path.with_suffix(".json").exists():
            path.unlink(missing_ok=True)
            return 1
        return 0

    def _sweep(self) -> None:
        with self._lock:
            if self._clock() - self._swept < _SWEEP_S:
                return
            self._swept = self._clock()
        self.expire()

    def _commit(self, owner: str, part: Path, name: str, size: int, sha256: str) -> Upload:
        folder, now = part.parent, self._clock()
        suffix = Path(name).suffix.lower()
        fields = {
            "created": _iso(now),
            "expires": _iso(now + 3600 * self.settings.upload_hours),
        }
        for record in map(self._read, folder.glob("*.json")):
            same = record is not None and record.sha256 == sha256
            if same and record and (folder / f"{record.id}{suffix}").is_file():
                again = record.model_copy(update={"expires": fields["expires"]})
                write_json(folder / f"{record.id}.json", again.model_dump() | {"owner": owner})
                return again
        checked = part.with_suffix(suffix)
        part.rename(checked)
        try:
            info = probe(checked, name=name, limits=self.limits)
            upload = Upload(
                id=part.stem, name=name, seconds=round(info.seconds, 4), bytes=size,
                sha256=sha256, notes=list(info.notes), **fields,
            )  # fmt: skip
            write_json(folder / f"{upload.id}.json", upload.model_dump() | {"owner": owner})
        except BaseException:
            checked.unlink(missing_ok=True)
            raise
        return upload

    def _folder(self, owner: str) -> Path:
        return self._root / owner_folder(owner)

    def _records(self, owner: str) -> Iterator[Path]:
        return (path for path in _scan(self._folder(owner)) if path.suffix == ".json")

    def _audio(self, owner: str, upload: Upload) -> Path:
        return self._folder(owner) / f"{upload.id}{Path(upload.name).suffix.lower()}"

    def _read(self, path: Path) -> Upload | None:
        """A record that is whole and not expired."""
        try:
            upload = Upload.model_validate(json.loads(path.read_bytes()))
        except (OSError, ValueError, ValidationError):
            return None
        return upload if upload.expires > _iso(self._clock()) else None

    def _remove(self, audio: Path) -> None:
        try:
            audio.with_suffix(".json").unlink(missing_ok=True)
            audio.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(Path("the upload"), error) from error
        _remove_empty(audio.parent)


def _owner_in(record: Path) -> str | None:
    try:
        owner = json.loads(record.read_bytes())["owner"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return owner if isinstance(owner, str) else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _scan(folder: Path) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder))
    except OSError:
        return []


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
