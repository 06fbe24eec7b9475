"""The bookkeeping that analyses share: one array an utterance, put together by id."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from insidessl_dash.analyses.base import LayerBatch, State
from insidessl_dash.analyses.parallel import each
from insidessl_dash.core.lenses import MeasureInfo


class LensConfig(BaseModel):
    """Options of an analysis: unknown ones are refused, known ones cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ConfigT = TypeVar("ConfigT", bound=LensConfig)


class PerUtterance(ABC, Generic[ConfigT]):
    """An analysis of one utterance and layer at a time; a subclass writes `of_frames`.

    Args:
        config: Its options; None for the defaults.
        seed: For analyses with something random in them.

    Attributes:
        threaded: Whether one utterance and layer take long enough to be worth a thread.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[int]
    Config: ClassVar[type[BaseModel]]
    measures: ClassVar[tuple[MeasureInfo, ...]]
    threaded: ClassVar[bool] = False

    def __init__(self, config: ConfigT | None = None, seed: int = 0) -> None:
        self.config = cast(ConfigT, self.Config()) if config is None else config
        self.seed = seed

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the perturbed views it needs: none."""
        return ()

    @abstractmethod
    def of_frames(self, frames: NDArray[np.floating]) -> tuple[float, ...]:
        """The value of each measure.

        Args:
            frames: float32 or float64 (T, D) of one utterance and layer, not to be changed.

        Returns:
            As many numbers as `measures`; NaN where one is not defined.
        """

    def values(self, batch: LayerBatch) -> NDArray[np.float64]:
        """Values of a batch, float64 (B, measures, layers)."""

        def of_layer(hidden: Tensor) -> list[tuple[float, ...]]:
            return [self.of_frames(frames) for frames in as_array(hidden)]

        run = each if self.threaded else map
        return np.array(list(run(of_layer, batch.layers)), dtype=np.float64).transpose(1, 2, 0)

    def update(self, state: State, batch: LayerBatch) -> None:
        """Add a batch.

        Raises:
            ValueError: An id that the state already has.
        """
        add_new(state.values, dict(zip(batch.ids, self.values(batch), strict=True)))

    def merge(self, state: State, other: State) -> None:
        """Add another shard's state.

        Raises:
            ValueError: An id in both.
        """
        add_new(state.values, other.values)

    def compute(self, state: State) -> tuple[list[str], NDArray[np.float64]]:
        """Ids (sorted) and their values, float64 (ids, measures, layers)."""
        return table(state.values, len(self.measures))


def add_new(mine: dict[str, NDArray], theirs: dict[str, NDArray]) -> None:
    """Put `theirs` into `mine`.

    Raises:
        ValueError: An id in both.
    """
    twice = mine.keys() & theirs.keys()
    if twice:
        raise ValueError(f"Utterance {min(twice)!r} was added twice.")
    mine.update(theirs)


def table(
    values: dict[str, NDArray[np.float64]], measures: int
) -> tuple[list[str], NDArray[np.float64]]:
    """Ids (sorted) and their values as one array, float64 (ids, measures, layers)."""
    ids = sorted(values)
    if not ids:
        return [], np.zeros((0, measures, 0))
    return ids, np.stack([values[id] for id in ids])


def as_array(hidden: Tensor) -> NDArray[np.floating]:
    """A layer on the CPU: a view where it is there already; float64 stays, the rest is float32."""
    hidden = hidden.detach()
    return (hidden if hidden.dtype.itemsize == 8 else hidden.float()).cpu().numpy()
