"""How far two results of the same thing are apart."""

from __future__ import annotations

from insidessl_dash.results.schema import Result


def largest_difference(old: Result, new: Result) -> tuple[float, str]:
    """Largest |new - old| / |old| over all measures and layers of the means.

    Values under 1e-6 are compared absolutely. A value defined in one and not in the other counts
    as infinitely far.

    Returns:
        The difference, and where it is (``measure, layer``).
    """
    worst, where = 0.0, ""
    for name, curve in old.measures.items():
        if name not in new.measures or len(new.measures[name].mean) != len(curve.mean):
            return float("inf"), f"{name}: other layers"
        for layer, before, after in zip(
            old.layers, curve.mean, new.measures[name].mean, strict=True
        ):
            if before is None and after is None:
                continue
            if before is None or after is None:
                return float("inf"), f"{name}, layer {layer}"
            difference = abs(after - before) / (abs(before) if abs(before) > 1e-6 else 1.0)
            if difference > worst:
                worst, where = difference, f"{name}, layer {layer}"
    return worst, where
