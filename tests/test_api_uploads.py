"""Uploads over HTTP: a bad file is said to be so, and harms nothing."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from made_api import API, BEARER, assert_error, send, stored
from test_audio import BAD, make_bad
from test_uploads import wav

from insidessl_dash.engine import incoming as incoming_module
from insidessl_dash.engine import uploads as uploads_module

pytest_plugins = ("api_fixtures",)


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
