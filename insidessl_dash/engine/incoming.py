"""A file on its way in from a visitor: written as it comes, and gone if it is refused."""

from __future__ import annotations

import contextlib
import hashlib
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import IO, Generic, TypeVar

from insidessl_dash.audio.limits import ACCEPTED, EXTENSIONS, AudioLimits
from insidessl_dash.core.errors import AudioError, ConflictError, InsideSSLError
from insidessl_dash.core.files import storage_error

_LONGEST_NAME = 120
Kept = TypeVar("Kept")


class Incoming(Generic[Kept]):
    """A file on its way in: a writable stream that never holds more than one chunk.

    What goes wrong while writing (too large, disk full) is kept in `error` and the rest of the
    stream is swallowed, so that the other files of the request still arrive. `finish` raises it.

    Args:
        name: What its visitor calls it; only its extension matters.
        path: Where to write; never derived from the name.
        room: Bytes that may still be kept.
        limits: Bounds on one file.
        commit: Called by `finish` with path, name, size and SHA-256; checks the file and keeps it.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        room: int,
        limits: AudioLimits,
        commit: Callable[[Path, str, int, str], Kept],
    ) -> None:
        self.name = name
        self.size = 0
        self.error: InsideSSLError | None = None
        self._path, self._room, self._limits, self._commit = path, room, limits, commit
        self._digest = hashlib.sha256()
        self._file: IO[bytes] | None = None
        if Path(name).suffix.lower() not in EXTENSIONS:
            self.refuse(AudioError(f"{name}: not an accepted kind of file. Accepted: {ACCEPTED}."))
            return
        try:
            self._file = _create(path)
        except OSError as error:
            self.refuse(storage_error(Path(name), error))

    def write(self, data: bytes) -> int:
        """Take a piece; never raises."""
        self.size += len(data)
        if self._file is None:
            return len(data)
        most = self._limits.max_bytes
        if most is not None and self.size > most:
            self.refuse(
                AudioError(
                    f"{self.name}: over the limit of {most / 2**20:g} MB. "
                    "Cut it into shorter files, or compress it to FLAC or Opus."
                )
            )
        elif self.size > self._room:
            self.refuse(
                ConflictError(
                    f"{self.name}: your uploads would exceed what one visitor may keep here. "
                    "Delete some, or wait until they expire."
                )
            )
        else:
            try:
                self._file.write(data)
                self._digest.update(data)
            except OSError as error:
                self.refuse(storage_error(Path(self.name), error))
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """A form parser rewinds at the end of a file: close it, it is read by its path."""
        self._close()
        return 0

    def finish(self) -> Kept:
        """Check the file and make it an upload.

        Raises:
            AudioError: It is not audio within the limits.
            StorageError: It cannot be stored.
        """
        self._close()
        if self.error is not None:
            raise self.error
        try:
            return self._commit(self._path, self.name, self.size, self._digest.hexdigest())
        except OSError as error:
            raise storage_error(Path(self.name), error) from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Leave nothing behind; quiet if there is nothing."""
        file, self._file = self._file, None
        with contextlib.suppress(OSError):
            if file is not None:
                file.close()
        with contextlib.suppress(OSError):  # there may be none, or others in the folder
            self._path.unlink(missing_ok=True)
            self._path.parent.rmdir()

    def _close(self) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError as error:
            self.refuse(storage_error(Path(self.name), error))

    def refuse(self, error: InsideSSLError) -> None:
        """Keep nothing of this file; `finish` will raise the error."""
        self.error = error
        self.discard()


def display_name(filename: str | None) -> str:
    """A name fit to show: without control or invisible characters, of bounded length.

    Paths and markup stay as the text they are: the name is never part of a path here, and
    whoever shows it escapes it.

    >>> display_name("../../etc/passwd")
    '../../etc/passwd'
    >>> display_name("<b>one</b>\\x00.wav")
    '<b>one</b>.wav'
    """
    text = unicodedata.normalize("NFC", (filename or "")[-4096:])
    text = "".join(c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    text = " ".join(text.split())
    if text.lower() in EXTENSIONS:
        text = f"unnamed{text}"
    stem, suffix = os.path.splitext(text)
    if len(text) <= _LONGEST_NAME:
        return text or "unnamed"
    return f"{stem[: _LONGEST_NAME - 1 - len(suffix[:8])]}…{suffix[:8]}"


def _create(path: Path) -> IO[bytes]:
    """Open a new file in a folder only this user can enter, made if it is not there."""
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    for last in (False, True):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            return path.open("xb")
        except FileNotFoundError:  # another request removed the empty folder just now
            if last:
                raise
    raise AssertionError
