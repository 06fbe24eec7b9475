"""What the routes call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from insidessl_dash.core.registry import Registry
    from insidessl_dash.core.settings import Settings
    from insidessl_dash.engine.lab import Lab
    from insidessl_dash.engine.service import JobService
    from insidessl_dash.engine.uploads import Uploads
    from insidessl_dash.results.store import Store


@dataclass(frozen=True)
class Services:
    """The rooms behind the HTTP routes, made once a process."""

    store: Store
    service: JobService
    uploads: Uploads
    settings: Settings
    registry: Registry
    lab: Lab
