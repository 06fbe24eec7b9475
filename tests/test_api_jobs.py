"""Jobs over HTTP, up to the curves of an upload."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from made_api import API, BEARER, SPEC, assert_error, send
from made_services import make_services, make_settings
from test_uploads import wav

from insidessl_dash.core.errors import StorageError
from insidessl_dash.dashboard.routes.server import create_server

pytest_plugins = ("api_fixtures",)


def test_jobs(client: FlaskClient) -> None:
    response = client.post(f"{API}/jobs", json=SPEC)
    assert response.status_code == 202
    job = response.get_json()
    assert job["state"] == "queued"
    assert response.headers["Location"].endswith(f"{API}/jobs/{job['id']}")
    assert client.get(f"{API}/jobs/{job['id']}").get_json() == job
    assert client.get(f"{API}/jobs").get_json()["jobs"] == [job]
    assert client.delete(f"{API}/jobs/{job['id']}").get_json()["state"] == "cancelled"


def test_jobs_of_others_do_not_exist(client: FlaskClient) -> None:
    id = client.post(f"{API}/jobs", json=SPEC).get_json()["id"]
    assert client.get(f"{API}/jobs", headers=BEARER).get_json()["jobs"] == []
    assert_error(client.get(f"{API}/jobs/{id}", headers=BEARER), 404)
    assert_error(client.delete(f"{API}/jobs/{id}", headers=BEARER), 404)


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"models": ["hubert-bass"]}, 404, "hubert-base"),
        ({"models": ["../../etc/passwd"]}, 404, "no model"),
        ({"models": ["someone/from-the-hub"]}, 404, "no model"),
        ({"models": []}, 422, "models"),
        ({"models": "melspec"}, 422, "models"),
        ({"lenses": [{"name": "telepathy"}]}, 422, "entropy"),
        ({"lenses": [{"name": "entropy", "path": "/etc"}]}, 422, "lenses.0.path"),
        ({"uploads": ["0123456789abcdef"]}, 422, "not both"),
        ({"corpus": None}, 422, "at least one upload"),
        ({"corpus": None, "uploads": ["../../etc/passwd"]}, 404, "No upload"),
        ({"seed": -1}, 422, "seed"),
        ({"surprise": 1}, 422, "surprise"),
    ],
)
def test_jobs_that_cannot_be(
    client: FlaskClient, change: dict[str, Any], status: int, said: str
) -> None:
    assert said in assert_error(client.post(f"{API}/jobs", json=SPEC | change), status)


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '"melspec"', "1e999", '{"models": NaN}'])
def test_bodies_that_are_no_job(client: FlaskClient, body: str) -> None:
    response = client.post(f"{API}/jobs", data=body, content_type="application/json")
    assert_error(response, 422, "ValidationError")


def test_a_cache_that_cannot_be_written(
    rooms: SimpleNamespace, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise StorageError("Cannot write jobs: the folder is read-only.")

    monkeypatch.setattr(rooms.service, "submit", refuse)
    assert_error(client.post(f"{API}/jobs", json=SPEC), 507, "StorageError")


def test_a_model_without_its_weights_is_refused_at_once(tmp_path: Path) -> None:
    installation = make_settings(tmp_path)
    rooms = make_services(installation)
    server = create_server(rooms.store, rooms.service, rooms.uploads, installation, rooms.registry)
    folder = installation.precomputed / "models" / "mr-hubert-nano-b4a"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text("{}")
    client = server.test_client()
    client.get(f"{API}/health")
    response = client.post(f"{API}/jobs", json=SPEC | {"models": ["mr-hubert-nano-b4a"]})
    assert "models rebuild mr-hubert-nano-b4a" in assert_error(response, 422)
    assert client.get(f"{API}/jobs").get_json()["jobs"] == []
    rooms.close()


def test_from_upload_to_curves(tmp_path: Path) -> None:
    """Through the real service: the curves of an upload are its owner's, until it is deleted."""
    installation = make_settings(tmp_path)
    rooms = make_services(installation)
    server = create_server(rooms.store, rooms.service, rooms.uploads, installation, rooms.registry)
    client, other = server.test_client(), server.test_client()
    client.get(f"{API}/health")
    files = send(client, ("a.wav", wav(seed=1)), ("b.wav", wav(seed=2))).get_json()["files"]
    body = {
        "models": ["hubert-nano"],
        "lenses": [{"name": "entropy"}],
        "uploads": [file["id"] for file in files],
    }
    job = client.post(f"{API}/jobs", json=body).get_json()
    for _ in range(200):
        job = client.get(f"{API}/jobs/{job['id']}").get_json()
        if job["state"] not in ("queued", "running"):
            break
        time.sleep(0.02)
    assert job["state"] == "done", job
    assert sorted(job["names"].values()) == ["a.wav", "b.wav"]
    path = f"{API}/results/{job['results'][0]}"
    assert client.get(path).get_json()["lens"] == "entropy"
    assert_error(other.get(path), 404)
    listed = client.get(f"{API}/results").get_json()["results"]
    assert job["results"][0] not in {result["key"] for result in listed}
    assert client.delete(f"{API}/uploads").get_json() == {"deleted": 2}
    assert_error(client.get(path), 404)
    rooms.close()
