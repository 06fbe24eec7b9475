"""Colour, type and the look of the controls: what the figures and the style sheets share.

Colour carries meaning only. The page is ink on paper; hue belongs to the model families, and
lightness to their sizes. Every curve has at least 3:1 against its ground in both schemes; tests
hold that, the distances between families, and that the style sheet's tokens are these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Scheme = Literal["light", "dark"]

SERIF = (
    '"Iowan Old Style", Charter, "Bitstream Charter", "Sitka Text", "Source Serif 4", '
    '"Noto Serif", Cambria, "Liberation Serif", "Times New Roman", serif'
)
SANS = (
    '"Avenir Next", "Segoe UI Variable Text", "Segoe UI", "Helvetica Neue", "Liberation Sans", '
    "Arial, sans-serif"
)
MONO = (
    'ui-monospace, "SF Mono", "Cascadia Mono", "JetBrains Mono", Menlo, Consolas, '
    '"Liberation Mono", monospace'
)


@dataclass(frozen=True)
class Palette:
    """The page's colours in one scheme: the ground, what is written on it, and the lines."""

    paper: str
    surface: str
    ink: str
    soft: str
    faint: str
    line: str
    grid: str


PALETTES: dict[Scheme, Palette] = {
    "light": Palette(
        paper="#f6f4ee",
        surface="#fdfcf9",
        ink="#15171a",
        soft="#4f535a",
        faint="#6c7077",
        line="#d9d5ca",
        grid="#e9e6dd",
    ),
    "dark": Palette(
        paper="#0d1014",
        surface="#14181d",
        ink="#ece9e2",
        soft="#b3b5b6",
        faint="#8b9095",
        line="#2c3239",
        grid="#20252b",
    ),
}

# Nano, Base, Large of each family: further from the ground with size. Hues of Okabe and Ito within
# eight degrees (indigo for MR-HuBERT, olive for speaker models, violet for families nobody has
# named); lightness chosen so that no two families of a size come closer than a CIE76 difference of
# 12, with or without a colour vision deficiency.
FAMILY_COLOURS: dict[Scheme, dict[str, tuple[str, str, str]]] = {
    "light": {
        "hubert": ("#238dd4", "#2370bd", "#014e8e"),
        "mr-hubert": ("#8877f8", "#513be3", "#2e19b3"),
        "wav2vec2": ("#a85500", "#992f00", "#5d1700"),
        "wavlm": ("#059258", "#006f4f", "#00372b"),
        "data2vec": ("#b65d90", "#954073", "#7f2652"),
        "unispeech-sat": ("#c48309", "#9d7200", "#805c03"),
        "ecapa": ("#88903f", "#71773d", "#51552b"),
        "other": ("#6667a7", "#50508e", "#3f2964"),
        "whisper": ("#63676e", "#4a4e55", "#33363b"),
        "melspec": ("#74787f", "#74787f", "#74787f"),
    },
    "dark": {
        "hubert": ("#3bb7f7", "#99c8ff", "#d8effe"),
        "mr-hubert": ("#614de6", "#8877f8", "#a094f0"),
        "wav2vec2": ("#c34513", "#e36a1f", "#fe9c53"),
        "wavlm": ("#008b53", "#48be81", "#95ffc1"),
        "data2vec": ("#a95184", "#ce6e98", "#ffa5c9"),
        "unispeech-sat": ("#d9a00f", "#fdb443", "#ffd891"),
        "ecapa": ("#80883b", "#a2aa57", "#b8cc00"),
        "other": ("#7172b4", "#9a85c8", "#d1beff"),
        "whisper": ("#a3a7ad", "#c2c5c9", "#e2e4e6"),
        "melspec": ("#90959b", "#90959b", "#90959b"),
    },
}

SIZES = ("nano", "base", "large")
SYMBOLS = {
    "hubert": "circle",
    "mr-hubert": "star",
    "wav2vec2": "square",
    "wavlm": "diamond",
    "data2vec": "triangle-up",
    "unispeech-sat": "triangle-down",
    "whisper": "square-open",
    "ecapa": "hexagon",
    "other": "pentagon",
}
DASHES = {
    "hubert": "solid",
    "mr-hubert": "15px,2px",
    "wav2vec2": "10px,3px",
    "wavlm": "5px,2px",
    "data2vec": "12px,3px,3px,3px",
    "unispeech-sat": "7px,3px,2px,3px,2px,3px",
    "whisper": "9px,3px,2px,3px",
    "ecapa": "11px,3px,2px,3px,2px,3px,2px,3px",
    "other": "14px,4px",
}
VARIANT_DASHES = ("4px,3px", "16px,4px,6px,4px", "8px,2px,2px,2px,2px,2px", "3px,5px", "20px,4px")
RANDOM_DASH = "1.5px,3.5px"
BASELINE_DASH = "6px,5px"


def family_colour(family: str, size: str, scheme: Scheme) -> str:
    """The colour of a family at a size; families nobody has named share one hue.

    >>> family_colour("hubert", "base", "light")
    '#2370bd'
    """
    shades = FAMILY_COLOURS[scheme].get(family, FAMILY_COLOURS[scheme]["other"])
    return shades[SIZES.index(size) if size in SIZES else 1]


def template(scheme: Scheme) -> dict[str, Any]:
    """The Plotly template of a scheme: hairlines, outside ticks, tabular figures."""
    palette = PALETTES[scheme]
    axis = {
        "gridcolor": palette.grid,
        "gridwidth": 1,
        "linecolor": palette.faint,
        "linewidth": 1,
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "ticklen": 5,
        "tickwidth": 1,
        "tickcolor": palette.faint,
        "tickfont": {"family": MONO, "size": 12, "color": palette.soft},
        "title": {"font": {"family": SANS, "size": 13, "color": palette.soft}, "standoff": 14},
        "automargin": False,
    }
    return {
        "layout": {
            "paper_bgcolor": palette.surface,
            "plot_bgcolor": palette.surface,
            "font": {"family": SANS, "size": 13, "color": palette.ink},
            "xaxis": {**axis, "showgrid": False},
            "yaxis": {**axis, "showline": False, "ticks": "", "griddash": "solid"},
            "hoverlabel": {
                "bgcolor": palette.ink,
                "bordercolor": palette.ink,
                "align": "left",
                "font": {"family": MONO, "size": 12, "color": palette.surface},
            },
            "hovermode": "closest",
            "showlegend": False,
            "colorway": [FAMILY_COLOURS[scheme][name][1] for name in DASHES],
        }
    }


INK = [
    "#f2f0ea", "#e4e1d9", "#cbc8c0", "#a9a8a4", "#85868a",
    "#676a70", "#4f535a", "#383b41", "#24272b", "#15171a",
]  # fmt: skip

MANTINE: dict[str, Any] = {
    "fontFamily": SANS,
    "fontFamilyMonospace": MONO,
    "headings": {"fontFamily": SERIF, "fontWeight": "500"},
    "colors": {"ink": INK},
    "primaryColor": "ink",
    "primaryShade": {"light": 9, "dark": 0},
    "autoContrast": True,
    "white": PALETTES["light"].surface,
    "black": PALETTES["light"].ink,
    "defaultRadius": "xs",
    "respectReducedMotion": True,
    "cursorType": "pointer",
}
