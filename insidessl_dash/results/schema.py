"""The one shape of a result: for the live cache, `precomputed/`, the API, exports and figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Curve(_Frozen):
    """One measure over depth. Lists have one entry a layer; None where it is not defined.

    Attributes:
        title: Axis title.
        unit: "" where the measure has none.
        mean, std: Over utterances; `std` is the sample deviation (n - 1).
        ci95: Bootstrap 95% interval of the mean, [low, high].
        n: Utterances behind the mean.
        note: Why a value is missing, or how to compare it.
    """

    title: str
    unit: str
    mean: list[float | None]
    std: list[float | None]
    ci95: list[tuple[float, float] | None]
    n: int
    note: str = ""


class ModelInfo(_Frozen):
    """The model as it was when it computed this."""

    name: str
    title: str
    family: str
    size: str
    supervised: bool = False
    source: str = ""
    revision: str = ""
    weights_sha256: str = ""
    layer_policy: dict[str, Any] = Field(default_factory=dict)
    licence: str = ""


class CorpusInfo(_Frozen):
    """The audio behind a result. `digest` is the hash of the audio digests."""

    name: str
    digest: str
    utterances: int
    seconds: float
    speakers: int | None = None
    licence: str | None = None


class UtteranceInfo(_Frozen):
    """One utterance of a result; `error` says why it was left out of every curve."""

    id: str
    seconds: float | None = None
    speaker: str | None = None
    sha256: str | None = None
    notes: list[str] = Field(default_factory=list)
    error: str | None = None


class Provenance(_Frozen):
    """How a number came about.

    Attributes:
        created: UTC, ISO 8601.
        versions: Of this package and the libraries that matter.
        device: ``cpu`` or the GPU's name.
        seed: Of the bootstrap and of the perturbations.
        command: A command that computes it again.
        wall_s: Seconds of computing.
        analysis_version: Of the lens.
    """

    created: str
    versions: dict[str, str]
    device: str
    seed: int
    command: str
    wall_s: float
    analysis_version: int


def layer_places(layers: Sequence[str]) -> list[float]:
    """Where each layer stands: the number in its name where names count, else its position.

    What lies between counted layers, like the samplers of MR-HuBERT, is spread evenly between them:
    block k of one model stands where block k of another does, whatever lies between blocks.

    >>> layer_places(["0", "1", "2"]), layer_places(["T0", "T1", "D0", "T2"])
    ([0.0, 1.0, 2.0], [0.0, 1.0, 1.5, 2.0])
    """
    found = [re.fullmatch(r"([A-Za-z]*)(\d+)", name) for name in layers]
    prefix = found[0][1] if found and found[0] else None
    counted = [i for i, one in enumerate(found) if one and one[1] == prefix]
    numbers = [int(layers[i].removeprefix(prefix or "")) for i in counted]
    whole = counted and (counted[0], counted[-1]) == (0, len(layers) - 1)
    if not whole or numbers != list(range(len(counted))):
        return [float(i) for i in range(len(layers))]
    return np.interp(range(len(layers)), counted, numbers).tolist()


def depth_percent(layers: Sequence[str]) -> list[float]:
    """`layer_places` from 0 to 100; a single layer is at 0."""
    places = layer_places(layers)
    return [100.0 * place / max(1.0, places[-1]) for place in places]


class Result(_Frozen):
    """One lens on one model and corpus.

    Attributes:
        key: Hash of audio digests, weights digest, layer policy, lens, version and config.
        lens: E.g. ``entropy``; `config` its options.
        layers: Names, shallow to deep.
        frame_rates_hz: One a layer.
        primary: The measure shown first.
        measures: Name -> curve.
        utterances: What went in, and what was left out and why.
    """

    schema_version: int = 1
    key: str
    lens: str
    config: dict[str, Any]
    model: ModelInfo
    corpus: CorpusInfo
    layers: list[str]
    frame_rates_hz: list[float]
    primary: str
    measures: dict[str, Curve]
    utterances: list[UtteranceInfo]
    provenance: Provenance

    @field_validator("schema_version")
    @classmethod
    def _known(cls, version: int) -> int:
        if version != 1:
            raise ValueError(f"schema version {version} is not 1: made by another release")
        return version

    @property
    def depth_percent(self) -> list[float]:
        """Depth of each layer from 0 to 100; a single layer (a baseline) is at 0."""
        return depth_percent(self.layers)

    @property
    def layer_places(self) -> list[float]:
        """Where each layer stands among the blocks; see `layer_places`."""
        return layer_places(self.layers)

    def curve(self, measure: str | None = None) -> Curve:
        """The curve of a measure, by default the primary one.

        Raises:
            KeyError: No such measure.
        """
        return self.measures[measure or self.primary]


class Values(BaseModel):
    """Per-utterance values of a result: what the means were taken over.

    Attributes:
        ids: One a row, sorted.
        measures: Name -> float64 (ids, layers); NaN where not defined.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    ids: list[str]
    measures: dict[str, NDArray[np.float64]]
