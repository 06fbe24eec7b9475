"""The dashboard put together: services, server, page and callbacks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

import dash
from flask import Flask, Response, make_response, request

from insidessl_dash.core.errors import InsideSSLError
from insidessl_dash.core.registry import Registry
from insidessl_dash.core.settings import Settings
from insidessl_dash.core.settings import settings as process_settings
from insidessl_dash.dashboard import callbacks, ids
from insidessl_dash.dashboard.callbacks.choice import Catalogue
from insidessl_dash.dashboard.pages import shell
from insidessl_dash.dashboard.pages.app import app_layout
from insidessl_dash.dashboard.pages.cite import cite
from insidessl_dash.dashboard.pages.intro import intro
from insidessl_dash.dashboard.routes.cards import register_cards
from insidessl_dash.dashboard.routes.cells import register_cell_pages
from insidessl_dash.dashboard.routes.owner import current_owner
from insidessl_dash.dashboard.routes.security import allow_inline_scripts
from insidessl_dash.dashboard.routes.server import create_lab, create_server
from insidessl_dash.results.explorer import Example, Examples
from insidessl_dash.results.matrix_files import Matrices
from insidessl_dash.results.store import Store
from insidessl_dash.results.trajectories import Trajectories

if TYPE_CHECKING:
    from insidessl_dash.engine.lab import Lab
    from insidessl_dash.engine.service import JobService
    from insidessl_dash.engine.uploads import Uploads

log = logging.getLogger(__name__)
_NOT_LISTED = r"(^|/)(boot\.js|.*-worklet\.js|card\.(js|css)|.*\.svg|.*\.md)$"


@dataclass(frozen=True)
class Services:
    """What the dashboard stands on, made once a process.

    Attributes:
        store: Results.
        registry: Models.
        uploads: The visitors' audio.
        service: Jobs.
    """

    store: Store
    registry: Registry
    uploads: Uploads
    service: JobService
    _running: ExitStack = field(default_factory=ExitStack)

    def warm(self) -> None:
        """Start what runs beside the answers, until `close`.

        The workers, so that the first job does not wait for them; and the removal of uploads past
        their time, so that they go while nobody visits.
        """
        self._running.enter_context(self.uploads.keep_clean())
        start = getattr(self.service.executor, "warm", None) or getattr(
            self.service.executor, "client", None
        )
        if start is not None:
            threading.Thread(target=_quietly, args=(start,), name="warm", daemon=True).start()

    def beside(self, lab: Lab) -> None:
        """Close the lab with the rest, and let it forget the uploads that expire."""
        known = self.uploads.on_expire

        def expired(owner: str, uploads: set[str]) -> None:
            if known is not None:
                known(owner, uploads)
            lab.forget(owner, uploads)

        self.uploads.on_expire = expired
        self._running.callback(lab.close)

    def close(self) -> None:
        """Stop taking work and close what is open."""
        self._running.close()
        self.service.close()
        close = getattr(self.service.executor, "close", None)
        if close is not None:
            close()
        self.store.close()


def create_services(settings: Settings | None = None) -> Services:
    """The services that the settings name; nothing is computed or connected yet."""
    from insidessl_dash.corpora.known import known_corpus
    from insidessl_dash.engine.cluster import DaskExecutor
    from insidessl_dash.engine.service import JobService
    from insidessl_dash.engine.uploads import Uploads

    settings = settings or process_settings()
    store = Store(settings.home, settings.precomputed)
    registry = Registry(settings.home, settings.precomputed)
    uploads = Uploads(settings)
    service = JobService(
        store,
        DaskExecutor(settings.scheduler),
        registry,
        uploads,
        lambda name: known_corpus(name, settings),
    )
    uploads.on_expire = service.forget
    return Services(store, registry, uploads, service)


def create_app(settings: Settings | None = None, services: Services | None = None) -> dash.Dash:
    """The dashboard, ready to serve as ``app.server``.

    Args:
        settings: Where things are; None for this process's.
        services: What it stands on; None makes them.
    """
    settings = settings or process_settings()
    services = services or create_services(settings)
    rooms = (services.store, services.service, services.uploads, settings, services.registry)
    lab = create_lab(*rooms)
    services.beside(lab)
    server = create_server(*rooms, lab)
    catalogue = Catalogue(
        store=services.store,
        registry=services.registry,
        corpora=lambda: _known_corpora(settings),
        visible=lambda key: _visible(services, key),
    )
    app = dash.Dash(
        "insidessl_dash",
        server=server,
        title=shell.TITLE,
        update_title=None,
        description=shell.DESCRIPTION,
        assets_folder=str(settings.assets),
        assets_ignore=_NOT_LISTED,
        serve_locally=True,
        on_error=_explain,
    )
    app.index_string = shell.document(
        _asset(app, settings, "mark.svg"), _asset(app, settings, "boot.js"), intro(), cite()
    )
    app.layout = lambda: app_layout(catalogue.corpus_names(), catalogue.usable(), settings)
    callbacks.register(
        app,
        catalogue,
        Trajectories(settings.home, settings.precomputed),
        Matrices(settings.home, settings.precomputed),
    )
    register_cards(server, catalogue, lambda name: _asset(app, settings, name))
    register_cell_pages(
        server,
        Examples(settings.home, settings.precomputed),
        lambda key: _own_example(services, key),
        lambda name: _asset(app, settings, name),
    )
    _not_found(app, server, settings)
    allow_inline_scripts(server, app.csp_hashes())
    return app


def _asset(app: dash.Dash, settings: Settings, name: str) -> str:
    """The address of an asset with its version in it, so that a browser may keep it."""
    return f"{app.get_asset_url(name)}?m={(settings.assets / name).stat().st_mtime}"


def _known_corpora(settings: Settings) -> Sequence[str]:
    from insidessl_dash.corpora.known import known_corpora

    try:
        return [card.name for card in known_corpora(settings)]
    except InsideSSLError as error:
        log.warning("%s", error)
        return []


def _visible(services: Services, key: str) -> bool:
    """Whether this visitor may see a result: it is public, or from a job of theirs."""
    return not services.store.is_private(key) or services.service.owns(current_owner(), key)


def _own_example(services: Services, key: str) -> Example:
    """A matrix of this visitor's own recording.

    Raises:
        NotFoundError: There is none: deleted, expired, or somebody else's.
    """
    matrix = services.service.matrices.get(current_owner(), key)
    services.uploads.get(current_owner(), matrix.head.upload)
    return matrix.example


def _explain(error: Exception) -> None:
    """Say in the page's banner what a callback could not do; never show a traceback."""
    message = (
        "An error in this program kept this view from being drawn; its log has the details. The "
        "view before it is still shown."
    )
    if isinstance(error, InsideSSLError):
        message = str(error)
    else:
        log.error("A callback failed", exc_info=error)
    dash.set_props(ids.TROUBLE, {"data": {"message": message, "at": time.time()}})


def _not_found(app: dash.Dash, server: Flask, settings: Settings) -> None:
    """Answer 404 where Dash's catch-all would show the page at any address."""

    @server.before_request
    def page_lives_at_one_address() -> Response | None:
        rule = request.url_rule
        if rule is None or rule.endpoint != "/<path:path>":
            return None
        sheets = "".join(
            f'<link rel="stylesheet" href="{_asset(app, settings, f"css/{name}")}">'
            for name in ("1-tokens.css", "2-base.css", "3-shell.css")
        )
        boot = f'<script src="{_asset(app, settings, "boot.js")}"></script>'
        page = shell.not_found("/" + quote(request.path.lstrip("/"), safe="/ .-_~"), boot + sheets)
        return make_response(page, 404, {"Content-Type": "text/html; charset=utf-8"})


def _quietly(start: object) -> None:
    try:
        start()  # type: ignore[operator]
    except Exception as error:
        log.warning("The workers did not start: %s", error)
