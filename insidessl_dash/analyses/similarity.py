r"""Similarity: how alike a layer finds two versions of one utterance.

Let :math:`x_t` and :math:`y_t` be the frames of a layer for the original and for its perturbed
version, :math:`t = 1 \ldots T`, and :math:`\mu` the original's mean frame.

.. math::
    \text{frames} &= \tfrac1T \sum_t \cos(x_t, y_t) \\
    \text{centred} &= \tfrac1T \sum_t \cos(x_t - \mu, y_t - \mu) \\
    \text{means} &= \cos(\mu, \tfrac1{T'} \sum_t y_t) \\
    \text{cka} &= \frac{\mathrm{HSIC}_1(K, L)}{\sqrt{\mathrm{HSIC}_1(K, K)\,\mathrm{HSIC}_1(L, L)}}

Many layers are anisotropic: all their frames point much the same way, and a plain cosine is high
whatever was done. Taking the original's mean frame away removes that direction, which is why
`centred` comes first. CKA (linear kernels :math:`K = XX^\top`, :math:`L = YY^\top`) asks only
whether frames keep their relations among themselves, so a rotation of the layer costs nothing. The
plain estimate is near 1 for anything once there are as few frames as dimensions, as in a clip of a
few seconds; :math:`\mathrm{HSIC}_1`, the estimate without that bias, is taken instead. It can fall
below 0, and frames that follow each other are no independent samples: compare it between layers of
one clip, not with a threshold.

Where the perturbation changes the duration, frames no longer match and only `means` is defined.

Sources: Kornblith et al. 2019 (1905.00414), Song et al. 2012 for HSIC_1, Ethayarajh 2019
(1909.00512) on anisotropy. float64 throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FEWEST = 4
"""Frames that HSIC_1 needs."""
_NOTHING = 1e-6
"""Of the frames' size: what is smaller is rounding of float32 features."""


@dataclass(frozen=True)
class Similarity:
    """Of one layer; NaN where a measure is not defined.

    Attributes:
        centred, frames, cka, means: As `core.lab.MEASURES` describes them.
    """

    centred: float
    frames: float
    cka: float
    means: float


def similarity(original: NDArray[np.floating], perturbed: NDArray[np.floating]) -> Similarity:
    """How alike one layer finds an utterance and its perturbed version.

    Args:
        original: (T, D) frames of the original.
        perturbed: (T', D) frames of the perturbed version; where T' is not T, time has been
            stretched and frame t means another moment.

    Raises:
        ValueError: Not two matrices of the same width.

    >>> x = np.random.default_rng(0).standard_normal((50, 8))
    >>> found = similarity(x, 3 * x)
    >>> round(found.frames, 9), round(found.means, 9), round(found.cka, 9)
    (1.0, 1.0, 1.0)
    """
    if original.ndim != 2 or perturbed.ndim != 2 or original.shape[1] != perturbed.shape[1]:
        raise ValueError(f"not frames of one layer: {original.shape} and {perturbed.shape}")
    x, y = original.astype(np.float64), perturbed.astype(np.float64)
    sizes = _size(x), _size(y)
    means = _cosines(x.mean(axis=0)[None], y.mean(axis=0)[None], sizes)
    if len(x) != len(y):
        return Similarity(math.nan, math.nan, math.nan, float(means[0]))
    centre = x.mean(axis=0)
    plain = _cosines(x, y, sizes)
    centred = _cosines(x - centre, y - centre, sizes)
    return Similarity(
        centred=_mean(centred),
        frames=_mean(plain),
        cka=debiased_cka(x, y),
        means=float(means[0]),
    )


def debiased_cka(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Linear CKA from HSIC_1, the unbiased estimate.

    Args:
        x, y: (T, D) and (T, D'), rows matching.

    Returns:
        1 for the same up to rotation and scale, about 0 for unrelated rows however few they are;
        NaN below four rows, or where one side does not vary.
    """
    if len(x) < _FEWEST:
        return math.nan
    sides = []
    for each in (x, y):
        varying = each - each.mean(axis=0)
        scale = _size(varying)
        if not scale > _NOTHING * _size(each):
            return math.nan
        sides.append(varying / scale)
    own = [_hsic(side, side) for side in sides]
    if not min(own) > 0.0:
        return math.nan
    return _hsic(*sides) / math.sqrt(own[0] * own[1])


def _hsic(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """HSIC_1 of linear kernels (Song et al. 2012, equation 5).

    Rows are centred, so a row of the kernel sums to zero, and once its diagonal is left out to
    minus the square of that row's norm: no kernel has to be made where there are more rows than
    columns.
    """
    n = len(x)
    of_x, of_y = np.sum(x * x, axis=1), np.sum(y * y, axis=1)
    if max(x.shape[1], y.shape[1]) < n:
        all_pairs = float(np.sum(np.square(x.T @ y)))
    else:
        all_pairs = float(np.sum((x @ x.T) * (y @ y.T)))
    diagonal = float(of_x @ of_y)
    sums = float(of_x.sum() * of_y.sum()) / ((n - 1) * (n - 2))
    return (all_pairs - diagonal + sums - 2.0 * diagonal / (n - 2)) / (n * (n - 3))


def _cosines(
    x: NDArray[np.float64], y: NDArray[np.float64], sizes: tuple[float, float]
) -> NDArray[np.float64]:
    """Cosine of each pair of rows; NaN where one of them is rounding beside its frames' size."""
    of_x, of_y = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    defined = (of_x > _NOTHING * sizes[0]) & (of_y > _NOTHING * sizes[1])
    dots = np.sum(x * y, axis=1)
    return np.divide(dots, of_x * of_y, out=np.full(len(x), np.nan), where=defined)


def _size(frames: NDArray[np.float64]) -> float:
    """Root mean square norm of a frame."""
    return float(np.sqrt(np.mean(np.sum(frames * frames, axis=1))))


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan
