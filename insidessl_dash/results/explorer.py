"""Examples of the audio explorer: an utterance decoded in every cell of a matrix, kept as sound.

Folders ``<model>/<example>/`` below ``precomputed/gcm/examples`` (what ships) and
``<home>/gcm/examples`` (made on this installation), each with ``example.json``, ``original.opus``,
``vocoder.opus`` (the original's own mel, vocoded) and ``cell-II-JJ.opus``: decoder D^(II) reading
the tokens z^(JJ), two digits, both places in the model's layers. Examples are discovered, never
listed by hand, and found by name among those discovered: no path is made from what somebody asks.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from insidessl_dash.core.errors import NotFoundError
from insidessl_dash.core.files import storage_error, whole_file
from insidessl_dash.results.matrix import DecoderInfo, Grid, MatrixConfig, VocoderInfo
from insidessl_dash.results.schema import ModelInfo, _Frozen

log = logging.getLogger(__name__)

FOLDER = "gcm/examples"
"""Below ``precomputed`` and below the home."""

EXAMPLE = "example.json"
References = Literal["original", "vocoder"]


class CellMetric(_Frozen):
    """One metric of an utterance in every cell.

    Attributes:
        title, unit, higher_is_better, scored_by: As in `results.matrix.MatrixMeasure`.
        cells: One row a decoder that there is, one column a layer; None: not measurable.
        vocoder: Of the original's own mel, vocoded; None: not measurable.
        why: Why cells have no value, one row a decoder, "" where one has; empty where all have.
    """

    title: str
    unit: str
    higher_is_better: bool
    scored_by: str
    cells: Grid
    vocoder: float | None
    why: list[list[str]] = Field(default_factory=list)


class Example(_Frozen):
    """One utterance in every cell of a matrix.

    Attributes:
        model: The encoder whose layers are decoded.
        id: Of the utterance, in its corpus.
        text: What is said; "" where nobody wrote it down.
        voice: Who speaks, as the page calls them.
        gender: "female", "male", or "" where the corpus does not say.
        corpus, licence: Of the recording.
        seconds: Of the original; every sound is as long.
        config: How cells are made; `config.gain_db` is the one gain of the matrix.
        layers: Token layers j, shallow to deep.
        decoder_layers: Decoders there are, a part of `layers`: the rows.
        missing: Layer without a decoder -> why.
        metrics: Name -> scores; the first is the one shown first.
    """

    schema_version: int = 1
    model: ModelInfo
    id: str
    text: str = ""
    voice: str = Field(min_length=1)
    gender: Literal["female", "male", ""] = ""
    corpus: str
    licence: str = ""
    seconds: float = Field(gt=0)
    config: MatrixConfig
    decoders: DecoderInfo
    vocoder: VocoderInfo
    layers: list[str]
    decoder_layers: list[str]
    missing: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, CellMetric] = Field(min_length=1)

    @field_validator("schema_version")
    @classmethod
    def _known(cls, version: int) -> int:
        if version != 1:
            raise ValueError(f"example version {version} is not 1: made by another release")
        return version

    @model_validator(mode="after")
    def _shapes(self) -> Example:
        if not {*self.decoder_layers} <= {*self.layers}:
            raise ValueError("a decoder belongs to no layer")
        if {*self.layers} - {*self.decoder_layers} != {*self.missing}:
            raise ValueError("layers without a decoder and the reasons for it differ")
        for name, metric in self.metrics.items():
            shape = [len(self.layers)] * len(self.decoder_layers)
            if [len(row) for row in metric.cells] != shape or (
                metric.why and [len(row) for row in metric.why] != shape
            ):
                raise ValueError(f"{name}: not one row a decoder and one column a layer")
        return self

    def has_cell(self, i: int, j: int) -> bool:
        """Whether decoder D^(i) and tokens z^(j), both places in `layers`, are a cell."""
        return (
            0 <= i < len(self.layers)
            and 0 <= j < len(self.layers)
            and self.layers[i] in self.decoder_layers
        )


@dataclass(frozen=True)
class ExampleHeader:
    """What there is to choose from: an example, under the names of its folders."""

    model: str
    name: str
    example: Example


def cell_file(i: int, j: int) -> str:
    """Name of the sound of a cell.

    >>> cell_file(3, 11)
    'cell-03-11.opus'
    """
    return f"cell-{i:02d}-{j:02d}.opus"


def reference_file(which: References) -> str:
    """Name of the sound of the original, or of its own mel vocoded."""
    return f"{which}.opus"


def reasons(rows: list[list[str]]) -> list[list[str]]:
    """What `CellMetric.why` holds: nothing where every cell has a value.

    >>> reasons([["", ""]]), reasons([["", "silent"]])
    ([], [['', 'silent']])
    """
    return rows if any(map(any, rows)) else []


def forget_example(folder: Path) -> None:
    """Remove ``example.json``, so that sounds can be written without being taken for its own.

    Raises:
        StorageError: It cannot be removed.
    """
    try:
        (folder / EXAMPLE).unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(folder / EXAMPLE, error) from error


def write_example(folder: Path, example: Example) -> None:
    """Write ``example.json``; the sounds are written beside it, before it.

    Raises:
        StorageError: It cannot be written.
    """
    with whole_file(folder / EXAMPLE) as temporary:
        temporary.write_text(example.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_example(folder: Path) -> Example:
    """The example of a folder.

    Raises:
        NotFoundError: There is none, or it was made by another release.
    """
    try:
        return Example.model_validate_json((folder / EXAMPLE).read_bytes())
    except OSError as error:
        raise NotFoundError(f"{folder.name}: no example here ({error.strerror}).") from error
    except ValueError as error:
        raise NotFoundError(
            f"{folder.name}: its {EXAMPLE} cannot be read, damaged or of another release."
        ) from error


class Examples:
    """Every example of an installation, read on demand and again when its file changes.

    Args:
        home: Folder that this installation writes to.
        precomputed: Folder of what ships.
    """

    def __init__(self, home: Path, precomputed: Path) -> None:
        self._places = (precomputed / FOLDER, home / FOLDER)
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[tuple[int, int], Example]] = {}

    def headers(self) -> list[ExampleHeader]:
        """By model and name; what cannot be read is logged and left out."""
        found = []
        for (model, name), folder in self._folders().items():
            try:
                found.append(ExampleHeader(model, name, self._example(folder)))
            except NotFoundError as error:
                log.warning("%s", error)
        return found

    def get(self, model: str, name: str) -> Example:
        """One example, by the names of its folders.

        Raises:
            NotFoundError: There is none of that name, or it cannot be read.
        """
        return self._example(self._folder(model, name))

    def version(self, model: str, name: str) -> str:
        """Changes when the example does, so that its sounds may be kept by who has them.

        Raises:
            NotFoundError: There is none of that name.
        """
        return f"{(self._folder(model, name) / EXAMPLE).stat().st_mtime_ns:x}"

    def cell(self, model: str, name: str, i: int, j: int) -> Path:
        """The sound of a cell: decoder D^(i), tokens z^(j), places in the model's layers.

        Raises:
            NotFoundError: No such example, cell or sound.
        """
        if not self.get(model, name).has_cell(i, j):
            raise NotFoundError(f"{model[:64]} has no cell with decoder {i} and tokens {j}.")
        return self._sound(self._folder(model, name), cell_file(i, j))

    def reference(self, model: str, name: str, which: References) -> Path:
        """The sound of the original, or of its own mel vocoded.

        Raises:
            NotFoundError: No such example or sound.
        """
        return self._sound(self._folder(model, name), reference_file(which))

    def _sound(self, folder: Path, file: str) -> Path:
        if not (folder / file).is_file():
            raise NotFoundError(f"{folder.parent.name}/{folder.name}: {file} is not here.")
        return folder / file

    def _folders(self) -> dict[tuple[str, str], Path]:
        """Names -> folder; what was made here comes before what ships."""
        found: dict[tuple[str, str], Path] = {}
        for place in self._places:
            for path in sorted(place.glob(f"*/*/{EXAMPLE}")):
                found[path.parent.parent.name, path.parent.name] = path.parent
        return found

    def _folder(self, model: str, name: str) -> Path:
        folder = self._folders().get((model, name))
        if folder is None:
            raise NotFoundError(f"No example {name[:64]!r} of {model[:64]!r} here.")
        return folder

    def _example(self, folder: Path) -> Example:
        try:
            stat = (folder / EXAMPLE).stat()
        except OSError as error:
            raise NotFoundError(f"{folder.name}: no example here ({error.strerror}).") from error
        stamp = stat.st_mtime_ns, stat.st_size
        with self._lock:
            known = self._read.get(folder)
        if known is not None and known[0] == stamp:
            return known[1]
        example = read_example(folder)
        with self._lock:
            self._read[folder] = stamp, example
        return example
