"""The contract of an analysis ("lens": an analysis with one curve over depth).

An analysis is pure: no files, no network, no globals. It keeps a `State` that holds one small
array an utterance, so any sharding and any order of merging gives the same result exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor


@dataclass(frozen=True)
class Measure:
    """One number an utterance and layer: its name, unit, and how to read it.

    Attributes:
        name: E.g. ``normalised``.
        title: Axis title, e.g. ``Normalised matrix entropy``.
        unit: E.g. ``rad``; "" where it has none.
        reading: One sentence: what a high or low value means.
    """

    name: str
    title: str
    unit: str
    reading: str


@dataclass(frozen=True)
class LayerBatch:
    """Layers of equal-length utterances, and of their perturbed views.

    Attributes:
        ids: Utterance ids, length B.
        groups: For each utterance the comparison group the plan put it in, e.g. "3/64".
        layers: One tensor (B, T_l, D_l) a layer, clean audio.
        views: Perturbation name -> the same for the perturbed audio (T_l may differ).
    """

    ids: Sequence[str]
    groups: Sequence[str]
    layers: Sequence[Tensor]
    views: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)


@dataclass
class State:
    """What an analysis remembers.

    Attributes:
        values: id -> float64 (measures, layers): finished.
        pending: group -> id -> array: waiting for the rest of the group.
    """

    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    pending: dict[str, dict[str, NDArray]] = field(default_factory=dict)


class Analysis(Protocol):
    """One method.

    Class attributes:
        name: As requested, e.g. ``entropy``.
        title: As shown.
        version: Raised when the numbers change; part of the result key.
        Config: Pydantic model of the options, with defaults; the forms derive from it.
        measures: The first is the default one.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[int]
    Config: ClassVar[type[BaseModel]]
    measures: ClassVar[tuple[Measure, ...]]

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the perturbed views it needs, each one more forward pass."""
        ...

    def update(self, state: State, batch: LayerBatch) -> None:
        """Add a batch."""
        ...

    def merge(self, state: State, other: State) -> None:
        """Add another shard's state; ids must not overlap."""
        ...

    def compute(self, state: State) -> tuple[list[str], NDArray[np.float64]]:
        """Ids (sorted) and their values, float64 (ids, measures, layers); NaN: not defined."""
        ...
