"""A corpus: a folder of audio, a JSON-lines manifest, or single files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from insidessl_dash.audio.limits import EXTENSIONS
from insidessl_dash.core.errors import CorpusError
from insidessl_dash.core.types import Utterance

MANIFEST = "manifest.jsonl"


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
    paths = [Path(p) for p in ([sources] if isinstance(sources, str | Path) else sources)]
    if not paths:
        raise CorpusError("No audio given: name at least one file, folder or manifest.")
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
    path = path.expanduser()
    if not path.exists():
        raise CorpusError(f"{path}: no such file or folder.")
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
    utterances = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path.name} cannot be read as a UTF-8 manifest: {error}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row: dict[str, Any] = json.loads(line)
            if not isinstance(row, dict):
                raise TypeError(f"it is a {type(row).__name__}")
            words = row.get("words")
            utterances.append(
                Utterance(
                    id=str(row["id"]),
                    path=folder / row["path"],
                    words=tuple(words) if words else None,
                    **{
                        key: row.get(key)
                        for key in ("speaker", "gender", "age", "text", "seconds", "licence")
                    },
                    corpus=row.get("corpus") or "",
                    split=row.get("split") or "",
                )
            )
        except (ValueError, TypeError) as error:
            raise CorpusError(f"{path.name}, line {number}: not a JSON object: {error}.") from error
        except KeyError as error:
            raise CorpusError(f"{path.name}, line {number}: field {error} is missing.") from error
    return utterances


def _with_unique_ids(utterances: list[Utterance]) -> list[Utterance]:
    """Tell apart files of the same stem in different places by a numbered suffix."""
    seen: dict[str, int] = {}
    unique = []
    for utterance in utterances:
        count = seen[utterance.id] = seen.get(utterance.id, 0) + 1
        unique.append(
            utterance if count == 1 else replace(utterance, id=f"{utterance.id} ({count})")
        )
    return unique
