"""What the Signal Lab keeps: the last answers in memory, those of the demo corpus on disk too."""

from __future__ import annotations

import gzip
import json
import logging
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeVar

from insidessl_dash.core.errors import StorageError
from insidessl_dash.engine.lab_spec import LabSounds
from insidessl_dash.results.schema import Result
from insidessl_dash.results.store import Store

log = logging.getLogger(__name__)
_MOST_RESULTS = 512
_MOST_SOUNDS = 16
"""Two sounds of 10 s are 640 kB."""

T = TypeVar("T")


class Kept:
    """Results and sounds by key.

    Args:
        store: Its live cache is the disk. A disk that cannot be written costs only that.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._results: OrderedDict[str, Result] = OrderedDict()
        self._sounds: OrderedDict[str, LabSounds] = OrderedDict()

    def result(self, key: str, *, private: bool) -> Result | None:
        """A result; from the disk only where it is of no visitor's audio."""
        found = self._recent(self._results, key)
        if found is None and not private and (blob := self._read(f"lab:{key}")) is not None:
            try:
                found = Result.model_validate_json(gzip.decompress(blob))
            except (OSError, ValueError) as error:
                log.warning("Lab result %s is of another release: %s", key, error)
                return None
            self._add(self._results, key, found, _MOST_RESULTS)
        return found

    def sounds(self, key: str, *, private: bool) -> LabSounds | None:
        """The two sounds of a key."""
        found = self._recent(self._sounds, key)
        if found is None and not private and (blob := self._read(f"labsound:{key}")) is not None:
            try:
                found = _unpack(blob)
            except (ValueError, struct.error) as error:
                log.warning("Lab sounds %s are of another release: %s", key, error)
                return None
            self._add(self._sounds, key, found, _MOST_SOUNDS)
        return found

    def keep_result(self, result: Result, *, private: bool) -> None:
        """Remember a result under its own key."""
        self._add(self._results, result.key, result, _MOST_RESULTS)
        if not private:
            text = result.model_dump_json().encode()
            self._write(f"lab:{result.key}", gzip.compress(text, mtime=0))

    def keep_sounds(self, key: str, sounds: LabSounds, *, private: bool) -> None:
        """Remember two sounds."""
        self._add(self._sounds, key, sounds, _MOST_SOUNDS)
        if not private:
            self._write(f"labsound:{key}", _pack(sounds))

    def drop(self, keys: Iterable[str]) -> None:
        """Forget what is in memory under these keys."""
        with self._lock:
            for key in keys:
                self._results.pop(key, None)
                self._sounds.pop(key, None)

    def _recent(self, items: OrderedDict[str, T], key: str) -> T | None:
        with self._lock:
            if key in items:
                items.move_to_end(key)
            return items.get(key)

    def _add(self, items: OrderedDict[str, T], key: str, value: T, most: int) -> None:
        with self._lock:
            items[key] = value
            items.move_to_end(key)
            while len(items) > most:
                items.popitem(last=False)

    def _read(self, key: str) -> bytes | None:
        try:
            return self._store.live().get(key)
        except StorageError:
            return None

    def _write(self, key: str, value: bytes) -> None:
        try:
            self._store.live().set(key, value)
        except StorageError as error:
            log.warning("An answer of the lab is kept in memory only: %s", error)


def _pack(sounds: LabSounds) -> bytes:
    """Length of a head, the head as JSON, the original, the perturbed sound."""
    head = sounds.model_dump(mode="json", exclude={"original", "perturbed"})
    text = json.dumps({**head, "split": len(sounds.original)}).encode()
    return struct.pack("<I", len(text)) + text + sounds.original + sounds.perturbed


def _unpack(blob: bytes) -> LabSounds:
    (size,) = struct.unpack_from("<I", blob)
    head = json.loads(blob[4 : 4 + size])
    rest = blob[4 + size :]
    split = head.pop("split")
    return LabSounds(original=rest[:split], perturbed=rest[split:], **head)
