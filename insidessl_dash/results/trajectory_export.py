"""A training run as files: JSON and CSV of one lens over updates and layers."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from insidessl_dash.results.training_card import TrainingCard
from insidessl_dash.results.trajectories import Trajectory

CSV_FIELDS = (
    "run", "corpus", "lens", "measure", "unit", "update", "layer", "depth_percent",
    "mean", "ci95_low", "ci95_high", "n", "key",
)  # fmt: skip
_OF_THE_CARD = ("seconds_of_audio_seen", "updates", "device", "objective", "finished")


def to_document(trajectory: Trajectory, training: TrainingCard | None) -> dict[str, Any]:
    """A trajectory as JSON; the values of a measure are one row an update, None where undefined.

    Args:
        trajectory: Of one lens of a run.
        training: How the member was trained, where its card says.
    """
    run = trajectory.run
    return {
        "run": run.id,
        "member": run.member,
        "own": run.own,
        "lens": trajectory.lens,
        "config": trajectory.config,
        "corpus": trajectory.corpus.model_dump(mode="json"),
        "layers": trajectory.layers,
        "depth_percent": [round(depth, 3) for depth in trajectory.depth_percent],
        "updates": trajectory.updates,
        "primary": trajectory.primary,
        "measures": {
            name: {
                "title": surface.title,
                "unit": surface.unit,
                "n": surface.n,
                "note": surface.note,
                "mean": _rows(surface.mean),
                "ci95_low": _rows(surface.low),
                "ci95_high": _rows(surface.high),
            }
            for name, surface in trajectory.measures.items()
        },
        "keys": trajectory.keys,
        "left_out": trajectory.left_out,
        "provenance": {
            "created": trajectory.created,
            "devices": trajectory.devices,
            "versions": trajectory.versions,
            "seed": trajectory.seed,
        },
        "training": {name: getattr(training, name, None) for name in _OF_THE_CARD},
    }


def to_csv(trajectory: Trajectory) -> str:
    """A row a measure, update and layer under `CSV_FIELDS`; undefined values are empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_FIELDS)
    depths = [round(depth, 3) for depth in trajectory.depth_percent]
    for name, surface in trajectory.measures.items():
        means, lows, highs = (_rows(a) for a in (surface.mean, surface.low, surface.high))
        for row, update in enumerate(trajectory.updates):
            for column, layer in enumerate(trajectory.layers):
                writer.writerow(
                    (trajectory.run.id, trajectory.corpus.name, trajectory.lens, name,
                     surface.unit, update, layer, depths[column], means[row][column],
                     lows[row][column], highs[row][column], surface.n, trajectory.keys[row])
                )  # fmt: skip
    return buffer.getvalue()


def _rows(array: NDArray[np.float64]) -> list[list[float | None]]:
    return [[float(x) if np.isfinite(x) else None for x in row] for row in array]
