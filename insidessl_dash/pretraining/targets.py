"""Discrete targets: k-means over frames, one label every 20 ms.

HuBERT iteration 1 (Hsu et al., 2106.07447): 39-d MFCC (13 with first and second differences)
at 100 Hz, k = 100, every second label kept. Windows of 25 ms that start every 10 ms make label k
cover samples [320 k, 320 k + 400): exactly what frame k of the encoder sees.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede torchaudio
from insidessl_dash.core.files import whole_file
from insidessl_dash.core.progress import ProgressHook
from insidessl_dash.core.types import SAMPLE_RATE, stable_hash
from insidessl_dash.pretraining.data import SpeechData

from torchaudio.compliance import kaldi  # isort: skip
from torchaudio.functional import compute_deltas  # isort: skip

_FIT_FRAMES = 200_000


def mfcc39(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """13 MFCC with first and second differences, 25 ms windows every 10 ms.

    Args:
        waveform: float32, shape (n,), 16 kHz.

    Returns:
        float32, shape ((n - 400) // 160 + 1, 39).
    """
    features = kaldi.mfcc(
        torch.from_numpy(waveform)[None], sample_frequency=SAMPLE_RATE, use_energy=False
    ).T
    first = compute_deltas(features)
    return torch.cat([features, first, compute_deltas(first)]).T.contiguous().numpy()


def mfcc_targets(
    data: SpeechData, clusters: int, seed: int, cache: Path, progress: ProgressHook
) -> tuple[list[NDArray[np.int64]], NDArray[np.float32]]:
    """Cluster label of every encoder frame of every utterance.

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
            features.append(mfcc39(data.waveform(index)))
        rng = np.random.default_rng(seed)
        pool = np.concatenate(
            [f for f, out in zip(features, data.held_out, strict=True) if not out]
        )
        pool = pool[rng.permutation(len(pool))[:_FIT_FRAMES]]
        progress("k-means", 0, 1)
        kmeans = MiniBatchKMeans(
            clusters,
            batch_size=10_000,
            n_init=20,
            max_iter=100,
            max_no_improvement=100,
            reassignment_ratio=0.0,
            random_state=seed,
        ).fit(pool)
        labels = [kmeans.predict(f)[::2].astype(np.uint16) for f in features]
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                labels=np.concatenate(labels),
                lengths=np.array([len(x) for x in labels]),
                centroids=kmeans.cluster_centers_.astype(np.float32),
            )
    with np.load(path, allow_pickle=False) as stored:
        flat = stored["labels"].astype(np.int64)
        return np.split(flat, np.cumsum(stored["lengths"])[:-1]), stored["centroids"]
