"""Speaker verification of one model: a trial list, one pass over the audio, and a result."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from insidessl_dash.analyses.per_utterance import as_array
from insidessl_dash.analyses.summary import summarise
from insidessl_dash.analyses.verification import (
    INFO,
    VERSION,
    Trials,
    VerificationConfig,
    cosines,
    draw_trials,
    unit_mean,
    verify,
)
from insidessl_dash.audio.limits import AudioLimits
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import AudioError
from insidessl_dash.core.progress import ProgressHook, silent
from insidessl_dash.core.types import Utterance
from insidessl_dash.corpora.manifest import Corpus
from insidessl_dash.encoders.loading import load_encoder
from insidessl_dash.engine.plan import digests
from insidessl_dash.engine.probing import corpus_info, model_info
from insidessl_dash.engine.worker import device_name
from insidessl_dash.features.batches import layer_batches
from insidessl_dash.results.provenance import now, result_key, versions
from insidessl_dash.results.schema import Curve, Provenance, Result, UtteranceInfo, Values

_LIMITS = AudioLimits(max_seconds=None, max_bytes=None)


def verify_speakers(
    card: ModelCard,
    corpus: Corpus,
    config: VerificationConfig | None = None,
    *,
    seed: int = 0,
    device: str | None = None,
    progress: ProgressHook = silent,
    command: str = "",
) -> tuple[Result, Values]:
    """Equal error rate of every layer on the utterance means.

    The trial list follows from the corpus, the configuration and the seed: every model is asked
    the same questions. Trials with an utterance that cannot be read are left out.

    Args:
        card: The model.
        corpus: With a speaker on every row.
        config: Default: `VerificationConfig()`.
        seed: Of the trial list and of the bootstrap.
        device: As `load_encoder`.
        progress: Told how far it is.
        command: What computes it again.

    Returns:
        The result, and for each utterance the mean score of its trials of either kind.

    Raises:
        CorpusError: No pairs of either kind can be made of it.
        AudioError: Too few files could be read.
        ModelError: From `load_encoder`.
    """
    started = time.monotonic()
    config = config or VerificationConfig()
    wanted = draw_trials(corpus.utterances, config.pairs_per_speaker, seed)
    asked = np.unique(np.concatenate([wanted.first, wanted.second])).tolist()
    encoder = load_encoder(card, device=device)
    infos: dict[str, UtteranceInfo] = {}
    audio = digests([corpus.utterances[place] for place in asked])

    def done(utterance: Utterance, seconds: float, notes: tuple[str, ...]) -> None:
        infos[utterance.id] = UtteranceInfo(
            id=utterance.id,
            seconds=round(seconds, 4),
            speaker=utterance.speaker,
            sha256=audio[utterance.id],
            notes=list(notes),
        )
        progress(f"{card.title}: computing layers", len(infos), len(asked))

    def skip(utterance: Utterance, error: AudioError) -> None:
        infos[utterance.id] = UtteranceInfo(
            id=utterance.id, speaker=utterance.speaker, error=str(error)
        )

    means: dict[str, list[NDArray[np.float64]]] = {}
    for batch in layer_batches(
        encoder,
        [corpus.utterances[place] for place in asked],
        limits=_LIMITS,
        on_skip=skip,
        on_done=done,
    ):
        for row, id in enumerate(batch.ids):
            means[id] = [unit_mean(as_array(layer[row])) for layer in batch.layers]
    trials, ids, speakers = _readable(wanted, corpus, means)
    scores = cosines(means, ids, trials)
    verdict = verify(scores, trials, speakers, resamples=config.resamples, seed=seed)
    values = {
        "same": _per_utterance(scores, trials, trials.same, len(ids)),
        "different": _per_utterance(scores, trials, ~trials.same, len(ids)),
    }
    used = [infos[id] for id in sorted(infos)]
    same = int(trials.same.sum())
    rate, *cosine_measures = INFO.measures
    undefined = [n for n, eer in zip(encoder.layers, verdict.eer, strict=True) if eer is None]
    note = f"{len(trials.same):,} trials, {same:,} of them of one speaker; {len(set(speakers))} "
    note += "speakers, over whom the interval is taken."
    if undefined:
        note += f" Not defined for {', '.join(undefined)}: its mean over an utterance is zero."
    measures = {
        rate.name: Curve(
            title=rate.title,
            unit=rate.unit,
            mean=verdict.eer,
            std=[None] * len(encoder.layers),
            ci95=verdict.ci95,
            n=len(ids),
            note=note,
        )
    }
    for info in cosine_measures:
        mean, std, ci95 = summarise(values[info.name], seed=seed)
        measures[info.name] = Curve(
            title=info.title, unit=info.unit, mean=mean, std=std, ci95=ci95, n=len(ids)
        )
    identity = {"weights": encoder.weights_sha256 or card.name, "policy": encoder.layer_policy}
    result = Result(
        key=result_key(
            list(audio.values()), identity, INFO.name, VERSION, config.model_dump(), seed
        ),
        lens=INFO.name,
        config={
            **config.model_dump(),
            "score": "cosine of utterance means",
            "trials_same": same,
            "trials_different": len(trials.same) - same,
            "speakers": sorted(set(speakers)),
        },
        model=model_info(encoder),
        corpus=corpus_info(corpus, used),
        layers=list(encoder.layers),
        frame_rates_hz=list(encoder.frame_rates_hz),
        primary=rate.name,
        measures=measures,
        utterances=used,
        provenance=Provenance(
            created=now(),
            versions=versions(),
            device=device_name(encoder.device),
            seed=seed,
            command=command,
            wall_s=round(time.monotonic() - started, 3),
            analysis_version=VERSION,
        ),
    )
    return result, Values(ids=list(ids), measures=values)


def _readable(
    wanted: Trials, corpus: Corpus, means: dict[str, list[NDArray[np.float64]]]
) -> tuple[Trials, list[str], list[str]]:
    """The trials of which both sides were read, by place in ids (sorted); and their speakers."""
    ids = sorted(means)
    position = {id: place for place, id in enumerate(ids)}
    places = np.array([position.get(u.id, -1) for u in corpus.utterances], dtype=np.int64)
    first, second = places[wanted.first], places[wanted.second]
    kept = (first >= 0) & (second >= 0)
    trials = Trials(first[kept], second[kept], wanted.same[kept])
    if not trials.same.any() or trials.same.all():
        raise AudioError(
            f"{corpus.name}: too few of its files can be read to make trials of both kinds."
        )
    speaker = {u.id: u.speaker or "" for u in corpus.utterances}
    return trials, ids, [speaker[id] for id in ids]


def _per_utterance(
    scores: NDArray[np.float64], trials: Trials, kind: NDArray[np.bool_], count: int
) -> NDArray[np.float64]:
    """Mean score of the trials of a kind that each utterance is in, float64 (ids, layers)."""
    sums, trials_of = np.zeros((count, scores.shape[1])), np.zeros((count, 1))
    for side in (trials.first, trials.second):
        np.add.at(sums, side[kind], scores[kind])
        np.add.at(trials_of, side[kind], 1)
    return np.divide(sums, trials_of, out=np.full_like(sums, np.nan), where=trials_of > 0)
