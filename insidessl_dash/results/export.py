"""A result as CSV, as JSON, and as the document that `insidessl-dash analyze` writes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from insidessl_dash.results.schema import Curve, Result

CSV_FIELDS = (
    "model", "corpus", "lens", "measure", "unit", "layer", "depth_percent",
    "mean", "std", "ci95_low", "ci95_high", "n", "key",
)  # fmt: skip


def to_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One row a result, measure and layer; the columns are `CSV_FIELDS`."""
    rows = []
    for result in results:
        for name, curve in result.measures.items():
            for index, layer in enumerate(result.layers):
                low, high = curve.ci95[index] or (None, None)
                rows.append(
                    {
                        "model": result.model.name,
                        "corpus": result.corpus.name,
                        "lens": result.lens,
                        "measure": name,
                        "unit": curve.unit,
                        "layer": layer,
                        "depth_percent": round(result.depth_percent[index], 3),
                        "mean": curve.mean[index],
                        "std": curve.std[index],
                        "ci95_low": low,
                        "ci95_high": high,
                        "n": curve.n,
                        "key": result.key,
                    }
                )
    return rows


def to_csv(results: Sequence[Result]) -> str:
    """`to_rows` as CSV text with a header; missing values are empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(to_rows(results))
    return buffer.getvalue()


def to_document(results: Sequence[Result]) -> dict[str, Any]:
    """Results of one model on one corpus as one JSON document.

    ``lenses`` maps each lens to the curve of its primary measure, with every measure below
    ``measures`` and its own ``provenance``; where a lens was computed with several configurations
    the later ones carry theirs in the name.
    """
    first = results[0]
    lenses: dict[str, Any] = {}
    for result in results:
        name = result.lens
        if name in lenses:
            name = f"{name}[{','.join(f'{k}={v}' for k, v in sorted(result.config.items()))}]"
        lenses[name] = {
            **_curve(result.curve()),
            "measure": result.primary,
            "config": result.config,
            "key": result.key,
            "measures": {key: _curve(curve) for key, curve in result.measures.items()},
            "provenance": result.provenance.model_dump(),
        }
    return {
        "model": first.model.name,
        "layers": first.layers,
        "frame_rates_hz": first.frame_rates_hz,
        "lenses": lenses,
        "utterances": [u.model_dump(exclude_none=True) for u in first.utterances],
        "corpus": first.corpus.model_dump(),
        "provenance": {
            "model": first.model.model_dump(),
            "seed": first.provenance.seed,
            "device": first.provenance.device,
            "created": max(result.provenance.created for result in results),
            "versions": first.provenance.versions,
            "commands": [result.provenance.command for result in results],
        },
    }


def _curve(curve: Curve) -> dict[str, Any]:
    return curve.model_dump(include={"unit", "mean", "std", "ci95", "n", "note", "title"})
