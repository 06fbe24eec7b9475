"""The Signal Lab as forms, the API and the page know it: no torch here.

The formulas are in `insidessl_dash.analyses.similarity`; a test holds the two together.
"""

from __future__ import annotations

from insidessl_dash.core.lenses import MeasureInfo

LENS = "similarity"
"""What its results call their lens."""

VERSION = 1
"""Of the similarity; raised when its numbers change; part of every key."""

LONGEST_S = 10.0
"""Of a clip: what comes after is not used, so that an answer comes while one still listens."""

MOST_MODELS = 2
"""In one question."""

MEASURES = (
    MeasureInfo(
        "centred", "Centred cosine of frames", "Centred", "",
        "Of frames at the same time, after the original's mean frame was taken from both: 1 where "
        "the layer ignores the change, 0 where nothing of what set a frame apart is left.",
        diverging=True,
    ),
    MeasureInfo(
        "frames", "Cosine of frames", "Plain", "",
        "Of frames at the same time, as they are. High in a layer where all frames point much the "
        "same way, whatever was done.",
    ),
    MeasureInfo(
        "cka", "Linear CKA over frames", "CKA", "",
        "Whether frames keep their relations to each other: 1 up to a rotation and a scale, about "
        "0 for unrelated ones. Estimated without the bias that few frames bring.",
        diverging=True,
    ),
    MeasureInfo(
        "means", "Cosine of the clip's means", "Means", "",
        "Of the means over all frames: the only one that needs no matching frames, and the most "
        "forgiving.",
    ),
)  # fmt: skip
"""The first is shown first where it is defined."""


def measure(name: str | None) -> MeasureInfo:
    """The measure of a name, or the first.

    >>> measure("cka").label, measure("nonsense").label
    ('CKA', 'Centred')
    """
    return next((info for info in MEASURES if info.name == name), MEASURES[0])
