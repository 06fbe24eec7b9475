"""The contract of an analysis ("lens": an analysis with one curve over depth).

An analysis is pure: no files, no network, no globals. It keeps a `State` that holds one small
array an utterance, so any sharding and any order of merging gives the same result exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from insidessl_dash.core.lenses import MeasureInfo
from insidessl_dash.features.batch import LayerBatch

__all__ = ["Analysis", "LayerBatch", "State"]


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
        measures: The first is the default one; described in `core.lenses`, where the page reads
            them without torch.

    The docstring of the class is one paragraph; the page and the docs show it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[int]
    Config: ClassVar[type[BaseModel]]
    measures: ClassVar[tuple[MeasureInfo, ...]]

    def __init__(self, config: Any = None, seed: int = 0) -> None:
        """Take a `Config` (None: the defaults) and the seed of whatever is random in it."""
        ...

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
