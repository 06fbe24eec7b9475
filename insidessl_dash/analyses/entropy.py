r"""Matrix entropy: how many directions the frames of an utterance spread over.

For the frames :math:`H \in \mathbb{R}^{T \times D}` of one utterance and layer: subtract the mean
frame, scale every row to unit length (rows at the mean are dropped), and take the eigenvalues
:math:`\lambda` of the smaller Gram matrix, :math:`ZZ^\top` or :math:`Z^\top Z`. With
:math:`p_i = \lambda_i / \sum_j \lambda_j` (kept where :math:`p_i > 10^{-12}`),

.. math:: S_1 = -\sum_i p_i \ln p_i, \qquad S_\alpha = \frac{\ln \sum_i p_i^\alpha}{1 - \alpha}

in nats, divided by :math:`\ln \min(T, D)` for the normalised value. Centring bounds the rank by
T - 1, and the normalised value depends on T: compare utterances of similar length.

Sources: Giraldo, Rao and Principe 2012; Skean et al. 2025 (2502.02013).

All in float64: for collapsed layers float32 loses the fourth digit of S. NumPy forms the product of
a matrix with its own transpose at half the cost of any other, which makes up for it.
"""

from __future__ import annotations

from math import log
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from insidessl_dash.analyses.per_utterance import LensConfig, PerUtterance
from insidessl_dash.core.lenses import MeasureInfo, lens

SMALLEST_P = 1e-12
"""Eigenvalues with a smaller share of the trace are rounding."""

_ROW_AT_MEAN = 1e-7  # of the norm of the mean: what float32 features resolve


class EntropyConfig(LensConfig):
    """Options of `Entropy`."""

    alpha: float = Field(
        default=1.0,
        gt=0,
        le=100,
        title="Order α",
        description="Order of the entropy. 1 is the von Neumann entropy; a larger order weighs "
        "the dominant directions more, a smaller one the weak directions.",
    )


class Entropy(PerUtterance[EntropyConfig]):
    """Entropy of the eigenvalue spectrum of an utterance's frames, centred and scaled to unit \
length: how evenly the representation spreads over its directions. It is high where the frames \
use many directions equally (rich, uncompressed), and low where a few directions explain them all \
(compressed, or collapsed). Computed for each utterance and layer, then averaged."""

    name: ClassVar[str] = "entropy"
    title: ClassVar[str] = lens(name).title
    version: ClassVar[int] = 1
    Config: ClassVar[type[BaseModel]] = EntropyConfig
    measures: ClassVar[tuple[MeasureInfo, ...]] = lens(name).measures
    threaded: ClassVar[bool] = True

    def of_frames(self, frames: NDArray[np.floating]) -> tuple[float, ...]:
        """Normalised, in nats, and as a rank; NaN where fewer than two rows remain."""
        nats, largest = matrix_entropy(frames, self.config.alpha)
        return nats / largest if largest > 0 else np.nan, nats, float(np.exp(nats))


def matrix_entropy(frames: NDArray[np.floating], alpha: float = 1.0) -> tuple[float, float]:
    """Entropy of one utterance and layer.

    Args:
        frames: (T, D).
        alpha: Order.

    Returns:
        The entropy and the largest it could be, ln min(T, D), in nats; T counts the rows that are
        not at the mean. NaN twice where that is fewer than two, or a frame is not finite.

    Example:
        >>> entropy, largest = matrix_entropy(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]))
        >>> entropy  # the third row is the mean; the others share one direction
        0.0
    """
    if len(frames) < 2:
        return np.nan, np.nan
    unit = frames.astype(np.float64)
    with np.errstate(invalid="ignore"):
        mean = unit.mean(axis=0)
    if not np.isfinite(mean).all():
        return np.nan, np.nan
    unit -= mean
    norms = np.sqrt(np.einsum("td,td->t", unit, unit))
    keep = norms > _ROW_AT_MEAN * np.linalg.norm(mean)
    rows = int(np.count_nonzero(keep))
    if rows < 2:
        return np.nan, np.nan
    # A row of zeros adds nothing to the trace nor to any eigenvalue above zero.
    unit *= np.divide(1.0, norms, out=np.zeros_like(norms), where=keep)[:, None]
    gram = unit @ unit.T if unit.shape[0] <= unit.shape[1] else unit.T @ unit
    eigenvalues = np.linalg.eigvalsh(gram)
    shares = eigenvalues / eigenvalues.sum()
    shares = shares[shares > SMALLEST_P]
    if alpha == 1.0:
        nats = -float(shares @ np.log(shares))
    else:
        nats = log(float(np.sum(shares**alpha))) / (1.0 - alpha)
    return max(0.0, nats), log(min(rows, frames.shape[1]))
