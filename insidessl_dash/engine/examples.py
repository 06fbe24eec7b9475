"""Examples of the audio explorer: an utterance in every cell of a matrix, kept as sound."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from insidessl_dash.audio.decode import load
from insidessl_dash.core.errors import CorpusError
from insidessl_dash.core.files import whole_file
from insidessl_dash.core.progress import ProgressHook, silent
from insidessl_dash.core.types import PLAYED_DB, SAMPLE_RATE, Utterance, stable_hash
from insidessl_dash.corpora.manifest import Corpus
from insidessl_dash.encoders.base import Encoder
from insidessl_dash.engine.matrix import decoder_info
from insidessl_dash.engine.probing import model_info
from insidessl_dash.generation.decoders import DecoderBank
from insidessl_dash.generation.judge import METRICS, Judge
from insidessl_dash.generation.matrix import CellMaker, score_utterance
from insidessl_dash.generation.mel import levelled
from insidessl_dash.generation.vocoder import Vocoder
from insidessl_dash.results.explorer import (
    CellMetric,
    Example,
    cell_file,
    forget_example,
    reasons,
    reference_file,
    write_example,
)
from insidessl_dash.results.matrix import Grid, MatrixConfig, VocoderInfo

SECONDS = (3.0, 10.0)
"""Shortest and longest utterance that is chosen where none is named."""

_GENDERS: dict[str, Literal["female", "male", ""]] = {
    "f": "female", "female": "female", "m": "male", "male": "male",
}  # fmt: skip
_FOLDER = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")


def choose_examples(corpus: Corpus, count: int) -> list[Utterance]:
    """One utterance of each of several voices, women and men in turn where the corpus says.

    Of a voice the shortest one of 3 to 10 s is taken.

    Args:
        corpus: With speaker and duration on every row.
        count: How many.

    Raises:
        CorpusError: It has fewer voices with such an utterance.
    """
    low, high = SECONDS
    shortest: dict[str, Utterance] = {}
    for utterance in sorted(corpus.utterances, key=lambda u: (u.seconds or 0.0, u.id)):
        if utterance.speaker and low <= (utterance.seconds or 0.0) <= high:
            shortest.setdefault(utterance.speaker, utterance)
    women = [u for u in shortest.values() if _gender(u) == "female"]
    others = [u for u in shortest.values() if _gender(u) != "female"]
    chosen = [u for pair in zip_longest(women, others) for u in pair if u][:count]
    if len(chosen) < count:
        raise CorpusError(
            f"{corpus.name}: {len(chosen)} voices have an utterance of {low:g} to {high:g} s (a "
            f"manifest needs speaker and seconds), not {count}. Name utterances with --utterance."
        )
    return chosen


def make_example(
    encoder: Encoder,
    bank: DecoderBank,
    vocoder: Vocoder,
    judge: Judge,
    utterance: Utterance,
    corpus: Corpus,
    folder: Path,
    config: MatrixConfig | None = None,
    *,
    updates: int | None = None,
    progress: ProgressHook = silent,
    check: Callable[[], None] = lambda: None,
) -> Example:
    """Decode, score and write every cell of an utterance, in a folder of its own below `folder`.

    The sounds come first and ``example.json`` last: what was interrupted is not an example.

    Args:
        encoder: Whose layers are decoded.
        bank: Its decoders.
        vocoder: What one hears.
        judge: Scores cells, with networks other than the encoder.
        utterance: Of `corpus`.
        corpus: Named in the example.
        folder: Of all examples of this matrix.
        config: Default: `MatrixConfig()`.
        updates: That the decoders were trained for, where that is known.
        progress: Told how many cells are done of all.
        check: Called between batches; raises `Cancelled` to stop.

    Raises:
        AudioError: The file cannot be read, or is too short.
        ModelError: The decoders are not those of the encoder.
        ConfigError: A model would judge itself.
        StorageError: The folder cannot be written.
    """
    maker = CellMaker(encoder, bank, vocoder, config or MatrixConfig())
    judge.check_other_than(encoder)
    recorded = load(utterance.path, name=utterance.path.name).samples
    samples = levelled(torch.from_numpy(recorded)).numpy()  # beside what decoders make
    target = folder / folder_name(utterance)
    forget_example(target)
    rows = [encoder.layers.index(layer) for layer in bank.layers]
    total = len(rows) * len(encoder.layers)

    def keep(places: list[tuple[int, int]], waveforms: Tensor) -> None:
        check()
        for (i, j), waveform in zip(places, waveforms.numpy(), strict=True):
            write_sound(target / cell_file(rows[i], j), waveform)

    scored = score_utterance(
        maker,
        judge,
        utterance.id,
        samples,
        done=lambda count: progress(f"cells of {utterance.id}", count, total),
        heard=keep,
    )
    write_sound(target / reference_file("original"), samples)
    only_vocoded = maker.vocoded(torch.from_numpy(samples)).numpy()
    write_sound(target / reference_file("vocoder"), only_vocoded)
    example = make_document(
        maker,
        cell_metrics(judge, scored.cells, scored.ceiling, scored.why),
        id=utterance.id,
        text=utterance.text or "",
        voice=utterance.speaker or utterance.id,
        gender=_gender(utterance),
        corpus=corpus.name,
        licence=utterance.licence or corpus.licence or "",
        seconds=len(samples) / SAMPLE_RATE,
        updates=updates,
    )
    write_example(target, example)
    return example


def make_document(
    maker: CellMaker,
    metrics: dict[str, CellMetric],
    *,
    id: str,
    voice: str,
    corpus: str,
    seconds: float,
    updates: int | None,
    text: str = "",
    gender: Literal["female", "male", ""] = "",
    licence: str = "",
) -> Example:
    """What is said of an utterance in every cell of a matrix.

    Args:
        maker: Of the cells.
        metrics: Scores, from `cell_metrics`.
        updates: That the decoders were trained for, where that is known.
        id, voice, corpus, seconds, text, gender, licence: As in `Example`.
    """
    vocoder = maker.vocoder
    return Example(
        model=model_info(maker.encoder),
        id=id,
        text=text,
        voice=voice,
        gender=gender,
        corpus=corpus,
        licence=licence,
        seconds=round(seconds, 4),
        config=maker.config,
        decoders=decoder_info(maker.bank, updates),
        vocoder=VocoderInfo(name=vocoder.name, weights_sha256=vocoder.weights_sha256),
        layers=list(maker.encoder.layers),
        decoder_layers=list(maker.bank.layers),
        missing=dict.fromkeys(maker.missing, "no decoder was trained for this layer"),
        metrics=metrics,
    )


def cell_metrics(
    judge: Judge,
    cells: Mapping[str, Grid],
    ceiling: Mapping[str, float | None],
    why: Mapping[str, list[list[str]]] | None = None,
) -> dict[str, CellMetric]:
    """Every metric of an utterance's cells, as the explorer shows it.

    Args:
        judge: Of the cells.
        cells: Metric -> [i][j].
        ceiling: Metric -> vocoder only.
        why: Metric -> [i][j], why a cell has no value.
    """
    return {
        info.name: CellMetric(
            title=info.title,
            unit=info.unit,
            higher_is_better=info.higher_is_better,
            scored_by=judge.scored_by[info.name],
            cells=cells[info.name],
            vocoder=ceiling[info.name],
            why=reasons(why[info.name]) if why else [],
        )
        for info in METRICS
    }


def write_sound(path: Path, waveform: NDArray[np.float32]) -> None:
    """A waveform, float32 (n,) at 16 kHz, as `opus` has it.

    Raises:
        StorageError: It cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(opus(waveform))


def opus(waveform: NDArray[np.float32]) -> bytes:
    """A waveform, float32 (n,) at 16 kHz, turned down by `PLAYED_DB`, clipped to full scale."""
    buffer = io.BytesIO()
    samples = (10 ** (PLAYED_DB / 20) * waveform).clip(-1.0, 1.0)
    soundfile.write(buffer, samples, SAMPLE_RATE, format="OGG", subtype="OPUS")
    return buffer.getvalue()


def folder_name(utterance: Utterance) -> str:
    """Its id, or a digest of it where it cannot name a folder."""
    return utterance.id if _FOLDER.fullmatch(utterance.id) else stable_hash(utterance.id)[:16]


def _gender(utterance: Utterance) -> Literal["female", "male", ""]:
    return _GENDERS.get((utterance.gender or "").lower(), "")
