"""Layers made by hand, for tests of the analyses."""

from __future__ import annotations

import numpy as np
import torch

from insidessl_dash.analyses.base import LayerBatch, State


def batch(ids, layers, views=None, groups=None) -> LayerBatch:
    """A batch from arrays (B, T, D)."""
    return LayerBatch(
        ids=ids,
        groups=groups or [f"{id}/1" for id in ids],
        layers=[torch.from_numpy(np.ascontiguousarray(layer)) for layer in layers],
        views={
            name: [torch.from_numpy(np.ascontiguousarray(layer)) for layer in of_view]
            for name, of_view in (views or {}).items()
        },
    )


def run(analysis, *batches):
    """Ids and values after these batches."""
    state = State()
    for each in batches:
        analysis.update(state, each)
    return analysis.compute(state)
