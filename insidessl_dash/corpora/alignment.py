"""When each phone is said: forced alignment of an utterance to its transcript.

pocketsphinx does the work, offline, with the American English model in its wheel; it is an
optional dependency (``pip install 'insidessl-dash[align]'``). The transcript is the phones of each
word where the corpus gives them, else its text with the pronunciations of the CMU dictionary.

Two settings differ from the library's defaults, both for accented speech. The search over the best
path is off: it leaves silences of one frame, from which the phone pass cannot recover (of 60
utterances of speechocean762 it lost 24, and 47 with wide beams; without it none). And the beams are
wide. Cepstral means are taken over each utterance, so an alignment does not depend on what was
aligned before it.

An alignment file is JSON lines. The first line is the header::

    {"format": "phone alignment", "version": 1, "aligner": "pocketsphinx 5.1.1",
     "settings": {"beam": 1e-100, ...}, "corpus": NAME, "licence": ..., "utterances": 5000,
     "aligned": 4990, "failures": {REASON: COUNT}}

and every other line an utterance, in order of its id: ``{"id", "key", "seconds", "phones":
[[PHONE, START_S, END_S], ...]}``, or ``{"id", "key", "error"}`` where it could not be aligned.
``key`` is a hash of the audio and the transcript. While the work goes on, finished utterances are
kept in a journal beside the file (``NAME.part``), so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from insidessl_dash.audio.decode import load
from insidessl_dash.audio.limits import AudioLimits
from insidessl_dash.core.errors import AudioError, ConfigError, CorpusError
from insidessl_dash.core.files import storage_error, whole_file
from insidessl_dash.core.progress import ProgressHook, silent
from insidessl_dash.core.types import SAMPLE_RATE, Utterance, file_sha256, stable_hash
from insidessl_dash.corpora.manifest import Corpus

SILENCE = "SIL"
"""Whatever is no phone of the transcript: pauses, breath, noise."""

PHONES = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G",
    "HH", "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH",
    "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH",
)  # fmt: skip
"""The 39 phones of the CMU dictionary (ARPAbet without stress digits)."""

BEAM = 1e-100
_FORMAT, _VERSION = "phone alignment", 1
_FRAME_S = 0.01
_FIRST_BOUNDARY_S = 0.0078125
"""Windows of 25.625 ms start every 10 ms: frame k has its centre at 10 k + 12.8125 ms, and the
boundary before it lies half a step earlier."""
_LIMITS = AudioLimits(max_seconds=None, max_bytes=None)
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*'?|'[^\W_]+")


class Segment(NamedTuple):
    """A phone (ARPAbet or `SILENCE`) and its times in seconds."""

    phone: str
    start: float
    end: float


class Aligner:
    """A pocketsphinx decoder that aligns.

    Args:
        beam: Hypotheses whose likelihood falls below the best one's by this factor are dropped.

    Raises:
        ConfigError: pocketsphinx is not installed, or `beam` is not between 0 and 1.
    """

    def __init__(self, beam: float = BEAM) -> None:
        if not 0 <= beam < 1:
            raise ConfigError(f"The beam is {beam:g}: it must be from 0 (keep all) to below 1.")
        try:
            import pocketsphinx
        except ImportError as error:
            raise ConfigError(
                "Aligning phones needs pocketsphinx, which is not installed. "
                "Install it: pip install 'insidessl-dash[align]'"
            ) from error
        self.settings: dict[str, Any] = {
            "beam": beam,
            "bestpath": False,
            "cmn": "batch",
            "model": "en-us of the wheel",
        }
        self.name = f"pocketsphinx {metadata.version('pocketsphinx')}"
        self._decoder = pocketsphinx.Decoder(
            lm=None,
            cmn="batch",
            bestpath=False,
            beam=beam,
            pbeam=beam,
            wbeam=beam,
            loglevel="FATAL",
        )

    def align(self, samples: NDArray[np.float32], utterance: Utterance) -> list[Segment]:
        """Phones of an utterance, in order, without gaps, from 0 to its end.

        Args:
            samples: float32 (n,), 16 kHz.
            utterance: Its ``words`` or its ``text`` say what is spoken.

        Raises:
            CorpusError: No transcript, a word without a pronunciation, or the audio does not fit.
        """
        tokens = self._tokens(utterance)
        pcm = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        try:
            self._decoder.set_align_text(" ".join(tokens))
            self._decode(pcm)
            self._decoder.set_alignment()
            self._decode(pcm)
            found = self._decoder.get_alignment()
        except RuntimeError as error:
            raise CorpusError("the audio does not fit the transcript") from error
        spoken = [re.sub(r"\(\d+\)$", "", word.name) for word in found.words()]
        spoken = [word for word in spoken if not word.startswith(("<", "["))]
        if spoken != tokens:
            raise CorpusError("the audio does not fit the whole transcript")
        return _segments(
            [(phone.name, phone.start) for phone in found.phones()], len(samples) / SAMPLE_RATE
        )

    def _decode(self, pcm: bytes) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()

    def _tokens(self, utterance: Utterance) -> list[str]:
        """Entries of the decoder's dictionary, one a word; given pronunciations are added to it."""
        if utterance.words:
            return [self._given(word) for word in utterance.words]
        tokens: list[str] = []
        for word in _WORD.findall((utterance.text or "").lower().replace("’", "'")):
            if self._decoder.lookup_word(word) is None:
                raise CorpusError(f"no pronunciation of {word!r} is known")
            tokens.append(word)
        if not tokens:
            raise CorpusError("no transcript")
        return tokens

    def _given(self, word: Mapping[str, Any]) -> str:
        phones = [re.sub(r"\d$", "", str(phone).upper()) for phone in word.get("phones") or ()]
        if not phones:
            raise CorpusError(f"no phones for the word {word.get('word')!r}")
        if other := sorted(set(phones) - set(PHONES)):
            raise CorpusError(f"{other[0]!r} is not a phone of ARPAbet")
        token = "=" + "_".join(phones)
        if self._decoder.lookup_word(token) is None:
            self._decoder.add_word(token, " ".join(phones), False)
        return token


def _segments(starts: Sequence[tuple[str, int]], seconds: float) -> list[Segment]:
    """From (phone, first frame) in order to times; neighbouring silences become one."""
    kept: list[tuple[str, float]] = []
    for phone, frame in starts:
        label = phone if phone in PHONES else SILENCE
        if not kept or label != SILENCE or kept[-1][0] != SILENCE:
            kept.append((label, _FIRST_BOUNDARY_S + frame * _FRAME_S if kept else 0.0))
    ends = [start for _, start in kept[1:]] + [seconds]
    return [
        Segment(phone, round(start, 4), round(end, 4))
        for (phone, start), end in zip(kept, ends, strict=True)
    ]


@dataclass(frozen=True)
class Alignment:
    """The phones of a corpus.

    Attributes:
        header: First line of the file: aligner, settings, counts.
        phones: Utterance id -> its segments, those that could be aligned.
        errors: Utterance id -> why it could not.
    """

    header: dict[str, Any]
    phones: dict[str, list[Segment]]
    errors: dict[str, str] = field(default_factory=dict)

    def digest(self, ids: Iterable[str] | None = None) -> str:
        """Identity of what was found: the aligner, its settings, and every segment.

        Args:
            ids: Of the utterances that matter; None for all that were aligned.
        """
        chosen = sorted(self.phones if ids is None else ids)
        rows = [[id, [list(segment) for segment in self.phones[id]]] for id in chosen]
        return stable_hash([self.header.get("aligner"), self.header.get("settings"), rows])


def label_at(segments: Sequence[Segment], times_s: NDArray[np.floating]) -> NDArray[np.str_]:
    """The phone at each time; before the start the first, after the end the last.

    Args:
        segments: In order, without gaps.
        times_s: Any shape.

    Returns:
        Text of the same shape.
    """
    starts = np.array([segment.start for segment in segments])
    place = np.searchsorted(starts, times_s, side="right") - 1
    return np.array([segment.phone for segment in segments])[np.maximum(place, 0)]


def align_corpus(
    corpus: Corpus,
    path: Path,
    *,
    beam: float = BEAM,
    progress: ProgressHook = silent,
    aligner: Aligner | None = None,
) -> Alignment:
    """Align every utterance of a corpus, and write the file.

    Utterances that the file, or the journal of an interrupted run, has with the same audio,
    transcript and settings are not aligned again.

    Args:
        corpus: With words or text.
        path: The alignment file.
        beam: As `Aligner`.
        progress: Told of every utterance.
        aligner: Default: a new one with `beam`.

    Raises:
        ConfigError: pocketsphinx is missing.
        CorpusError: Not one utterance could be aligned.
        StorageError: The file cannot be written.
    """
    aligner = aligner or Aligner(beam)
    setup = {
        "format": _FORMAT,
        "version": _VERSION,
        "aligner": aligner.name,
        "settings": aligner.settings,
    }
    journal = path.with_name(path.name + ".part")
    known = _known_rows(path, setup) | _known_rows(journal, setup)
    rows: list[dict[str, Any]] = []
    try:
        with _open_journal(journal, setup) as file:
            for number, utterance in enumerate(corpus.utterances):
                progress("aligning", number, len(corpus.utterances))
                row = _row(aligner, utterance, known.get(utterance.id))
                rows.append(row)
                if row is not known.get(utterance.id):
                    file.write(_line(row))
                    file.flush()
    except OSError as error:
        raise storage_error(path, error) from error
    failures = Counter(_kind(row["error"]) for row in rows if "error" in row)
    if sum(failures.values()) == len(rows):
        raise CorpusError(
            f"No utterance of {corpus.name} could be aligned; the commonest reason: "
            f"{failures.most_common(1)[0][0]}. Alignment needs words or text in the manifest, in "
            "English."
        )
    header = {
        **setup,
        "corpus": corpus.name,
        "licence": corpus.licence,
        "utterances": len(rows),
        "aligned": len(rows) - sum(failures.values()),
        "failures": dict(sorted(failures.items())),
    }
    rows.sort(key=lambda row: row["id"])
    with whole_file(path) as temporary:
        temporary.write_text("".join(_line(row) for row in [header, *rows]), encoding="utf-8")
    journal.unlink(missing_ok=True)
    return read_alignment(path)


def read_alignment(path: Path) -> Alignment:
    """Read an alignment file.

    Raises:
        CorpusError: It does not exist, or is not one.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CorpusError(
            f"{path.name}: {why}. Make an alignment: insidessl-dash data align CORPUS"
        ) from error
    try:
        header, *rows = [json.loads(line) for line in lines]
        if (header["format"], header["version"]) != (_FORMAT, _VERSION):
            raise ValueError("it is of another format or version")
        return Alignment(
            header,
            {
                row["id"]: [Segment(str(p), float(s), float(e)) for p, s, e in row["phones"]]
                for row in rows
                if "phones" in row
            },
            {row["id"]: str(row["error"]) for row in rows if "error" in row},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"{path.name} is not a phone alignment ({error}). Make it again: "
            "insidessl-dash data align CORPUS"
        ) from error


def _row(aligner: Aligner, utterance: Utterance, known: dict[str, Any] | None) -> dict[str, Any]:
    """The line of an utterance; `known` itself where it is of this audio and transcript."""
    try:
        audio = file_sha256(utterance.path)
    except OSError as error:
        return {"id": utterance.id, "key": "", "error": f"unreadable: {error.strerror}"}
    key = stable_hash([audio, utterance.words or utterance.text])[:16]
    if known is not None and known.get("key") == key:
        return known
    row: dict[str, Any] = {"id": utterance.id, "key": key}
    try:
        samples = load(utterance.path, limits=_LIMITS).samples
        segments = aligner.align(samples, utterance)
    except AudioError as error:
        return {**row, "error": f"unreadable: {error}"}
    except CorpusError as error:
        return {**row, "error": str(error)}
    seconds = round(len(samples) / SAMPLE_RATE, 4)
    return {**row, "seconds": seconds, "phones": [list(segment) for segment in segments]}


def _known_rows(path: Path, setup: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Rows of a file or journal that was made with the same aligner and settings, by id."""
    rows: list[dict[str, Any]] = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue  # of a journal that was cut off while a line was written
    except (OSError, UnicodeDecodeError):
        return {}
    if not rows or any(rows[0].get(name) != value for name, value in setup.items()):
        return {}
    return {row["id"]: row for row in rows[1:]}


def _open_journal(journal: Path, setup: dict[str, Any]) -> IO[str]:
    """The journal, to be written on; begun anew where it is of another aligner or settings."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    goes_on = bool(_known_rows(journal, setup))
    file = journal.open("a" if goes_on else "w", encoding="utf-8")
    file.write("\n" if goes_on else _line(setup))
    return file


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, separators=(",", ":"), allow_nan=False, ensure_ascii=False) + "\n"


def _kind(error: str) -> str:
    """A failure without what is particular to the utterance, for counting."""
    return re.sub(r"'[^']*'", "...", error.partition(":")[0])
