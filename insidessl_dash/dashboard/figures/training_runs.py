"""Training runs as the page shows them: stops of the slider, colours, sentences and a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from insidessl_dash.dashboard import theme
from insidessl_dash.dashboard.figures.insights import SHALLOW, at_update
from insidessl_dash.dashboard.figures.points import number
from insidessl_dash.dashboard.figures.words import (
    Layered,
    Table,
    corpus_title,
    duration,
    layer_notes,
)
from insidessl_dash.results.schema import Curve
from insidessl_dash.results.trajectories import Surface, Trajectory

# Interpolated in OKLCH: lightness falls (light) or rises (dark) evenly, away from the ground, and
# hue goes from blue through magenta in both, so later is always further from the paper.
UPDATES: dict[theme.Scheme, tuple[str, ...]] = {
    "light": ("#339eb5", "#2d8ac1", "#4a71c5", "#6755ba", "#7b379d", "#861372", "#7e0047",
              "#6e0124", "#5c0300"),
    "dark": ("#1b6c8c", "#3874b5", "#6875d8", "#9c74e8", "#cc77df", "#f57ecb", "#ff9eab",
             "#febca1", "#ffd7a0"),
}  # fmt: skip
# The map's values have hues of their own, so that no colour means an update there.
VALUES: dict[theme.Scheme, tuple[str, ...]] = {
    "light": ("#f6f4eb", "#cedbc3", "#95c5b0", "#60aba9", "#408f95", "#1f7281", "#0b566b",
              "#073a54", "#04203a"),
    "dark": ("#182029", "#203848", "#215465", "#23717f", "#3a8e94", "#54aba9", "#84c6af",
             "#bedeb6", "#f2f4cd"),
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One run as drawn.

    Attributes:
        trajectory: Its values.
        title: What the model is called.
        baseline: MelSpec on the same audio, where it was computed.
    """

    trajectory: Trajectory
    title: str
    baseline: Curve | None = None

    def surface(self, measure: str) -> Surface:
        """Values of one measure."""
        return self.trajectory.measures[measure]

    def row(self, update: int) -> int | None:
        """Index of its last checkpoint up to an update; None before its first."""
        rows = [i for i, known in enumerate(self.trajectory.updates) if known <= update]
        return rows[-1] if rows else None


def steps(panels: Sequence[Panel]) -> list[int]:
    """Every update that a slider can stop at, ascending."""
    return sorted({update for panel in panels for update in panel.trajectory.updates})


def step_of(panels: Sequence[Panel], update: int | None) -> int:
    """Index of the stop at an update, or the last before it; the end for None."""
    stops = steps(panels)
    if update is None:
        return len(stops) - 1
    return max((i for i, stop in enumerate(stops) if stop <= update), default=0)


def colour(update: int, last: int, scheme: theme.Scheme) -> str:
    """The colour of an update on a log scale that ends at `last`; initialisation has none.

    >>> colour(1, 1000, "light"), colour(1000, 1000, "light"), colour(0, 1000, "light")
    ('#339eb5', '#5c0300', '#4f535a')
    """
    if update <= 0:
        return theme.PALETTES[scheme].soft
    place = math.log(update) / math.log(last) if last > 1 else 1.0
    scale = UPDATES[scheme]
    at = place * (len(scale) - 1)
    low = min(int(at), len(scale) - 2)
    one, two = _channels(scale[low]), _channels(scale[low + 1])
    mixed = (round(a + (b - a) * (at - low)) for a, b in zip(one, two, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def captions(panels: Sequence[Panel], measure: str) -> tuple[list[str], list[str]]:
    """Sentences under the curves and under the map."""
    if not panels:
        return [], []
    first = panels[0].surface(measure)
    corpus = panels[0].trajectory.corpus
    speakers = f", {corpus.speakers} speakers" if corpus.speakers else ""
    opening = " and ".join(
        f"{panel.title} at {len(panel.trajectory.updates)} checkpoints from "
        f"{at_update(panel.trajectory.updates[0])} to {at_update(panel.trajectory.updates[-1])}"
        for panel in panels
    )
    sentences = [
        f"{first.title} of every layer of {opening}, averaged over {first.n} utterances of "
        f"{corpus_title(corpus.name)} ({duration(corpus.seconds)}{speakers}).",
        "Colour is the update on a log scale, dotted is the untrained model, and bold is the "
        "checkpoint under the slider.",
    ]
    if len(panels) > 1:
        sentences.append("Both panels have the same scales.")
        if len({panel.trajectory.corpus.digest for panel in panels}) > 1:
            sentences.append("They come from two versions of the corpus: compare with care.")
    baseline = panels[0].baseline
    if baseline is not None and baseline.mean[0] is not None:
        sentences.append(
            f"The thin dashed line is MelSpec on the same audio, at {number(baseline.mean[0])}."
        )
    sentences += layer_notes(
        Layered(
            panel.title,
            panel.trajectory.layers,
            panel.trajectory.frame_rates_hz,
            [bool(layer.any()) for layer in np.isfinite(panel.surface(measure).mean).T],
        )
        for panel in panels
    )
    for panel in panels:
        sentences += panel.trajectory.left_out
    if first.note:
        sentences.append(first.note)
    mapped = [
        "The same values as a map.",
        "A column is a checkpoint, evenly spaced whatever the updates between two of them; a row "
        "is a layer; the outlined column is the checkpoint under the slider, and a click on a "
        "column goes there.",
    ]
    return sentences, mapped


def update_table(panel: Panel, measure: str) -> Table:
    """A row a checkpoint, a column a layer."""
    found, mean = panel.trajectory, panel.surface(measure).mean
    rows = [
        (
            short_update(update),
            [number(value) if np.isfinite(value) else "not defined" for value in mean[row]],
        )
        for row, update in enumerate(found.updates)
    ]
    return Table([f"layer {name}" for name in found.layers], rows)


def short_update(update: int) -> str:
    """A checkpoint as a tick names it.

    >>> short_update(0), short_update(8192)
    ('init', '8,192')
    """
    return "init" if update == 0 else f"{update:,}"


def _channels(shade: str) -> tuple[int, int, int]:
    return int(shade[1:3], 16), int(shade[3:5], 16), int(shade[5:7], 16)


def reading(panel: Panel, measure: str, stop: int, named: bool) -> str:
    """The chosen checkpoint in numbers."""
    row = panel.row(stop)
    who = f"{panel.title}: " if named else ""
    if row is None:
        return f"{who}not yet saved"
    surface, update = panel.surface(measure), panel.trajectory.updates[row]
    depth = np.array(panel.trajectory.depth_percent)
    values = surface.mean[row]
    parts = []
    for word, chosen in (("mean", depth >= 0), ("shallow", depth <= SHALLOW),
                         ("deep", depth > SHALLOW)):  # fmt: skip
        known = values[chosen & np.isfinite(values)]
        if known.size:
            parts.append(f"{word} {number(float(known.mean()))}")
    at = "" if update == stop else f"{at_update(update)}, "
    return f"{who}{at}{', '.join(parts)}{f' {surface.unit}' if surface.unit else ''}"
