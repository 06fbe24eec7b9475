"""Own matrices over HTTP: what can be decoded, what is heard, and by whom."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask.testing import FlaskClient
from made_api import API, BEARER, assert_error, send
from made_matrices import LAYERS
from made_own import MadeDecoder, write_made_bank
from made_services import ROOT, make_services, make_settings
from test_uploads import wav

from insidessl_dash.dashboard.factory import create_app

OWN = f"{API}/own-matrices"
MISSING = [x for x in LAYERS if x != "7"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A dashboard with made decoders of all layers but one."""
    found = make_settings(tmp_path_factory.mktemp("installation"), [])
    (found.precomputed / "models").symlink_to(ROOT / "precomputed" / "models")
    write_made_bank(found.home, decoder_layers=MISSING)
    services = make_services(found)
    services.service.executor = MadeDecoder(MISSING)
    server = create_app(found, services).server
    yield SimpleNamespace(settings=found, services=services, server=server)
    services.close()


@pytest.fixture
def client(place: SimpleNamespace) -> FlaskClient:
    """A visitor of their own."""
    client = place.server.test_client()
    client.get(f"{API}/health")
    return client


def upload(client: FlaskClient, seed: int = 0) -> str:
    return send(client, ("my voice.wav", wav(1.0, seed))).get_json()["files"][0]["id"]


def ask(client: FlaskClient, id: str) -> dict:
    return client.post(OWN, json={"model": "wav2vec2-nano", "upload": id}).get_json()


def until(client: FlaskClient, job: dict, ready) -> dict:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job = client.get(f"{API}/jobs/{job['id']}").get_json()
        if ready(job):
            return job
        time.sleep(0.01)
    raise AssertionError(job)


def decoded(client: FlaskClient, id: str) -> str:
    job = until(client, ask(client, id), lambda job: job["state"] in ("done", "failed"))
    assert job["state"] == "done", job
    return job["results"][0]


def test_what_can_be_decoded_and_what_cannot(client: FlaskClient) -> None:
    body = client.get(f"{API}/decoders").get_json()
    (model,) = body["models"]
    assert (model["model"], model["missing"], model["updates"]) == ("wav2vec2-nano", ["7"], 7)
    assert model["vocoder"] == "Fourier vocoder, then Griffin-Lim"
    assert (model["content"], model["voice"]) == ("HuBERT Nano, iteration 2", "ECAPA-TDNN Nano")
    others = {other["model"]: other["command"] for other in body["others"]}
    assert "gcm train --model wavlm-nano" in others["wavlm-nano"]
    assert "wav2vec2-nano" not in others
    assert "melspec" not in others
    assert body["longest_s"] == 10.0


def test_from_a_recording_to_its_sounds(client: FlaskClient) -> None:
    id = upload(client)
    response = client.post(OWN, json={"model": "wav2vec2-nano", "upload": id})
    assert response.status_code == 202
    job = response.get_json()
    assert response.headers["Location"].endswith(f"/jobs/{job['id']}")
    assert (job["total"], job["spec"]) == (156, {"model": "wav2vec2-nano", "upload": id})
    key = decoded(client, id)
    (listed,) = client.get(OWN).get_json()["matrices"]
    assert (listed["key"], listed["voice"], listed["finished"]) == (key, "my voice.wav", True)
    assert listed["page"] == f"/gcm/own/{key}"
    document = client.get(listed["url"]).get_json()
    assert document["done"] == MISSING
    assert document["missing"] == {"7": "no decoder"}
    assert document["metrics"]["content"]["cells"][0][12] == pytest.approx(0.12)
    assert document["metrics"]["stoi"]["why"][0][0] == "0.30 s: STOI needs 0.5 s"
    sound = client.get(f"{listed['url']}/cells/3/11.opus")
    assert sound.status_code == 200
    assert sound.headers["Cache-Control"] == "private, no-cache"
    part = client.get(f"{listed['url']}/cells/3/11.opus", headers={"Range": "bytes=2-9"})
    assert (part.status_code, part.data) == (206, sound.data[2:10])
    etag = {"If-None-Match": sound.headers["ETag"]}
    assert client.get(f"{listed['url']}/cells/3/11.opus", headers=etag).status_code == 304
    wave = client.get(f"{listed['url']}/original.wav")
    assert (wave.mimetype, wave.data[:4]) == ("audio/wav", b"RIFF")
    assert wave.headers["Cache-Control"] == "private, no-cache"


def test_a_matrix_of_somebody_else_does_not_exist(client: FlaskClient) -> None:
    key = decoded(client, upload(client, seed=1))
    assert client.get(OWN, headers=BEARER).get_json() == {"matrices": []}
    for path in ("", "/original.opus", "/vocoder.wav", "/cells/0/0.opus"):
        assert client.get(f"{OWN}/{key}{path}").status_code == 200
        assert_error(client.get(f"{OWN}/{key}{path}", headers=BEARER), 404, "NotFoundError")
    theirs = client.post(
        OWN, json={"model": "wav2vec2-nano", "upload": upload(client, seed=1)}, headers=BEARER
    )
    assert_error(theirs, 404, "NotFoundError")


def test_rows_can_be_heard_while_others_are_decoded(
    place: SimpleNamespace, client: FlaskClient
) -> None:
    decoder = place.services.service.executor
    decoder.gate = threading.Semaphore(2)
    try:
        job = until(client, ask(client, upload(client, seed=2)), lambda job: job["completed"] >= 31)
        url = f"{OWN}/{job['results'][0]}"
        document = client.get(url).get_json()
        assert (document["done"], document["finished"]) == (["0", "1"], False)
        assert document["metrics"]["content"]["cells"][2] == [None] * 13
        assert client.get(f"{url}/cells/1/12.opus").status_code == 200
        assert "not spoken yet" in assert_error(client.get(f"{url}/cells/2/0.opus"), 404)
        assert client.delete(f"{API}/jobs/{job['id']}").status_code == 200
        until(client, job, lambda job: job["state"] == "cancelled")
        assert client.get(f"{url}/cells/1/12.opus").status_code == 200, "what is done stays"
    finally:
        decoder.gate = None


def test_deleting_a_recording_deletes_what_was_decoded_of_it(
    place: SimpleNamespace, client: FlaskClient
) -> None:
    id = upload(client, seed=3)
    key = decoded(client, id)
    assert client.get(f"/gcm/own/{key}/3/3").status_code == 200
    assert client.delete(f"{API}/uploads/{id}").status_code == 200
    for path in ("", "/original.opus", "/cells/0/0.opus"):
        assert_error(client.get(f"{OWN}/{key}{path}"), 404, "NotFoundError")
    assert client.get(f"/gcm/own/{key}/3/3").status_code == 404
    assert client.get(OWN).get_json() == {"matrices": []}
    assert not list(place.settings.home.glob(f"gcm/own/*/{key}"))


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"model": "wavlm-nano"}, 404, "gcm train --model wavlm-nano"),
        ({"model": "wav2vec2-nan"}, 404, "Did you mean"),
        ({"model": "../decoders"}, 404, "no model"),
        ({"model": "x" * 65}, 422, "64"),
        ({"upload": "0" * 16}, 404, "expired, was deleted"),
        ({"upload": "../../x"}, 404, "No upload"),
        ({"upload": None}, 422, "upload"),
        ({"decoders": "/tmp"}, 422, "decoders"),
    ],
)
def test_what_cannot_be_decoded(client: FlaskClient, change: dict, status: int, says: str) -> None:
    body = {"model": "wav2vec2-nano", "upload": upload(client)} | change
    assert says in assert_error(client.post(OWN, json=body), status)


def test_only_json_asks(client: FlaskClient) -> None:
    assert_error(client.post(OWN, data={"model": "wav2vec2-nano"}), 415)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("", 200),
        ("/0/0", 200),
        ("/7/0", 404),
        ("/3/13", 404),
        ("/3/x", 404),
        ("/-1/0", 404),
    ],
)
def test_the_page_of_a_cell(client: FlaskClient, path: str, status: int) -> None:
    key = decoded(client, upload(client, seed=4))
    page = client.get(f"/gcm/own/{key}{path}")
    text = page.get_data(as_text=True)
    assert page.status_code == status
    if status == 200:
        assert page.headers["Cache-Control"] == "private, no-store"
        assert f'data-url="/api/v1/own-matrices/{key}"' in text
        assert "my voice.wav" in text
    else:
        assert 'href="/#explorer"' in text, "the way back"


@pytest.mark.parametrize("key", ["0" * 32, "x", "..%2f..%2fgcm", "%00"])
def test_unknown_matrices_are_404(client: FlaskClient, key: str) -> None:
    assert client.get(f"/gcm/own/{key}/0/0").status_code == 404
    assert client.get(f"{OWN}/{key}").status_code == 404
    assert client.get(f"{OWN}/{key}/original.opus").status_code == 404


@pytest.mark.parametrize("cell", ["13/0", "7/0", "0/13", "0/-1", "0/x", "100/0"])
def test_what_is_no_cell_is_refused(client: FlaskClient, cell: str) -> None:
    key = decoded(client, upload(client, seed=4))
    assert client.get(f"{OWN}/{key}/cells/{cell}.opus").status_code in (404, 422)


def test_names_never_become_paths(place: SimpleNamespace, client: FlaskClient) -> None:
    body = send(client, ("../../<b>x.wav", wav(1.0, 6))).get_json()["files"][0]
    key = decoded(client, body["id"])
    assert client.get(f"{OWN}/{key}").get_json()["voice"] == body["name"]
    page = client.get(f"/gcm/own/{key}").get_data(as_text=True)
    assert "<b>x" not in page
    written = [p.name for p in Path(place.settings.home).rglob("*") if "x.wav" in p.name]
    assert written == []
