"""The HTTP API: shapes, owners, bad input, and what may never leave the server."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import brotli
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from made_results import make_result
from test_audio import BAD, make_bad
from test_uploads import wav

from insidessl_dash import __version__
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import NotFoundError, StorageError
from insidessl_dash.core.lenses import LENSES
from insidessl_dash.core.registry import Registry
from insidessl_dash.core.settings import Settings
from insidessl_dash.dashboard.routes.owner import COOKIE, current_owner
from insidessl_dash.dashboard.routes.security import allow_inline_scripts
from insidessl_dash.dashboard.routes.server import create_server
from insidessl_dash.engine import incoming as incoming_module
from insidessl_dash.engine import uploads as uploads_module
from insidessl_dash.engine.spec import Job, JobSpec
from insidessl_dash.engine.uploads import Uploads
from insidessl_dash.results.schema import Result, Values
from insidessl_dash.results.store import Store

API = "/api/v1"
TOKEN = "a-secret-of-my-own-0123456789-abc"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


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


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """One server for all tests, as it takes a while to describe itself."""
    rooms = {name: Current() for name in ROOMS}
    settings = Settings(home=tmp_path_factory.mktemp("home"), upload_files=4)
    rooms["settings"]._room = settings
    rooms["uploads"]._room = Uploads(settings)
    return SimpleNamespace(rooms=rooms, server=create_server(**rooms))


@pytest.fixture
def rooms(shared: SimpleNamespace, home: Path, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """An installation with nothing precomputed, and a service that computes nothing."""
    settings = Settings(home=home, precomputed=tmp_path / "precomputed", upload_files=4)
    uploads = Uploads(settings)
    registry = Registry(home, settings.precomputed)
    store = Store(home, settings.precomputed)
    made = SimpleNamespace(
        settings=settings,
        uploads=uploads,
        registry=registry,
        store=store,
        service=FakeService(registry, uploads),
        server=shared.server,
    )
    for name in ROOMS:
        shared.rooms[name]._room = getattr(made, name)
    yield made
    store.close()


@pytest.fixture
def server(rooms: SimpleNamespace) -> Flask:
    return rooms.server


@pytest.fixture
def own_server(rooms: SimpleNamespace) -> Flask:
    """A server that the test may change."""
    return create_server(**{name: getattr(rooms, name) for name in ROOMS})


@pytest.fixture
def client(server: Flask) -> FlaskClient:
    """A browser that has opened the page."""
    client = server.test_client()
    client.get(f"{API}/health")
    return client


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


# -- reading ------------------------------------------------------------------------------------


def test_health(client: FlaskClient) -> None:
    body = client.get(f"{API}/health").get_json()
    assert body["status"] == "ok"
    assert body["version"] == __version__
    assert body["worker"] == "starting"
    assert body["storage"] == "ok"


def test_health_of_a_ready_worker(rooms: SimpleNamespace, client: FlaskClient) -> None:
    rooms.service.executor.ready = True
    assert client.get(f"{API}/health").get_json()["worker"] == "ready"
    del rooms.service.executor
    assert client.get(f"{API}/health").get_json()["worker"] == "starting"


def test_models(client: FlaskClient) -> None:
    models = client.get(f"{API}/models").get_json()["models"]
    assert {"melspec", "hubert-base"} <= {model["name"] for model in models}
    one = client.get(f"{API}/models/hubert-base").get_json()
    assert one in models
    assert_error(client.get(f"{API}/models/hubert-bass"), 404, "UnknownModelError")


def test_no_folder_of_the_server_is_told(
    rooms: SimpleNamespace, client: FlaskClient, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    card = ModelCard(
        name="mine", title="Mine", family="hubert", size="base", kind="transformers",
        source=str(tmp_path / "mine"),
    )  # fmt: skip
    rooms.registry.add(card)
    made = make_result()
    result = made.model_copy(
        update={"model": made.model.model_copy(update={"source": str(tmp_path / "mine")})}
    )
    rooms.store.put(result, Values(ids=[], measures={}))
    for path in ("models", "models/mine", "results", f"results/{result.key}"):
        response = client.get(f"{API}/{path}")
        assert response.status_code == 200
        assert str(tmp_path) not in response.get_data(as_text=True)


def test_lenses(client: FlaskClient) -> None:
    lenses = client.get(f"{API}/lenses").get_json()["lenses"]
    assert [lens["name"] for lens in lenses] == [lens.name for lens in LENSES]
    assert lenses[0]["measures"][0]["reading"]


def test_corpora(client: FlaskClient) -> None:
    body = client.get(f"{API}/corpora").get_json()
    assert body["corpora"] == []
    assert {item["name"] for item in body["downloads"]} >= {"speechocean762"}
    assert body["downloads"][0]["command"].startswith("insidessl-dash data get ")


def test_results(rooms: SimpleNamespace, client: FlaskClient) -> None:
    nano = store_result(rooms, model="hubert-nano", lens="entropy")
    store_result(rooms, model="melspec", lens="entropy")
    listed = client.get(f"{API}/results").get_json()["results"]
    assert len(listed) == 2
    only = client.get(f"{API}/results?model=hubert-nano&lens=entropy&corpus=demo").get_json()
    assert [item["key"] for item in only["results"]] == [nano.key]
    assert client.get(f"{API}/results?corpus=other").get_json()["results"] == []
    one = client.get(only["results"][0]["url"])
    assert Result.model_validate(one.get_json()) == nano


def test_values_on_request(rooms: SimpleNamespace, client: FlaskClient) -> None:
    result = store_result(rooms)
    assert "values" not in client.get(f"{API}/results/{result.key}").get_json()
    values = client.get(f"{API}/results/{result.key}?values=true").get_json()["values"]
    assert values["ids"] == [utterance.id for utterance in result.utterances]
    table = values["measures"][result.primary]
    assert table[0][0] is None
    assert table[1] == [1.0] * len(result.layers)


def test_downloads_of_a_result(rooms: SimpleNamespace, client: FlaskClient) -> None:
    result = store_result(rooms)
    table = client.get(f"{API}/results/{result.key}.csv")
    assert table.content_type == "text/csv; charset=utf-8"
    lines = table.get_data(as_text=True).splitlines()
    assert len(lines) == 1 + len(result.layers) * len(result.measures)
    saved = client.get(f"{API}/results/{result.key}.json")
    assert Result.model_validate_json(saved.data) == result
    for response in (table, saved):
        assert re.fullmatch(
            r'attachment; filename="hubert-nano-demo-entropy-[\w-]+\.(csv|json)"',
            response.headers["Content-Disposition"],
        )


@pytest.mark.parametrize("ask", ["{}", "{}.csv", "{}.json"])
def test_private_results_are_found_by_their_owner_only(
    rooms: SimpleNamespace, server: Flask, client: FlaskClient, ask: str
) -> None:
    result = store_result(rooms, private=True)
    path = f"{API}/results/{ask.format(result.key)}"
    assert client.get(f"{API}/results").get_json()["results"] == []
    missing = f"{API}/results/{ask.format('0' * len(result.key))}"
    hidden, absent = client.get(path), client.get(missing)
    assert_error(hidden, 404, "NotFoundError")
    assert hidden.get_data(as_text=True).replace(result.key, "0" * len(result.key)) == (
        absent.get_data(as_text=True)
    )
    rooms.service.owned.add((_owner(server, BEARER), result.key))
    assert client.get(path).status_code == 404
    assert client.get(path, headers=BEARER).status_code == 200


def _owner(server: Flask, headers: dict[str, str]) -> str:
    with server.test_request_context(f"{API}/health", headers=headers):
        server.preprocess_request()
        return current_owner()


# -- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "", 404),
        ("GET", "/results/0123456789abcdef", 404),
        ("GET", "/results/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/results/short", 422),
        ("GET", f"/results?model={'x' * 100}", 422),
        ("GET", "/results/0123456789abcdef?values=perhaps", 422),
        ("GET", "/uploads/0123456789abcdef", 404),
        ("DELETE", "/uploads/0123456789abcdef", 404),
        ("GET", "/jobs/0123456789abcdef", 404),
        ("DELETE", "/jobs/0123456789abcdef", 404),
        ("POST", "/models", 405),
        ("PUT", "/uploads", 405),
        ("PATCH", "/jobs", 405),
        ("POST", "/uploads", 415),
        ("POST", "/jobs", 415),
    ],
)
def test_errors_are_json(client: FlaskClient, method: str, path: str, status: int) -> None:
    response = client.open(f"{API}{path}", method=method)
    assert_error(response, status)
    if status == 405:
        assert "GET" in response.headers["Allow"]


def test_an_address_of_the_api_is_never_the_page(own_server: Flask) -> None:
    @own_server.route("/<path:path>")
    def page(path: str) -> str:
        return "<html>the dashboard</html>"

    client = own_server.test_client()
    assert client.get("/anything").status_code == 200
    assert_error(client.get("/api/v1/nothing"), 404, "NotFound")
    assert_error(client.get("/api/v2/models"), 404, "NotFound")


def test_a_bug_is_a_500_without_its_traceback(
    rooms: SimpleNamespace, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(**_: Any) -> None:
        raise RuntimeError("secret detail in /home/somebody")

    monkeypatch.setattr(rooms.store, "find", bug)
    assert_error(client.get(f"{API}/results"), 500, "InternalServerError")
    assert "secret" not in client.get(f"{API}/results").get_data(as_text=True)


def test_a_body_too_large(client: FlaskClient) -> None:
    response = client.post(f"{API}/jobs", data=b" " * (17 * 2**20), content_type="application/json")
    assert_error(response, 413, "RequestEntityTooLarge")


# -- who is asking ------------------------------------------------------------------------------


def test_the_cookie(server: Flask) -> None:
    client = server.test_client()
    header = client.get(f"{API}/health").headers["Set-Cookie"]
    token = header.split("=", 1)[1].split(";")[0]
    assert header.startswith(f"{COOKIE}=")
    assert len(token) >= 43
    assert "HttpOnly" in header
    assert "SameSite=Strict" in header
    assert "Secure" not in header
    assert "Set-Cookie" not in client.get(f"{API}/health").headers
    secure = server.test_client().get(f"{API}/health", base_url="https://example.org")
    assert "Secure" in secure.headers["Set-Cookie"]


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Mode": "navigate"}, {"Accept": "text/html,*/*"}])
def test_opening_a_page_sets_no_cookie(server: Flask, headers: dict[str, str]) -> None:
    """After a link on another site the browser hides its Strict cookie: keep it."""
    response = server.test_client().get(f"{API}/health", headers=headers)
    assert "Set-Cookie" not in response.headers


def test_a_cookie_that_is_no_token_is_replaced(server: Flask) -> None:
    client = server.test_client()
    client.set_cookie(COOKIE, "x; short")
    assert COOKIE in client.get(f"{API}/health").headers["Set-Cookie"]


def test_changes_need_an_owner(server: Flask) -> None:
    client = server.test_client()
    message = assert_error(client.delete(f"{API}/uploads"), 401, "Unauthorized")
    assert "Authorization: Bearer" in message
    assert client.delete(f"{API}/uploads", headers=BEARER).status_code == 200


@pytest.mark.parametrize("token", ["short", "x" * 200, "a b" * 20, "é" * 40])
def test_a_bearer_token_is_long_and_plain(client: FlaskClient, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}".encode().decode("latin-1")}
    assert_error(client.get(f"{API}/uploads", headers=headers), 401)


def test_tokens_are_never_stored(client: FlaskClient, home: Path) -> None:
    assert send(client, ("a.wav", wav()), headers=BEARER).status_code == 201
    for path in home.rglob("*"):
        assert TOKEN not in str(path)
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://lab.example", "X-Forwarded-Host": "lab.example"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:8000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_other_sites_change_nothing(
    client: FlaskClient, headers: dict[str, str], status: int
) -> None:
    response = client.delete(f"{API}/uploads", headers=headers)
    assert response.status_code == status
    if status == 403:
        assert_error(response, 403, "Forbidden")
    assert client.get(f"{API}/uploads", headers=headers).status_code == 200


# -- uploads ------------------------------------------------------------------------------------


def test_upload_and_delete(rooms: SimpleNamespace, client: FlaskClient) -> None:
    response = send(client, ("one.wav", wav(seed=1)), ("two.wav", wav(0.75, seed=2)))
    assert response.status_code == 201
    files = response.get_json()["files"]
    assert [(file["name"], file["ok"]) for file in files] == [("one.wav", True), ("two.wav", True)]
    assert files[1]["upload"]["seconds"] == 0.75
    listed = client.get(f"{API}/uploads").get_json()
    assert [upload["id"] for upload in listed["uploads"]] == [file["id"] for file in files]
    assert "WAV, FLAC" in listed["accepted"]
    one = files[0]["id"]
    assert client.get(f"{API}/uploads/{one}").get_json() == files[0]["upload"]
    assert client.delete(f"{API}/uploads/{one}").get_json() == {"deleted": 1}
    assert_error(client.get(f"{API}/uploads/{one}"), 404)
    assert client.delete(f"{API}/uploads").get_json() == {"deleted": 1}
    assert [names for _owner, names in rooms.service.forgotten] == [{one}, None]


def test_uploads_of_others_do_not_exist(client: FlaskClient) -> None:
    id = send(client, ("a.wav", wav())).get_json()["files"][0]["id"]
    assert client.get(f"{API}/uploads", headers=BEARER).get_json()["uploads"] == []
    assert_error(client.get(f"{API}/uploads/{id}", headers=BEARER), 404)
    assert_error(client.delete(f"{API}/uploads/{id}", headers=BEARER), 404)
    assert client.delete(f"{API}/uploads", headers=BEARER).get_json() == {"deleted": 0}
    body = {"models": ["melspec"], "lenses": [{"name": "entropy"}], "uploads": [id]}
    assert_error(client.post(f"{API}/jobs", json=body, headers=BEARER), 404, "NotFoundError")
    assert client.get(f"{API}/uploads/{id}").status_code == 200


def stored(home: Path) -> list[Path]:
    return [path for path in (home / "uploads").rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_harms_no_other(
    client: FlaskClient, home: Path, tmp_path: Path, kind: str
) -> None:
    bad = make_bad(kind, tmp_path)
    response = send(
        client, ("one.wav", wav(seed=1)), (bad.name, bad.read_bytes()), ("two.wav", wav(seed=2))
    )
    assert response.status_code == 201
    files = response.get_json()["files"]
    assert [file["ok"] for file in files] == [True, False, True]
    assert files[1]["error"]["type"] == "AudioError"
    assert BAD[kind] in files[1]["error"]["message"]
    assert str(home) not in response.get_data(as_text=True)
    assert len(stored(home)) == 4
    alone = send(client, (bad.name, bad.read_bytes()))
    assert BAD[kind] in assert_error(alone, 422, "AudioError")
    assert len(stored(home)) == 4


@pytest.mark.parametrize("name", ["../../etc/passwd", "../../etc/passwd.wav", "/etc/passwd"])
def test_a_path_as_a_name(client: FlaskClient, home: Path, name: str) -> None:
    outcome = send(client, (name, wav())).get_json()["files"][0]
    assert outcome["name"] == name
    assert outcome["ok"] == name.endswith(".wav")
    for path in stored(home):
        assert path.resolve().is_relative_to(home.resolve() / "uploads")
    assert not (home / "etc").exists()


def test_html_in_a_name_is_text(client: FlaskClient) -> None:
    name = "<script>alert(1)</script>.wav"
    response = send(client, (name, wav()))
    assert response.get_json()["files"][0]["name"] == name
    assert response.mimetype == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_pickle_is_never_loaded(client: FlaskClient, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    import pickle

    bomb = pickle.dumps(Bomb())
    assert_error(send(client, ("a.wav", bomb)), 422)
    assert_error(send(client, ("a.pkl", bomb)), 422)
    for kind in ("application/json", "application/octet-stream"):
        response = client.post(f"{API}/jobs", data=bomb, content_type=kind)
        assert response.status_code in (415, 422)
    assert not (tmp_path / "exploded").exists()


def test_too_many_files_lose_only_the_last(client: FlaskClient) -> None:
    files = send(client, *[(f"{i}.wav", wav(seed=i)) for i in range(6)]).get_json()["files"]
    assert [file["ok"] for file in files] == [True] * 4 + [False] * 2
    assert "at most 4 files" in files[5]["error"]["message"]


def test_nothing_sent(client: FlaskClient) -> None:
    assert "No file" in assert_error(send(client), 422)


@pytest.mark.parametrize("body", [b"", b"--x", b"--x\r\n\r\n", b"nonsense" * 1000])
def test_a_damaged_form(client: FlaskClient, home: Path, body: bytes) -> None:
    kind = "multipart/form-data; boundary=x"
    response = client.post(f"{API}/uploads", data=body, content_type=kind)
    assert response.status_code in (400, 422)
    assert_error(response, response.status_code)
    if body:  # the client adds a boundary to an empty form
        kind = "multipart/form-data"
        assert_error(client.post(f"{API}/uploads", data=body, content_type=kind), 400)


def test_a_form_cut_in_a_file_leaves_nothing(client: FlaskClient, home: Path) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.wav"\r\n\r\n'
    response = client.post(
        f"{API}/uploads", data=head + wav(), content_type="multipart/form-data; boundary=x"
    )
    assert_error(response, 400)
    assert stored(home) == []


def test_an_upload_over_everything_allowed(rooms: SimpleNamespace, client: FlaskClient) -> None:
    response = client.post(
        f"{API}/uploads",
        content_type="multipart/form-data; boundary=x",
        environ_overrides={"CONTENT_LENGTH": str(10**12)},
    )
    assert_error(response, 413)


def test_a_file_is_never_whole_in_memory(client: FlaskClient, home: Path) -> None:
    import tracemalloc

    class Endless(io.RawIOBase):
        """40 MB of a form, made as it is read."""

        head = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.wav"\r\n\r\n'
        left = 40 * 2**20

        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:
            data = self.head or bytes(min(len(buffer), self.left))
            if not self.head:
                self.left -= len(data)
            data = data[: len(buffer)]
            self.head = b""
            buffer[: len(data)] = data
            return len(data)

    tracemalloc.start()
    response = client.post(
        f"{API}/uploads",
        environ_overrides={
            "CONTENT_TYPE": "multipart/form-data; boundary=x",
            "wsgi.input": io.BufferedReader(Endless()),
            "CONTENT_LENGTH": str(40 * 2**20 + len(Endless.head)),
        },
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_error(response, 400)
    assert peak < 4 * 2**20
    assert stored(home) == []


def test_full_disk(client: FlaskClient, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    made: Callable[[Path], Any] = incoming_module._create
    count = iter(range(9))

    def sometimes(path: Path) -> Any:
        if next(count) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return made(path)

    monkeypatch.setattr(incoming_module, "_create", sometimes)
    files = send(client, *[(f"{i}.wav", wav(seed=i)) for i in range(3)]).get_json()["files"]
    assert [file["ok"] for file in files] == [True, False, True]
    assert files[1]["error"]["type"] == "StorageError"
    assert "the disk is full" in files[1]["error"]["message"]
    assert len(stored(home)) == 4


def test_read_only_folder(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(incoming_module, "_create", refuse)
    message = assert_error(send(client, ("a.wav", wav())), 507, "StorageError")
    assert "read-only" in message


def test_a_crash_in_one_check_is_the_end_of_that_file(
    client: FlaskClient, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = uploads_module.probe

    def crash(path: Path, name: str, **options: Any) -> Any:
        if name == "b.wav":
            raise MemoryError("secret")
        return probe(path, name=name, **options)

    monkeypatch.setattr(uploads_module, "probe", crash)
    response = send(client, ("a.wav", wav(seed=1)), ("b.wav", wav(seed=2)))
    assert [file["ok"] for file in response.get_json()["files"]] == [True, False]
    assert "secret" not in response.get_data(as_text=True)
    assert len(stored(home)) == 2


# -- jobs ---------------------------------------------------------------------------------------

SPEC = {"models": ["melspec"], "lenses": [{"name": "entropy"}], "corpus": "demo"}


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


# -- the description, headers, compression ------------------------------------------------------


def test_openapi_document(client: FlaskClient) -> None:
    document = client.get(f"{API}/openapi.json").get_json()
    assert document["openapi"].startswith("3.1")
    paths = document["paths"]
    assert set(paths) == {
        f"{API}/{path}"
        for path in (
            "health", "models", "models/{name}", "lenses", "corpora", "results", "results/{key}",
            "results/{key}.csv", "results/{key}.json", "uploads", "uploads/{id}", "jobs",
            "jobs/{id}",
        )
    }  # fmt: skip
    assert "multipart/form-data" in paths[f"{API}/uploads"]["post"]["requestBody"]["content"]
    assert "ValidationErrorModel" not in json.dumps(document)
    known = document["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)):
        assert name in known
    for operations in paths.values():
        for operation in operations.values():
            assert operation["summary"].endswith((".", "asked."))
            assert operation["tags"]


def test_openapi_page_comes_from_here(client: FlaskClient) -> None:
    response = client.get("/openapi")
    page = response.get_data(as_text=True)
    assert "POST /api/v1/uploads" in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="https?:', page)


def test_headers(own_server: Flask) -> None:
    client = own_server.test_client()
    api, page = client.get(f"{API}/models"), client.get("/openapi")
    for response in (api, page, client.get("/nothing")):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "frame-ancestors" in response.headers["Content-Security-Policy"]
    assert api.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in api.headers["Content-Security-Policy"]
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    allow_inline_scripts(own_server, ["sha256-abc=", "'sha256-def='"])
    policy = client.get("/openapi").headers["Content-Security-Policy"]
    assert "script-src 'self' 'sha256-abc=' 'sha256-def=';" in policy
    assert "http" not in policy


def test_compression_and_caching(own_server: Flask) -> None:
    text = "function speech() { return 1; }\n" * 4000
    served = []

    @own_server.route("/_dash-component-suites/<path:path>")
    def bundle(path: str):
        from flask import Response

        served.append(path)
        response = Response(text, mimetype="application/javascript")
        response.cache_control.max_age = 31_536_000
        return response

    client = own_server.test_client()
    path = "/_dash-component-suites/dash/deps/x.v1m2.min.js"
    ask = {"Accept-Encoding": "gzip, br"}
    first = client.get(path, headers=ask)
    assert first.headers["Content-Encoding"] == "br"
    assert brotli.decompress(first.data).decode() == text
    assert len(first.data) < len(text) / 50
    assert first.headers["Cache-Control"] == "public, max-age=31536000, immutable" or (
        set(first.headers["Cache-Control"].split(", "))
        == {"public", "max-age=31536000", "immutable"}
    )
    assert "Set-Cookie" not in first.headers

    import flask_compress.flask_compress as flask_compress

    def fail(*_: Any) -> bytes:
        raise AssertionError("compressed twice")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flask_compress, "_compress_data", fail)
        assert client.get(path, headers=ask).data == first.data
    assert client.get(path, headers={"Accept-Encoding": "gzip"}).headers["Content-Encoding"] == (
        "gzip"
    )
    assert "Content-Encoding" not in client.get(path, headers={"Accept-Encoding": ""}).headers
    models = client.get(f"{API}/models", headers=ask)
    assert models.headers["Content-Encoding"] == "br"
    assert "Accept-Encoding" in models.headers["Vary"]


def test_answers_are_not_mixed_up_by_the_cache(rooms: SimpleNamespace) -> None:
    client = rooms.server.test_client()
    ask = {"Accept-Encoding": "br"}
    bodies = {
        path: brotli.decompress(client.get(f"{API}/{path}", headers=ask).data)
        for path in ("models", "lenses", "openapi.json")
    }
    assert len(set(bodies.values())) == 3
    assert b"hubert" in bodies["models"]


def test_the_server_needs_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, insidessl_dash.dashboard.routes.server as s;"
        "print([m for m in ('torch', 'transformers', 'httpx', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
