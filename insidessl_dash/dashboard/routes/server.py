"""The Flask server under the dashboard: the API, its errors, and who may do what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import request
from flask_openapi3 import Info, OpenAPI
from werkzeug.exceptions import NotFound

from insidessl_dash import __version__
from insidessl_dash.dashboard.routes.cells import cell_routes
from insidessl_dash.dashboard.routes.compression import register_compression
from insidessl_dash.dashboard.routes.corpora import corpus_routes
from insidessl_dash.dashboard.routes.docs import register_docs
from insidessl_dash.dashboard.routes.errors import ErrorBody, register_errors, validation_response
from insidessl_dash.dashboard.routes.health import health_routes
from insidessl_dash.dashboard.routes.jobs import job_routes
from insidessl_dash.dashboard.routes.lab import lab_routes
from insidessl_dash.dashboard.routes.lenses import lens_routes
from insidessl_dash.dashboard.routes.matrices import matrix_routes
from insidessl_dash.dashboard.routes.models import model_routes
from insidessl_dash.dashboard.routes.own import own_routes
from insidessl_dash.dashboard.routes.owner import register_owner
from insidessl_dash.dashboard.routes.results import result_routes
from insidessl_dash.dashboard.routes.security import register_headers
from insidessl_dash.dashboard.routes.services import Services
from insidessl_dash.dashboard.routes.trajectories import trajectory_routes
from insidessl_dash.dashboard.routes.uploads import upload_routes

if TYPE_CHECKING:
    from insidessl_dash.core.registry import Registry
    from insidessl_dash.core.settings import Settings
    from insidessl_dash.engine.lab import Lab
    from insidessl_dash.engine.service import JobService
    from insidessl_dash.engine.uploads import Uploads
    from insidessl_dash.results.store import Store

API = "/api/v1"
_LARGEST_BODY = 16 * 2**20
_ROUTES = (
    health_routes,
    model_routes,
    lens_routes,
    corpus_routes,
    result_routes,
    trajectory_routes,
    matrix_routes,
    cell_routes,
    own_routes,
    upload_routes,
    job_routes,
    lab_routes,
)


def create_server(
    store: Store,
    service: JobService,
    uploads: Uploads,
    settings: Settings,
    registry: Registry,
    lab: Lab | None = None,
) -> OpenAPI:
    """The server with every route of the API; the dashboard is mounted on it.

    Args:
        store: Results.
        service: Jobs.
        uploads: The visitors' audio.
        settings: Limits and folders.
        registry: Models; the only names a request may use.
        lab: The Signal Lab; None makes one of the rooms above.
    """
    server = OpenAPI(
        __name__,
        info=Info(
            title="InsideSSL API",
            version=__version__,
            description=(
                "Layer-by-layer measurements of speech models: results, and jobs on corpora and "
                "on your own audio. What you upload is private to the bearer of your token."
            ),
        ),
        security_schemes={
            "cookie": {"type": "apiKey", "in": "cookie", "name": "insidessl_owner"},
            "bearer": {"type": "http", "scheme": "bearer"},
        },
        responses={422: ErrorBody, 500: ErrorBody},
        validation_error_model=ErrorBody,
        validation_error_callback=validation_response,
        doc_ui=False,
        static_folder=None,
    )
    server.config["MAX_CONTENT_LENGTH"] = _LARGEST_BODY
    server.json.sort_keys = False  # type: ignore[attr-defined]
    register_compression(server)
    register_headers(server)
    register_errors(server)
    register_owner(server)

    @server.before_request
    def api_is_not_a_page() -> None:
        """Keep the dashboard's catch-all page from answering for an address of the API."""
        rule = request.url_rule
        if request.path.startswith("/api") and rule and not rule.rule.startswith("/api"):
            raise NotFound

    lab = lab or create_lab(store, service, uploads, settings, registry)
    services = Services(store, service, uploads, settings, registry, lab)
    for routes in _ROUTES:
        server.register_api(routes(services), url_prefix=API)
    register_docs(server)
    uploads.expire()
    return server


def create_lab(
    store: Store, service: JobService, uploads: Uploads, settings: Settings, registry: Registry
) -> Lab:
    """The Signal Lab over these rooms: its questions go where jobs are computed."""
    from insidessl_dash.corpora.known import DEMO, known_corpus
    from insidessl_dash.engine.lab import Lab

    return Lab(
        store, lambda: service.executor, registry, uploads, lambda: known_corpus(DEMO, settings)
    )
