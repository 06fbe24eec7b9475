"""Who is asking over HTTP, and what other sites cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from made_api import API, BEARER, TOKEN, assert_error, send
from test_uploads import wav

from insidessl_dash.dashboard.routes.owner import COOKIE

pytest_plugins = ("api_fixtures",)


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
