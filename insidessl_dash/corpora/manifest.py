"""A corpus: a folder of audio, a JSON-lines manifest, or single files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from insidessl_dash.audio.limits import EXTENSIONS
from insidessl_dash.core.errors import CorpusError
from insidessl_dash.core.types import Utterance

MANIFEST = "manifest.jsonl"
_NAMING = Field(min_length=1, pattern=r"^[^\x00]*$")


class _Row(BaseModel):
    """A row of a manifest; numbers become text where text is meant, and the other way round."""

    model_config = ConfigDict(coerce_numbers_to_str=True, allow_inf_nan=False)

    id: Annotated[str, _NAMING]
    path: Annotated[StrictStr, _NAMING]
    corpus: str | None = None
    split: str | None = None
    speaker: str | None = None
    gender: str | None = None
    age: int | None = None
    text: str | None = None
    words: list[dict[str, Any]] | None = None
    seconds: float | None = Field(None, ge=0)
    licence: str | None = None

    def utterance(self, folder: Path) -> Utterance:
        """The row as an utterance; relative paths start at `folder`."""
        fields = dict(self)
        fields["path"] = folder / self.path
        fields["words"] = tuple(self.words) if self.words else None
        fields["corpus"], fields["split"] = self.corpus or "", self.split or ""
        return Utterance(**fields)


@dataclass(frozen=True)
class Corpus:
    """Named utterances, with where they come from.

    Attributes:
        name: Short name, shown in the dashboard.
        utterances: At least one, with unique ids.
        licence: Licence of the audio, where it is known.
    """

    name: str
    utterances: tuple[Utterance, ...]
    licence: str | None = field(default=None)

    def __post_init__(self) -> None:
        if not self.utterances:
            raise CorpusError(f"Corpus {self.name}: no utterance in it.")
        ids = [utterance.id for utterance in self.utterances]
        if len(set(ids)) < len(ids):
            twice = next(id for id in ids if ids.count(id) > 1)
            raise CorpusError(f"Corpus {self.name}: utterance id {twice!r} occurs twice.")

    @property
    def seconds(self) -> float:
        """Total duration in seconds of the utterances whose duration is known."""
        return sum(utterance.seconds or 0.0 for utterance in self.utterances)

    def select(self, keep: Callable[[Utterance], bool], name: str | None = None) -> Corpus:
        """The utterances for which `keep` holds."""
        return replace(
            self, name=name or self.name, utterances=tuple(u for u in self.utterances if keep(u))
        )


def open_corpus(sources: str | Path | Sequence[str | Path], name: str | None = None) -> Corpus:
    """Open files, folders or manifests as one corpus.

    A folder with a ``manifest.jsonl`` is that manifest; any other folder is every audio file
    below it, in order of name.

    Args:
        sources: One path or several.
        name: Default: the name of the first source.

    Raises:
        CorpusError: A path that does not exist, a manifest with a bad line, nothing found.
    """
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    if not given:
        raise CorpusError("No audio given: name at least one file, folder or manifest.")
    if not all(str(source).strip() for source in given):
        raise CorpusError("An empty path was given: name a file, folder or manifest.")
    paths = [Path(source) for source in given]
    utterances: list[Utterance] = []
    for path in paths:
        utterances.extend(_open_one(path))
    licences = sorted({utterance.licence for utterance in utterances if utterance.licence})
    return Corpus(
        name or paths[0].resolve().stem,
        tuple(_with_unique_ids(utterances)),
        licence=" AND ".join(licences) or None,
    )


def _open_one(path: Path) -> Iterable[Utterance]:
    try:
        path = path.expanduser()
        path.stat()
    except (OSError, RuntimeError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            why = "no such file or folder"
        raise CorpusError(f"{path}: {why}.") from error
    if path.is_dir():
        if (path / MANIFEST).is_file():
            return _read_manifest(path / MANIFEST)
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS)
        if not files:
            raise CorpusError(f"{path}: no audio file ({', '.join(EXTENSIONS)}) in this folder.")
        return [Utterance(str(p.relative_to(path).with_suffix("")), p.resolve()) for p in files]
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return _read_manifest(path)
    return [Utterance(path.stem, path.resolve())]


def _read_manifest(path: Path) -> list[Utterance]:
    folder = path.resolve().parent
    utterances: list[Utterance] = []
    lines_of: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path.name} cannot be read as a UTF-8 manifest: {error}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            utterance = _read_row(line).utterance(folder)
        except CorpusError as error:
            raise CorpusError(f"{path.name}, line {number}: {error}.") from error
        first = lines_of.setdefault(utterance.id, number)
        if first != number:
            raise CorpusError(
                f"{path.name}, line {number}: the id {utterance.id!r} is that of line {first} "
                "already. Give every row an id of its own."
            )
        utterances.append(utterance)
    return utterances


def _read_row(line: str) -> _Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"not a JSON object: {error}") from error
    if not isinstance(row, dict):
        raise CorpusError(f"not a JSON object: it is a {type(row).__name__}")
    try:
        return _Row.model_validate(row)
    except ValidationError as error:
        raise CorpusError(_in_words(error)) from error


def _in_words(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"field {name!r} is missing"
    why = first["msg"][:1].lower() + first["msg"][1:]
    if first["type"] in ("string_pattern_mismatch", "string_too_short"):
        why = "it must not be empty or hold a NUL character"
    return f"field {name!r} is {str(first['input'])[:80]!r}: {why}"


def _with_unique_ids(utterances: list[Utterance]) -> list[Utterance]:
    """Tell apart files of the same stem in different places by a numbered suffix."""
    taken = {utterance.id for utterance in utterances}
    seen: set[str] = set()
    unique = []
    for utterance in utterances:
        id, count = utterance.id, 1
        while id in seen or (count > 1 and id in taken):
            count += 1
            id = f"{utterance.id} ({count})"
        seen.add(id)
        unique.append(utterance if count == 1 else replace(utterance, id=id))
    return unique
