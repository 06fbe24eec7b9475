"""``/results``: curves with their provenance, as JSON and CSV."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from flask import Response, request, url_for
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from insidessl_dash.core.errors import NotFoundError
from insidessl_dash.dashboard.routes.errors import ErrorBody
from insidessl_dash.dashboard.routes.models import public_source
from insidessl_dash.dashboard.routes.owner import current_owner
from insidessl_dash.dashboard.routes.services import Services
from insidessl_dash.results.export import to_csv
from insidessl_dash.results.schema import CorpusInfo, Result, Values


class ResultPath(BaseModel):
    """Names one result."""

    key: str = Field(pattern=r"^[A-Za-z0-9_-]{8,80}$")


class ResultFilter(BaseModel):
    """Each narrows the list; all are optional."""

    model: str | None = Field(None, max_length=64)
    corpus: str | None = Field(None, max_length=200)
    lens: str | None = Field(None, max_length=64)


class ResultOptions(BaseModel):
    """What else to say of a result."""

    values: bool = Field(False, description="Add the values of each utterance.")


class ResultSummary(BaseModel):
    """A result without its numbers."""

    key: str
    model: str
    title: str
    lens: str
    config: dict[str, Any]
    corpus: CorpusInfo
    primary: str
    measures: list[str]
    created: str
    url: str


class Results(BaseModel):
    """Public results; those of uploads are found by the key that their job names."""

    results: list[ResultSummary]


class UtteranceValues(BaseModel):
    """Per-utterance values; a measure has one row an id and one column a layer."""

    ids: list[str]
    measures: dict[str, list[list[float | None]]]


class ResultWithValues(Result):
    """A result, with the values behind its means where they were asked for and are kept."""

    values: UtteranceValues | None = None


def result_routes(services: Services) -> APIBlueprint:
    """Routes of the results."""
    api = APIBlueprint("results", __name__, abp_tags=[Tag(name="results")])

    def visible(key: str) -> Result:
        """The result of a key, if it is public or the asker's own."""
        result = services.store.get(key)
        hidden = (
            result is not None
            and services.store.is_private(key)
            and not services.service.owns(current_owner(), key)
        )
        if result is None or hidden:
            raise NotFoundError(f"No result {key!r}: it expired, was deleted, or never was.")
        return result

    @api.get("/results", responses={200: Results})
    def list_results(query: ResultFilter) -> dict[str, Any]:
        """List the public results, by model, corpus and lens."""
        found = services.store.find(**query.model_dump())
        return {"results": [_summary(result) for result in found]}

    @api.get("/results/<key>", responses={200: ResultWithValues, 404: ErrorBody})
    def get_result(path: ResultPath, query: ResultOptions) -> dict[str, Any]:
        """Show one result with its curves, and with each utterance's values if asked."""
        body = public_result(visible(path.key))
        if query.values:
            values = services.store.values(path.key)
            body["values"] = None if values is None else _plain(values)
        return body

    @api.get("/results/<key>.csv", responses={404: ErrorBody})
    def get_result_csv(path: ResultPath) -> Response:
        """Download one result as CSV: a row a measure and layer."""
        result = visible(path.key)
        return _attachment(to_csv([result]), "text/csv; charset=utf-8", result, "csv")

    @api.get("/results/<key>.json", responses={404: ErrorBody})
    def get_result_json(path: ResultPath) -> Response:
        """Download one result as JSON."""
        result = visible(path.key)
        text = json.dumps(public_result(result), indent=1, allow_nan=False) + "\n"
        return _attachment(text, "application/json", result, "json")

    return api


def public_result(result: Result) -> dict[str, Any]:
    """A result as JSON, without folders of this machine."""
    body = result.model_dump(mode="json")
    body["model"]["source"] = public_source(body["model"]["source"])
    return body


def _summary(result: Result) -> dict[str, Any]:
    return {
        "key": result.key,
        "model": result.model.name,
        "title": result.model.title,
        "lens": result.lens,
        "config": result.config,
        "corpus": result.corpus.model_dump(mode="json"),
        "primary": result.primary,
        "measures": list(result.measures),
        "created": result.provenance.created,
        "url": f"{request.script_root}{url_for('results.get_result', key=result.key)}",
    }


def _plain(values: Values) -> dict[str, Any]:
    return {
        "ids": values.ids,
        "measures": {
            name: [[float(x) if np.isfinite(x) else None for x in row] for row in array]
            for name, array in values.measures.items()
        },
    }


def _attachment(text: str, mimetype: str, result: Result, kind: str) -> Response:
    name = "-".join([result.model.name, result.corpus.name, result.lens, result.key[:8]])
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    return Response(
        text,
        content_type=mimetype,
        headers={"Content-Disposition": f'attachment; filename="{safe}.{kind}"'},
    )
