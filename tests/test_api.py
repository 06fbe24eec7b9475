"""The HTTP API: what it says, its errors, and its own description."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import brotli
import pytest
from flask import Flask
from flask.testing import FlaskClient
from made_api import API, BEARER, assert_error, owner_of, store_result
from made_results import make_result

from insidessl_dash import __version__
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.lenses import LENSES
from insidessl_dash.dashboard.routes.security import allow_inline_scripts
from insidessl_dash.results.schema import Result, Values

pytest_plugins = ("api_fixtures",)


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
    rooms.service.owned.add((owner_of(server, BEARER), result.key))
    assert client.get(path).status_code == 404
    assert client.get(path, headers=BEARER).status_code == 200


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
            "jobs/{id}", "trajectories", "trajectories/{corpus}/{run}/{lens}.json",
            "trajectories/{corpus}/{run}/{lens}.csv", "matrices", "matrices/{corpus}/{name}.json",
            "matrices/{corpus}/{name}.csv", "examples", "examples/{model}/{example}",
            "examples/{model}/{example}/{sound}.{kind}",
            "examples/{model}/{example}/cells/{i}/{j}.{kind}",
            "lab", "lab/{id}", "lab/{id}/figure", "lab/{id}.csv", "lab/{id}.json",
            "lab/{id}/{sound}.wav", "decoders", "own-matrices", "own-matrices/{key}",
            "own-matrices/{key}/{sound}.{kind}", "own-matrices/{key}/cells/{i}/{j}.{kind}",
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
