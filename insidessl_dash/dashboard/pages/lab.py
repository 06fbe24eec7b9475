"""The Signal Lab: turn a dial, hear the sound change, see which layers notice.

assets/js/8-lab*.js build it from the API once it is near.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dash import html

from insidessl_dash.core.lab import LONGEST_S
from insidessl_dash.core.lenses import MeasureInfo
from insidessl_dash.dashboard import ids
from insidessl_dash.dashboard.figures.words import Table
from insidessl_dash.dashboard.pages.dynamics import caption_children
from insidessl_dash.dashboard.pages.parts import (
    command,
    data_table,
    disclosure,
    save_bar,
    section,
)
from insidessl_dash.engine.lab_spec import LabQuestion
from insidessl_dash.results.schema import Result

__all__ = ["caption_children", "export", "lab", "numbers"]

_LEAD = (
    "Change a sound by hand and watch which layers notice. Each position of the dial is computed "
    "when you let go: the sound is perturbed, both versions run through the model, and every layer "
    f"says how alike it finds them. Of longer clips the first {LONGEST_S:g} s are taken."
)


_GRAPH = "lab-graph"  # the script makes it


def lab() -> html.Section:
    """The section; the scripts fill it."""
    return section("lab", "5", "Signal Lab", _LEAD, [html.Div(id=ids.LAB, className="lab")])


def numbers(
    results: Sequence[Result],
    shown: MeasureInfo,
    table: Callable[[Sequence[Result], str, str], Table],
) -> html.Details:
    """The numbers behind the figure, and the commands that compute them again."""
    found = table(results, shown.name, "none")
    return disclosure(
        "The numbers behind the figure",
        [
            data_table(found, f"{shown.title} by layer and model", "Layer"),
            *(command(result.provenance.command) for result in results),
        ],
    )


def export(places: Mapping[str, Sequence[str]], question: LabQuestion) -> html.Div:
    """Buttons that save the figure and its numbers."""
    name = f"signal-lab-{question.perturbation}-{question.strength:g}"
    return save_bar(_GRAPH, places, name)
