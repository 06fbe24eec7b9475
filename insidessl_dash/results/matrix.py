"""The Generative Compatibility Matrix as a result: its schema, and what is read off it.

Cell (i, j) is decoder D^(i) reading the tokens z^(j): rows are decoders, columns are layers. Every
value is a mean over utterances of a score of the generated waveform against the original.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from insidessl_dash.core.errors import NotFoundError
from insidessl_dash.core.types import stable_hash
from insidessl_dash.results.schema import (
    CorpusInfo,
    ModelInfo,
    Provenance,
    UtteranceInfo,
    Values,
    _Frozen,
)

VERSION = 2
"""Of the method (`generation.matrix`); part of a matrix's key."""

Group = Literal["content", "identity", "prosody", "function"]
Grid = list[list[float | None]]
"""One row a decoder, one column a token layer; None where nothing could be measured."""


class Spread(_Frozen):
    """A mean over utterances, and how sure it is; None where too few can be measured.

    Attributes:
        std: Sample deviation (n - 1).
        ci95: Bootstrap 95% interval of the mean, whole speakers drawn; None for one speaker.
        n: Utterances behind it.
    """

    mean: float | None
    std: float | None
    ci95: tuple[float, float] | None
    n: int


class Asymmetry(_Frozen):
    """Lower triangle (i > j: deep decoder, shallow layer) against the upper one, paired.

    Of each utterance the mean over the lower triangle less that over the upper one, both over
    the same pairs of mirrored cells: those where (i, j) and (j, i) were both measured.

    Attributes:
        lower, upper: The two means.
        difference: Of the differences of utterances.
        p: Of Wilcoxon's signed-rank test, two-sided, on the mean difference of each speaker; None
            where none differs.
        speakers: How many the test is on; of an utterance whose speaker nobody knows, itself.
        better: The triangle that is better in the direction of the metric, where `ci95` is clear
            of zero; None otherwise: the two cannot be told apart here.
    """

    lower: Spread
    upper: Spread
    difference: Spread
    p: float | None
    speakers: int
    better: Literal["lower", "upper"] | None


class MatrixMeasure(_Frozen):
    """One metric in every cell.

    Attributes:
        title: Axis title.
        unit: "" where it has none.
        group: Which of the four matrices of the page it belongs to.
        higher_is_better: Direction of the metric.
        scored_by: In words, which model and which layer, or which method.
        mean, std: Over utterances, a `Grid`; `std` is the sample deviation (n - 1).
        n: Utterances behind each mean, [i][j].
        why: Why utterances are missing from a cell, the most frequent reason; "" where none is.
        ceiling: Vocoder only: the original's own mel, vocoded and scored like a cell.
        diagonal: Mean of the cells (i, i) of an utterance.
        off_diagonal: Mean of all other cells of an utterance.
        asymmetry: Of the two triangles.
    """

    title: str
    unit: str
    group: Group
    higher_is_better: bool
    scored_by: str
    mean: Grid
    std: Grid
    n: list[list[int]]
    why: list[list[str]]
    ceiling: Spread
    diagonal: Spread
    off_diagonal: Spread
    asymmetry: Asymmetry


class DecoderInfo(_Frozen):
    """The decoders of a matrix.

    Attributes:
        preset: ``flow`` (conditional flow matching) or ``regression`` (first looks).
        size: In words or settings; `weights_sha256` is the digest of all of them together.
        updates: That they were trained for; None where no card says so.
        tokens: k of k-means where layers were quantised; None for continuous z.
    """

    preset: str
    size: dict[str, Any] = Field(default_factory=dict)
    weights_sha256: str
    updates: int | None = None
    tokens: int | None = None


class VocoderInfo(_Frozen):
    """The vocoder that is heard; `weights_sha256` is "" where nothing was learned."""

    name: str
    weights_sha256: str


class MatrixConfig(_Frozen):
    """How cells are made.

    Attributes:
        seed: Of the noise, the same for all cells of an utterance.
        steps: Of the solver; None: what the decoders have as their own.
        rescale: Whether layers are rescaled to each other's statistics; never by default.
        gain_db: The one gain of the matrix, given to every cell and to the vocoder-only waveform
            before scoring and playing. What is kept for listening is `core.types.PLAYED_DB` lower.
    """

    seed: int = Field(0, ge=0)
    steps: int | None = Field(None, ge=1)
    rescale: Literal[False] = False
    gain_db: float = Field(0.0, allow_inf_nan=False)


class Rupture(_Frozen):
    """Where content breaks between neighbouring columns (methods: functional rupture).

    Attributes:
        before, after: The two token layers.
        drop: How much worse the metric is at `after`, in its own unit, positive.
        drops: Of every pair of neighbouring columns, one entry less than there are columns;
            negative where the deeper one is better, None where one of the two is missing.
    """

    before: str
    after: str
    drop: float
    drops: list[float | None]


class MatrixResult(_Frozen):
    """One encoder, its decoders and a vocoder on one corpus.

    Attributes:
        key: Hash of the audio, of the weights of encoder, decoders, vocoder and scoring models,
            of the configuration and the version.
        layers: Token layers j, shallow to deep: the columns.
        decoder_layers: Decoders i, shallow to deep, a part of `layers`: the rows there are.
        missing: Layer without a decoder -> why its row is not there.
        metrics: Name -> measure; the first of a group is its main one.
        utterances: What went in, and what was left out and why.
    """

    schema_version: int = 1
    key: str
    model: ModelInfo
    corpus: CorpusInfo
    layers: list[str]
    decoder_layers: list[str]
    missing: dict[str, str] = Field(default_factory=dict)
    decoders: DecoderInfo
    vocoder: VocoderInfo
    config: MatrixConfig
    metrics: dict[str, MatrixMeasure]
    utterances: list[UtteranceInfo]
    provenance: Provenance

    @field_validator("schema_version")
    @classmethod
    def _known(cls, version: int) -> int:
        if version != 1:
            raise ValueError(f"matrix version {version} is not 1: made by another release")
        return version

    @model_validator(mode="after")
    def _shapes(self) -> MatrixResult:
        stray = [name for name in self.decoder_layers if name not in self.layers]
        if stray:
            raise ValueError(f"decoder {stray[0]!r} belongs to no layer of {self.layers}")
        if {*self.layers} - {*self.decoder_layers} != {*self.missing}:
            raise ValueError("layers without a decoder and the reasons for it differ")
        for name, measure in self.metrics.items():
            for grid in (measure.mean, measure.std, measure.n, measure.why):
                if [len(row) for row in grid] != [len(self.layers)] * len(self.decoder_layers):
                    raise ValueError(f"{name}: not one row a decoder and one column a layer")
        return self

    @property
    def title(self) -> str:
        """What one hears, for people: model, decoders and vocoder."""
        return f"{self.model.title}, {self.decoders.preset} decoders, {self.vocoder.name}"

    def in_group(self, group: Group) -> dict[str, MatrixMeasure]:
        """The metrics of one of the four matrices, the main one first."""
        return {name: m for name, m in self.metrics.items() if m.group == group}

    def metric(self, name: str) -> MatrixMeasure:
        """One metric.

        Raises:
            NotFoundError: No such metric.
        """
        if name not in self.metrics:
            raise NotFoundError(f"No metric {name[:40]!r}. There are: {', '.join(self.metrics)}.")
        return self.metrics[name]

    def place(self, decoder: str, token: str) -> tuple[int | None, int]:
        """Row and column of a cell by the names of its layers; row None: no such decoder.

        Raises:
            NotFoundError: The model has no layer of one of the two names.
        """
        for name in (decoder, token):
            if name not in self.layers:
                raise NotFoundError(
                    f"{self.model.title} has no layer {name[:40]!r}. It has: "
                    f"{', '.join(self.layers)}."
                )
        row = self.decoder_layers.index(decoder) if decoder in self.decoder_layers else None
        return row, self.layers.index(token)

    def full(self, grid: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """A grid with one row a layer: rows of missing decoders hold None."""
        rows = dict(zip(self.decoder_layers, grid, strict=True))
        return [list(rows.get(name, [None] * len(self.layers))) for name in self.layers]

    def diagonal(self, name: str) -> list[float | None]:
        """Each layer read by its own decoder; None where that is missing."""
        grid = self.full(self.metric(name).mean)
        return [row[place] for place, row in enumerate(grid)]

    def by_token(self, name: str) -> list[float | None]:
        """Mean of each column: one token layer over every decoder."""
        return _means(zip(*self.metric(name).mean, strict=True), len(self.layers))

    def by_decoder(self, name: str) -> list[float | None]:
        """Mean of each row, for every layer; None where the decoder is missing."""
        return _means(self.full(self.metric(name).mean), len(self.layers))

    def drops(self, name: str = "content") -> Grid:
        """What is lost from the column before, [i][j], positive for worse.

        The first column has none. One row a decoder that there is.
        """
        measure = self.metric(name)
        return [[None, *_drops(row, measure.higher_is_better)] for row in measure.mean]

    def rupture(
        self, name: str = "content", along: Literal["tokens", "diagonal"] = "tokens"
    ) -> Rupture | None:
        """The largest loss between neighbouring columns, and where it is.

        With c_j the mean of a metric in column j over all decoders (`along` "tokens", the
        default), or that of the cell (j, j) ("diagonal"), it is the largest c_j - c_(j+1) (of a
        metric where lower is better c_(j+1) - c_j) and the pair of layers it lies between; of
        equal ones the shallowest. Computed on means over utterances; it says where, not how
        sure.

        Returns:
            None where no column is worse than the one before.

        Raises:
            NotFoundError: No such metric.
        """
        profile = self.by_token(name) if along == "tokens" else self.diagonal(name)
        drops = _drops(profile, self.metric(name).higher_is_better)
        worst = max((d for d in drops if d is not None), default=0.0)
        if worst <= 0.0:
            return None
        place = drops.index(worst)
        return Rupture(
            before=self.layers[place], after=self.layers[place + 1], drop=worst, drops=drops
        )


class MatrixValues(Values):
    """Per-utterance values of a matrix: what the means were taken over.

    Attributes:
        ids: One a row, sorted.
        measures: Metric -> float64 (ids, decoders, layers); NaN where not measurable.
        ceiling: Metric -> float64 (ids,), vocoder only.
    """

    ceiling: dict[str, NDArray[np.float64]]


def matrix_key(
    *,
    audio: Sequence[str],
    encoder: dict[str, Any],
    decoders: str,
    vocoder: str,
    scorers: Sequence[Any],
    config: MatrixConfig,
    version: int,
) -> str:
    """The identity of a matrix: same inputs, same key.

    Args:
        audio: SHA-256 of every file, any order.
        encoder: Weights digest and layer policy.
        decoders, vocoder: Digests of their weights; of a vocoder that learned nothing its name.
        scorers: What identifies each scoring model and its layer, as JSON.
        config: How cells are made.
        version: Of the method.

    Returns:
        32 hexadecimal digits.
    """
    identity = [
        "gcm", version, sorted(audio), encoder, decoders, vocoder, list(scorers),
        config.model_dump(),
    ]  # fmt: skip
    return stable_hash(identity)[:32]


def matrix_name(model: str, preset: str, tokens: int | None = None) -> str:
    """Name of a matrix's folder: the model, and what is not the default.

    >>> matrix_name("wav2vec2-nano", "flow"), matrix_name("wav2vec2-nano", "regression", 200)
    ('wav2vec2-nano', 'wav2vec2-nano.regression.k200')
    """
    return model + (f".{preset}" if preset != "flow" else "") + (f".k{tokens}" if tokens else "")


def _means(rows: Any, count: int) -> list[float | None]:
    """Mean of each row over what it has; `count` rows, None for an empty one."""
    found: list[float | None] = []
    for row in rows:
        there = [value for value in row if value is not None]
        found.append(sum(there) / len(there) if there else None)
    return found + [None] * (count - len(found))


def _drops(profile: Sequence[float | None], higher_is_better: bool) -> list[float | None]:
    """Loss from each entry to the next."""
    lost: Callable[[float, float], float] = (
        (lambda one, next: one - next) if higher_is_better else (lambda one, next: next - one)
    )
    return [
        None if one is None or after is None else lost(one, after)
        for one, after in pairwise(profile)
    ]
