"""What the tests of the API share."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from flask import Flask
from flask.testing import FlaskClient
from made_results import make_result

from insidessl_dash.core.errors import NotFoundError
from insidessl_dash.core.registry import Registry
from insidessl_dash.dashboard.routes.owner import current_owner
from insidessl_dash.engine.spec import Job, JobSpec
from insidessl_dash.engine.uploads import Uploads
from insidessl_dash.results.schema import Result, Values

API = "/api/v1"
TOKEN = "a-secret-of-my-own-0123456789-abc"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SPEC = {"models": ["melspec"], "lenses": [{"name": "entropy"}], "corpus": "demo"}


class FakeService:
    """Jobs that are accepted and never run."""

    def __init__(self, registry: Registry, uploads: Uploads) -> None:
        self.registry, self.uploads = registry, uploads
        self.executor = SimpleNamespace(ready=False)
        self.jobs: dict[str, tuple[str, Job]] = {}
        self.owned: set[tuple[str, str]] = set()
        self.forgotten: list[tuple[str, Any]] = []

    def submit(self, spec: JobSpec, owner: str) -> Job:
        for name in spec.models:
            self.registry.get(name)
        for upload in spec.uploads:
            self.uploads.get(owner, upload)
        job = Job(id=f"{len(self.jobs):016x}", spec=spec)
        self.jobs[job.id] = (owner, job)
        return job

    def get(self, job_id: str, owner: str) -> Job:
        who, job = self.jobs.get(job_id, (None, None))
        if job is None or who != owner:
            raise NotFoundError(f"No job {job_id!r} of yours.")
        return job

    def list(self, owner: str) -> list[Job]:
        return [job for who, job in self.jobs.values() if who == owner]

    def cancel(self, job_id: str, owner: str) -> Job:
        job = self.get(job_id, owner)
        job.state = "cancelled"
        return job

    def owns(self, owner: str, key: str) -> bool:
        return (owner, key) in self.owned

    def forget(self, owner: str, names: Any = None) -> None:
        self.forgotten.append((owner, names))


class Current:
    """Stands for one room of whichever test is running."""

    def __init__(self) -> None:
        self._room: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._room, name)


ROOMS = ("store", "service", "uploads", "settings", "registry")


def send(client: FlaskClient, *files: tuple[str, bytes], **options: Any):
    """Upload (name, bytes) pairs in one request."""
    data = {"files": [(io.BytesIO(content), name) for name, content in files]}
    return client.post(f"{API}/uploads", data=data, content_type="multipart/form-data", **options)


def store_result(rooms: SimpleNamespace, *, private: bool = False, **fields: Any) -> Result:
    result = make_result(**fields)
    ids = [utterance.id for utterance in result.utterances]
    table = np.ones((len(ids), len(result.layers)))
    table[0, 0] = np.nan
    rooms.store.put(
        result, Values(ids=ids, measures=dict.fromkeys(result.measures, table)), private=private
    )
    return result


def assert_error(response, status: int, kind: str | None = None) -> str:
    """The answer is a JSON error of our shape; returns its message."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.is_json
    error = response.get_json()["error"]
    assert set(error) <= {"type", "message", "fields"}
    assert error["message"]
    if kind is not None:
        assert error["type"] == kind
    assert "Traceback" not in response.get_data(as_text=True)
    return error["message"]


def owner_of(server: Flask, headers: dict[str, str]) -> str:
    with server.test_request_context(f"{API}/health", headers=headers):
        server.preprocess_request()
        return current_owner()


def stored(home: Path) -> list[Path]:
    return [path for path in (home / "uploads").rglob("*") if path.is_file()]
