"""``/trajectories``: the lenses at every checkpoint of a training run, as JSON and CSV."""

from __future__ import annotations

import json
from typing import Any

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from insidessl_dash.dashboard import urls
from insidessl_dash.dashboard.routes.errors import ErrorBody
from insidessl_dash.dashboard.routes.services import Services
from insidessl_dash.results.trajectories import Trajectories, Trajectory
from insidessl_dash.results.trajectory_export import to_csv, to_document

_NAME = r"^~?[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


class TrajectoryPath(BaseModel):
    """Names one lens of one run on one corpus."""

    corpus: str = Field(pattern=r"^[\w.-]{1,200}$")
    run: str = Field(pattern=_NAME)
    lens: str = Field(pattern=r"^[a-z_]{1,64}$")


class RunFilter(BaseModel):
    """Narrows the list."""

    corpus: str | None = Field(None, max_length=200)


class RunSummary(BaseModel):
    """A training run, without its numbers.

    Attributes:
        run: Its id; that of a run computed on this installation starts with ``~``.
        updates: Lens -> updates of the checkpoints.
        urls: Lens -> where its trajectory is.
    """

    run: str
    member: str
    own: bool
    corpus: str
    updates: dict[str, list[int]]
    urls: dict[str, str]


class Runs(BaseModel):
    """Every training run that has results here."""

    runs: list[RunSummary]


class TrajectoryDocument(BaseModel):
    """One lens of a run; a measure has one row an update and one column a layer."""

    run: str
    member: str
    own: bool
    lens: str
    config: dict[str, Any]
    corpus: dict[str, Any]
    layers: list[str]
    depth_percent: list[float]
    updates: list[int]
    primary: str
    measures: dict[str, Any]
    keys: list[str]
    left_out: list[str]
    provenance: dict[str, Any]
    training: dict[str, Any]


def trajectory_routes(services: Services) -> APIBlueprint:
    """Routes of the training runs."""
    api = APIBlueprint("trajectories", __name__, abp_tags=[Tag(name="trajectories")])
    known = Trajectories(services.settings.home, services.settings.precomputed)

    @api.get("/trajectories", responses={200: Runs})
    def list_trajectories(query: RunFilter) -> dict[str, Any]:
        """List the training runs and their checkpoints."""
        names = known.corpora()
        found = [run for name in names if query.corpus in (None, name) for run in known.runs(name)]
        return {
            "runs": [
                RunSummary(
                    run=run.id,
                    member=run.member,
                    own=run.own,
                    corpus=run.corpus,
                    updates={lens: list(updates) for lens, updates in run.updates.items()},
                    urls={
                        lens: urls.trajectory_export(run.corpus, run.id, lens, "json")
                        for lens in run.updates
                    },
                ).model_dump()
                for run in found
            ]
        }

    @api.get(
        "/trajectories/<corpus>/<run>/<lens>.json",
        responses={200: TrajectoryDocument, 404: ErrorBody, 409: ErrorBody},
    )
    def get_trajectory(path: TrajectoryPath) -> Response:
        """Show one lens of a run at every checkpoint."""
        found = known.get(path.corpus, path.run, path.lens)
        text = json.dumps(to_document(found, known.training(found.run)), indent=1, allow_nan=False)
        return _attachment(text + "\n", "application/json", found, "json")

    @api.get("/trajectories/<corpus>/<run>/<lens>.csv", responses={404: ErrorBody, 409: ErrorBody})
    def get_trajectory_csv(path: TrajectoryPath) -> Response:
        """Download one lens of a run as CSV: a row a measure, update and layer."""
        found = known.get(path.corpus, path.run, path.lens)
        return _attachment(to_csv(found), "text/csv; charset=utf-8", found, "csv")

    return api


def _attachment(text: str, mimetype: str, found: Trajectory, kind: str) -> Response:
    name = f"{found.run.member}-{found.run.corpus}-{found.lens}-training.{kind}"
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    return Response(
        text,
        content_type=mimetype,
        headers={"Content-Disposition": f'attachment; filename="{safe}"'},
    )
