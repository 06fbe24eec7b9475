"""``/lab`` over HTTP: what is refused and how, whose it is, ranges, figure and files."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from flask.testing import FlaskClient
from made_api import API, assert_error, send
from made_lab import HeldExecutor
from test_uploads import wav
from werkzeug.test import TestResponse

from insidessl_dash.core.registry import Registry
from insidessl_dash.core.settings import Settings
from insidessl_dash.dashboard.factory import Services, create_app
from insidessl_dash.engine.uploads import Uploads
from insidessl_dash.results.store import Store

LAB = f"{API}/lab"
ASKED = {
    "utterance": "demo-f1-01",
    "models": ["hubert-nano"],
    "perturbation": "noise",
    "strength": 10,
}
SAMPLE = "Range", "bytes=0-99"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Services, object]]:
    """A dashboard whose lab hands back what `HeldExecutor` makes up."""
    from insidessl_dash.corpora.known import known_corpus
    from insidessl_dash.engine.service import JobService

    settings = Settings(home=tmp_path_factory.mktemp("home"))
    store = Store(settings.home, settings.precomputed)
    registry, uploads = Registry(settings.home, settings.precomputed), Uploads(settings)
    service = JobService(
        store, HeldExecutor(), registry, uploads, lambda name: known_corpus(name, settings)
    )
    services = Services(store, registry, uploads, service)
    yield services, create_app(settings, services)
    services.close()


@pytest.fixture
def executor(installation) -> HeldExecutor:
    return installation[0].service.executor


@pytest.fixture
def visitor(installation):
    def one() -> FlaskClient:
        client = installation[1].server.test_client()
        client.get(f"{API}/health")
        return client

    return one


@pytest.fixture
def client(visitor) -> FlaskClient:
    return visitor()


def ask(client: FlaskClient, **fields) -> dict:
    """The answered question."""
    body = {**ASKED, **fields}
    if "upload" in fields:
        del body["utterance"]
    response = client.post(LAB, json=body)
    assert response.status_code in (200, 202), response.get_data(as_text=True)
    return wait_for(client, response)


def wait_for(client: FlaskClient, response: TestResponse) -> dict:
    place, limit = response.headers["Location"], time.monotonic() + 30
    while (found := client.get(place).get_json())["state"] in ("queued", "running"):
        assert time.monotonic() < limit
        time.sleep(0.002)
    return found


def test_the_choices_describe_themselves(client: FlaskClient) -> None:
    found = client.get(LAB).get_json()
    assert [dial["name"] for dial in found["perturbations"]][:3] == ["noise", "pitch", "gain"]
    for dial in found["perturbations"]:
        assert dial["low"] <= dial["default"] <= dial["high"]
    assert found["models"][0]["name"] == "hubert-nano"
    assert len(found["clips"]) == 40
    assert "/" not in json.dumps(found["clips"]).replace("\\/", "")
    assert found["measures"][0]["name"] == "centred"
    assert found["longest_s"] == 10


def test_a_question_is_accepted_at_once_and_known_the_next_time(
    client: FlaskClient, executor: HeldExecutor
) -> None:
    executor.hold.clear()
    response = client.post(LAB, json={**ASKED, "strength": 21})
    executor.hold.set()
    assert response.status_code == 202
    assert response.get_json()["state"] == "queued"
    assert response.headers["Location"] == f"{LAB}/{response.get_json()['id']}"
    found = wait_for(client, response)
    assert found["state"] == "done"
    (result,) = found["answer"]["results"]
    assert result["lens"] == "similarity"
    assert len(result["measures"]["centred"]["mean"]) == len(result["layers"])
    again = client.post(LAB, json={**ASKED, "strength": 21})
    assert again.status_code == 200
    assert again.get_json()["answer"] == found["answer"]


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"strength": 30.5}, 422, "-5 to 30 dB"),
        ({"strength": -5.01}, 422, "-5 to 30 dB"),
        ({"strength": "loud"}, 422, "strength"),
        ({"perturbation": "echo"}, 422, "There are: noise"),
        ({"models": ["../hubert-nano"]}, 404, "no model"),
        ({"models": ["wavlm-large"]}, 422, "not on this machine"),
        ({"models": []}, 422, "models"),
        ({"models": ["hubert-nano", "melspec", "wavlm-nano"]}, 422, "at most 2"),
        ({"utterance": "/etc/passwd"}, 404, "demo corpus"),
        ({"upload": "0" * 16}, 422, "one clip"),
        ({"utterance": None}, 422, "one clip"),
        ({"utterance": None, "upload": "../../x"}, 404, "upload"),
        ({"path": "/etc/passwd"}, 422, "path"),
        ({"seed": -1}, 422, "seed"),
    ],
)
def test_what_is_wrong_is_said(
    client: FlaskClient, executor: HeldExecutor, changes: dict, status: int, says: str
) -> None:
    before = len(executor.given)
    assert says in assert_error(client.post(LAB, json={**ASKED, **changes}), status)
    assert len(executor.given) == before


def test_only_json_and_only_with_an_owner(installation, client: FlaskClient) -> None:
    assert_error(client.post(LAB, data="noise"), 415)
    assert_error(installation[1].server.test_client().post(LAB, json=ASKED), 401)
    assert_error(client.post(LAB, json=ASKED, headers={"Sec-Fetch-Site": "cross-site"}), 403)


def test_the_sounds_come_with_ranges_and_tags(client: FlaskClient) -> None:
    found = ask(client)
    for sound, version in found["answer"]["versions"].items():
        place = f"{LAB}/{found['id']}/{sound}.wav"
        whole = client.get(f"{place}?v={version}")
        assert whole.mimetype == "audio/wav"
        assert "private" in whole.headers["Cache-Control"]
        assert "immutable" in whole.headers["Cache-Control"]
        assert soundfile.info(io.BytesIO(whole.data)).duration == 2.0
        part = client.get(place, headers={"Range": "bytes=100-199"})
        assert part.status_code == 206
        assert part.data == whole.data[100:200]
        assert part.headers["Content-Range"] == f"bytes 100-199/{len(whole.data)}"
        same = client.get(place, headers={"If-None-Match": whole.headers["ETag"]})
        assert same.status_code == 304
        assert client.get(place, headers={"Range": "bytes=9999999-"}).status_code == 416
    assert_error(client.get(f"{LAB}/{found['id']}/noise.wav"), 422)
    assert_error(client.get(f"{LAB}/0123/original.wav"), 404)


def test_somebody_elses_question_does_not_exist(visitor) -> None:
    owner, stranger = visitor(), visitor()
    upload = send(owner, ("my voice.wav", wav(1.0))).get_json()["files"][0]["id"]
    assert_error(stranger.post(LAB, json={**ASKED, "utterance": None, "upload": upload}), 404)
    found = ask(owner, upload=upload)
    assert found["state"] == "done"
    paths = ("", "/figure", ".csv", ".json", "/original.wav", "/perturbed.wav")
    for path in paths:
        assert owner.get(f"{LAB}/{found['id']}{path}").status_code == 200, path
        assert_error(stranger.get(f"{LAB}/{found['id']}{path}"), 404, "NotFoundError")
    sound = owner.get(f"{LAB}/{found['id']}/original.wav?v=1")
    assert sound.headers["Cache-Control"] == "private, no-cache"
    text = json.dumps(found) + owner.get(f"{LAB}/{found['id']}/figure").get_data(as_text=True)
    assert "my voice" not in text
    assert owner.delete(f"{API}/uploads/{upload}").status_code == 200
    for path in paths:
        assert_error(owner.get(f"{LAB}/{found['id']}{path}"), 404, "NotFoundError")


def test_the_figure_stays_on_its_axis_and_is_described(client: FlaskClient) -> None:
    drawings = []
    for strength in (0, 30):
        found = ask(client, strength=strength, models=["hubert-nano", "hubert-nano-init"])
        drawings.append(client.get(f"{LAB}/{found['id']}/figure?scheme=dark").get_json())
    first, last = drawings
    ranges = [drawing["figure"]["layout"]["yaxis"]["range"] for drawing in drawings]
    assert ranges[0] == ranges[1]
    curves = [trace for trace in last["figure"]["data"] if trace.get("name")]
    assert {trace["meta"]["model"] for trace in curves} == {"hubert-nano", "hubert-nano-init"}
    assert set(curves[0]["y"]) == {1.0}
    assert "the clip with white noise at 0 dB" in first["caption"]
    assert "HuBERT Nano keeps 0.143 in every layer" in first["caption"]
    assert "Layer</th>" in last["numbers"]
    narrow = client.get(f"{LAB}/{found['id']}/figure?compact=1").get_json()["figure"]["layout"]
    assert narrow["showlegend"]  # where lines have no labels at their ends
    assert not first["figure"]["layout"].get("showlegend")
    assert f"{LAB}/{found['id']}.csv" in last["export"]


def test_where_time_was_stretched_the_means_are_drawn_and_it_says_why(client: FlaskClient) -> None:
    found = ask(client, perturbation="speed", strength=1.25)
    asked = f"{LAB}/{found['id']}/figure?measure=cka&compact=1"
    drawing = client.get(asked).get_json()
    assert drawing["measure"] == "means"
    assert "frames no longer match" in drawing["caption"]
    assert client.get(f"{LAB}/{found['id']}/figure?scheme=neon").status_code == 422
    still = ask(client, perturbation="speed", strength=1)
    drawing = client.get(f"{LAB}/{still['id']}/figure?measure=cka").get_json()
    assert drawing["measure"] == "cka"
    assert "changes nothing" in drawing["caption"]


def test_an_answer_is_saved_as_csv_and_json(client: FlaskClient) -> None:
    found = ask(client, models=["hubert-nano", "melspec"])
    table = client.get(f"{LAB}/{found['id']}.csv")
    rows = list(csv.DictReader(io.StringIO(table.get_data(as_text=True))))
    assert {row["model"] for row in rows} == {"hubert-nano", "melspec"}
    assert {row["measure"] for row in rows} == {"centred", "frames", "cka", "means"}
    assert "attachment" in table.headers["Content-Disposition"]
    saved = json.loads(client.get(f"{LAB}/{found['id']}.json").data)
    assert saved["question"]["strength"] == 10
    assert saved["answer"]["results"][0]["provenance"]


def test_a_question_without_an_answer_cannot_be_drawn(
    client: FlaskClient, executor: HeldExecutor
) -> None:
    executor.hold.clear()
    response = client.post(LAB, json={**ASKED, "strength": 17})
    waiting = response.get_json()["id"]
    message = assert_error(client.get(f"{LAB}/{waiting}/figure"), 409, "ConflictError")
    assert "queued" in message
    client.post(LAB, json={**ASKED, "strength": 18})
    executor.hold.set()
    assert wait_for(client, response)["state"] == "superseded"
    assert_error(client.get(f"{LAB}/{waiting}.csv"), 409)


def test_no_answer_names_a_folder_of_this_machine(client: FlaskClient, installation) -> None:
    found = ask(client)
    text = json.dumps(found) + json.dumps(client.get(LAB).get_json())
    text += client.get(f"{LAB}/{found['id']}/figure").get_data(as_text=True)
    settings = installation[0].uploads.settings
    for folder in (settings.home, settings.precomputed, Path.home()):
        assert str(folder) not in text
