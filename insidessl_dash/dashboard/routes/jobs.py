"""``/jobs``: ask for curves, watch them come, stop them."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request, url_for
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field
from werkzeug.exceptions import UnsupportedMediaType

from insidessl_dash.core.lenses import lens
from insidessl_dash.dashboard.routes.errors import ErrorBody
from insidessl_dash.dashboard.routes.owner import current_owner
from insidessl_dash.dashboard.routes.services import Services
from insidessl_dash.engine.spec import Job, JobSpec


class JobPath(BaseModel):
    """Names one job."""

    id: str = Field(max_length=64)


class Jobs(BaseModel):
    """The visitor's jobs, newest first."""

    jobs: list[Job]


def job_routes(services: Services) -> APIBlueprint:
    """Routes of the visitor's jobs."""
    api = APIBlueprint("jobs", __name__, abp_tags=[Tag(name="jobs")])

    @api.before_request
    def only_json() -> None:
        if request.method == "POST" and not request.is_json:
            raise UnsupportedMediaType("Send the job as application/json.")

    @api.post("/jobs", responses={202: Job, 404: ErrorBody, 415: ErrorBody})
    def submit_job(body: JobSpec) -> Response:
        """Compute lenses of models on a corpus, or on your uploads.

        The same job asked twice runs once.
        """
        for asked in body.lenses:
            lens(asked.name)
        job = services.service.submit(body, current_owner())
        response = jsonify(job.model_dump(mode="json"))
        response.status_code = 202
        response.headers["Location"] = url_for("jobs.get_job", id=job.id)
        return response

    @api.get("/jobs", responses={200: Jobs})
    def list_jobs() -> dict[str, Any]:
        """List your jobs."""
        jobs = services.service.list(current_owner())
        return {"jobs": [job.model_dump(mode="json") for job in jobs]}

    @api.get("/jobs/<id>", responses={200: Job, 404: ErrorBody})
    def get_job(path: JobPath) -> dict[str, Any]:
        """Show one of your jobs: state, progress, the keys of its results."""
        return services.service.get(path.id, current_owner()).model_dump(mode="json")

    @api.delete("/jobs/<id>", responses={200: Job, 404: ErrorBody})
    def cancel_job(path: JobPath) -> dict[str, Any]:
        """Cancel one of your jobs; what it has finished is kept."""
        return services.service.cancel(path.id, current_owner()).model_dump(mode="json")

    return api
