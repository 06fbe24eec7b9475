"""``/lenses``: what can be measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel

from insidessl_dash.core.lenses import LENSES, LensInfo
from insidessl_dash.dashboard.routes.services import Services


class Lenses(BaseModel):
    """Every lens, with its measures and the options of a job."""

    lenses: list[LensInfo]


def lens_routes(services: Services) -> APIBlueprint:
    """Routes of the lenses."""
    api = APIBlueprint("lenses", __name__, abp_tags=[Tag(name="lenses")])

    @api.get("/lenses", responses={200: Lenses})
    def list_lenses() -> dict[str, Any]:
        """List the lenses."""
        return {"lenses": [asdict(lens) for lens in LENSES]}

    return api
