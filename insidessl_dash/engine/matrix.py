"""The matrix of one encoder and its decoders on a corpus: choose, generate, score, put together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict

from insidessl_dash.audio.decode import load
from insidessl_dash.audio.limits import AudioLimits
from insidessl_dash.core.errors import AudioError, CorpusError, ModelError, StorageError
from insidessl_dash.core.progress import ProgressHook, silent
from insidessl_dash.corpora.manifest import Corpus
from insidessl_dash.encoders.base import Encoder
from insidessl_dash.engine.plan import digests
from insidessl_dash.engine.probing import corpus_info, model_info
from insidessl_dash.engine.worker import device_name
from insidessl_dash.generation.copy_synthesis import spread_over_speakers
from insidessl_dash.generation.decoders import DecoderBank
from insidessl_dash.generation.judge import Judge
from insidessl_dash.generation.matrix import (
    CellMaker,
    MatrixState,
    UtteranceCells,
    compute,
    score_utterance,
    update,
)
from insidessl_dash.generation.vocoder import Vocoder
from insidessl_dash.results.matrix import (
    VERSION,
    DecoderInfo,
    MatrixConfig,
    MatrixResult,
    MatrixValues,
    VocoderInfo,
    matrix_key,
)
from insidessl_dash.results.provenance import now, versions
from insidessl_dash.results.schema import Provenance, UtteranceInfo
from insidessl_dash.results.store import Blobs

log = logging.getLogger(__name__)

SECONDS = (2.0, 6.0)
"""Shortest and longest utterance that a matrix is measured on."""

_LIMITS = AudioLimits(max_seconds=None, max_bytes=None)


def choose_utterances(corpus: Corpus, count: int, speakers: int, seed: int = 0) -> Corpus:
    """Utterances of 2 to 6 s, spread evenly over speakers; which follow from ids and seed.

    Args:
        corpus: With speaker and duration on every row.
        count: How many.
        speakers: At least so many must be among them.
        seed: Of the choice.

    Raises:
        CorpusError: It has fewer, or lacks a speaker or a duration somewhere.
    """
    for utterance in corpus.utterances:
        if not utterance.speaker or utterance.seconds is None:
            lacks = "duration (seconds)" if utterance.speaker else "speaker"
            raise CorpusError(
                f"{corpus.name}: utterance {utterance.id!r} has no {lacks}. A matrix is measured "
                "on many speakers and on clips of 2 to 6 s, so the manifest needs both."
            )
    low, high = SECONDS
    fit = [u for u in corpus.utterances if low <= (u.seconds or 0) <= high]
    chosen = spread_over_speakers(fit, count, seed)
    heard = {u.speaker for u in chosen}
    if len(chosen) < count or len(heard) < speakers:
        raise CorpusError(
            f"{corpus.name}: {len(chosen)} utterances of {low:g} to {high:g} s by {len(heard)} "
            f"speakers can be had, not {count} by at least {speakers}. Name another corpus, or "
            "ask for fewer with --utterances."
        )
    ids = {u.id for u in chosen}
    return corpus.select(lambda u: u.id in ids)


def evaluate_matrix(
    encoder: Encoder,
    bank: DecoderBank,
    vocoder: Vocoder,
    judge: Judge,
    corpus: Corpus,
    config: MatrixConfig | None = None,
    *,
    updates: int | None = None,
    kept: Blobs | None = None,
    progress: ProgressHook = silent,
    check: Callable[[], None] = lambda: None,
    command: str = "",
) -> tuple[MatrixResult, MatrixValues]:
    """Every layer of every utterance decoded by every decoder, vocoded, and scored.

    Args:
        encoder: Under study.
        bank: Its decoders.
        vocoder: What one hears.
        judge: Scores cells, with networks other than the encoder.
        corpus: All of its utterances are taken; `choose_utterances` makes a good one.
        config: Default: `MatrixConfig()`.
        updates: That the decoders were trained for, where that is known.
        kept: Where finished utterances are kept until all are done, so that what is interrupted
            goes on where it stopped; `forget` empties it once the result is stored.
        progress: Told how many cells are done of all.
        check: Called between batches; raises `Cancelled` to stop.
        command: What computes it again.

    Raises:
        ModelError: The decoders are not those of the encoder.
        ConfigError: A model would judge itself.
        AudioError: No utterance could be scored.
        Cancelled: From `check` or `progress`.
    """
    maker = CellMaker(encoder, bank, vocoder, config or MatrixConfig())
    config = maker.config
    judge.check_other_than(encoder)
    audio = digests(corpus.utterances)
    key = matrix_key(
        audio=list(audio.values()),
        encoder={
            "weights": encoder.weights_sha256 or encoder.card.name,
            "layer_policy": encoder.layer_policy,
        },
        decoders=bank.weights_sha256,
        vocoder=vocoder.weights_sha256 or vocoder.name,
        scorers=judge.identity,
        config=config,
        version=VERSION,
    )
    each = len(bank.layers) * len(encoder.layers)
    total, finished = each * len(corpus.utterances), 0
    state, infos, errors = MatrixState(), [], []
    for utterance in sorted(corpus.utterances, key=lambda u: u.id):
        check()
        finished += each
        name = _kept_as(key, audio[utterance.id])
        cells = _read(kept, name, utterance.id)
        if cells is None:

            def done(count: int, before: int = finished - each) -> None:
                check()
                progress("decoding and scoring cells", before + count, total)

            started = time.monotonic()
            try:
                waveform = load(utterance.path, name=utterance.path.name, limits=_LIMITS).samples
                cells = score_utterance(maker, judge, utterance.id, waveform, done=done)
            except (AudioError, ModelError) as error:
                infos.append(
                    UtteranceInfo(id=utterance.id, speaker=utterance.speaker, error=str(error))
                )
                errors.append(str(error))
                continue
            cells = cells.model_copy(update={"wall_s": round(time.monotonic() - started, 3)})
            kept = _keep(kept, name, cells)
        progress("decoding and scoring cells", finished, total)
        update(state, cells)
        infos.append(
            UtteranceInfo(
                id=utterance.id,
                seconds=cells.seconds,
                speaker=utterance.speaker,
                sha256=audio[utterance.id],
            )
        )
    if not state.utterances:
        raise AudioError(f"None of {len(errors)} utterances could be scored. {errors[0]}")
    rows = [encoder.layers.index(layer) for layer in bank.layers]
    speakers = {info.id: info.speaker for info in infos}
    measures, values = compute(state, rows, judge.scored_by, config.seed, speakers)
    result = MatrixResult(
        key=key,
        model=model_info(encoder),
        corpus=corpus_info(corpus, infos),
        layers=list(encoder.layers),
        decoder_layers=list(bank.layers),
        missing=dict.fromkeys(maker.missing, "no decoder was trained for this layer"),
        decoders=decoder_info(bank, updates),
        vocoder=VocoderInfo(name=vocoder.name, weights_sha256=vocoder.weights_sha256),
        config=config,
        metrics=measures,
        utterances=infos,
        provenance=Provenance(
            created=now(),
            versions=versions(),
            device=device_name(encoder.device),
            seed=config.seed,
            command=command,
            wall_s=round(sum(cells.wall_s for cells in state.utterances.values()), 1),
            analysis_version=VERSION,
        ),
    )
    return result, values


def decoder_info(bank: DecoderBank, updates: int | None) -> DecoderInfo:
    """What a result says of its decoders; `updates` is None where no card tells."""
    return DecoderInfo(
        preset=bank.preset,
        size=asdict(bank.size),
        weights_sha256=bank.weights_sha256,
        updates=updates,
        tokens=bank.tokens,
    )


def forget(kept: Blobs, key: str) -> None:
    """Drop what was kept of a matrix's utterances, once its result is stored."""
    for name in kept.keys(_kept_as(key, "")):
        kept.delete(name)


def _kept_as(key: str, audio: str) -> str:
    """Under which name the cells of one file are kept: the same in every attempt."""
    return f"gcm-cells:{key}:{audio}"


def _keep(kept: Blobs | None, name: str, cells: UtteranceCells) -> Blobs | None:
    """Keep a finished utterance; a folder that cannot be written costs the keeping, no more."""
    try:
        if kept is not None:
            kept.set(name, cells.model_dump_json().encode())
    except StorageError as error:
        log.warning("Finished utterances are not kept: %s", error)
        return None
    return kept


def _read(kept: Blobs | None, name: str, id: str) -> UtteranceCells | None:
    blob = None if kept is None else kept.get(name)
    try:
        cells = None if blob is None else UtteranceCells.model_validate_json(blob)
    except ValueError as error:
        log.warning("Cells kept of %s are of another release: %s", id, error)
        return None
    return cells and cells.model_copy(update={"id": id})
