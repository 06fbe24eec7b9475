"""Corpora that have a name here: what ships, what was downloaded, what was added by path."""

from __future__ import annotations

import json
import logging
import re
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from insidessl_dash.core.errors import ConfigError, ConflictError, CorpusError, NotFoundError
from insidessl_dash.core.files import write_json
from insidessl_dash.core.settings import Settings
from insidessl_dash.corpora.downloads import DOWNLOADS
from insidessl_dash.corpora.manifest import MANIFEST, Corpus, open_corpus

log = logging.getLogger(__name__)
DEMO = "demo"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
Origin = Literal["shipped", "downloaded", "added"]


class CorpusCard(BaseModel):
    """A corpus as shown: no path in it.

    Attributes:
        seconds: Of the utterances whose duration is known; None if none is.
    """

    name: str
    title: str
    origin: Origin
    utterances: int
    seconds: float | None
    speakers: int | None
    licence: str | None


def known_corpora(settings: Settings) -> list[CorpusCard]:
    """Every corpus that can be opened by name; one that cannot be is logged and left out."""
    cards = []
    for name, (path, origin) in _places(settings).items():
        try:
            cards.append(_card(_open(name, path), origin))
        except CorpusError as error:
            log.warning("Corpus %s is left out: %s", name, error)
    return cards


def known_corpus(name: str, settings: Settings) -> Corpus:
    """Open a corpus by name.

    Raises:
        NotFoundError: There is none of that name.
        CorpusError: It was moved, or is damaged.
    """
    places = _places(settings)
    if name not in places:
        hint = f"There are: {', '.join(places)}."
        if name in DOWNLOADS:
            hint = f"Fetch it: insidessl-dash data get {name}"
        raise NotFoundError(f"No corpus named {name[:64]!r} here. {hint}")
    path, origin = places[name]
    try:
        return _open(name, path)
    except CorpusError as error:
        log.warning("Corpus %s cannot be opened: %s", name, error)
        again = {
            "shipped": "Install the project again.",
            "downloaded": f"Fetch it again: insidessl-dash data get {name}",
            "added": f"Add it again: insidessl-dash data add {name} PATH",
        }[origin]
        raise CorpusError(
            f"Corpus {name} cannot be opened: it was moved or is damaged. {again}"
        ) from error


def add_corpus(name: str, path: Path, settings: Settings) -> Corpus:
    """Remember a folder or manifest under a name.

    Raises:
        ConfigError: Not a name.
        ConflictError: The name is taken.
        CorpusError: There is no usable corpus at the path.
        StorageError: It cannot be remembered.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a name: use lower-case letters, digits, '.', '_' and '-'."
        )
    places = _places(settings)
    if name in DOWNLOADS or (name in places and places[name][1] != "added"):
        raise ConflictError(f"The name {name} is taken: choose another.")
    corpus = open_corpus(path, name)
    write_json(
        _added_file(settings),
        {**_added(settings), name: str(path.expanduser().resolve())},
    )
    return corpus


def remove_corpus(name: str, settings: Settings) -> None:
    """Forget a corpus that was added by path; its files stay.

    Raises:
        NotFoundError: None of that name was added.
    """
    added = _added(settings)
    if added.pop(name, None) is None:
        raise NotFoundError(f"No corpus named {name!r} was added by path.")
    write_json(_added_file(settings), added)


def _places(settings: Settings) -> dict[str, tuple[Path, Origin]]:
    places: dict[str, tuple[Path, Origin]] = {}
    demo = settings.precomputed / DEMO / MANIFEST
    if demo.is_file():
        places[DEMO] = (demo, "shipped")
    for manifest in sorted((settings.home / "data").glob(f"[!.]*/{MANIFEST}")):
        places.setdefault(manifest.parent.name, (manifest, "downloaded"))
    for name, path in sorted(_added(settings).items()):
        places.setdefault(name, (Path(path), "added"))
    return places


def _added_file(settings: Settings) -> Path:
    return settings.home / "corpora.json"


def _added(settings: Settings) -> dict[str, str]:
    try:
        found = json.loads(_added_file(settings).read_text(encoding="utf-8"))
        return {str(name): str(path) for name, path in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        log.warning("corpora.json cannot be read and is ignored: %s", error)
        return {}


def _open(name: str, path: Path) -> Corpus:
    manifest = path / MANIFEST if (path / MANIFEST).is_file() else path
    try:
        stat = manifest.stat()
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}.") from error
    if manifest.is_dir():
        return open_corpus(manifest, name)
    return _read(name, manifest, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=16)
def _read(name: str, manifest: Path, _mtime_ns: int, _size: int) -> Corpus:
    """A manifest of 28,000 rows takes a fifth of a second; it is read again when it changes."""
    return open_corpus(manifest, name)


def _card(corpus: Corpus, origin: Origin) -> CorpusCard:
    known = DOWNLOADS.get(corpus.name)
    title = "Demo" if corpus.name == DEMO else known.title if known else corpus.name
    speakers = {u.speaker for u in corpus.utterances if u.speaker}
    return CorpusCard(
        name=corpus.name,
        title=title,
        origin=origin,
        utterances=len(corpus.utterances),
        seconds=round(corpus.seconds, 2) or None,
        speakers=len(speakers) or None,
        licence=corpus.licence or (known.licence if known else None),
    )
