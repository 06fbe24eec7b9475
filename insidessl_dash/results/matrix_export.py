"""A matrix as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from insidessl_dash.results.matrix import MatrixResult

CSV_FIELDS = (
    "model", "decoders", "vocoder", "corpus", "metric", "unit", "higher_is_better",
    "decoder_layer", "token_layer", "mean", "std", "n", "why", "key",
)  # fmt: skip


def to_rows(result: MatrixResult) -> list[dict[str, Any]]:
    """One row a metric and cell; the columns are `CSV_FIELDS`."""
    return [
        {
            "model": result.model.name,
            "decoders": result.decoders.preset,
            "vocoder": result.vocoder.name,
            "corpus": result.corpus.name,
            "metric": name,
            "unit": measure.unit,
            "higher_is_better": measure.higher_is_better,
            "decoder_layer": decoder,
            "token_layer": token,
            "mean": measure.mean[i][j],
            "std": measure.std[i][j],
            "n": measure.n[i][j],
            "why": measure.why[i][j],
            "key": result.key,
        }
        for name, measure in result.metrics.items()
        for i, decoder in enumerate(result.decoder_layers)
        for j, token in enumerate(result.layers)
    ]


def to_csv(result: MatrixResult) -> str:
    """`to_rows` as CSV text with a header; missing values are empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(to_rows(result))
    return buffer.getvalue()
