"""``/own-matrices``: a visitor's own recording in every cell, decoded on the worker; ``/decoders``.

A matrix belongs to whoever asked for it: another owner's does not exist. It can be read and heard
while it is being decoded, row by row; a row that is not there yet is not in ``done``. A request
names a model that has decoders here and an upload of its owner's; no path is made from it.
"""

from __future__ import annotations

import logging
from typing import Any

from flask import Response, jsonify, request, url_for
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field
from werkzeug.exceptions import UnsupportedMediaType

from insidessl_dash.core.errors import InsideSSLError, NotFoundError
from insidessl_dash.dashboard import urls
from insidessl_dash.dashboard.routes.cells import (
    ExampleDocument,
    Kind,
    example_document,
    sound_response,
)
from insidessl_dash.dashboard.routes.errors import ErrorBody
from insidessl_dash.dashboard.routes.owner import current_owner
from insidessl_dash.dashboard.routes.services import Services
from insidessl_dash.engine.own import ears
from insidessl_dash.engine.own_spec import LONGEST_S
from insidessl_dash.engine.spec import Job, MatrixSpec
from insidessl_dash.results.decoder_banks import Bank, DecoderBanks, training_command
from insidessl_dash.results.explorer import References
from insidessl_dash.results.own_matrices import OwnMatrices, OwnMatrix

log = logging.getLogger(__name__)
_MOST_LAYERS = 99
_KEEP = "private, no-cache"  # asked for again each time: a deleted recording is heard no more


class OwnPath(BaseModel):
    """Names one matrix of yours."""

    key: str = Field(max_length=64)


class OwnReferencePath(OwnPath):
    """Names a sound that is no cell: the original, or its own mel vocoded."""

    sound: References
    kind: Kind


class OwnCellPath(OwnPath):
    """Names the sound of a cell: decoder D^(i), tokens z^(j), places in the model's layers."""

    i: int = Field(ge=0, le=_MOST_LAYERS)
    j: int = Field(ge=0, le=_MOST_LAYERS)
    kind: Kind


class Decodable(BaseModel):
    """A model whose layers can be heard here; `missing` are layers without a decoder."""

    model: str
    title: str
    layers: list[str]
    decoder_layers: list[str]
    missing: list[str]
    preset: str
    updates: int | None
    vocoder: str
    content: str = Field(description="The model that judges what is said.")
    voice: str = Field(description="The model that judges who speaks.")


class NotDecodable(BaseModel):
    """A model without decoders here, and the command that trains them."""

    model: str
    title: str
    command: str


class DecoderList(BaseModel):
    """What a recording can be decoded with."""

    models: list[Decodable]
    others: list[NotDecodable]
    longest_s: float = Field(description="Of a recording, from its beginning, that is decoded.")


class OwnSummary(BaseModel):
    """A matrix of yours without its scores; fields as those of an example of the explorer."""

    key: str
    model: str
    name: str
    title: str
    voice: str
    gender: str
    text: str
    corpus: str
    seconds: float
    layers: list[str]
    upload: str
    finished: bool
    created: str
    url: str
    page: str


class OwnList(BaseModel):
    """Your matrices, oldest first."""

    matrices: list[OwnSummary]


class OwnDocument(ExampleDocument):
    """A matrix of yours as far as it is: scores of the rows in `done`, None in the others."""

    upload: str
    notes: list[str]
    done: list[str]
    finished: bool
    wall_s: float


def own_routes(services: Services) -> APIBlueprint:
    """Routes of the visitors' own matrices."""
    api = APIBlueprint("own", __name__, abp_tags=[Tag(name="own matrices")])
    known = OwnMatrices(services.settings.home)
    banks = DecoderBanks(services.settings.home, services.settings.precomputed)

    @api.before_request
    def only_json() -> None:
        if request.method == "POST" and not request.is_json:
            raise UnsupportedMediaType("Send model and upload as application/json.")

    @api.get("/decoders", responses={200: DecoderList})
    def list_decoders() -> dict[str, Any]:
        """List the models whose layers can be heard here, and how to train decoders of others."""
        found = {bank.model: bank for bank in banks.models()}
        models, others = [], []
        for card in services.registry.cards():
            try:
                if card.name in found:
                    models.append(_decodable(found[card.name], card.title, services))
                    continue
            except InsideSSLError as error:
                log.warning("%s cannot be decoded: %s", card.name, error)
            if card.size != "baseline":
                command = training_command(card.name)
                others.append(NotDecodable(model=card.name, title=card.title, command=command))
        body = DecoderList(models=models, others=others, longest_s=LONGEST_S)
        return body.model_dump(mode="json")

    @api.post("/own-matrices", responses={202: Job, 404: ErrorBody, 409: ErrorBody, 415: ErrorBody})
    def decode_recording(body: MatrixSpec) -> Response:
        """Decode every layer of one of your uploads with every decoder of a model.

        The answer is a job: its progress counts cells, and ``results`` has the key of the matrix
        once there is something to hear. The same recording and model asked twice is decoded once;
        what an interrupted job finished stays. Of a long recording the first seconds are taken.
        """
        job = services.service.submit(body, current_owner())
        response = jsonify(job.model_dump(mode="json"))
        response.status_code = 202
        response.headers["Location"] = url_for("jobs.get_job", id=job.id)
        return response

    @api.get("/own-matrices", responses={200: OwnList})
    def list_own() -> dict[str, Any]:
        """List your matrices; each is deleted with the recording it was made from."""
        mine = [matrix for matrix in known.list(current_owner()) if _alive(services, matrix)]
        return OwnList(matrices=[summary(matrix) for matrix in mine]).model_dump(mode="json")

    @api.get("/own-matrices/<key>", responses={200: OwnDocument, 404: ErrorBody})
    def get_own(path: OwnPath) -> dict[str, Any]:
        """Show one of your matrices as far as it is."""
        matrix = _mine(services, known, path.key)
        return {
            **example_document(matrix.example, matrix.key[:12]),
            "upload": matrix.head.upload,
            "notes": matrix.head.notes,
            "done": matrix.done,
            "finished": matrix.finished,
            "wall_s": matrix.wall_s,
        }

    @api.get("/own-matrices/<key>/<sound>.<kind>", responses={404: ErrorBody})
    def get_own_reference(path: OwnReferencePath) -> Response:
        """Hear your recording as it was decoded, or its own mel through the vocoder."""
        matrix = _mine(services, known, path.key)
        sound = known.reference(current_owner(), path.key, path.sound)
        name = f"{matrix.example.model.name}-own-{path.sound}"
        return sound_response(sound, path.kind, name, keep=_KEEP)

    @api.get("/own-matrices/<key>/cells/<i>/<j>.<kind>", responses={404: ErrorBody})
    def get_own_cell(path: OwnCellPath) -> Response:
        """Hear one cell: decoder i reading the tokens of layer j of your recording."""
        matrix = _mine(services, known, path.key)
        sound = known.cell(current_owner(), path.key, path.i, path.j)
        name = f"{matrix.example.model.name}-own-decoder-{path.i}-tokens-{path.j}"
        return sound_response(sound, path.kind, name, keep=_KEEP)

    return api


def summary(matrix: OwnMatrix) -> OwnSummary:
    """What the explorer lists of a matrix."""
    example = matrix.example
    return OwnSummary(
        key=matrix.key,
        model=example.model.name,
        name=matrix.key,
        title=example.model.title,
        voice=example.voice,
        gender="",
        text="",
        corpus=example.corpus,
        seconds=example.seconds,
        layers=example.layers,
        upload=matrix.head.upload,
        finished=matrix.finished,
        created=matrix.head.created,
        url=urls.own_matrix(matrix.key),
        page=urls.own_page(matrix.key),
    )


def _mine(services: Services, known: OwnMatrices, key: str) -> OwnMatrix:
    """A matrix of the owner behind this request, whose recording is still there.

    Raises:
        NotFoundError: There is none.
    """
    matrix = known.get(current_owner(), key)
    services.uploads.get(current_owner(), matrix.head.upload)
    return matrix


def _alive(services: Services, matrix: OwnMatrix) -> bool:
    try:
        services.uploads.get(current_owner(), matrix.head.upload)
    except NotFoundError:
        return False
    return True


def _decodable(bank: Bank, title: str, services: Services) -> Decodable:
    heard = ears(bank, services.registry)
    return Decodable(
        model=bank.model,
        title=title,
        layers=list(bank.layers),
        decoder_layers=list(bank.decoder_layers),
        missing=list(bank.missing),
        preset=bank.preset,
        updates=bank.updates,
        vocoder=heard.vocoder_title,
        content=heard.content.title,
        voice=heard.voice.title,
    )
