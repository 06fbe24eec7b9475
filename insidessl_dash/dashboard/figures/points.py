"""A curve of a result, made ready to draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from insidessl_dash.dashboard.figures.style import is_baseline
from insidessl_dash.results.schema import Curve, Result

Role = Literal["main", "reference", "own"]
Interval = tuple[float, float] | None
_BASELINE_POINTS = 25


@dataclass(frozen=True)
class Line:
    """A result to draw, and as what: ``main``, or ``own`` over muted ``reference`` lines."""

    result: Result
    role: Role = "main"

    @property
    def label(self) -> str:
        """What the line is called."""
        title = self.result.model.title
        return f"{title}, your audio" if self.role == "own" else title


@dataclass(frozen=True)
class Points:
    """Positions and values of a curve; a baseline of one layer is repeated along the axis.

    Attributes:
        x: Places of the layers, or depth in percent.
        layers: What a visitor calls each point.
    """

    line: Line
    curve: Curve
    x: list[float]
    mean: list[float | None]
    std: list[float | None]
    ci95: list[Interval]
    layers: list[str]

    @staticmethod
    def of(line: Line, measure: str, depth: str, end: float) -> Points:
        """The points of a line, on an axis of layers or percent that ends at `end`."""
        result, curve = line.result, line.result.measures[measure]
        if is_baseline(result.model):
            many = _BASELINE_POINTS
            return Points(
                line,
                curve,
                [end * i / (many - 1) for i in range(many)],
                [curve.mean[0]] * many,
                [curve.std[0]] * many,
                [curve.ci95[0]] * many,
                ["a baseline, the same at any depth"] * many,
            )
        percent = result.depth_percent
        x = percent if depth == "percent" else result.layer_places
        layers = told_layers(result.layers, percent, result.frame_rates_hz)
        return Points(line, curve, x, curve.mean, curve.std, curve.ci95, layers)

    def interval(self, index: int, band: str) -> Interval:
        """The band at one point."""
        return interval(self.mean[index], self.std[index], self.ci95[index], band)

    def extent(self, band: str) -> Iterator[float]:
        """Every value the axis must hold."""
        for index, mean in enumerate(self.mean):
            if mean is not None:
                yield mean
                yield from (self.line.role != "reference" and self.interval(index, band)) or ()

    def last(self) -> int | None:
        """Index of the last point that has a value."""
        known = [index for index, mean in enumerate(self.mean) if mean is not None]
        return known[-1] if known else None


def told_layers(
    names: Sequence[str], percent: Sequence[float], rates: Sequence[float]
) -> list[str]:
    """Each layer as pointing at it tells of it: its name, depth, and how its frames differ.

    >>> told_layers(["T0", "D0"], [0.0, 36.0], [50.0, 25.0])
    ['layer T0, 0% depth', 'layer D0, 36% depth, a frame every 40 ms']
    """
    each = zip(names, percent, slower(rates), strict=True)
    return [f"layer {name}, {at:.0f}% depth{shift and f', {shift}'}" for name, at, shift in each]


def slower(rates: Sequence[float]) -> list[str]:
    """For each layer, what sets its frames apart from the fastest ones of its model.

    >>> slower([50.0, 25.0, 0.0])
    ['', 'a frame every 40 ms', '']
    """
    return [f"a frame every {1000 / r:g} ms" if 0 < r < max(rates) else "" for r in rates]


def interval(mean: float | None, std: float | None, ci95: Interval, band: str) -> Interval:
    """The 95% interval of the mean, or one deviation either side.

    >>> interval(1.0, 0.25, (0.9, 1.1), "std")
    (0.75, 1.25)
    """
    if band == "ci95":
        return ci95
    if band == "std" and mean is not None and std is not None:
        return mean - std, mean + std
    return None


def number(value: float) -> str:
    """A value with the places the page gives it.

    >>> number(0.4321), number(12.345), number(-0.05)
    ('0.432', '12.3', '−0.050')
    """
    places = 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:.{places}f}".replace("-", "−")
