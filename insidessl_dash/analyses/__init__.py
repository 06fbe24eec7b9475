"""The analyses, one file a method. Formulas here; titles and readings in `core.lenses`."""

from insidessl_dash.analyses.base import Analysis
from insidessl_dash.analyses.curvature import Curvature
from insidessl_dash.analyses.entropy import Entropy
from insidessl_dash.analyses.invariance import Invariance

ANALYSES: dict[str, type[Analysis]] = {
    analysis.name: analysis for analysis in (Entropy, Curvature, Invariance)
}
"""By the name that a request uses. ``ANALYSES[name](config, seed=0)`` makes one."""

__all__ = ["ANALYSES", "Analysis"]
