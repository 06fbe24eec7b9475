"""A real browser on a real server; the results, and the computing, are a test fixture."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

INSTALL = "apt-get install chromium (Debian), or set INSIDESSL_CHROMIUM to a Chromium or Chrome"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def _missing(why: str) -> None:
    """Skip on a laptop, fail where the tests are meant to be complete."""
    reason = f"{why} Install it: {INSTALL}."
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium():
    """A system Chromium."""
    found = os.environ.get("INSIDESSL_CHROMIUM") or next(
        filter(None, map(shutil.which, _NAMES)), None
    )
    if found is None:
        _missing("There is no Chromium on this machine.")
    try:
        from playwright.sync_api import expect, sync_playwright
    except ImportError:
        _missing("Playwright is not installed (pip install -e '.[test]').")
    expect.set_options(timeout=30_000)  # a busy machine is slow, not wrong
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        browser.found = found  # for tests that start one with other flags
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address(chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a dashboard on synthetic results is served."""
    import waitress
    from made_services import ROOT, make_services, make_settings

    from insidessl_dash.dashboard.factory import create_app

    settings = make_settings(tmp_path_factory.mktemp("installation"))
    (settings.precomputed / "models").symlink_to(ROOT / "precomputed" / "models")
    services = make_services(settings)
    app = create_app(settings, services)
    listener = socket.create_server(("127.0.0.1", 0))
    server = waitress.create_server(app.server, sockets=[listener], threads=8)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.close()
    services.close()


class Visit:
    """One visitor: a page of their own, and what it must not do.

    Attributes:
        page: The page.
        forgiven: Parts of console messages that the test provokes.
    """

    def __init__(self, browser, address: str, **options) -> None:
        self.address = address
        self.context = browser.new_context(
            **{"viewport": {"width": 1440, "height": 900}, **options}
        )
        self.page = self.context.new_page()
        self.forgiven: list[str] = []
        self._said: list[str] = []
        self._asked: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self._said.append(str(error)))
        self.page.on("request", lambda request: self._asked.append(request.url))

    def hold(self) -> Callable[[], None]:
        """Keep the questions of the callbacks back until the returned function is called."""
        held: list | None = []

        def decide(route) -> None:
            if held is None:
                route.continue_()
            else:
                held.append(route)

        def release() -> None:
            nonlocal held
            waiting, held = held or [], None
            for route in waiting:
                route.continue_()

        self.page.route(re.compile("_dash-update-component"), decide)
        return release

    def open(self, search: str = "") -> Visit:
        """Open the page and wait for its figure."""
        self.page.goto(f"{self.address}/{search}")
        self.page.wait_for_selector("#layers-graph .main-svg")
        return self

    def close(self) -> None:
        """Close, and check that nothing was wrong and nobody else was asked."""
        self.context.close()
        host = urlsplit(self.address).netloc
        foreign = [u for u in self._asked if urlsplit(u).scheme.startswith("http")
                   and urlsplit(u).netloc != host]  # fmt: skip
        assert not foreign, foreign
        wrong = [text for text in self._said if not any(part in text for part in self.forgiven)]
        assert not wrong, wrong

    def _console(self, message) -> None:
        if message.type in ("error", "warning"):
            self._said.append(message.text)


@pytest.fixture
def visit(chromium, address: str) -> Iterator:
    """Make a visitor: ``visit(viewport=..., color_scheme=...)``."""
    made: list[Visit] = []

    def make(**options) -> Visit:
        made.append(Visit(chromium, address, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
