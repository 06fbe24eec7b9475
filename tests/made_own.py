"""Decoders that are found but never loaded, and who decodes with them (test fixture)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from made_matrices import LAYERS, make_example, opus
from made_services import FixtureExecutor

from insidessl_dash.core.errors import InsideSSLError
from insidessl_dash.engine.own_spec import HEAD, MatrixPart, MatrixTask
from insidessl_dash.results.decoder_banks import FOLDER, MODEL_TYPE

SECONDS = 1.0


def write_made_bank(
    home: Path,
    model: str = "wav2vec2-nano",
    *,
    decoder_layers: Sequence[str] = LAYERS,
    weights: bytes = b"made",
    **changes: Any,
) -> Path:
    """A folder that says it holds decoders of a model of 13 layers."""
    folder = home / FOLDER / model
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": MODEL_TYPE,
        "encoder": {
            "name": model, "weights_sha256": "e" * 64, "layer_policy": {}, "layers": LAYERS,
            "frame_rates_hz": [50.0] * 13, "first_frame_s": 0.0125,
        },
        "layers": list(decoder_layers), "width": 192, "preset": "flow", "size": {}, "tokens": None,
        **changes,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "card.json").write_text('{"name": "decoders", "updates": 7}')
    return folder


def made_part(task: MatrixTask, decoder_layers: Sequence[str]) -> MatrixPart:
    """Tones for sounds, and scores that say which cell they are of."""
    if task.index == HEAD:
        example = make_example(seconds=SECONDS)
        rows = [example.decoder_layers.index(layer) for layer in decoder_layers]
        blank = [[None] * len(LAYERS) for _ in rows]
        example = example.model_copy(
            update={
                "voice": task.name,
                "decoder_layers": list(decoder_layers),
                "missing": {x: "no decoder" for x in LAYERS if x not in decoder_layers},
                "metrics": {
                    name: metric.model_copy(update={"cells": blank})
                    for name, metric in example.metrics.items()
                },
            }
        )
        sounds = [opus(SECONDS, 150.0), opus(SECONDS, 230.0)]
        return MatrixPart(example=example, notes=["made"], sounds=sounds, wall_s=0.5)
    return MatrixPart(
        scores={
            "content": [task.index + 0.01 * j for j in range(len(LAYERS))],
            "stoi": [None] * len(LAYERS),
        },
        why={"stoi": ["0.30 s: STOI needs 0.5 s"] * len(LAYERS)},
        sounds=[opus(SECONDS, 150.0 + 80 * (j % 3)) for j in range(len(LAYERS))],
        wall_s=0.1,
    )


class MadeDecoder(FixtureExecutor):
    """Decodes in no time (test fixture).

    Attributes:
        asked: Indices of the parts that were decoded.
        gate: Where it is set, each row waits until it is released.
        lost: After how many rows the worker is lost; None for never.
        waiting: Set while a row waits.
    """

    def __init__(self, decoder_layers: Sequence[str] = LAYERS) -> None:
        self.decoder_layers = decoder_layers
        self.asked: list[int] = []
        self.gate: threading.Semaphore | None = None
        self.lost: int | None = None
        self.waiting = threading.Event()

    def matrix(
        self,
        tasks: list[MatrixTask],
        advance: Callable[[int, int], None],
        check: Callable[[], None],
    ) -> Iterator[tuple[MatrixTask, MatrixPart]]:
        for count, task in enumerate(tasks):
            check()
            if task.index != HEAD:
                if self.lost == count:
                    raise InsideSSLError("The worker died repeatedly on this work.")
                advance(task.index, 5)
                while self.gate is not None and not self.gate.acquire(timeout=0.01):
                    self.waiting.set()
                    check()
            self.asked.append(task.index)
            yield task, made_part(task, self.decoder_layers)
