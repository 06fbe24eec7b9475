"""``/models``: which models there are."""

from __future__ import annotations

from typing import Any

from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.dashboard.routes.errors import ErrorBody
from insidessl_dash.dashboard.routes.services import Services


class ModelPath(BaseModel):
    """Names one model."""

    name: str = Field(max_length=64)


class Models(BaseModel):
    """Every model that a job can name."""

    models: list[ModelCard]


def model_routes(services: Services) -> APIBlueprint:
    """Routes of the registry."""
    api = APIBlueprint("models", __name__, abp_tags=[Tag(name="models")])

    @api.get("/models", responses={200: Models})
    def list_models() -> dict[str, Any]:
        """List the models."""
        return {"models": [public_card(card) for card in services.registry.cards()]}

    @api.get("/models/<name>", responses={200: ModelCard, 404: ErrorBody})
    def get_model(path: ModelPath) -> dict[str, Any]:
        """Show one model."""
        return public_card(services.registry.get(path.name))

    return api


def public_card(card: ModelCard) -> dict:
    """A card without the folder that a local model was added from."""
    return {**card.model_dump(mode="json"), "source": public_source(card.source)}


def public_source(source: str) -> str:
    """Where weights come from, where that is not a folder of this machine.

    >>> public_source("/home/someone/model"), public_source("facebook/hubert-base-ls960")
    ('a folder of this installation', 'facebook/hubert-base-ls960')
    """
    return (
        "a folder of this installation"
        if source[:1] in ("/", "\\", "~", ".") or (source[1:3] in (":\\", ":/"))
        else source
    )
