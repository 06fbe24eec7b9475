"""Discrete targets: k-means over frames, one label every 20 ms.

HuBERT iteration 1 (Hsu et al., 2106.07447): 39-d MFCC (13 with first and second differences)
at 100 Hz, k = 100, every second label kept. Windows of 25 ms that start every 10 ms make label k
cover samples [320 k, 320 k + 400): exactly what frame k of the encoder sees.

Iteration 2, WavLM and MR-HuBERT: a layer of an earlier model, whose frames are these already.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

from insidessl_dash.analyses.clusters import fit_clusters
from insidessl_dash.core.errors import TrainingError
from insidessl_dash.core.files import whole_file
from insidessl_dash.core.progress import ProgressHook
from insidessl_dash.core.types import SAMPLE_RATE, stable_hash
from insidessl_dash.encoders.base import Encoder
from insidessl_dash.encoders.mfcc import mfcc39
from insidessl_dash.pretraining.data import HOP, SpeechData

Targets = tuple[list[NDArray[np.int64]], NDArray[np.float32]]
"""The cluster of every frame of every utterance, and the centroids."""

_FIT_FRAMES = 200_000


def mfcc_targets(
    data: SpeechData, clusters: int, seed: int, cache: Path, progress: ProgressHook
) -> Targets:
    """Cluster of 39-d MFCC at every encoder frame of every utterance.

    Fitted on training speakers only (at most 200,000 frames, drawn with the seed).

    Returns:
        A list of int64 (T_i,) for each utterance, and the centroids, float32 (clusters, 39).
    """
    key = stable_hash(["mfcc39", data.digest, clusters, seed])
    path = cache / f"targets-{key[:16]}.npz"
    if not path.exists():
        features = []
        for index in range(len(data.ids)):
            progress("MFCC", index, len(data.ids))
            waveform = torch.from_numpy(data.waveform(index))
            features.append(mfcc39(waveform[None])[0].numpy())
        pool = np.concatenate(
            [f for f, out in zip(features, data.held_out, strict=True) if not out]
        )
        pool = pool[np.random.default_rng(seed).permutation(len(pool))[:_FIT_FRAMES]]
        _require_frames(len(pool), clusters)
        progress("k-means", 0, 1)
        kmeans = fit_clusters(pool, clusters, seed, starts=20)
        _store(path, [kmeans.predict(f)[::2] for f in features], kmeans)
    return _read(path)


def layer_targets(
    data: SpeechData,
    teacher: Encoder,
    layer: int,
    clusters: int,
    seed: int,
    cache: Path,
    progress: ProgressHook,
) -> Targets:
    """Cluster of a layer of a trained model at every frame of every utterance.

    Fitted on training speakers only: utterances drawn with the seed, until 200,000 frames.

    Args:
        data: The speech.
        teacher: A model with frames of 20 ms.
        layer: Which of its layers.
        clusters, seed: Of the k-means.
        cache: Where the labels are kept.
        progress: Told how it goes.

    Returns:
        A list of int64 (T_i,) for each utterance, and the centroids, float32 (clusters, D).

    Raises:
        TrainingError: The teacher has no such layer, or another frame rate.
    """
    name = teacher.card.name
    if layer >= len(teacher.layers) or teacher.frame_rates_hz[layer] != SAMPLE_RATE / HOP:
        raise TrainingError(
            f"{name} has {len(teacher.layers)} layers, and targets need one of "
            f"{SAMPLE_RATE / HOP:g} frames a second: layer {layer} is not one."
        )
    key = stable_hash(
        [teacher.weights_sha256, teacher.layer_policy, layer, data.digest, clusters, seed]
    )
    path = cache / f"targets-{key[:16]}.npz"
    if not path.exists():

        def states(index: int) -> NDArray[np.float32]:
            waveform = torch.from_numpy(data.waveform(index))[None]
            return teacher(waveform)[layer][0].cpu().numpy()

        order = np.random.default_rng(seed).permutation(np.flatnonzero(~data.held_out))
        pool: list[NDArray[np.float32]] = []
        frames = 0
        for index in order.tolist():
            if frames >= _FIT_FRAMES:
                break
            progress(f"{name} layer {layer}: frames to fit", frames, _FIT_FRAMES)
            pool.append(states(index))
            frames += len(pool[-1])
        _require_frames(frames, clusters)
        progress("k-means", 0, 1)
        kmeans = fit_clusters(np.concatenate(pool)[:_FIT_FRAMES], clusters, seed, starts=20)
        labels = []
        for index in range(len(data.ids)):
            progress(f"{name} layer {layer}: labels", index, len(data.ids))
            labels.append(kmeans.predict(states(index)))
        _store(path, labels, kmeans)
    return _read(path)


def _require_frames(frames: int, clusters: int) -> None:
    if frames < 10 * clusters:
        raise TrainingError(
            f"{frames} frames of training speakers are too few for {clusters} clusters (10 for "
            "each at least): give more speech, or fewer clusters with --set clusters=K."
        )


def _store(path: Path, labels: list[NDArray], kmeans: MiniBatchKMeans) -> None:
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            labels=np.concatenate(labels).astype(np.uint16),
            lengths=np.array([len(x) for x in labels]),
            centroids=kmeans.cluster_centers_.astype(np.float32),
        )


def _read(path: Path) -> Targets:
    with np.load(path, allow_pickle=False) as stored:
        flat = stored["labels"].astype(np.int64)
        return np.split(flat, np.cumsum(stored["lengths"])[:-1]), stored["centroids"]
