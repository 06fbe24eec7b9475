"""``/corpora``: speech that a job can name."""

from __future__ import annotations

from typing import Any

from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel

from insidessl_dash.corpora.downloads import DOWNLOADS
from insidessl_dash.corpora.known import CorpusCard, known_corpora
from insidessl_dash.dashboard.routes.services import Services


class DownloadCard(BaseModel):
    """A corpus that this installation can fetch, with the command that does."""

    name: str
    title: str
    megabytes: int
    licence: str
    source: str
    command: str


class Corpora(BaseModel):
    """Corpora that are here, and those that could be."""

    corpora: list[CorpusCard]
    downloads: list[DownloadCard]


def corpus_routes(services: Services) -> APIBlueprint:
    """Routes of the corpora."""
    api = APIBlueprint("corpora", __name__, abp_tags=[Tag(name="corpora")])

    @api.get("/corpora", responses={200: Corpora})
    def list_corpora() -> dict[str, Any]:
        """List the corpora that are here, and those that could be downloaded."""
        here = known_corpora(services.settings)
        names = {card.name for card in here}
        return {
            "corpora": [card.model_dump(mode="json") for card in here],
            "downloads": [
                DownloadCard(
                    name=item.name,
                    title=item.title,
                    megabytes=round(item.bytes / 1e6),
                    licence=item.licence,
                    source=item.page,
                    command=f"insidessl-dash data get {item.name}",
                ).model_dump(mode="json")
                for item in DOWNLOADS.values()
                if item.name not in names
            ],
        }

    return api
