"""The worker's side: load a model once, run a shard, merge shards into results.

Runs in a Dask worker process, or in this process for the command line and notebooks.
"""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from insidessl_dash.analyses import ANALYSES
from insidessl_dash.analyses.base import Analysis, State
from insidessl_dash.analyses.summary import summarise
from insidessl_dash.audio.limits import LIMITS, AudioLimits
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import AudioError, Cancelled, ConfigError, InsideSSLError
from insidessl_dash.core.memory import give_back
from insidessl_dash.core.settings import settings
from insidessl_dash.core.types import SAMPLE_RATE, Utterance
from insidessl_dash.encoders import Encoder, load_encoder
from insidessl_dash.engine.plan import corpus_digest, fingerprint, key_of
from insidessl_dash.engine.spec import EncoderInfo, LensPlan, LensRequest, ShardOutcome, ShardTask
from insidessl_dash.features.batches import layer_batches
from insidessl_dash.results.provenance import now, versions
from insidessl_dash.results.schema import (
    CorpusInfo,
    Curve,
    ModelInfo,
    Provenance,
    Result,
    UtteranceInfo,
    Values,
)

log = logging.getLogger(__name__)
_UNLIMITED = AudioLimits(max_seconds=None, max_bytes=None)
_cancelled: set[str] = set()


@lru_cache(maxsize=3)
def _encoder(card_json: str, _files: tuple[tuple[str, int, int], ...]) -> Encoder:
    card = ModelCard.model_validate_json(card_json)
    return load_encoder(card, source=card.local)


def _load(card: dict[str, Any]) -> Encoder:
    files = fingerprint(card, settings().precomputed)
    return _encoder(json.dumps(card, sort_keys=True), files)


def kept_encoder(card: dict[str, Any]) -> Encoder:
    """The encoder of a card; the last few stay in memory until their files change.

    Raises:
        ModelError: It cannot be loaded.
    """
    return _load(card)


def warm(model: str = "hubert-nano") -> None:
    """Load the default model and run a second of noise through it, so that a first job is fast."""
    from insidessl_dash.audio.perturb import perturb
    from insidessl_dash.core.registry import registry

    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32) * 0.1
    perturb(noise, "chain", 0)
    try:
        _load(registry().get(model).model_dump(mode="json"))(torch.from_numpy(noise)[None])
    except InsideSSLError as error:
        log.warning("%s", error)


def cancel(run: str) -> None:
    """Stop a run at its next batch."""
    _cancelled.add(run)


def describe(
    card: dict[str, Any], requests: list[LensRequest]
) -> tuple[EncoderInfo, list[LensPlan]]:
    """Load a model, and complete the lenses' configurations.

    Raises:
        ModelError: The model cannot be loaded.
        ConfigError: No such lens, or an option outside its range.
    """
    lenses = [_lens_info(request) for request in requests]
    encoder = _load(card)
    info = EncoderInfo(
        layers=list(encoder.layers),
        frame_rates_hz=list(encoder.frame_rates_hz),
        weights_sha256=encoder.weights_sha256,
        source=public_source(card["source"]),
        revision=encoder.revision,
        layer_policy=dict(encoder.layer_policy),
        device=device_name(encoder.device),
    )
    return info, lenses


def _lens_info(request: LensRequest) -> LensPlan:
    analysis = ANALYSES.get(request.name)
    if analysis is None:
        raise ConfigError(f"No lens named {request.name!r}. There are: {', '.join(ANALYSES)}.")
    try:
        config = analysis.Config.model_validate(request.config)
    except ValueError as error:
        raise ConfigError(f"Lens {request.name}: {_one_line(error)}") from error
    return LensPlan(name=request.name, version=analysis.version, config=config.model_dump())


def _one_line(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in errors()) + "."


def _analyses(lenses: list[LensPlan], seed: int) -> list[Analysis]:
    return [
        ANALYSES[lens.name](ANALYSES[lens.name].Config.model_validate(lens.config), seed=seed)
        for lens in lenses
    ]


_GIVE_BACK_EVERY = 2
"""Batches; costs about 2% of Nano's time, and nothing that can be measured of Base's."""


def run_shard(task: ShardTask, done: Callable[[], None]) -> ShardOutcome:
    """One forward pass of the clean signal, one more a view, for all lenses of the shard.

    Args:
        task: The shard.
        done: Called after each utterance.

    Raises:
        Cancelled: `cancel` was called for the run.
    """
    started = time.monotonic()
    encoder = _load(task.card)
    lenses = _analyses(task.lenses, task.seed)
    states = [State() for _ in lenses]
    utterances = [
        Utterance(**{**row, "path": Path(row["path"]), "words": None}) for row in task.utterances
    ]
    infos: dict[str, dict[str, Any]] = {}

    def skipped(utterance: Utterance, error: AudioError) -> None:
        infos[utterance.id] = {
            "id": utterance.id, "speaker": utterance.speaker, "error": str(error),
        }  # fmt: skip
        done()

    def decoded(utterance: Utterance, seconds: float, notes: tuple[str, ...]) -> None:
        infos[utterance.id] = {
            "id": utterance.id, "speaker": utterance.speaker, "seconds": round(seconds, 4),
            "notes": list(notes),
        }  # fmt: skip
        done()

    def check() -> None:
        if task.run in _cancelled:
            raise Cancelled("Cancelled.")

    views = tuple(dict.fromkeys(view for lens in lenses for view in lens.views))
    batches = layer_batches(
        encoder,
        utterances,
        groups=task.groups,
        views=views,
        seed=task.seed,
        limits=LIMITS if task.limits else _UNLIMITED,
        on_skip=skipped,
        on_done=decoded,
        check=check,
    )
    for number, batch in enumerate(batches):
        for lens, state in zip(lenses, states, strict=True):
            lens.update(state, batch)
        if number % _GIVE_BACK_EVERY == 0:
            give_back()
    return ShardOutcome(
        states=[_pack(state) for state in states],
        utterances=[infos[id] for id in sorted(infos)],
        wall_s=time.monotonic() - started,
    )


def finish(
    card: dict[str, Any],
    info: EncoderInfo,
    lenses: list[LensPlan],
    outcomes: list[ShardOutcome],
    corpus: dict[str, Any],
    audio: dict[str, str],
    seed: int,
    command: str,
) -> list[tuple[Result, Values]]:
    """Merge the shards of a run into one result a lens.

    Args:
        corpus: ``name`` and ``licence``.
        command: How to name the audio to the command line.
        audio: Utterance id -> digest, of all files asked for.
    """
    rows = [row for outcome in outcomes for row in outcome.utterances]
    utterances = [
        UtteranceInfo(**{**row, "sha256": audio[row["id"]]})
        for row in sorted(rows, key=lambda row: row["id"])
    ]
    usable = [u for u in utterances if u.error is None]
    speakers = {u.speaker for u in usable if u.speaker}
    corpus_info = CorpusInfo(
        name=corpus["name"],
        digest=corpus_digest(audio),
        utterances=len(usable),
        seconds=round(sum(u.seconds or 0 for u in usable), 3),
        speakers=len(speakers) or None,
        licence=corpus.get("licence"),
    )
    fields = ModelCard.model_fields.keys() & ModelInfo.model_fields.keys()
    model = ModelInfo(
        **{key: card[key] for key in fields - {"revision", "source"}},
        source=info.source,
        revision=info.revision,
        weights_sha256=info.weights_sha256,
        layer_policy=info.layer_policy,
    )
    wall_s = sum(outcome.wall_s for outcome in outcomes)
    finished = []
    for index, (lens_info, lens) in enumerate(zip(lenses, _analyses(lenses, seed), strict=True)):
        state = State()
        for outcome in outcomes:
            lens.merge(state, _unpack(outcome.states[index]))
        ids, values = lens.compute(state)
        measures = {}
        for place, measure in enumerate(lens.measures):
            mean, std, ci95 = summarise(values[:, place], seed=seed)
            count = int(np.isfinite(values[:, place]).any(axis=1).sum())
            measures[measure.name] = Curve(
                title=measure.title, unit=measure.unit, mean=mean, std=std, ci95=ci95, n=count,
                note=_note(count, len(ids), len(usable)),
            )  # fmt: skip
        result = Result(
            key=key_of(info, card["name"], lens_info, audio, seed),
            lens=lens_info.name,
            config=lens_info.config,
            model=model,
            corpus=corpus_info,
            layers=info.layers,
            frame_rates_hz=info.frame_rates_hz,
            primary=lens.measures[0].name,
            measures=measures,
            utterances=utterances,
            provenance=Provenance(
                created=now(),
                versions=versions(),
                device=info.device,
                seed=seed,
                command=_command(command, card["name"], lens_info, seed),
                wall_s=round(wall_s, 3),
                analysis_version=lens_info.version,
            ),
        )
        by_measure = {m.name: values[:, i] for i, m in enumerate(lens.measures)}
        finished.append((result, Values(ids=ids, measures=by_measure)))
    return finished


def _command(audio: str, model: str, lens: LensPlan, seed: int) -> str:
    """What computes one lens again: a command, or Python where no command says it."""
    default = ANALYSES[lens.name].Config().model_dump()
    changed = {k: v for k, v in lens.config.items() if v != default[k]}
    if set(changed) - {"perturbation"}:
        lenses = [(lens.name, changed)]
        return f"insidessl_dash.analyze({audio!r}, {model!r}, {lenses!r}, seed={seed})"
    words = f"insidessl-dash analyze {audio} --model {model} --lens {lens.name}"
    if perturbation := lens.config.get("perturbation"):
        words += f" --perturbation {perturbation}"
    return words + (f" --seed {seed}" if seed else "")


def _note(count: int, computed: int, usable: int) -> str:
    if count == 0 and usable:
        return "Not defined here: it compares utterances with each other, and needs at least two."
    if count < computed:
        return f"Defined for {count} of {computed} utterances."
    return ""


def public_source(source: str) -> str:
    """A hub id as it is; of a local folder only its name, since results are shown to others."""
    return Path(source).name if Path(source).expanduser().exists() else source


def device_name(device: str) -> str:
    """The GPU's name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


def _pack(state: State) -> bytes:
    """A state as npz bytes; no pickle on the way in or out."""
    names: dict[str, Any] = {"values": sorted(state.values), "pending": []}
    arrays: dict[str, np.ndarray] = {}
    if state.values:
        arrays["values"] = np.stack([state.values[id] for id in names["values"]])
    for group, members in sorted(state.pending.items()):
        for id, array in sorted(members.items()):
            arrays[f"pending.{len(names['pending'])}"] = array
            names["pending"].append([group, id])
    buffer = io.BytesIO()
    np.savez(buffer, names=np.array(json.dumps(names)), **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _unpack(blob: bytes) -> State:
    state = State()
    with np.load(io.BytesIO(blob), allow_pickle=False) as stored:
        names = json.loads(str(stored["names"]))
        if names["values"]:
            state.values = dict(zip(names["values"], stored["values"], strict=True))
        for place, (group, id) in enumerate(names["pending"]):
            state.pending.setdefault(group, {})[id] = stored[f"pending.{place}"]
    return state
