"""``/matrices``: Generative Compatibility Matrices, as JSON and CSV."""

from __future__ import annotations

import json
from typing import Any

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from insidessl_dash.dashboard import urls
from insidessl_dash.dashboard.routes.errors import ErrorBody
from insidessl_dash.dashboard.routes.models import public_source
from insidessl_dash.dashboard.routes.services import Services
from insidessl_dash.results.matrix import MatrixResult
from insidessl_dash.results.matrix_export import to_csv
from insidessl_dash.results.matrix_files import Matrices


class MatrixPath(BaseModel):
    """Names one matrix: its corpus, and its model with what is not the default."""

    corpus: str = Field(max_length=200)
    name: str = Field(max_length=200)


class MatrixFilter(BaseModel):
    """Each narrows the list; all are optional."""

    model: str | None = Field(None, max_length=64)
    corpus: str | None = Field(None, max_length=200)


class MatrixSummary(BaseModel):
    """A matrix without its numbers."""

    name: str
    corpus: str
    own: bool
    key: str
    title: str
    model: str
    preset: str
    vocoder: str
    layers: list[str]
    utterances: int
    speakers: int | None
    metrics: list[str]
    url: str


class MatrixList(BaseModel):
    """Every matrix that was computed or ships."""

    matrices: list[MatrixSummary]


def matrix_routes(services: Services) -> APIBlueprint:
    """Routes of the matrices."""
    api = APIBlueprint("matrices", __name__, abp_tags=[Tag(name="matrices")])
    known = Matrices(services.settings.home, services.settings.precomputed)

    @api.get("/matrices", responses={200: MatrixList})
    def list_matrices(query: MatrixFilter) -> dict[str, Any]:
        """List the matrices, by model and corpus."""
        return {
            "matrices": [
                MatrixSummary(
                    **{
                        name: getattr(header, name)
                        for name in MatrixSummary.model_fields
                        if name not in ("layers", "metrics", "url")
                    },
                    layers=list(header.layers),
                    metrics=list(header.metrics),
                    url=urls.matrix_export(header.corpus, header.name, "json"),
                ).model_dump()
                for header in known.headers()
                if query.model in (None, header.model) and query.corpus in (None, header.corpus)
            ]
        }

    @api.get("/matrices/<corpus>/<name>.json", responses={200: MatrixResult, 404: ErrorBody})
    def get_matrix(path: MatrixPath) -> Response:
        """Show one matrix: rows are decoders, columns token layers."""
        body = known.get(path.corpus, path.name).model_dump(mode="json")
        body["model"]["source"] = public_source(body["model"]["source"])
        text = json.dumps(body, indent=1, allow_nan=False) + "\n"
        return _attachment(text, "application/json", path, "json")

    @api.get("/matrices/<corpus>/<name>.csv", responses={404: ErrorBody})
    def get_matrix_csv(path: MatrixPath) -> Response:
        """Download one matrix as CSV: a row a metric and cell."""
        text = to_csv(known.get(path.corpus, path.name))
        return _attachment(text, "text/csv; charset=utf-8", path, "csv")

    return api


def _attachment(text: str, mimetype: str, path: MatrixPath, kind: str) -> Response:
    name = f"{path.name}-{path.corpus}-matrix.{kind}"
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    return Response(
        text,
        content_type=mimetype,
        headers={"Content-Disposition": f'attachment; filename="{safe}"'},
    )
