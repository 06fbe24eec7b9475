"""A probe on one model: draw frames, fit every layer, measure it, and make a result of that."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from insidessl_dash.analyses.probing import (
    CLASSES,
    VERSION,
    Drawn,
    Frames,
    ProbeConfig,
    choose_probe,
    collect_frames,
    draw_frames,
)
from insidessl_dash.analyses.summary import summarise
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import AudioError, CorpusError
from insidessl_dash.core.lenses import PHONE_PROBE, MeasureInfo
from insidessl_dash.core.progress import ProgressHook, silent
from insidessl_dash.core.types import Utterance, stable_seed
from insidessl_dash.corpora.alignment import Alignment
from insidessl_dash.corpora.manifest import Corpus
from insidessl_dash.encoders.base import Encoder
from insidessl_dash.encoders.loading import load_encoder
from insidessl_dash.engine.plan import corpus_digest, digests
from insidessl_dash.engine.worker import device_name, public_source
from insidessl_dash.results.provenance import now, result_key, versions
from insidessl_dash.results.schema import (
    CorpusInfo,
    Curve,
    ModelInfo,
    Provenance,
    Result,
    UtteranceInfo,
    Values,
)


def probe_phones(
    card: ModelCard,
    train: Corpus,
    test: Corpus,
    alignment: Alignment,
    config: ProbeConfig | None = None,
    *,
    seed: int = 0,
    device: str | None = None,
    progress: ProgressHook = silent,
    command: str = "",
) -> tuple[Result, Values]:
    """Fit a linear probe of the phone on every layer, and measure it on other speakers.

    Speakers of `test` are left out of `train`, so that the two share none, and a tenth of those
    that remain is set aside to choose each layer's weight decay by. What could not be aligned is
    left out of both sides; the result lists those of the test side.

    Args:
        card: The model.
        train, test: With a speaker on every row.
        alignment: Phones of both.
        config: Default: `ProbeConfig()`.
        seed: Of the draw of frames and of the bootstrap.
        device: As `load_encoder`.
        progress: Told how far it is.
        command: What computes it again.

    Raises:
        CorpusError: A row without a speaker, fewer than two training speakers, or nothing aligned
            on one of the two sides.
        AudioError: No file of one of the two sides could be read.
        ModelError: From `load_encoder`.
    """
    started = time.monotonic()
    config = config or ProbeConfig()
    apart = _speakers(test)
    _speakers(train)  # all named
    fitting = [u for u in train.utterances if u.speaker not in apart]
    drawn = {
        **_draw(fitting, alignment, config.train_frames, config, seed, "training"),
        **_draw(test.utterances, alignment, config.test_frames, config, seed, "test"),
    }
    encoder = load_encoder(card, device=device)
    heard = _Heard(progress, len(drawn) + len(encoder.layers))
    fit = heard.frames(encoder, fitting, drawn)
    held = heard.frames(encoder, test.utterances, drawn)
    by_id = {utterance.id: utterance for utterance in fitting}
    speakers = np.array([by_id[id].speaker for id in fit.ids])
    if len(set(speakers.tolist())) < 2:
        raise CorpusError(
            f"{train.name} leaves one speaker to fit on; at least two are needed, one of them to "
            "choose the weight decay by."
        )
    aside = np.isin(speakers, _a_tenth(set(speakers.tolist()), seed))[fit.owner]
    shares, decays = [], []
    for layer, frames in enumerate(fit.layers):
        heard.advance("fitting")
        probe, decay = choose_probe(
            frames, fit.labels, aside, len(CLASSES), steps=config.steps, device=encoder.device
        )
        shares.append(_share(probe.predict(held.layers[layer]) == held.labels, held))
        decays.append(decay)
    commonest = int(np.bincount(fit.labels).argmax())
    chance = _share(held.labels == commonest, held)
    measures = {
        "accuracy": np.stack(shares, axis=1),
        "majority": np.repeat(chance[:, None], len(shares), axis=1),
    }
    fitted_on = [by_id[id] for id in fit.ids]
    settings = {
        **config.model_dump(),
        "alignment": alignment.digest(drawn),
        "training_audio": corpus_digest(digests(fitted_on)),
    }
    utterances = _utterances(test, alignment, drawn, heard)
    audio = [u.sha256 for u in utterances if u.sha256]
    identity = {"weights": encoder.weights_sha256 or card.name, "policy": encoder.layer_policy}
    result = Result(
        key=result_key(audio, identity, PHONE_PROBE.name, VERSION, settings, seed),
        lens=PHONE_PROBE.name,
        config={
            **settings,
            "aligner": alignment.header.get("aligner"),
            "silence": "left out",
            "frames_fitted": len(fit.labels),
            "frames_measured": len(held.labels),
            "utterances_fitted": len(fitted_on),
            "speakers_fitted": len(set(speakers.tolist())),
            "frames_aside": int(aside.sum()),
            "weight_decay": decays,
            "speakers_measured": sorted(apart),
            "majority_phone": CLASSES[commonest],
        },
        model=model_info(encoder),
        corpus=corpus_info(test, utterances),
        layers=list(encoder.layers),
        frame_rates_hz=list(encoder.frame_rates_hz),
        primary=PHONE_PROBE.measures[0].name,
        measures={
            info.name: _curve(info, measures[info.name], seed) for info in PHONE_PROBE.measures
        },
        utterances=utterances,
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
    progress("done", heard.total, heard.total)
    return result, Values(ids=list(held.ids), measures=measures)


class _Heard:
    """What was learned of the files on the way, and how far it is.

    Attributes:
        seconds: Utterance id -> its length.
        unread: Utterance id -> why it could not be read.
    """

    def __init__(self, progress: ProgressHook, total: int) -> None:
        self.total, self._progress, self._done = total, progress, 0
        self.seconds: dict[str, float] = {}
        self.unread: dict[str, str] = {}

    def advance(self, step: str) -> None:
        """One more is about to be done."""
        self._progress(step, self._done, self.total)
        self._done += 1

    def frames(
        self, encoder: Encoder, utterances: Sequence[Utterance], drawn: dict[str, Drawn]
    ) -> Frames:
        """The drawn frames of some utterances."""

        def done(utterance: Utterance, seconds: float, notes: tuple[str, ...]) -> None:
            self.seconds[utterance.id] = round(seconds, 4)
            self.advance("computing layers")

        def skip(utterance: Utterance, error: AudioError) -> None:
            self.unread[utterance.id] = str(error)
            self.advance("computing layers")

        frames = collect_frames(encoder, utterances, drawn, on_skip=skip, on_done=done)
        if not frames.ids:
            raise AudioError(f"No file could be read. {next(iter(self.unread.values()), '')}")
        return frames


def _speakers(corpus: Corpus) -> set[str]:
    speakers = set()
    for utterance in corpus.utterances:
        if not utterance.speaker:
            raise CorpusError(
                f"{corpus.name}: utterance {utterance.id!r} has no speaker. A probe is measured on "
                "speakers that it was not fitted on, so the manifest needs one on every row."
            )
        speakers.add(utterance.speaker)
    return speakers


def _a_tenth(speakers: set[str], seed: int) -> list[str]:
    """Of the training speakers those whose frames choose the weight decay; at least one."""
    order = sorted(speakers, key=lambda speaker: (stable_seed("aside", seed, speaker), speaker))
    return order[: max(1, round(len(order) / 10))]


def _draw(
    utterances: Sequence[Utterance],
    alignment: Alignment,
    count: int,
    config: ProbeConfig,
    seed: int,
    side: str,
) -> dict[str, Drawn]:
    phones = {u.id: alignment.phones[u.id] for u in utterances if u.id in alignment.phones}
    drawn = draw_frames(phones, count, seed, per_utterance=config.per_utterance)
    if not drawn:
        raise CorpusError(
            f"There is no aligned speech to take {side} frames from: of {len(utterances)} "
            f"utterances the alignment has {len(phones)}. Speakers of the test side are never "
            "fitted on. Align the whole corpus: insidessl-dash data align CORPUS"
        )
    return drawn


def _share(right: NDArray[np.bool_], frames: Frames) -> NDArray[np.float64]:
    """Share of right frames of each utterance, float64 (ids,)."""
    count = len(frames.ids)
    return np.bincount(frames.owner, weights=right, minlength=count) / np.bincount(
        frames.owner, minlength=count
    )


def _utterances(
    test: Corpus, alignment: Alignment, drawn: dict[str, Drawn], heard: _Heard
) -> list[UtteranceInfo]:
    """The test utterances that frames were drawn from, and those that could not be aligned."""
    read = [u for u in test.utterances if u.id in drawn and u.id not in heard.unread]
    audio = digests(read)
    infos = [
        UtteranceInfo(id=u.id, seconds=heard.seconds[u.id], speaker=u.speaker, sha256=audio[u.id])
        for u in read
    ]
    for utterance in test.utterances:
        why = heard.unread.get(utterance.id)
        if why is None and utterance.id in alignment.errors:
            why = f"not aligned: {alignment.errors[utterance.id]}"
        if why is not None:
            infos.append(UtteranceInfo(id=utterance.id, speaker=utterance.speaker, error=why))
    return sorted(infos, key=lambda info: info.id)


def model_info(encoder: Encoder) -> ModelInfo:
    """The model as it is now, for a result."""
    card = encoder.card
    return ModelInfo(
        name=card.name,
        title=card.title,
        family=card.family,
        size=card.size,
        supervised=card.supervised,
        source=public_source(card.source),
        revision=encoder.revision,
        weights_sha256=encoder.weights_sha256,
        layer_policy=dict(encoder.layer_policy),
        licence=card.licence,
    )


def corpus_info(test: Corpus, utterances: Sequence[UtteranceInfo]) -> CorpusInfo:
    """The audio that went in, without what was left out."""
    used = [u for u in utterances if u.error is None]
    return CorpusInfo(
        name=test.name,
        digest=corpus_digest({u.id: u.sha256 or "" for u in used}),
        utterances=len(used),
        seconds=round(sum(u.seconds or 0 for u in used), 3),
        speakers=len({u.speaker for u in used}),
        licence=test.licence,
    )


def _curve(info: MeasureInfo, values: NDArray[np.float64], seed: int) -> Curve:
    mean, std, ci95 = summarise(values, seed=seed)
    return Curve(title=info.title, unit=info.unit, mean=mean, std=std, ci95=ci95, n=len(values))
