"""What a worker is asked to decode of a visitor's recording, and what it gives back."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from insidessl_dash.results.explorer import Example
from insidessl_dash.results.matrix import MatrixConfig

LONGEST_S = 10.0
"""Of a recording, from its beginning, that is decoded: 169 cells of more would take too long."""

HEAD = -1
"""Index of the task that prepares a matrix; rows have their place among the decoders."""


class MatrixTask(BaseModel):
    """A part of one matrix: its head, or one row.

    Attributes:
        run: Identity of the run it belongs to; what cancel names.
        index: `HEAD`, or the place of a decoder among those there are.
        card: Model card of the encoder, as JSON; the worker loads from it.
        decoders: Folder of its decoders.
        updates: That they were trained for, where that is known.
        vocoder: ``shipped:NAME``, or "" for Griffin-Lim.
        content, voice: Model cards of the judges.
        audio: Path of the recording.
        name: What its owner calls it.
        config: How cells are made.
    """

    run: str
    index: int
    card: dict[str, Any]
    decoders: str
    updates: int | None = None
    vocoder: str
    content: dict[str, Any]
    voice: dict[str, Any]
    audio: str
    name: str
    config: MatrixConfig = Field(default_factory=MatrixConfig)


class MatrixPart(BaseModel):
    """What a task leaves behind.

    Attributes:
        example: Of the head: everything but the scores.
        notes: Of the head: what was done that a listener should know.
        scores, why: Of a row, as `results.own_matrices.OwnRow`.
        sounds: As Opus. Of the head the original, and its own mel vocoded; of a row its cells.
        wall_s: Seconds it took.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    example: Example | None = None
    notes: list[str] = Field(default_factory=list)
    scores: dict[str, list[float | None]] = Field(default_factory=dict)
    why: dict[str, list[str]] = Field(default_factory=dict)
    sounds: list[bytes]
    wall_s: float
