"""Matrices of a visitor's own recordings: kept row by row, seen by their owner alone.

Each is a folder ``<home>/gcm/own/<hash of owner>/<key>/`` with ``head.json`` (everything but the
scores), ``original.opus``, ``vocoder.opus``, and for each decoder that is done ``row-II.json`` and
its sounds ``cell-II-JJ.opus``: the names of the audio explorer's examples. The sounds of a row come
first and its scores last, so a row is there or it is not, and what was interrupted goes on with the
rows that lack. A matrix lives as long as the upload it was made from.
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import Field

from insidessl_dash.core.errors import NotFoundError
from insidessl_dash.core.files import owner_folder, storage_error, whole_file
from insidessl_dash.results.explorer import (
    CellMetric,
    Example,
    References,
    cell_file,
    reasons,
    reference_file,
)
from insidessl_dash.results.schema import _Frozen

log = logging.getLogger(__name__)

FOLDER = "gcm/own"
MOST = 24
"""Matrices that one visitor keeps; the oldest goes first. One of 10 s takes about 5 MB."""

_HEAD = "head.json"
_KEY = re.compile(r"[0-9a-f]{32}")


class OwnHead(_Frozen):
    """What is known of a matrix before its first row.

    Attributes:
        upload: Id of the recording.
        created: UTC, ISO 8601.
        notes: What was done that a listener should know.
        example: Without scores: every cell is None.
        wall_s: Seconds of preparation.
    """

    schema_version: int = 1
    upload: str
    created: str
    notes: list[str] = Field(default_factory=list)
    example: Example
    wall_s: float = 0.0


class OwnRow(_Frozen):
    """Scores of one decoder's cells.

    Attributes:
        scores: Metric -> a value a layer; None: not measurable.
        why: Metric -> a reason a layer, "" where there is a value.
        wall_s: Seconds that the row took.
    """

    scores: dict[str, list[float | None]]
    why: dict[str, list[str]] = Field(default_factory=dict)
    wall_s: float = 0.0


class OwnMatrix(_Frozen):
    """A matrix as far as it is.

    Attributes:
        key: Names it in requests.
        head: See there.
        example: With the scores of the rows that are done; None in the others.
        done: Decoder layers whose row can be heard.
        wall_s: Seconds of computing so far.
    """

    key: str
    head: OwnHead
    example: Example
    done: list[str]
    wall_s: float

    @property
    def finished(self) -> bool:
        """Whether every row is done."""
        return len(self.done) == len(self.example.decoder_layers)


class OwnMatrices:
    """The matrices of every visitor; each sees their own.

    Args:
        home: Folder that this installation writes to.
        most: That one visitor keeps.
    """

    def __init__(self, home: Path, most: int = MOST) -> None:
        self._root = home / FOLDER
        self._most = most
        self._lock = threading.Lock()

    def begin(
        self,
        owner: str,
        key: str,
        head: OwnHead,
        sounds: Mapping[References, bytes],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Start a matrix; the oldest one beyond `MOST` goes.

        Args:
            owner: Who may see it.
            key: 32 hexadecimal digits.
            head: What is known of it.
            sounds: The original, and its own mel vocoded, as Opus.
            check: Asked once nothing can be deleted any more; raises where it was.

        Raises:
            StorageError: The folder cannot be written.
        """
        folder = self._folder(owner, key)
        with self._lock:
            check()
            for which, sound in sounds.items():
                _write(folder / reference_file(which), sound)
            _write(folder / _HEAD, head.model_dump_json().encode())
            heads = sorted(folder.parent.glob(f"*/{_HEAD}"), key=lambda p: p.stat().st_mtime_ns)
            for path in heads[: -self._most]:
                self._remove(path.parent)

    def add_row(
        self,
        owner: str,
        key: str,
        i: int,
        row: OwnRow,
        sounds: list[bytes],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep a finished row.

        Args:
            owner, key: Of the matrix.
            i: Place of the decoder's layer in the model's layers.
            row: Its scores.
            sounds: Its cells as Opus, one a layer.
            check: As in `begin`.

        Raises:
            NotFoundError: The matrix was deleted meanwhile.
            StorageError: The folder cannot be written.
        """
        folder = self._folder(owner, key)
        with self._lock:
            check()
            if not (folder / _HEAD).is_file():
                raise _gone(key)
            for j, sound in enumerate(sounds):
                _write(folder / cell_file(i, j), sound)
            _write(folder / _row_file(i), row.model_dump_json().encode())

    def get(self, owner: str, key: str) -> OwnMatrix:
        """A matrix as far as it is.

        Raises:
            NotFoundError: No such matrix of this owner.
        """
        head = self._head(owner, key)
        folder, example = self._folder(owner, key), head.example
        rows = {layer: self._row(folder, example, layer) for layer in example.decoder_layers}
        done = {layer: row for layer, row in rows.items() if row is not None}
        blank: list[float | None] = [None] * len(example.layers)
        unsaid = [""] * len(example.layers)
        metrics: dict[str, CellMetric] = {}
        for name, metric in example.metrics.items():
            cells = [
                done[layer].scores.get(name, blank) if layer in done else blank
                for layer in example.decoder_layers
            ]
            why = [
                done[layer].why.get(name, unsaid) if layer in done else unsaid
                for layer in example.decoder_layers
            ]
            metrics[name] = metric.model_copy(update={"cells": cells, "why": reasons(why)})
        return OwnMatrix(
            key=key,
            head=head,
            example=example.model_copy(update={"metrics": metrics}),
            done=list(done),
            wall_s=round(head.wall_s + sum(row.wall_s for row in done.values()), 3),
        )

    def list(self, owner: str) -> list[OwnMatrix]:
        """The owner's matrices, oldest first; what cannot be read is left out."""
        found = []
        for path in self._folder(owner, "").glob(f"*/{_HEAD}"):
            try:
                found.append(self.get(owner, path.parent.name))
            except NotFoundError as error:
                log.warning("%s", error)
        return sorted(found, key=lambda matrix: (matrix.head.created, matrix.key))

    def cell(self, owner: str, key: str, i: int, j: int) -> Path:
        """The sound of a cell, places in the model's layers.

        Raises:
            NotFoundError: No such matrix of this owner, no such cell, or not decoded yet.
        """
        example, folder = self._head(owner, key).example, self._folder(owner, key)
        if not example.has_cell(i, j):
            raise NotFoundError(
                f"{example.model.name} has no cell with decoder {i} and tokens {j}."
            )
        if not (folder / _row_file(i)).is_file():
            raise NotFoundError(f"Decoder {example.layers[i]} has not spoken yet.")
        return self._sound(folder, cell_file(i, j))

    def reference(self, owner: str, key: str, which: References) -> Path:
        """The sound of the original, or of its own mel vocoded.

        Raises:
            NotFoundError: No such matrix of this owner.
        """
        self._head(owner, key)
        return self._sound(self._folder(owner, key), reference_file(which))

    def forget(self, owner: str, uploads: set[str] | None = None) -> int:
        """Remove the matrices of some of an owner's uploads, or of all; returns how many."""
        removed = 0
        with self._lock:
            for path in list(self._folder(owner, "").glob(f"*/{_HEAD}")):
                head = _read_head(path)
                if uploads is None or head is None or head.upload in uploads:
                    self._remove(path.parent)
                    removed += 1
        return removed

    def sweep(self, holds: Callable[[str, str], bool]) -> int:
        """Remove what outlived its recording, e.g. after a crash in mid-deletion; returns how many.

        Args:
            holds: Whether there is an upload, by the name of its owner's folder and its id.
        """
        removed = 0
        with self._lock:
            for folder in list(self._root.glob("*/*")):
                head = _read_head(folder / _HEAD)
                if head is None or not holds(folder.parent.name, head.upload):
                    self._remove(folder)
                    removed += 1
        return removed

    def _head(self, owner: str, key: str) -> OwnHead:
        head = None
        if _KEY.fullmatch(key):
            head = _read_head(self._folder(owner, key) / _HEAD)
        if head is None:
            raise _gone(key)
        return head

    def _row(self, folder: Path, example: Example, layer: str) -> OwnRow | None:
        """A row that is whole."""
        path = folder / _row_file(example.layers.index(layer))
        try:
            row = OwnRow.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("A row of %s is damaged and is decoded again: %s", folder.name, error)
            return None
        whole = all(len(values) == len(example.layers) for values in row.scores.values())
        return row if whole else None

    def _sound(self, folder: Path, file: str) -> Path:
        if not (folder / file).is_file():
            raise NotFoundError(f"{file} is not here.")
        return folder / file

    def _folder(self, owner: str, key: str) -> Path:
        return self._root / owner_folder(owner) / key

    def _remove(self, folder: Path) -> None:
        """Remove a matrix; the head first, so that it is gone whatever happens to the rest."""
        try:
            (folder / _HEAD).unlink(missing_ok=True)
            shutil.rmtree(folder)
            if not any(folder.parent.iterdir()):
                folder.parent.rmdir()
        except OSError as error:
            raise storage_error(Path("a matrix of a recording"), error) from error


def _row_file(i: int) -> str:
    return f"row-{i:02d}.json"


def _read_head(path: Path) -> OwnHead | None:
    try:
        return OwnHead.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s is damaged or of another release: %s", path.parent.name, error)
        return None


def _gone(key: str) -> NotFoundError:
    return NotFoundError(
        f"No matrix {key[:32]!r} of yours: it was deleted with its recording, or never was."
    )


def _write(path: Path, content: bytes) -> None:
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
