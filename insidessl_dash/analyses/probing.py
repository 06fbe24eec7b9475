"""Linear probes: what a linear classifier reads from single frames of each layer.

Frames are drawn as moments in time, on the 20 ms grid that 50 Hz encoders have, before any
encoder runs; each layer gives the frame whose centre is closest. So every layer of every model,
whatever its frame rate, is asked for the phone at the same moments: numbers compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from insidessl_dash.analyses.per_utterance import LensConfig
from insidessl_dash.audio.limits import AudioLimits
from insidessl_dash.core.errors import AudioError
from insidessl_dash.core.types import Utterance, stable_seed
from insidessl_dash.corpora.alignment import PHONES, SILENCE, Segment, label_at
from insidessl_dash.encoders.base import Encoder
from insidessl_dash.features.batches import layer_batches

VERSION = 1
"""Raised when the numbers of the phone probe change; part of the result key."""

CLASSES = (*PHONES, SILENCE)
"""Labels are places in this list; silence comes last, so leaving it out renumbers nothing."""

WINDOW_S = 0.025
STEP_S = 0.02
_LIMITS = AudioLimits(max_seconds=None, max_bytes=None)
_CENTRED = ("whisper", "ecapa")  # kinds of encoder that pad, so that frame 0 is centred at 0 s


DECAYS = (0.1, 0.01, 0.001)
"""Weight decays that are tried, strongest first: the best one depends on a layer's width and on how
much of the training speakers it holds, so each layer takes its own by the same procedure."""


class ProbeConfig(LensConfig):
    """Sizes of a probe.

    Attributes:
        train_frames, test_frames: Drawn from each side; fewer where there are not so many.
        per_utterance: Most from one utterance.
        steps: Most steps of L-BFGS for each weight decay.
    """

    train_frames: int = Field(40_000, ge=1)
    test_frames: int = Field(20_000, ge=1)
    per_utterance: int = Field(50, ge=1)
    steps: int = Field(60, ge=1)


@dataclass(frozen=True)
class Drawn:
    """Moments of one utterance.

    Attributes:
        times_s: float64 (n,), rising.
        labels: int64 (n,), places in `CLASSES`.
    """

    times_s: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Frames:
    """Frames of every layer at the same moments.

    Attributes:
        layers: One float32 (n, D_l) a layer.
        labels: int64 (n,), places in `CLASSES`.
        ids: Utterances, sorted.
        owner: int64 (n,): place in `ids` of the utterance a frame is from.
    """

    layers: list[NDArray[np.float32]]
    labels: NDArray[np.int64]
    ids: tuple[str, ...]
    owner: NDArray[np.int64]


def draw_frames(
    phones: Mapping[str, Sequence[Segment]],
    count: int,
    seed: int,
    *,
    per_utterance: int = 50,
    silence: bool = False,
) -> dict[str, Drawn]:
    """Draw moments: utterances in a seeded order, from each at most `per_utterance` moments.

    An utterance's place in the order and its moments follow from its id and the seed alone.

    Args:
        phones: Utterance id -> segments, as an `Alignment` has them.
        count: Moments in all; fewer where there are not so many.
        seed: Of the draw.
        per_utterance: Most from one utterance, so that many speakers are heard.
        silence: Whether moments of silence may be drawn.

    Returns:
        Utterance id -> its moments, in order of id.
    """
    place = {name: index for index, name in enumerate(CLASSES)}
    drawn: dict[str, Drawn] = {}
    left = count
    for id in sorted(phones, key=lambda id: (stable_seed("probe", seed, id), id)):
        if left <= 0:
            break
        segments = phones[id]
        steps = max(0, int((segments[-1].end - WINDOW_S) / STEP_S + 1e-6) + 1)
        times = WINDOW_S / 2 + STEP_S * np.arange(steps, dtype=np.float64)
        labels = np.array([place[name] for name in label_at(segments, times)], dtype=np.int64)
        kept = np.flatnonzero(labels != place[SILENCE]) if not silence else np.arange(steps)
        rng = np.random.default_rng(stable_seed("moments", seed, id))
        kept = np.sort(rng.permutation(kept)[: min(per_utterance, left)])
        if len(kept):
            drawn[id] = Drawn(times[kept], labels[kept])
            left -= len(kept)
    return dict(sorted(drawn.items()))


def collect_frames(
    encoder: Encoder,
    utterances: Sequence[Utterance],
    drawn: Mapping[str, Drawn],
    *,
    layers: Sequence[str] | None = None,
    on_skip: Callable[[Utterance, AudioError], None] | None = None,
    on_done: Callable[[Utterance, float, tuple[str, ...]], None] | None = None,
) -> Frames:
    """The frames at the drawn moments, every layer from one forward pass.

    Args:
        encoder: Any `Encoder`.
        utterances: Those that nothing was drawn from are not read.
        drawn: Of `draw_frames`.
        layers: Names of those to keep; None: all.
        on_skip, on_done: As `layer_batches`.
    """
    wanted = [encoder.layers.index(name) for name in layers or encoder.layers]
    found: dict[str, list[NDArray[np.float32]]] = {}
    for batch in layer_batches(
        encoder,
        [utterance for utterance in utterances if utterance.id in drawn],
        limits=_LIMITS,
        on_skip=on_skip,
        on_done=on_done,
    ):
        for row, id in enumerate(batch.ids):
            found[id] = [
                _at(batch.layers[layer][row], frame_centre_s(encoder), rate, drawn[id])
                for layer in wanted
                for rate in [encoder.frame_rates_hz[layer]]
            ]
    ids = tuple(sorted(found))
    sizes = [len(drawn[id].labels) for id in ids]
    return Frames(
        [np.concatenate([found[id][place] for id in ids]) for place in range(len(wanted))]
        if ids
        else [],
        np.concatenate([drawn[id].labels for id in ids]) if ids else np.zeros(0, np.int64),
        ids,
        np.repeat(np.arange(len(ids)), sizes),
    )


def frame_centre_s(encoder: Encoder) -> float:
    """Where the first frame of every layer has its centre, in seconds.

    Frames see 25 ms from 0 s on, unpadded; slower layers (MR-HuBERT's) keep every n-th of them, the
    first among them. Whisper and the speaker models pad, so their first frame is centred at 0 s.
    """
    return 0.0 if encoder.card.kind in _CENTRED else WINDOW_S / 2


def _at(hidden: Tensor, first_s: float, rate_hz: float, drawn: Drawn) -> NDArray[np.float32]:
    """Rows of (T, D) closest to the drawn moments, float32 (n, D)."""
    index = np.rint((drawn.times_s - first_s) * rate_hz).astype(np.int64)
    index = np.clip(index, 0, len(hidden) - 1)
    return hidden[torch.from_numpy(index).to(hidden.device)].float().cpu().numpy()


@dataclass(frozen=True)
class LinearProbe:
    """A fitted softmax regression on z-scored input: argmax of ((x - mean) / scale) W + b.

    Attributes:
        mean, scale: float32 (D,).
        weight: float32 (D, classes).
        bias: float32 (classes,).
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def predict(self, frames: NDArray[np.float32]) -> NDArray[np.int64]:
        """The likeliest class of each frame.

        Args:
            frames: float32 (n, D).

        Returns:
            int64 (n,).
        """
        inputs = (torch.from_numpy(frames).to(self.mean.device) - self.mean) / self.scale
        return (inputs @ self.weight + self.bias).argmax(dim=1).cpu().numpy()


def fit_probe(
    frames: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    *,
    l2: float,
    steps: int = 60,
    device: str = "cpu",
    start: LinearProbe | None = None,
) -> LinearProbe:
    """Softmax regression by L-BFGS on all frames at once: convex and deterministic.

    Minimises the mean cross-entropy plus l2 / 2 times the squared weights (not the bias). Input
    dimensions are brought to mean 0 and variance 1 first; a constant one stays at 0.

    Args:
        frames: float32 (n, D).
        labels: int64 (n,), from 0.
        classes: How many there are.
        l2: Weight decay.
        steps: At most; it stops before where the gradient vanishes.
        device: Where to compute.
        start: A fit of the same frames to go on from; None: zero.
    """
    mean = frames.mean(axis=0, dtype=np.float64)
    scale = frames.std(axis=0, dtype=np.float64)
    scale[scale < 1e-8] = 1.0
    centre = torch.tensor(mean, dtype=torch.float32, device=device)
    spread = torch.tensor(scale, dtype=torch.float32, device=device)
    inputs = (torch.from_numpy(frames).to(device) - centre) / spread
    targets = torch.from_numpy(labels).to(device)
    weight = torch.zeros(frames.shape[1], classes, device=device)
    bias = torch.zeros(classes, device=device)
    if start is not None:
        weight, bias = start.weight.clone(), start.bias.clone()
    weight.requires_grad_()
    bias.requires_grad_()
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=steps,
        history_size=10,
        tolerance_grad=1e-5,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = functional.cross_entropy(inputs @ weight + bias, targets)
        value = value + l2 / 2 * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return LinearProbe(centre, spread, weight.detach(), bias.detach())


def choose_probe(
    frames: NDArray[np.float32],
    labels: NDArray[np.int64],
    aside: NDArray[np.bool_],
    classes: int,
    *,
    steps: int = 60,
    device: str = "cpu",
) -> tuple[LinearProbe, float]:
    """The fit whose weight decay (of `DECAYS`) serves frames set aside best.

    Args:
        frames: float32 (n, D).
        labels: int64 (n,), from 0.
        aside: bool (n,): True for frames to choose by, of speakers that are not fitted on.
        classes: How many there are.
        steps, device: As `fit_probe`.

    Returns:
        The probe, and its weight decay. Of equals the stronger decay is taken.
    """
    best: tuple[float, LinearProbe, float] | None = None
    probe: LinearProbe | None = None
    for decay in DECAYS:
        probe = fit_probe(
            frames[~aside],
            labels[~aside],
            classes,
            l2=decay,
            steps=steps,
            device=device,
            start=probe,
        )
        right = float(np.mean(probe.predict(frames[aside]) == labels[aside]))
        if best is None or right > best[0]:
            best = right, probe, decay
    assert best is not None
    return best[1], best[2]
