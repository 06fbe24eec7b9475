r"""Curvature: how sharply the path of the frames turns from one step to the next.

For the frames :math:`h_t` of one utterance and layer, with steps :math:`v_t = h_{t+1} - h_t`,

.. math:: c = \operatorname{mean}_t \arccos \frac{v_t \cdot v_{t+1}}{\|v_t\| \|v_{t+1}\|}

over the T - 2 turns. Steps shorter than 1e-8 have no direction: turns with one are left out.
A line has 0, a random walk in many dimensions pi/2, independent frames 2 pi/3.

Source: Hosseini and Fedorenko 2023 (2311.04930). The `folded` measure takes the absolute value of
the cosine first, so that a reversal counts as straight; published curves that lie below pi/2 for
models whose signed curvature exceeds it were probably made that way.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from insidessl_dash.analyses.per_utterance import LensConfig, PerUtterance
from insidessl_dash.core.lenses import MeasureInfo, lens

SHORTEST_STEP = 1e-8
"""Steps shorter than this have no direction."""


class CurvatureConfig(LensConfig):
    """Options of `Curvature`: none."""


class Curvature(PerUtterance[CurvatureConfig]):
    """Mean angle between consecutive steps of an utterance's path through the representation \
space: how sharply it turns from frame to frame. A straight path has 0, a random walk a right \
angle (π/2), and frames that do not depend on each other 2π/3. Low curvature means that what \
comes next can be extrapolated. Computed for each utterance and layer, then averaged."""

    name: ClassVar[str] = "curvature"
    title: ClassVar[str] = lens(name).title
    version: ClassVar[int] = 1
    Config: ClassVar[type[BaseModel]] = CurvatureConfig
    measures: ClassVar[tuple[MeasureInfo, ...]] = lens(name).measures

    def of_frames(self, frames: NDArray[np.floating]) -> tuple[float, ...]:
        """Signed and folded, in rad; NaN where no turn is defined."""
        angles = turning_angles(frames)
        if not len(angles):
            return np.nan, np.nan
        return float(angles.mean()), float(np.minimum(angles, np.pi - angles).mean())


def turning_angles(frames: NDArray[np.floating]) -> NDArray[np.float64]:
    """Angle of each turn that is defined, in order.

    Args:
        frames: (T, D).

    Returns:
        float64, at most T - 2 of them, in rad; NaN where a frame is not finite.

    Example:
        >>> turning_angles(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])) / np.pi
        array([0.5])
    """
    if len(frames) < 3:
        return np.zeros(0)
    with np.errstate(invalid="ignore"):
        steps = np.diff(frames.astype(np.float64), axis=0)
        norms = np.sqrt(np.einsum("td,td->t", steps, steps))
        short = norms < SHORTEST_STEP
        defined = ~(short[1:] | short[:-1])
        dots = np.einsum("td,td->t", steps[1:], steps[:-1])[defined]
        cosines = dots / (norms[1:] * norms[:-1])[defined]
    return np.arccos(np.clip(cosines, -1.0, 1.0))
