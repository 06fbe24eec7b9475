"""The worker's side of the Signal Lab: perturb a clip, encode both versions, compare each layer."""

from __future__ import annotations

import io
import math
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from insidessl_dash.analyses.per_utterance import as_array
from insidessl_dash.analyses.similarity import Similarity, similarity
from insidessl_dash.audio.excerpt import Excerpt, excerpt
from insidessl_dash.audio.strength import dial_seed, turn
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.dials import find
from insidessl_dash.core.lab import LENS, LONGEST_S, MEASURES, MOST_MODELS, VERSION
from insidessl_dash.core.settings import settings
from insidessl_dash.core.types import SAMPLE_RATE, stable_hash
from insidessl_dash.encoders import Encoder
from insidessl_dash.engine import worker
from insidessl_dash.engine.lab_spec import LabOutcome, LabSounds, LabTask
from insidessl_dash.engine.plan import corpus_digest, fingerprint
from insidessl_dash.results.provenance import now, versions
from insidessl_dash.results.schema import (
    CorpusInfo,
    Curve,
    ModelInfo,
    Provenance,
    Result,
    UtteranceInfo,
)

_FULL_SCALE = 0.999
"""Peak that a sound for the ear may reach: below the largest 16-bit sample."""

Samples = NDArray[np.float32]
Frames = NDArray[np.floating]

_originals: OrderedDict[str, list[Frames]] = OrderedDict()


def run_lab(task: LabTask) -> LabOutcome:
    """Similarity of each layer of each model between a clip and its perturbed version.

    Encoders get the samples as they are, unclipped; only the sounds for the ear are held to full
    scale, both by one gain.

    Raises:
        AudioError: The clip cannot be read.
        ConfigError: A strength outside its range.
        ModelError: A model cannot be loaded, or the clip is too short for it.
    """
    read = excerpt(Path(task.path), LONGEST_S, name=task.name)
    seed = dial_seed(task.sha256, task.perturbation, task.seed)
    changed = turn(read.samples, task.perturbation, task.strength, seed)
    return LabOutcome(
        results=[_compare(card, read, changed, task) for card in task.cards],
        sounds=_sounds(read, changed),
    )


def _compare(card: dict[str, Any], read: Excerpt, changed: Samples, task: LabTask) -> Result:
    started = time.monotonic()
    info, _lenses = worker.describe(card, [])
    with _quick(card["size"]):
        layers = _layers(card, read.samples, changed, task.sha256)
    with threadpool_limits(1):
        found = [similarity(*pair) for pair in zip(*layers, strict=True)]
    frames = [frames.shape for frames in layers[0]]
    fields = ModelCard.model_fields.keys() & ModelInfo.model_fields.keys()
    return Result(
        key="",
        lens=LENS,
        config={"perturbation": task.perturbation, "strength": task.strength},
        model=ModelInfo(
            **{name: card[name] for name in fields - {"revision", "source"}},
            source=info.source,
            revision=info.revision,
            weights_sha256=info.weights_sha256,
            layer_policy=info.layer_policy,
        ),
        corpus=CorpusInfo(
            name=task.corpus,
            digest=corpus_digest({task.clip: task.sha256}),
            utterances=1,
            seconds=round(read.seconds, 3),
            licence=task.licence,
        ),
        layers=info.layers,
        frame_rates_hz=info.frame_rates_hz,
        primary="centred" if len(changed) == len(read.samples) else "means",
        measures=_curves(found, frames, task),
        utterances=[
            UtteranceInfo(
                id=task.clip,
                seconds=round(read.seconds, 4),
                sha256=task.sha256,
                notes=list(read.notes),
            )
        ],
        provenance=Provenance(
            created=now(),
            versions=versions(),
            device=info.device,
            seed=task.seed,
            command=f"{task.command} --model {card['name']}",
            wall_s=round(time.monotonic() - started, 3),
            analysis_version=VERSION,
        ),
    )


def _layers(
    card: dict[str, Any], original: Samples, changed: Samples, sha256: str
) -> tuple[list[Frames], list[Frames]]:
    """Frames of each layer, (T, D), of the original and of the perturbed version.

    The original's are kept while the dial is turned. Each version goes through alone, so that they
    are computed alike whether or not one of them was kept.
    """
    encoder = worker.kept_encoder(card)
    place = stable_hash([card, fingerprint(card, settings().precomputed), sha256])
    found = _originals.pop(place, None) or _encode(encoder, original)
    _originals[place] = found
    while len(_originals) > MOST_MODELS:
        _originals.popitem(last=False)
    return found, _encode(encoder, changed)


def _encode(encoder: Encoder, samples: Samples) -> list[Frames]:
    return [as_array(layer)[0] for layer in encoder(torch.from_numpy(samples)[None])]


@contextmanager
def _quick(size: str) -> Iterator[None]:
    """One thread for what takes a tenth of a second.

    Threads wait for each other after every layer. On a machine that does something else beside,
    two of them were ten times slower than one here.
    """
    if size != "nano":
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _curves(
    found: list[Similarity], frames: list[tuple[int, ...]], task: LabTask
) -> dict[str, Curve]:
    curves = {}
    for measure in MEASURES:
        values = [getattr(layer, measure.name) for layer in found]
        mean = [value if math.isfinite(value) else None for value in values]
        note = ""
        if not any(value is not None for value in mean):
            note = f"Not defined here. {find(task.perturbation).alignment}"
        elif measure.name == "cka":
            most, width = max(frames)
            note = f"CKA is over {most} frames of {width} dimensions that follow each other."
        curves[measure.name] = Curve(
            title=measure.title,
            unit=measure.unit,
            mean=mean,
            std=[None] * len(mean),
            ci95=[None] * len(mean),
            n=1,
            note=note,
        )
    return curves


def _sounds(read: Excerpt, changed: Samples) -> LabSounds:
    peak = max(float(np.abs(samples).max()) for samples in (read.samples, changed))
    gain = min(1.0, _FULL_SCALE / peak)
    return LabSounds(
        original=_wav(read.samples, gain),
        perturbed=_wav(changed, gain),
        gain_db=0.0 if gain == 1.0 else round(20.0 * math.log10(gain), 2),
        seconds=(read.seconds, len(changed) / SAMPLE_RATE),
        whole_s=read.whole_s,
        notes=list(read.notes),
    )


def _wav(samples: Samples, gain: float) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples * np.float32(gain), SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
