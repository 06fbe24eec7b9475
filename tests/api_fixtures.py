"""Fixtures of the tests of the API: a server over an empty installation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from made_api import API, ROOMS, Current, FakeService

from insidessl_dash.core.registry import Registry
from insidessl_dash.core.settings import Settings
from insidessl_dash.dashboard.routes.server import create_server
from insidessl_dash.engine.uploads import Uploads
from insidessl_dash.results.store import Store


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
