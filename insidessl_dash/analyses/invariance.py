r"""Invariance: whether an utterance is still itself after a perturbation.

For a group of N utterances, each as it is and perturbed, let :math:`x_1 \ldots x_{2N}` be the means
over frames of the raw layer, scaled to unit length. With the other view of the same utterance as
the positive :math:`i^+` and all the other :math:`2N - 1` vectors as candidates,

.. math:: L_i = -\ln \frac{e^{x_i \cdot x_{i^+} / \tau}}{\sum_{j \ne i} e^{x_i \cdot x_j / \tau}}

in nats (NT-Xent, :math:`\tau = 0.1`); an utterance's value is the mean of its two views. Chance is
about :math:`\ln(2N - 1)`: the loss depends on N, so N is fixed by the plan and not by what a
worker happens to hold.

Sources: Chen et al. 2020 (2002.05709), Oord et al. 2018 (1807.03748), Skean et al. 2025
(2502.02013). Means and losses are float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator
from torch import Tensor

from insidessl_dash.analyses.base import LayerBatch, State
from insidessl_dash.analyses.per_utterance import LensConfig, add_new, as_array, table
from insidessl_dash.audio.perturb import PERTURBATIONS, unknown
from insidessl_dash.core.lenses import MeasureInfo, lens

_NO_DIRECTION = 1e-7  # of a unit vector: what float32 features resolve
_NO_MEAN = 1e-5  # of the frames' size: features whose mean was taken away keep less, as rounding


class InvarianceConfig(LensConfig):
    """Options of `Invariance`."""

    perturbation: str = Field(
        default="chain",
        title="Perturbation",
        description="What is done to the audio for the second view.",
        json_schema_extra={"enum": list(PERTURBATIONS)},
    )
    batch_size: int = Field(
        default=64,
        ge=2,
        le=4096,
        title="Group size N",
        description="Utterances that are told apart in one comparison. The loss grows with it: "
        "compare only curves of the same size.",
    )
    temperature: float = Field(
        default=0.1,
        gt=0,
        le=10,
        title="Temperature τ",
        description="Divides the similarities; a smaller one weighs the closest candidates more.",
    )

    @field_validator("perturbation")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in PERTURBATIONS:
            raise ValueError(unknown(name))
        return name


class Invariance:
    """How well an utterance can be found again after its audio was perturbed, among the other \
utterances of its group and their perturbed versions. Each is one vector, its mean over frames. \
The loss (InfoNCE in its NT-Xent form) is low where the layer keeps the utterance and ignores the \
perturbation, and near ln(2N-1) where it keeps neither. The plain cosine between the two versions \
is given beside it; it is high in layers where all utterances look alike.

    Args:
        config: Its options; None for the defaults.
        seed: Not used: what is random here, the perturbation, is drawn with the features.
    """

    name: ClassVar[str] = "invariance"
    title: ClassVar[str] = lens(name).title
    version: ClassVar[int] = 1
    Config: ClassVar[type[BaseModel]] = InvarianceConfig
    measures: ClassVar[tuple[MeasureInfo, ...]] = lens(name).measures

    def __init__(self, config: InvarianceConfig | None = None, seed: int = 0) -> None:
        self.config = config or InvarianceConfig()
        self.seed = seed

    @property
    def views(self) -> tuple[str, ...]:
        """The perturbation, one more forward pass."""
        return (self.config.perturbation,)

    def update(self, state: State, batch: LayerBatch) -> None:
        """Add a batch; a group that it completes is reduced to values and dropped.

        Raises:
            ValueError: An id that the state already has; a group that is full, or not named as
                "GROUP/SIZE".
        """
        clean, perturbed = batch.layers, batch.views[self.config.perturbation]
        vectors = np.stack([_unit_means(clean), _unit_means(perturbed)], axis=1)
        for id, group, pair in zip(batch.ids, batch.groups, vectors, strict=True):
            if id in state.values:
                raise ValueError(f"Utterance {id!r} was added twice.")
            add_new(state.pending.setdefault(group, {}), {id: pair})
        self._reduce_complete(state, set(batch.groups))

    def merge(self, state: State, other: State) -> None:
        """Add another shard's state, and reduce the groups that are complete now.

        Raises:
            ValueError: An id in both; a group that holds more than its size.
        """
        add_new(state.values, other.values)
        for group, members in other.pending.items():
            add_new(state.pending.setdefault(group, {}), members)
        self._reduce_complete(state, set(other.pending))

    def compute(self, state: State) -> tuple[list[str], NDArray[np.float64]]:
        """Ids (sorted) and their values, float64 (ids, 4, layers).

        A group that stayed incomplete, because a member could not be read, is compared as far as
        it is there: its N is smaller, and so is its loss. One utterance alone has a cosine only.
        """
        values = dict(state.values)
        for members in state.pending.values():
            add_new(values, self._compare(members))
        return table(values, len(self.measures))

    def _reduce_complete(self, state: State, groups: set[str]) -> None:
        for group in groups:
            present, size = len(state.pending[group]), group_size(group)
            if present > size:
                raise ValueError(f"Comparison group {group!r} holds {present} utterances.")
            if present == size:
                add_new(state.values, self._compare(state.pending.pop(group)))

    def _compare(self, members: dict[str, NDArray]) -> dict[str, NDArray[np.float64]]:
        """Values of a group's utterances; by sorted id, so that order of arrival is forgotten."""
        ids = sorted(members)
        vectors = np.stack([members[id] for id in ids])  # (N, 2, layers, D)
        values = np.full((len(ids), len(self.measures), vectors.shape[2]), np.nan)
        for layer in range(vectors.shape[2]):
            pairs = vectors[:, :, layer]
            defined = np.isfinite(pairs).all(axis=(1, 2))
            if not defined.any():
                continue
            clean, perturbed = pairs[defined, 0], pairs[defined, 1]
            values[defined, 2, layer] = np.sum(clean * perturbed, axis=1)
            if len(clean) > 1:
                loss = nt_xent(clean, perturbed, self.config.temperature)
                values[defined, 0, layer] = loss
                values[defined, 1, layer] = loss / np.log(len(clean))
                values[defined, 3, layer] = _centred_cosine(clean, perturbed)
        return dict(zip(ids, values, strict=True))


def nt_xent(
    clean: NDArray[np.float64], perturbed: NDArray[np.float64], temperature: float
) -> NDArray[np.float64]:
    """NT-Xent of each pair.

    Args:
        clean: float64 (N, D), unit rows, N >= 2.
        perturbed: The same for the other view.
        temperature: Divides the similarities.

    Returns:
        float64 (N,), in nats: the mean of the losses of both views as anchors.
    """
    count = len(clean)
    both = np.concatenate([clean, perturbed])
    logits = both @ both.T / temperature
    positives = np.sum(clean * perturbed, axis=1) / temperature
    np.fill_diagonal(logits, -np.inf)
    highest = logits.max(axis=1)
    totals = np.log(np.exp(logits - highest[:, None]).sum(axis=1)) + highest
    return (totals[:count] + totals[count:]) / 2 - positives


def _centred_cosine(
    clean: NDArray[np.float64], perturbed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cosine of the two views after subtracting the mean of all the group's vectors."""
    centre = (clean.mean(axis=0) + perturbed.mean(axis=0)) / 2
    clean, perturbed = clean - centre, perturbed - centre
    norms = np.stack([np.linalg.norm(clean, axis=1), np.linalg.norm(perturbed, axis=1)])
    dots = np.sum(clean * perturbed, axis=1)
    defined = norms.min(axis=0) > _NO_DIRECTION
    return np.divide(dots, norms.prod(axis=0), out=np.full_like(dots, np.nan), where=defined)


def _unit_means(layers: Sequence[Tensor]) -> NDArray[np.float64]:
    """Mean over frames of each layer, scaled to unit length: float64 (B, layers, largest D).

    Narrower layers are filled with zeros, which change no product; NaN where the mean has no
    direction: it is zero, or rounding beside the frames.
    """
    width = max(layer.shape[-1] for layer in layers)
    unit = np.zeros((len(layers[0]), len(layers), width))
    for index, layer in enumerate(layers):
        mean, size = _on_gpu(layer) if layer.is_cuda else _on_cpu(layer)
        norm = np.linalg.norm(mean, axis=-1, keepdims=True)
        defined = np.isfinite(norm) & (norm > _NO_MEAN * size[:, None])
        unit[:, index, : mean.shape[-1]] = np.where(
            defined, mean / np.where(defined, norm, 1.0), np.nan
        )
    return unit


def _on_gpu(layer: Tensor) -> tuple[NDArray[np.float64], NDArray[np.floating]]:
    """Mean over frames, float64 (B, D), and root mean square norm of a frame, (B,)."""
    mean = layer.mean(dim=1, dtype=torch.float64)
    size = torch.linalg.vector_norm(layer.float(), dim=(1, 2)) / layer.shape[1] ** 0.5
    return mean.cpu().numpy(), size.cpu().numpy()


def _on_cpu(layer: Tensor) -> tuple[NDArray[np.float64], NDArray[np.floating]]:
    """The same by BLAS: torch's threads cost more than so short a sum."""
    frames = as_array(layer)
    count = frames.shape[1]
    share = np.full(count, 1.0 / count)
    mean = np.stack([share @ row.astype(np.float64, copy=False) for row in frames])
    size = np.array([np.sqrt(np.vdot(row, row) / count) for row in frames])
    return mean, size


def group_size(group: str) -> int:
    """The size that a group's name announces.

    >>> group_size("9f2c/64")
    64

    Raises:
        ValueError: Not named as "GROUP/SIZE".
    """
    _, slash, size = group.rpartition("/")
    if not slash or not size.isdecimal() or int(size) < 1:
        raise ValueError(f"Comparison group {group!r} is not named as GROUP/SIZE.")
    return int(size)
