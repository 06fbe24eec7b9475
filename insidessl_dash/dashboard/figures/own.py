"""The visitor's own audio, in sentences and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from insidessl_dash.core.lenses import MeasureInfo
from insidessl_dash.dashboard.figures.points import number
from insidessl_dash.dashboard.figures.style import is_baseline, order
from insidessl_dash.dashboard.figures.words import Table, corpus_title, duration
from insidessl_dash.results.schema import Result, Values


def own_caption(
    mine: Sequence[Result],
    references: Sequence[Result],
    measure: MeasureInfo,
    corpus: str,
    note: str = "",
) -> list[str]:
    """What the figure shows of the visitor's audio, a sentence an item.

    Args:
        mine: Results of the visitor's audio, one a model.
        references: What is drawn muted.
        measure: The one drawn.
        corpus: Name of the reference corpus.
        note: Why another measure is not shown.
    """
    corpus_info = mine[0].corpus
    n = max((r.measures[measure.name].n for r in mine if measure.name in r.measures), default=0)
    recordings = "your recording" if n == 1 else f"your {n} recordings"
    sentences = [
        f"{measure.title} of every layer for {recordings}, {duration(corpus_info.seconds)} in all."
    ]
    by_name = {r.model.name: r for r in references}
    for result in sorted(mine, key=lambda r: order(r.model)):
        if is_baseline(result.model) or measure.name not in result.measures:
            continue
        reference = by_name.get(result.model.name)
        text = _compare(result, reference, measure.name, corpus) if reference else None
        if text:
            sentences.append(text)
    if references:
        sentences.append(f"The thin curves are the models on {corpus_title(corpus)}.")
    else:
        sentences.append("No reference has been computed for these models and this lens.")
    notes = {r.measures[measure.name].note for r in mine if measure.name in r.measures}
    return [*sentences, *sorted(filter(None, notes)), *([note] if note else [])]


def _compare(result: Result, reference: Result, measure: str, corpus: str) -> str | None:
    """How one curve lies to the same model's reference."""
    if measure not in reference.measures:
        return None
    means = zip(result.measures[measure].mean, reference.measures[measure].mean, strict=False)
    gaps = [a - b for a, b in means if a is not None and b is not None]
    if not gaps:
        return None
    largest = max(range(len(gaps)), key=lambda i: abs(gaps[i]))
    above = sum(gap > 0 for gap in gaps)
    side, where = "above", f"at {above} of {len(gaps)} layers"
    if above in (0, len(gaps)):
        side, where = ("above" if above else "below"), "at every layer"
    return (
        f"{result.model.title} lies {side} its curve on {corpus_title(corpus)} {where}, furthest "
        f"from it at layer {result.layers[largest]} ({_signed(gaps[largest])})."
    )


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def utterance_table(
    mine: Sequence[Result],
    values: Mapping[str, Values | None],
    measure: str,
    layer: str,
    names: Mapping[str, str],
    skipped: Mapping[str, str],
) -> Table:
    """One row a recording, one column a model; what could not be read says why.

    Args:
        mine: Results, one a model.
        values: Per-utterance values by model name.
        measure: Which measure.
        layer: Name of a layer, or ``mean``.
        names: Utterance id -> what its owner called the file.
        skipped: That name -> why the file is in no curve.
    """
    shown = sorted(mine, key=lambda r: order(r.model))
    infos = {u.id: u for r in shown for u in r.utterances}
    rows = []
    for id, info in infos.items():
        name = names.get(id, id)
        error = skipped.get(name) or info.error
        if error:
            cells, note = [""] * len(shown), f"Left out: {error}"
        else:
            cells = [_value(r, values.get(r.model.name), measure, id, layer) for r in shown]
            note = "; ".join(info.notes)
        rows.append((name, [duration(info.seconds) if info.seconds else "", *cells, note]))
    listed = {name for name, _cells in rows}
    rows += [
        (name, ["", *[""] * len(shown), f"Left out: {why}"])
        for name, why in skipped.items()
        if name not in listed
    ]
    rows.sort(key=lambda row: row[0])
    heads = ["Length", *(r.model.title for r in shown), "Notes"]
    if not any(cells[-1] for _name, cells in rows):
        return Table(heads[:-1], [(name, cells[:-1]) for name, cells in rows])
    return Table(heads, rows)


def _value(result: Result, values: Values | None, measure: str, id: str, layer: str) -> str:
    if values is None or measure not in values.measures or id not in values.ids:
        return ""
    row = values.measures[measure][values.ids.index(id)]
    if layer != "mean" and not is_baseline(result.model):
        if layer not in result.layers:
            return ""
        row = row[result.layers.index(layer) : result.layers.index(layer) + 1]
    finite = row[np.isfinite(row)]
    return number(float(finite.mean())) if finite.size else "not defined"
