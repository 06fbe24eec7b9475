"""Pre-training data: decoded once to a memory map, batched in equal lengths without padding.

Every batch is a pure function of (seed, update), so resuming needs no random state.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from insidessl_dash.audio.decode import load
from insidessl_dash.audio.limits import AudioLimits
from insidessl_dash.core.errors import AudioError, TrainingError
from insidessl_dash.core.files import whole_file, write_json
from insidessl_dash.core.progress import ProgressHook
from insidessl_dash.core.types import SAMPLE_RATE, stable_hash, stable_seed
from insidessl_dash.corpora.manifest import Corpus

HOP = 320
"""Samples between frames of 20 ms; crops start on this grid so that frame labels line up."""

_GRID = 4000
"""Crops are whole quarters of a second: few different shapes, so kernels are reused."""

_LIMITS = AudioLimits(min_seconds=0.5, max_seconds=None, max_bytes=None)


@dataclass(frozen=True)
class SpeechData:
    """Utterances end to end in one array.

    Attributes:
        samples: int16, shape (n,), memory-mapped; 16 kHz.
        offsets: int64, shape (utterances + 1,): utterance i is samples[offsets[i]:offsets[i+1]].
        ids, speakers: One for each utterance.
        held_out: bool, shape (utterances,): True where the speaker is never trained on.
        digest: Hash of the audio digests and of the split.
        skipped: ``{id: reason}`` of the utterances that could not be used.
    """

    samples: NDArray[np.int16]
    offsets: NDArray[np.int64]
    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    held_out: NDArray[np.bool_]
    digest: str
    skipped: dict[str, str]

    def waveform(self, index: int, start: int = 0, length: int | None = None) -> NDArray:
        """float32 samples of one utterance, from `start`, at most `length` of them."""
        begin = self.offsets[index] + start
        end = self.offsets[index + 1] if length is None else begin + length
        return self.samples[begin:end].astype(np.float32) / 32768.0

    def lengths(self) -> NDArray[np.int64]:
        """Samples in each utterance."""
        return np.diff(self.offsets)

    def seconds(self, *, held_out: bool) -> float:
        """Total duration of one side of the split."""
        return float(self.lengths()[self.held_out == held_out].sum()) / SAMPLE_RATE


def held_out_speakers(speakers: set[str], fraction: float, seed: int) -> set[str]:
    """The `fraction` of speakers with the smallest seeded hashes: stable as a corpus grows."""
    ranked = sorted(speakers, key=lambda s: stable_seed("held-out", seed, s))
    return set(ranked[: max(1, round(fraction * len(speakers)))])


def prepare(
    corpus: Corpus, cache: Path, *, fraction: float, seed: int, progress: ProgressHook
) -> SpeechData:
    """Decode a corpus into `cache`, or open what an earlier run decoded.

    Raises:
        TrainingError: One speaker only, or less than a minute of speech to train on.
    """
    unnamed = [u.id for u in corpus.utterances if not u.speaker]
    if unnamed:
        raise TrainingError(
            f"{len(unnamed)} utterances of {corpus.name} name no speaker (first: {unnamed[0]!r}). "
            "Pre-training holds speakers out, so the manifest needs a speaker on every row."
        )
    index_path, samples_path = cache / "speech.json", cache / "speech.npy"
    wanted = stable_hash([[u.id, str(u.path), u.speaker] for u in corpus.utterances])
    whole = index_path.exists() and samples_path.exists()
    try:
        index = json.loads(index_path.read_text()) if whole else {}
    except ValueError:
        index = {}  # cut off: decoded again
    if index.get("wanted") != wanted:
        index_path.unlink(missing_ok=True)  # else, if this is stopped, it would name other samples
        index = _decode(corpus, samples_path, progress) | {"wanted": wanted}
        write_json(index_path, index)
    speakers = tuple(index["speakers"])
    if len(set(speakers)) < 2:
        raise TrainingError(
            f"{corpus.name} has one speaker. Some speakers are held out to measure learning on, "
            "so at least two are needed."
        )
    outside = held_out_speakers(set(speakers), fraction, seed)
    data = SpeechData(
        samples=np.load(samples_path, mmap_mode="r"),
        offsets=np.asarray(index["offsets"], np.int64),
        ids=tuple(index["ids"]),
        speakers=speakers,
        held_out=np.array([speaker in outside for speaker in speakers]),
        digest=stable_hash([index["digests"], sorted(outside)]),
        skipped=index["skipped"],
    )
    if data.seconds(held_out=False) < 60:
        raise TrainingError(
            f"{corpus.name} leaves {data.seconds(held_out=False):.0f} s of speech to train on; "
            "at least 60 s are needed."
        )
    return data


def _decode(corpus: Corpus, target: Path, progress: ProgressHook) -> dict:
    """Write one utterance after the other to `target`, an int16 ``.npy`` file."""
    index: dict = {"ids": [], "speakers": [], "digests": [], "offsets": [0], "skipped": {}}
    with whole_file(target) as temporary, temporary.open("wb") as file:
        _write_header(file, 0)
        for number, utterance in enumerate(corpus.utterances):
            progress("decoding", number, len(corpus.utterances))
            try:
                audio = load(utterance.path, limits=_LIMITS)
            except AudioError as error:
                index["skipped"][utterance.id] = str(error)
                continue
            file.write(np.clip(np.round(audio.samples * 32768), -32768, 32767).astype("<i2").data)
            index["ids"].append(utterance.id)
            index["speakers"].append(utterance.speaker)
            index["digests"].append(audio.sha256)
            index["offsets"].append(index["offsets"][-1] + len(audio.samples))
        if not index["ids"]:
            raise TrainingError(f"No utterance of {corpus.name} could be used: {index['skipped']}")
        file.seek(0)
        _write_header(file, index["offsets"][-1])
    return index


def _write_header(file: IO[bytes], samples: int) -> None:
    """NumPy pads this header to one length for every number of samples, so it can be replaced."""
    header = {"descr": "<i2", "fortran_order": False, "shape": (samples,)}
    np.lib.format.write_array_header_1_0(file, header)


class Batches:
    """Batches of about `seconds` of audio, each of one length.

    Utterances are shuffled, sorted by length within pools, cut into batches of similar length,
    and cropped to the shortest of the batch (at most `max_crop_s`, whole quarters of a second),
    at a random frame.

    Args:
        data: The speech.
        seconds: Audio in a batch.
        max_crop_s: Longest crop.
        seed: Everything random follows from it and from the update's number.
        least: Utterances; what is left of a pool and would be fewer joins the batch before it.

    Attributes:
        data: As given.
        per_epoch: Batches in which every training utterance comes once.
    """

    def __init__(
        self, data: SpeechData, seconds: float, max_crop_s: float, seed: int, least: int = 1
    ) -> None:
        self.data, self.seconds, self.max_crop, self.seed = data, seconds, max_crop_s, seed
        self._least = least
        self._train = np.flatnonzero(~data.held_out)
        self._lengths = np.minimum(data.lengths(), int(max_crop_s * SAMPLE_RATE))
        self._held: tuple[int, list[NDArray]] = (-1, [])
        self.per_epoch = len(self._epoch(0))

    def _epoch(self, epoch: int) -> list[NDArray]:
        held, kept = self._held  # replaced whole: batches are also read ahead, by another thread
        if held != epoch:
            rng = np.random.default_rng(stable_seed("epoch", self.seed, epoch))
            order = rng.permutation(self._train)
            batches: list[NDArray] = []
            for pool in np.array_split(order, max(1, round(len(order) / 512))):
                pool = pool[np.argsort(self._lengths[pool], kind="stable")]
                while len(pool):
                    size = int(self.seconds * SAMPLE_RATE // self._lengths[pool[0]])
                    size = max(self._least, size)
                    if len(pool) - size < self._least:
                        size = len(pool)
                    batches.append(pool[:size])
                    pool = pool[size:]
            kept = [batches[i] for i in rng.permutation(len(batches))]
            if epoch > 0:  # every epoch has as many updates as the first, so updates map to epochs
                kept = (kept * 2)[: self.per_epoch]
            self._held = epoch, kept
        return kept

    def __call__(self, update: int) -> tuple[NDArray[np.float32], NDArray, NDArray]:
        """The batch of an update: waveforms (B, n), utterance indices (B,), start frames (B,)."""
        epoch, place = divmod(update, self.per_epoch)
        indices = self._epoch(epoch)[place]
        length = int(self._lengths[indices].min())
        length -= length % _GRID if length > 2 * _GRID else 0
        rng = np.random.default_rng(stable_seed("crop", self.seed, update))
        room = (self.data.lengths()[indices] - length) // HOP
        starts = rng.integers(0, room + 1)
        waveforms = np.stack(
            [self.data.waveform(i, s * HOP, length) for i, s in zip(indices, starts, strict=True)]
        )
        return waveforms, indices, starts
