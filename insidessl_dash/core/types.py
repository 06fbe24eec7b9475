"""Values that several rooms share."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SAMPLE_RATE = 16_000
LEVEL_DBFS = -26.0
"""Level of speech for decoders, and of what is compared with what they decode."""
PLAYED_DB = -10.0
"""What every sound of a matrix is turned by where it is kept for listening, the original too: a
decoder that reads a strange layer can be 20 dB louder than speech."""
"""Sample rate of every encoder here, in Hz."""


@dataclass(frozen=True)
class Utterance:
    """One stretch of speech in one file.

    Attributes:
        id: Unique within its corpus.
        path: Absolute path of the audio file.
        seconds: Duration in seconds, where it is known.
        words: ``[{"word": str, "phones": [str]}]`` in ARPAbet, where the source gives it.
    """

    id: str
    path: Path
    corpus: str = ""
    split: str = ""
    speaker: str | None = None
    gender: str | None = None
    age: int | None = None
    text: str | None = None
    words: tuple[dict[str, Any], ...] | None = None
    seconds: float | None = None
    licence: str | None = None

    def row(self) -> dict[str, Any]:
        """The manifest row of this utterance, with ``path`` as text."""
        return {**asdict(self), "path": str(self.path)}


def stable_hash(value: Any) -> str:
    """SHA-256 (hex) of a JSON value: the same in every process and on every machine.

    >>> stable_hash({"b": 1, "a": [2]}) == stable_hash({"a": [2], "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def stable_seed(*parts: Any) -> int:
    """A 63-bit seed from any JSON values, so that randomness follows identity, not order."""
    return int(stable_hash(list(parts))[:16], 16) >> 1


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
