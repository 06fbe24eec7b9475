"""``/health``: whether this process answers, and what it can do."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any, Literal

from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel

from insidessl_dash import __version__
from insidessl_dash.dashboard.routes.services import Services

log = logging.getLogger(__name__)
_LOW_BYTES = 64 * 2**20


class Health(BaseModel):
    """The state of this process.

    Attributes:
        worker: ``ready`` if one is connected; ``starting`` until then (the first job starts it).
        storage: Whether results and uploads can be written.
        free_mb: Free space where they are.
    """

    status: Literal["ok"] = "ok"
    version: str
    worker: Literal["ready", "starting"]
    storage: Literal["ok", "read-only", "full"]
    free_mb: int | None


def health_routes(services: Services) -> APIBlueprint:
    """The route of the health check."""
    api = APIBlueprint("health", __name__, abp_tags=[Tag(name="health")])

    @api.get("/health", responses={200: Health})
    def health() -> dict[str, Any]:
        """Say whether this process answers, and what it can do."""
        storage, free_mb = _storage(services.settings.home)
        return Health(
            version=__version__,
            worker="ready" if _worker_ready(services) else "starting",
            storage=storage,
            free_mb=free_mb,
        ).model_dump()

    return api


def _worker_ready(services: Services) -> bool:
    try:
        return bool(services.service.executor.ready)  # type: ignore[attr-defined]
    except Exception as error:
        log.debug("no worker: %s", error)
        return False


def _storage(home: Path) -> tuple[Literal["ok", "read-only", "full"], int | None]:
    folder = next((p for p in (home, *home.parents) if p.exists()), home)
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return "read-only", None
    if not os.access(folder, os.W_OK | os.X_OK):
        return "read-only", free // 2**20
    return ("full" if free < _LOW_BYTES else "ok"), free // 2**20
