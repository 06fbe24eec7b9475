"""Where results live: a live cache over the read-only `precomputed/`.

Every entry carries a digest of its bytes. An entry that does not match (a damaged disk, a write
cut short) counts as absent, so it is computed again. Nothing is ever unpickled.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import logging
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import diskcache
import numpy as np
from diskcache.core import MODE_PICKLE

from insidessl_dash.core.errors import StorageError
from insidessl_dash.core.files import storage_error
from insidessl_dash.results.schema import Result, Values

log = logging.getLogger(__name__)
_SIZE_LIMIT = 8 * 2**30


class _PlainDisk(diskcache.Disk):
    """Bytes, text and numbers only: refuses to pickle, and to unpickle what others wrote."""

    def fetch(self, mode: int, filename: str, value: Any, read: bool) -> Any:
        if mode == MODE_PICKLE:
            raise ValueError("pickled entry refused")
        return super().fetch(mode, filename, value, read)

    def store(self, value: Any, read: bool, key: Any = diskcache.UNKNOWN) -> Any:
        if not isinstance(value, bytes | str | int | float):
            raise TypeError(f"refusing to pickle {type(value).__name__}")
        return super().store(value, read, key)


class Blobs:
    """Checked bytes in a diskcache folder: ``set``, ``get``, ``delete``, ``keys``.

    Raises:
        StorageError: From any call, if the folder cannot be written or read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._cache = diskcache.Cache(str(folder), disk=_PlainDisk, size_limit=_SIZE_LIMIT)
        except (OSError, sqlite3.Error) as error:
            raise _storage_error(folder, error) from error

    def set(self, key: str, value: bytes) -> None:
        """Store bytes with their digest."""
        try:
            self._cache.set(key, hashlib.sha256(value).digest() + value)
        except (OSError, sqlite3.Error, diskcache.Timeout) as error:
            raise _storage_error(self.folder, error) from error

    def get(self, key: str) -> bytes | None:
        """The bytes, or None where there are none or they are damaged (then they are dropped)."""
        try:
            stored = self._cache.get(key)
        except (OSError, sqlite3.Error, ValueError, diskcache.Timeout) as error:
            log.warning("Unreadable cache entry %s: %s", key, error)
            stored = b""
        if stored is None:
            return None
        if isinstance(stored, bytes) and hashlib.sha256(stored[32:]).digest() == stored[:32]:
            return stored[32:]
        log.warning("Cache entry %s is damaged; it will be computed again.", key)
        self.delete(key)
        return None

    def delete(self, key: str) -> None:
        """Forget a key; quiet if it is not there, or the folder is read-only."""
        try:
            self._cache.delete(key)
        except (OSError, sqlite3.Error, ValueError, diskcache.Timeout) as error:
            log.warning("Cannot delete cache entry %s: %s", key, error)

    def keys(self, prefix: str) -> list[str]:
        """Keys that start with `prefix`."""
        return [key for key in self._cache.iterkeys() if key.startswith(prefix)]

    def close(self) -> None:
        """Close the database."""
        self._cache.close()


class Store:
    """Results by key; the public ones also by model, corpus and lens.

    The live folder is opened on the first write or live read, so that a read-only machine still
    shows what ships.

    Args:
        home: Folder that this installation writes to.
        precomputed: Folder of the read-only results.
    """

    def __init__(self, home: Path, precomputed: Path) -> None:
        self.home, self.precomputed = home, precomputed
        self._lock = threading.RLock()
        self._live: Blobs | None = None
        self._shipped: dict[str, tuple[Result, Path]] | None = None
        self._public: dict[str, Result] = {}
        self._kept: dict[str, tuple[Result, Values]] = {}

    def get(self, key: str) -> Result | None:
        """The result of a key, live or shipped; None if there is none."""
        if key in self._shipped_results():
            return self._shipped_results()[key][0]
        if key in self._kept:
            return self._kept[key][0]
        blob = self._read(f"result:{key}")
        try:
            return None if blob is None else Result.model_validate_json(gzip.decompress(blob))
        except ValueError as error:
            log.warning("Result %s is of another release: %s", key, error)
            return None

    def values(self, key: str) -> Values | None:
        """Per-utterance values of a result; None where they are not stored."""
        shipped = self._shipped_results().get(key)
        if shipped and (path := shipped[1].with_suffix(".npz")).exists():
            return unpack_values(path.read_bytes())
        if key in self._kept:
            return self._kept[key][1]
        blob = self._read(f"values:{key}")
        return None if blob is None else unpack_values(blob)

    def put(self, result: Result, values: Values, *, private: bool = False) -> None:
        """Keep a result. Private ones are found by key and never listed.

        Raises:
            StorageError: The disk is full or the folder cannot be written.
        """
        live = self.live()
        live.set(f"values:{result.key}", pack_values(values))
        text = result.model_dump_json().encode()
        live.set(f"result:{result.key}", gzip.compress(text, mtime=0))
        if not private:
            live.set(f"public:{result.key}", b"1")

    def publish(self, key: str) -> None:
        """List a result that was private until now."""
        self.live().set(f"public:{key}", b"1")

    def keep(self, result: Result, values: Values) -> None:
        """Hold a private result in memory, where the folder cannot be written (the last 50)."""
        with self._lock:
            self._kept[result.key] = (result, values)
            for key in list(self._kept)[:-50]:
                del self._kept[key]

    def is_private(self, key: str) -> bool:
        """Whether only the owner of a job that computed it may see it."""
        return key not in self._shipped_results() and self._read(f"public:{key}") is None

    def results(self) -> list[Result]:
        """Every public result, shipped ones first."""
        found = {key: result for key, (result, _path) in self._shipped_results().items()}
        try:
            live = self._existing_live()
            keys = [] if live is None else live.keys("public:")
        except StorageError:
            keys = []
        with self._lock:
            for key in (marker.removeprefix("public:") for marker in keys):
                if key not in found and key not in self._public:
                    result = self.get(key)
                    if result is not None:
                        self._public[key] = result
                if key in self._public:
                    found.setdefault(key, self._public[key])
        return list(found.values())

    def find(
        self, model: str | None = None, corpus: str | None = None, lens: str | None = None
    ) -> list[Result]:
        """Public results of a model, corpus and lens, each None for any."""
        return [
            result
            for result in self.results()
            if model in (None, result.model.name)
            and corpus in (None, result.corpus.name)
            and lens in (None, result.lens)
        ]

    def live(self) -> Blobs:
        """The live cache, opened (or made) now.

        Raises:
            StorageError: It cannot be.
        """
        with self._lock:
            if self._live is None:
                self._live = Blobs(self.home / "cache")
            return self._live

    def close(self) -> None:
        """Close the live cache."""
        with self._lock:
            if self._live is not None:
                self._live.close()
                self._live = None

    def _existing_live(self) -> Blobs | None:
        return self.live() if self._live or (self.home / "cache" / "cache.db").exists() else None

    def _read(self, key: str) -> bytes | None:
        try:
            live = self._existing_live()
        except StorageError as error:
            log.warning("%s", error)
            return None
        return None if live is None else live.get(key)

    def _shipped_results(self) -> dict[str, tuple[Result, Path]]:
        with self._lock:
            if self._shipped is None:
                self._shipped = {}
                for path in sorted((self.precomputed / "results").rglob("*.json")):
                    result = Result.model_validate_json(path.read_bytes())
                    self._shipped[result.key] = (result, path)
            return self._shipped


def pack_values(values: Values) -> bytes:
    """Values as a compressed npz file (float32: six digits, half the size)."""
    buffer = io.BytesIO()
    arrays = {f"measure.{k}": v.astype(np.float32) for k, v in values.measures.items()}
    np.savez_compressed(buffer, ids=np.array(json.dumps(values.ids)), **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack_values(blob: bytes) -> Values:
    """The inverse of `pack_values`."""
    with np.load(io.BytesIO(blob), allow_pickle=False) as stored:
        return Values(
            ids=json.loads(str(stored["ids"])),
            measures={
                name.removeprefix("measure."): stored[name].astype(np.float64)
                for name in stored.files
                if name != "ids"
            },
        )


def _storage_error(folder: Path, error: Exception) -> StorageError:
    if isinstance(error, OSError):
        return storage_error(folder, error)
    text = str(error)
    if "disk is full" in text:
        return storage_error(folder, OSError(28, text))
    if "readonly" in text or "unable to open" in text or not os.access(folder, os.W_OK):
        return storage_error(folder, OSError(30, text))
    return StorageError(f"The cache {folder.name} cannot be used: {text}. Remove it to start anew.")
