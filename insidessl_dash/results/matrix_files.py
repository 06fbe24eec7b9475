"""Where matrices lie: folders ``<corpus>/<name>/`` with ``matrix.json`` and ``values.npz``.

They are below ``precomputed/gcm`` (what ships) and ``<home>/gcm`` (computed on this installation).
Matrices are discovered, never listed by hand.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from insidessl_dash.core.errors import NotFoundError, StorageError
from insidessl_dash.core.files import whole_file
from insidessl_dash.results.copy_synthesis import CopySynthesis, read_copy_synthesis
from insidessl_dash.results.matrix import MatrixResult, MatrixValues
from insidessl_dash.results.schema import Values
from insidessl_dash.results.store import pack_values, unpack_values

log = logging.getLogger(__name__)

FOLDER = "gcm"
"""Below ``precomputed`` and below the home."""

VOCODERS = "vocoders.json"
"""In that folder, what ``gcm vocoders`` measured: how much of speech each vocoder keeps."""

MATRIX = "matrix.json"
VALUES = "values.npz"

_CEILING = "ceiling."


@dataclass(frozen=True)
class MatrixHeader:
    """What there is to choose from.

    Attributes:
        name: Of its folder: how a link names it, within its corpus.
        corpus: Name.
        own: Whether this installation computed it, rather than that it ships.
        key, title, model, family, preset, vocoder: As in the result.
        layers: Of the model.
        utterances, speakers: Behind its means.
        metrics: Names.
    """

    name: str
    corpus: str
    own: bool
    key: str
    title: str
    model: str
    family: str
    preset: str
    vocoder: str
    layers: tuple[str, ...]
    utterances: int
    speakers: int | None
    metrics: tuple[str, ...]


def write_matrix(folder: Path, result: MatrixResult, values: MatrixValues) -> None:
    """Write ``matrix.json`` and ``values.npz`` into a folder, each whole or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    with whole_file(folder / VALUES) as temporary:
        temporary.write_bytes(pack_matrix_values(values))
    with whole_file(folder / MATRIX) as temporary:
        temporary.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_matrix(folder: Path) -> MatrixResult:
    """The matrix of a folder.

    Raises:
        NotFoundError: There is none, or it was made by another release.
    """
    try:
        return MatrixResult.model_validate_json((folder / MATRIX).read_bytes())
    except OSError as error:
        raise NotFoundError(f"{folder.name}: no matrix here ({error.strerror}).") from error
    except ValueError as error:
        raise NotFoundError(
            f"{folder.name}: its {MATRIX} cannot be read, damaged or of another release: compute "
            "it again with insidessl-dash gcm evaluate."
        ) from error


def read_matrix_values(folder: Path) -> MatrixValues | None:
    """Per-utterance values of the matrix of a folder; None where they are not stored.

    Raises:
        StorageError: They are damaged.
    """
    try:
        return unpack_matrix_values((folder / VALUES).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"{folder.name}: its {VALUES} cannot be read: {error}.") from error


def pack_matrix_values(values: MatrixValues) -> bytes:
    """Values as a compressed npz file, float32; nothing pickled."""
    ceiling = {_CEILING + name: array for name, array in values.ceiling.items()}
    return pack_values(Values(ids=values.ids, measures={**values.measures, **ceiling}))


def unpack_matrix_values(blob: bytes) -> MatrixValues:
    """The inverse of `pack_matrix_values`."""
    both = unpack_values(blob)
    return MatrixValues(
        ids=both.ids,
        measures={k: v for k, v in both.measures.items() if not k.startswith(_CEILING)},
        ceiling={
            k.removeprefix(_CEILING): v for k, v in both.measures.items() if k.startswith(_CEILING)
        },
    )


def list_matrices(
    folder: Path, *, own: bool = False, read: Callable[[Path], MatrixResult] = read_matrix
) -> list[MatrixHeader]:
    """Every matrix below a folder, by corpus and name; what cannot be read is logged and left out.

    Args:
        folder: ``precomputed/gcm`` or ``<home>/gcm``; it need not exist.
        own: What the headers say of it.
        read: From the folder of a matrix to the matrix.
    """
    headers = []
    for path in sorted(folder.glob(f"*/*/{MATRIX}")):
        try:
            headers.append(_header(path.parent, read(path.parent), own))
        except NotFoundError as error:
            log.warning("%s", error)
    return headers


class Matrices:
    """Every matrix of an installation, read on demand and again when its file changes.

    Args:
        home: Folder that this installation writes to.
        precomputed: Folder of what ships.
    """

    def __init__(self, home: Path, precomputed: Path) -> None:
        self._places = {False: precomputed / FOLDER, True: home / FOLDER}
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[tuple[int, int], MatrixResult]] = {}

    def headers(self) -> list[MatrixHeader]:
        """What ships, then what this installation computed; under one name, the latter."""
        found: dict[tuple[str, str], MatrixHeader] = {}
        for own, place in self._places.items():
            for header in list_matrices(place, own=own, read=self._matrix):
                found[header.corpus, header.name] = header
        return list(found.values())

    def folder(self, corpus: str, name: str) -> Path:
        """Where a matrix lies; what was computed here comes before what ships.

        Raises:
            NotFoundError: There is none of that name.
        """
        for own in (True, False):
            for path in self._places[own].glob(f"*/*/{MATRIX}"):
                if (path.parent.parent.name, path.parent.name) == (corpus, name):
                    return path.parent
        raise NotFoundError(
            f"No matrix {name[:64]!r} on {corpus[:64]!r} here. `insidessl-dash gcm evaluate` "
            "computes one."
        )

    def vocoders(self) -> CopySynthesis | None:
        """What vocoders keep of speech: measured on this installation, else what ships."""
        for own in (True, False):
            if found := read_copy_synthesis(self._places[own] / VOCODERS):
                return found
        return None

    def get(self, corpus: str, name: str) -> MatrixResult:
        """One matrix.

        Raises:
            NotFoundError: There is none of that name, or it cannot be read.
        """
        return self._matrix(self.folder(corpus, name))

    def values(self, corpus: str, name: str) -> MatrixValues | None:
        """Its per-utterance values; None where they are not stored.

        Raises:
            NotFoundError: There is no matrix of that name.
            StorageError: The values are damaged.
        """
        return read_matrix_values(self.folder(corpus, name))

    def _matrix(self, folder: Path) -> MatrixResult:
        try:
            stat = (folder / MATRIX).stat()
        except OSError as error:
            raise NotFoundError(f"{folder.name}: no matrix here ({error.strerror}).") from error
        stamp = stat.st_mtime_ns, stat.st_size
        with self._lock:
            known = self._read.get(folder)
        if known is not None and known[0] == stamp:
            return known[1]
        result = read_matrix(folder)
        with self._lock:
            self._read[folder] = stamp, result
        return result


def _header(folder: Path, result: MatrixResult, own: bool) -> MatrixHeader:
    return MatrixHeader(
        name=folder.name,
        corpus=folder.parent.name,
        own=own,
        key=result.key,
        title=result.title,
        model=result.model.name,
        family=result.model.family,
        preset=result.decoders.preset,
        vocoder=result.vocoder.name,
        layers=tuple(result.layers),
        utterances=result.corpus.utterances,
        speakers=result.corpus.speakers,
        metrics=tuple(result.metrics),
    )
