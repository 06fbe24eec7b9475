"""How a model is drawn: its family gives hue and marker, its size lightness, its variant dashes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from insidessl_dash.dashboard import theme
from insidessl_dash.results.schema import ModelInfo

_RANDOM = re.compile(r"(^|-)(random|init)($|-)")
_WIDTHS = {"nano": 2.0, "base": 2.3, "large": 2.7}


@dataclass(frozen=True)
class Style:
    """Colour (hex), Plotly dash and marker symbol, line width and marker size in pixels."""

    colour: str
    dash: str
    symbol: str
    width: float
    marker: float

    def faded(self, alpha: float) -> str:
        """Its colour with transparency, for bands.

        >>> Style("#ff0000", "solid", "circle", 2, 6).faded(0.5)
        'rgba(255, 0, 0, 0.5)'
        """
        red, green, blue = (int(self.colour[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({red}, {green}, {blue}, {alpha:g})"


def is_random(model: ModelInfo) -> bool:
    """Whether it is a random initialisation: drawn dotted, with open markers."""
    return _RANDOM.search(model.name) is not None


def is_baseline(model: ModelInfo) -> bool:
    """Whether it is a baseline of one layer: drawn as a dashed horizontal line."""
    return model.size == "baseline" or model.family == "melspec"


def styles(models: Iterable[ModelInfo], scheme: theme.Scheme) -> dict[str, Style]:
    """A style for each model, by name.

    Pass every model there is, not only those shown: then switching one off changes no other.
    """
    ordered = sorted({m.name: m for m in models}.values(), key=lambda m: (len(m.name), m.name))
    seen: dict[tuple[str, str], int] = {}
    found = {}
    for model in ordered:
        family = model.family if model.family in theme.SYMBOLS else "other"
        if is_baseline(model):
            family, dash = "melspec", theme.BASELINE_DASH
        elif is_random(model):
            dash = theme.RANDOM_DASH
        else:
            rank = seen.get((family, model.size), 0)
            seen[family, model.size] = rank + 1
            variants = (theme.DASHES[family], *theme.VARIANT_DASHES)
            dash = variants[rank % len(variants)]
        symbol = theme.SYMBOLS.get(family, "circle")
        hollow = (is_random(model) or model.supervised) and not symbol.endswith("-open")
        found[model.name] = Style(
            colour=theme.family_colour(family, model.size, scheme),
            dash=dash,
            symbol=f"{symbol}-open" if hollow else symbol,
            width=_WIDTHS.get(model.size, 1.75),
            marker=7.0 if hollow or symbol.endswith("-open") else 6.0,
        )
    return found


def order(model: ModelInfo) -> tuple[int, int, int, str]:
    """Sort key: self-supervised by size, random initialisations after, then the references."""
    role = 2 if is_baseline(model) else int(model.supervised)
    size = theme.SIZES.index(model.size) if model.size in theme.SIZES else len(theme.SIZES)
    return role, size, int(is_random(model)), model.name
