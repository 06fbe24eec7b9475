"""From an unpacked archive to manifest rows, one function a corpus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import soundfile

from insidessl_dash.core.errors import CorpusError

Row = dict[str, Any]


def librispeech_rows(folder: Path, subset: str) -> Iterator[Row]:
    """Rows of one subset of LibriSpeech, in order of speaker and chapter.

    ``LibriSpeech/SPEAKERS.TXT`` has a row ``ID | SEX | SUBSET | MINUTES | NAME`` a speaker;
    ``LibriSpeech/SUBSET/SPEAKER/CHAPTER/`` has the FLAC files, and one ``.trans.txt`` with a line
    ``ID TEXT`` each.

    Raises:
        CorpusError: The archive holds something else.
    """
    root = _child(folder, "LibriSpeech")
    genders = {}
    for line in _lines(root / "SPEAKERS.TXT"):
        if not line.startswith(";"):
            speaker, sex, *_rest = (part.strip() for part in line.split("|"))
            genders[speaker] = sex.lower()
    for transcript in sorted(_child(root, subset).glob("*/*/*.trans.txt")):
        for line in _lines(transcript):
            id, _, text = line.partition(" ")
            speaker = id.partition("-")[0]
            path = transcript.with_name(f"{id}.flac")
            yield {
                "id": id,
                "path": _inside(path, folder),
                "corpus": "librispeech",
                "split": subset,
                "speaker": f"ls{speaker}",
                "gender": genders.get(speaker),
                "age": None,
                "text": text.strip(),
                "words": None,
                "seconds": _seconds(path),
                "licence": "CC-BY-4.0",
            }


def speechocean_rows(folder: Path) -> Iterator[Row]:
    """Rows of speechocean762, train then test.

    ``train/`` and ``test/`` have Kaldi tables (``wav.scp``, ``text``, ``utt2spk``, ``spk2age``,
    ``spk2gender``); ``resource/scores.json`` has the canonical phones of each word.

    Raises:
        CorpusError: The archive holds something else.
    """
    root = _child(folder, "speechocean762")
    try:
        scores = json.loads((root / "resource" / "scores.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"The archive has no readable resource/scores.json: {error}.") from error
    for split in ("train", "test"):
        tables = {
            name: _table(root / split / name)
            for name in ("wav.scp", "text", "utt2spk", "spk2age", "spk2gender")
        }
        for id, wav in tables["wav.scp"].items():
            speaker = tables["utt2spk"].get(id, "")
            age = tables["spk2age"].get(speaker, "")
            path = root / wav
            yield {
                "id": id,
                "path": _inside(path, folder),
                "corpus": "speechocean762",
                "split": split,
                "speaker": f"so{speaker}" if speaker else None,
                "gender": tables["spk2gender"].get(speaker, "").lower()[:1] or None,
                "age": int(age) if age.isdigit() else None,
                "text": tables["text"].get(id),
                "words": _words(scores.get(id)),
                "seconds": _seconds(path),
                "licence": "CC-BY-4.0",
            }


def _words(score: Any) -> list[Row] | None:
    """Words with canonical phones; a list of phones, or one string of them in older releases."""
    if not score:
        return None
    return [
        {
            "word": word["text"].upper(),
            "phones": word["phones"].split() if isinstance(word["phones"], str) else word["phones"],
        }
        for word in score["words"]
    ]


def _child(folder: Path, name: str) -> Path:
    if not (folder / name).is_dir():
        raise CorpusError(f"The archive holds no folder {name}: not the corpus it should be.")
    return folder / name


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CorpusError(f"The archive has no readable {path.name}: {error.strerror}.") from error
    return [line for line in text.splitlines() if line.strip()]


def _table(path: Path) -> dict[str, str]:
    pairs = (line.split(None, 1) for line in _lines(path))
    return {pair[0]: pair[-1].strip() if len(pair) > 1 else "" for pair in pairs}


def _inside(path: Path, folder: Path) -> str:
    """The path from the folder; a table may not point anywhere else."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise CorpusError(f"The archive points outside of itself: {path.name}.")
    return path.relative_to(folder).as_posix()


def _seconds(path: Path) -> float | None:
    """Duration from the header; None for a file that is missing or damaged."""
    try:
        info = soundfile.info(path)
    except (OSError, RuntimeError):
        return None
    return round(info.frames / info.samplerate, 4)
