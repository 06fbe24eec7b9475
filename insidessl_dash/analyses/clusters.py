"""How much clusters of frames know of phones: purity, and mutual information as a share.

The three numbers of Hsu et al. (HuBERT, 2106.07447, section IV-A), from the joint distribution
p(y, z) of the phone y and the cluster z of a frame:

    phone purity     sum over z of max over y of p(y, z)
    cluster purity   sum over y of max over z of p(y, z)
    PNMI             I(y; z) / H(y)

Counts add up over shards. Phone purity and PNMI rise with the number of clusters (one cluster a
frame has 1), so they compare clusterings of the same size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

from insidessl_dash.analyses.probing import CLASSES, collect_frames, draw_frames
from insidessl_dash.core.errors import CorpusError
from insidessl_dash.core.progress import ProgressHook, silent
from insidessl_dash.core.types import Utterance, stable_seed
from insidessl_dash.corpora.alignment import Segment
from insidessl_dash.encoders.base import Encoder


class Purity(NamedTuple):
    """Of one clustering.

    Attributes:
        phone: Frames whose phone is the commonest of their cluster, as a share.
        cluster: Frames whose cluster is the commonest of their phone, as a share.
        pnmi: Share of the phones' entropy that the cluster tells; NaN if there is one phone.
        frames: How many were counted.
    """

    phone: float
    cluster: float
    pnmi: float
    frames: int


def contingency(
    phones: NDArray[np.integer], clusters: NDArray[np.integer], shape: tuple[int, int]
) -> NDArray[np.int64]:
    """How often each phone falls into each cluster.

    Args:
        phones, clusters: Integers from 0, shape (n,).
        shape: Number of phones and of clusters.

    Returns:
        int64 `shape`; tables of different frames add up.

    Raises:
        ValueError: A number outside `shape`, or arrays of different lengths.
    """
    flat = np.ravel_multi_index((phones, clusters), shape)
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


def purity(counts: NDArray[np.integer]) -> Purity:
    """The three numbers of a contingency table, integers (phones, clusters).

    Raises:
        ValueError: It counts no frame.

    Example:
        >>> purity(np.array([[2, 0], [1, 1]]))
        Purity(phone=0.75, cluster=0.75, pnmi=0.3112781244591328, frames=4)
    """
    frames = int(counts.sum())
    if not frames:
        raise ValueError("No frame was counted.")
    joint = counts / frames
    of_phone, of_cluster = joint.sum(axis=1), joint.sum(axis=0)
    some = joint > 0
    chance = np.outer(of_phone, of_cluster)
    information = float((joint[some] * np.log(joint[some] / chance[some])).sum())
    present = of_phone[of_phone > 0]
    entropy = float(-(present * np.log(present)).sum())
    return Purity(
        phone=float(joint.max(axis=0).sum()),
        cluster=float(joint.max(axis=1).sum()),
        pnmi=information / entropy if entropy > 0 else float("nan"),
        frames=frames,
    )


def fit_clusters(
    frames: NDArray[np.float32], clusters: int, seed: int, *, starts: int = 3
) -> MiniBatchKMeans:
    """k-means over frames, as HuBERT's targets are made (mini-batches of 10,000, k-means++).

    Args:
        frames: float32 (n, D).
        clusters: How many, at most n.
        seed: Of starts and batches.
        starts: Tries; the best one is kept.
    """
    return MiniBatchKMeans(
        clusters,
        batch_size=10_000,
        n_init=starts,
        max_iter=100,
        max_no_improvement=100,
        reassignment_ratio=0.0,
        random_state=seed,
    ).fit(frames)


def layer_purity(
    encoder: Encoder,
    utterances: Sequence[Utterance],
    phones: Mapping[str, Sequence[Segment]],
    *,
    layers: Sequence[str],
    clusters: int,
    frames: int,
    seed: int,
    progress: ProgressHook = silent,
) -> list[dict[str, Any]]:
    """Cluster layers on some utterances, and count phones in the clusters on others.

    Two thirds of the aligned utterances serve for fitting, the rest for counting; pauses are
    counted as a phone, as in the HuBERT paper's figures, and without them beside it.

    Args:
        encoder: Whose layers.
        utterances: Those without phones are not read.
        phones: Utterance id -> segments.
        layers: Names.
        clusters: k.
        frames: Most for fitting, and most for counting.
        seed: Of the split, the draw and k-means.
        progress: Told how far it is.

    Returns:
        A dictionary a layer: ``layer``, the fields of `Purity`, and ``speech_only`` with them
        again for frames of speech.

    Raises:
        CorpusError: Fewer frames than clusters, or too few aligned utterances.
    """
    order = sorted(
        (u for u in utterances if u.id in phones), key=lambda u: stable_seed("split", seed, u.id)
    )
    cut = 2 * len(order) // 3
    sides = []
    done, total = 0, len(order) + len(layers)

    def heard(*_: Any) -> None:
        nonlocal done
        done += 1
        progress("computing layers", done, total)

    for side in (order[:cut], order[cut:]):
        drawn = draw_frames(
            {u.id: phones[u.id] for u in side}, frames, seed, per_utterance=frames, silence=True
        )
        sides.append(collect_frames(encoder, side, drawn, layers=layers, on_done=heard))
    fit, held = sides
    if len(fit.labels) < clusters or not len(held.labels):
        raise CorpusError(
            f"{len(fit.labels)} frames to fit and {len(held.labels)} to count in are too few for "
            f"{clusters} clusters: align more speech, or ask for fewer clusters."
        )
    rows = []
    for place, name in enumerate(layers):
        progress("clustering", len(order) + place, total)
        found = fit_clusters(fit.layers[place], clusters, seed).predict(held.layers[place])
        counts = contingency(held.labels, found, (len(CLASSES), clusters))
        rows.append(
            {
                "layer": name,
                **purity(counts)._asdict(),
                "speech_only": purity(counts[:-1])._asdict(),
            }
        )
    return rows
