"""Span masks for masked prediction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def span_mask(
    batch: int, frames: int, rng: np.random.Generator, *, start: float = 0.08, span: int = 10
) -> NDArray[np.bool_]:
    """Masks of overlapping spans, the same number of spans in every row.

    Args:
        batch: Rows.
        frames: Frames in a row.
        rng: Source of randomness.
        start: Fraction of frames that start a span (8% in HuBERT Base).
        span: Frames in a span (10 = 200 ms).

    Returns:
        bool, shape (batch, frames); True where the input is replaced.
    """
    span = min(span, max(1, frames - 1))
    spans = max(2, int(start * frames + rng.random()))
    possible = frames - span + 1
    mask = np.zeros((batch, frames), bool)
    for row in mask:
        for begin in rng.choice(possible, size=min(spans, possible), replace=False):
            row[begin : begin + span] = True
    return mask
