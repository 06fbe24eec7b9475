"""Cells of the Generative Compatibility Matrix: every layer of an utterance by every decoder.

Cell (i, j) is decoder D^(i) reading the tokens z^(j). The original is brought to the one level
that decoders know (`mel.levelled`). One pass of the encoder gives all layers; cells are decoded in
batches from the same noise, vocoded, cut to the original's length, given the one gain of the
matrix, and scored against the levelled original.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from insidessl_dash.core.errors import ModelError
from insidessl_dash.core.types import SAMPLE_RATE
from insidessl_dash.encoders.base import Encoder
from insidessl_dash.generation.decoders import STEPS, DecoderBank
from insidessl_dash.generation.judge import METRICS, Against, Judge
from insidessl_dash.generation.matrix_summary import summarise_metric
from insidessl_dash.generation.mel import HOP, frames_of, levelled, log_mel
from insidessl_dash.generation.vocoder import Vocoder
from insidessl_dash.results.matrix import (
    Grid,
    MatrixConfig,
    MatrixMeasure,
    MatrixValues,
)

_BATCH_SECONDS = 108.0  # of generated audio decoded at once: two rows of 13 cells of 4 s


class CellMaker:
    """Waveforms of the cells of one encoder, its decoders and a vocoder.

    Args:
        encoder: Under study.
        bank: Its decoders; some layers may have none.
        vocoder: From log-mel to waveform.
        config: Noise, solver, gain.
        batch_seconds: Of generated audio that is decoded at once. Fewer are heard of sooner.

    Attributes:
        config: As given, with the number of steps filled in where decoders take any.
        missing: Layers without a decoder.

    Raises:
        ModelError: The decoders were trained on another encoder.
    """

    def __init__(
        self,
        encoder: Encoder,
        bank: DecoderBank,
        vocoder: Vocoder,
        config: MatrixConfig,
        batch_seconds: float | None = None,
    ) -> None:
        check_match(encoder, bank)
        self.encoder, self.bank, self.vocoder = encoder, bank, vocoder
        self._batch_seconds = batch_seconds
        steps = (config.steps or STEPS) if bank.preset == "flow" else None
        self.config = config.model_copy(update={"steps": steps})
        self.missing = [name for name in encoder.layers if name not in bank.layers]
        self._gain = 10.0 ** (config.gain_db / 20.0)

    def cells(
        self, waveform: Tensor, rows: Sequence[int] | None = None
    ) -> Iterator[tuple[list[tuple[int, int]], Tensor]]:
        """Every cell, row by row, in batches.

        Args:
            waveform: float32 (n,), the original, at least 513 samples.
            rows: Decoders i by place in ``bank.layers``; None: all.

        Yields:
            Places (i, j) of some cells, i in ``bank.layers`` and j in ``encoder.layers``, and
            their waveforms, float32 (C, n) on the CPU.

        Raises:
            ModelError: Too short for one frame of the encoder.
        """
        samples = len(waveform)
        frames = frames_of(samples)
        with torch.no_grad():
            states = [layer[0].float() for layer in self.encoder(levelled(waveform)[None])]
        most = max(1, int((self._batch_seconds or _BATCH_SECONDS) * SAMPLE_RATE) // (frames * HOP))
        if most > len(states):  # whole rows: decoders with as many cells each share their products
            most -= most % len(states)
        chosen = range(len(self.bank.layers)) if rows is None else rows
        batch: list[tuple[int, int]] = []
        for place in ((i, j) for i in chosen for j in range(len(states))):
            alike = not batch or states[batch[0][1]].shape == states[place[1]].shape
            if len(batch) == most or not alike:
                yield batch, self._made(batch, states, frames, samples)
                batch = []
            batch.append(place)
        if batch:
            yield batch, self._made(batch, states, frames, samples)

    def vocoded(self, waveform: Tensor) -> Tensor:
        """The levelled original's own mel through the vocoder: (n,) to (n,), with the same gain.

        Raises:
            AudioError: Fewer than 513 samples.
        """
        return self._heard(log_mel(levelled(waveform)[None]), len(waveform))[0]

    def _made(
        self, batch: list[tuple[int, int]], states: list[Tensor], frames: int, samples: int
    ) -> Tensor:
        with torch.no_grad():
            mel = self.bank.decode(
                torch.stack([states[j] for _, j in batch]),
                [i for i, _ in batch],
                frames,
                seed=self.config.seed,
                steps=self.config.steps or STEPS,
                sources=[self.encoder.layers[j] for _, j in batch],
            )
        return self._heard(mel, samples)

    def _heard(self, mel: Tensor, samples: int) -> Tensor:
        with torch.no_grad():
            return self.vocoder(mel)[:, :samples].float().cpu() * self._gain


def check_match(encoder: Encoder, bank: DecoderBank) -> None:
    """Refuse decoders of another encoder.

    Raises:
        ModelError: Other weights, layers or widths than the decoders were trained on.
    """
    trained_on, again = bank.encoder, "train decoders of this one: insidessl-dash gcm train"
    if trained_on["weights_sha256"] != encoder.weights_sha256:
        raise ModelError(
            f"These decoders were trained on {trained_on['name']} (weights "
            f"{trained_on['weights_sha256'][:12]}), not on the {encoder.card.name} that is loaded "
            f"({encoder.weights_sha256[:12]}): {again}."
        )
    if trained_on["layer_policy"] != encoder.layer_policy:
        raise ModelError(
            f"Layers of {encoder.card.name} were read in another way when these decoders were "
            f"trained ({trained_on['layer_policy']}) than now ({encoder.layer_policy}): {again}."
        )
    widths = dict(zip(encoder.layers, encoder.dims, strict=True))
    wrong = [
        layer
        for layer, width in zip(bank.layers, bank.dims, strict=True)
        if widths.get(layer) != width
    ]
    if wrong:
        raise ModelError(
            f"{encoder.card.name} has no layer {wrong[0]!r} of the width that the decoders were "
            f"trained on: {again}."
        )


class UtteranceCells(BaseModel):
    """Scores of all cells of one utterance: what a worker leaves behind, as JSON.

    Attributes:
        id: Of the utterance.
        seconds: Its length.
        cells: Metric -> [i][j].
        ceiling: Metric -> vocoder only.
        why: Metric -> [i][j], why a cell has no value; "" where it has.
        wall_s: Seconds that it took.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    seconds: float
    cells: dict[str, Grid]
    ceiling: dict[str, float | None]
    why: dict[str, list[list[str]]]
    wall_s: float = Field(0.0)


def score_cells(
    maker: CellMaker,
    against: Against,
    original: Tensor,
    rows: Sequence[int] | None = None,
    *,
    done: Callable[[int], None] = lambda cells: None,
    heard: Callable[[list[tuple[int, int]], Tensor], None] = lambda places, waveforms: None,
) -> tuple[dict[str, Grid], dict[str, list[list[str]]]]:
    """Generate and score the cells of some decoders.

    Args:
        maker: Of the cells.
        against: The original, ready to be compared with.
        original: float32 (n,), levelled.
        rows: Decoders i by place in ``bank.layers``; None: all.
        done, heard: As in `score_utterance`.

    Returns:
        Of each metric the scores, and why a cell has none ("" where it has): a row for each of
        `rows`, in their order, and a column a layer.

    Raises:
        ModelError: Too short for one frame of the encoder.
    """
    chosen = list(range(len(maker.bank.layers)) if rows is None else rows)
    columns = len(maker.encoder.layers)
    values: dict[str, Grid] = {m.name: [[None] * columns for _ in chosen] for m in METRICS}
    why = {m.name: [[""] * columns for _ in chosen] for m in METRICS}
    count = 0
    for places, waveforms in maker.cells(original, chosen):
        heard(places, waveforms)
        for (i, j), scores in zip(places, against.scores(waveforms), strict=True):
            row = chosen.index(i)
            for name, measured in scores.items():
                values[name][row][j], why[name][row][j] = measured.value, measured.reason
        count += len(places)
        done(count)
    return values, why


def score_utterance(
    maker: CellMaker,
    judge: Judge,
    id: str,
    waveform: NDArray[np.float32],
    *,
    done: Callable[[int], None] = lambda cells: None,
    heard: Callable[[list[tuple[int, int]], Tensor], None] = lambda places, waveforms: None,
) -> UtteranceCells:
    """Generate and score every cell of one utterance, and the vocoder-only ceiling.

    Args:
        maker: Of the cells.
        judge: Of what comes out.
        id: Of the utterance.
        waveform: float32 (n,), 16 kHz.
        done: Told how many cells are done, after each batch; may raise `Cancelled`.
        heard: Given the places (i, j) and waveforms (C, n) of each batch, as `CellMaker.cells`.

    Raises:
        AudioError: Fewer than 513 samples.
        ModelError: Too short for one frame of the encoder.
    """
    original = levelled(torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32)))
    ceiling_of = maker.vocoded(original)
    against = judge.against(original)
    (ceiling,) = against.scores(ceiling_of[None])
    values, why = score_cells(maker, against, original, done=done, heard=heard)
    return UtteranceCells(
        id=id,
        seconds=round(len(waveform) / SAMPLE_RATE, 4),
        cells=values,
        ceiling={name: measured.value for name, measured in ceiling.items()},
        why=why,
    )


@dataclass
class MatrixState:
    """Scores so far; grows by a few kilobytes an utterance, whatever its length."""

    utterances: dict[str, UtteranceCells] = field(default_factory=dict)


def update(state: MatrixState, cells: UtteranceCells) -> None:
    """Add an utterance.

    Raises:
        ValueError: It was added before.
    """
    if cells.id in state.utterances:
        raise ValueError(f"Utterance {cells.id!r} was added twice.")
    state.utterances[cells.id] = cells


def merge(state: MatrixState, other: MatrixState) -> None:
    """Add another shard.

    Raises:
        ValueError: An utterance in both.
    """
    for cells in other.utterances.values():
        update(state, cells)


def compute(
    state: MatrixState,
    rows: Sequence[int],
    scored_by: dict[str, str],
    seed: int = 0,
    speakers: Mapping[str, str | None] | None = None,
) -> tuple[dict[str, MatrixMeasure], MatrixValues]:
    """Every metric over the utterances, whatever their order and however they were sharded.

    Args:
        state: At least one utterance.
        rows: Of each decoder, the place of its layer among the encoder's layers.
        scored_by: Metric -> in words.
        seed: Of the bootstrap.
        speakers: Utterance id -> who speaks; one of whom nobody knows is a speaker of its own.
    """
    ids = sorted(state.utterances)
    who = [(speakers or {}).get(id) or f"\0{id}" for id in ids]
    _, spoken_by = np.unique(who, return_inverse=True)
    scored = [state.utterances[id] for id in ids]
    cells = {m.name: np.array([u.cells[m.name] for u in scored], dtype=np.float64) for m in METRICS}
    ceiling = {
        m.name: np.array([u.ceiling[m.name] for u in scored], dtype=np.float64) for m in METRICS
    }
    measures = {
        m.name: summarise_metric(
            cells[m.name],
            ceiling[m.name],
            rows,
            spoken_by,
            title=m.title,
            unit=m.unit,
            group=m.group,
            higher_is_better=m.higher_is_better,
            scored_by=scored_by[m.name],
            why=[u.why[m.name] for u in scored],
            seed=seed,
        )
        for m in METRICS
    }
    return measures, MatrixValues(ids=ids, measures=cells, ceiling=ceiling)
