"""Utterances through an encoder, in batches of exactly equal length.

Nothing is ever padded: padding changes what group-norm encoders (most Base models) compute, with
or without a mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from insidessl_dash.audio.decode import load
from insidessl_dash.audio.limits import LIMITS, AudioLimits
from insidessl_dash.audio.perturb import perturb, view_seed
from insidessl_dash.core.errors import AudioError
from insidessl_dash.core.types import SAMPLE_RATE, Utterance
from insidessl_dash.encoders.base import Encoder
from insidessl_dash.features.batch import LayerBatch

OnSkip = Callable[[Utterance, AudioError], None]
OnDone = Callable[[Utterance, float, tuple[str, ...]], None]


@dataclass(frozen=True)
class _Heard:
    utterance: Utterance
    samples: NDArray[np.float32]
    sha256: str
    notes: tuple[str, ...]


def layer_batches(
    encoder: Encoder,
    utterances: Sequence[Utterance],
    *,
    groups: Mapping[str, str] | None = None,
    views: Sequence[str] = (),
    seed: int = 0,
    limits: AudioLimits = LIMITS,
    batch_seconds: float = 30.0,
    on_skip: OnSkip | None = None,
    on_done: OnDone | None = None,
    check: Callable[[], None] | None = None,
) -> Iterator[LayerBatch]:
    """Yield every utterance's layers once, longest utterances first.

    Utterances with the same number of samples share a batch. A file is decoded when its turn
    comes and dropped after its batch, so memory holds one batch however long the corpus is. The
    clean signal and its views of the same length go through the encoder together.

    Args:
        encoder: Any `Encoder`.
        utterances: In any order; the order of what is yielded follows from lengths and ids.
        groups: Utterance id -> comparison group, as "GROUP/SIZE"; None: each its own.
        views: Names in `audio.perturb.PERTURBATIONS`; each costs one more forward pass.
        seed: Of the perturbations.
        limits: What audio is accepted.
        batch_seconds: Most audio in one forward pass; a longer utterance, or view, goes alone.
        on_skip: Called with an utterance that cannot be read, and why; it is left out.
        on_done: Called with each utterance, its seconds, and notes on its decoding, once what was
            yielded of it has been consumed.
        check: Called before each batch; raises `Cancelled` to stop.

    Yields:
        Batches of one utterance or more.

    Raises:
        ConfigError: A view that does not exist.
        ModelError: From the encoder.
    """
    heard: list[_Heard] = []
    for utterance in sorted(utterances, key=lambda u: (-_samples_announced(u), u.id)):
        try:
            audio = load(utterance.path, name=utterance.path.name, limits=limits)
        except AudioError as error:
            if on_skip:
                on_skip(utterance, error)
            continue
        item = _Heard(utterance, audio.samples, audio.sha256, audio.notes)
        room = int(batch_seconds * SAMPLE_RATE) // len(item.samples)
        if heard and (len(heard) >= room or len(heard[0].samples) != len(item.samples)):
            yield from _through(encoder, heard, groups, views, seed, batch_seconds, on_done, check)
            heard = []
        heard.append(item)
    if heard:
        yield from _through(encoder, heard, groups, views, seed, batch_seconds, on_done, check)


def _through(
    encoder: Encoder,
    heard: list[_Heard],
    groups: Mapping[str, str] | None,
    views: Sequence[str],
    seed: int,
    batch_seconds: float,
    on_done: OnDone | None,
    check: Callable[[], None] | None,
) -> Iterator[LayerBatch]:
    """One batch, and `on_done` after it."""
    if check:
        check()
    signals: list[NDArray[np.float32]] = [item.samples for item in heard]
    for view in views:
        signals += [perturb(x.samples, view, view_seed(x.sha256, view, seed)) for x in heard]
    layers = _encode(encoder, signals, batch_seconds)
    ids = [item.utterance.id for item in heard]
    yield LayerBatch(
        ids=ids,
        groups=[groups[id] if groups is not None else f"{id}/1" for id in ids],
        layers=_rows(layers, 0, len(ids)),
        views={
            view: _rows(layers, (place + 1) * len(ids), len(ids))
            for place, view in enumerate(views)
        },
    )
    for item in heard:
        if on_done:
            on_done(item.utterance, len(item.samples) / SAMPLE_RATE, item.notes)


def _encode(
    encoder: Encoder, signals: list[NDArray[np.float32]], batch_seconds: float
) -> list[list[Tensor]]:
    """Layers of each signal, [(T, D)] a signal; equal lengths share a forward pass."""
    by_length: dict[int, list[int]] = {}
    for place, signal in enumerate(signals):
        by_length.setdefault(len(signal), []).append(place)
    found: list[list[Tensor]] = [[] for _ in signals]
    for length, places in by_length.items():
        most = max(1, int(batch_seconds * SAMPLE_RATE) // length)
        for start in range(0, len(places), most):
            chunk = places[start : start + most]
            waveforms = torch.from_numpy(np.stack([signals[place] for place in chunk]))
            for layer in encoder(waveforms):
                for place, row in zip(chunk, layer, strict=True):
                    found[place].append(row)
    return found


def _rows(layers: list[list[Tensor]], start: int, count: int) -> list[Tensor]:
    """Of `count` signals from `start` on, one tensor (count, T, D) a layer."""
    rows = layers[start : start + count]
    if count == 1:
        return [layer[None] for layer in rows[0]]
    return [torch.stack(of_layer) for of_layer in zip(*rows, strict=True)]


def _samples_announced(utterance: Utterance) -> int:
    """Length at 16 kHz by the file's header, in samples; 0 where it cannot be read.

    Only a guess to order by: what was really decoded decides which utterances share a batch.
    """
    try:
        info = soundfile.info(utterance.path)
    except (soundfile.LibsndfileError, OSError, RuntimeError, TypeError, ValueError):
        return 0
    return math.ceil(info.frames * SAMPLE_RATE / max(info.samplerate, 1))
