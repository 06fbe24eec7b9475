"""``/lab``: the Signal Lab. Ask what each layer makes of a perturbed sound; see it and hear it.

A question names a clip, models, a perturbation and its strength, all from lists that ``GET /lab``
gives; nothing is computed in a request. Questions belong to whoever asked them, and so do the
sounds.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any, Literal

from flask import Response, jsonify, request, send_file, url_for
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field
from werkzeug.exceptions import UnsupportedMediaType

from insidessl_dash.core import dials
from insidessl_dash.core.errors import ConflictError
from insidessl_dash.core.lab import LONGEST_S, MEASURES, MOST_MODELS
from insidessl_dash.dashboard import theme, urls
from insidessl_dash.dashboard.callbacks.choice import Catalogue
from insidessl_dash.dashboard.figures.lab import lab_caption, lab_figure, shown_measure
from insidessl_dash.dashboard.figures.words import layer_table
from insidessl_dash.dashboard.pages import lab as page
from insidessl_dash.dashboard.pages.markup import markup
from insidessl_dash.dashboard.routes.errors import ErrorBody
from insidessl_dash.dashboard.routes.owner import current_owner
from insidessl_dash.dashboard.routes.results import public_result
from insidessl_dash.dashboard.routes.services import Services
from insidessl_dash.engine.lab import Lab
from insidessl_dash.engine.lab_spec import LabAnswer, LabQuestion, LabTicket, Sound
from insidessl_dash.results.export import to_csv

_DAY_S = 86_400


class LabPath(BaseModel):
    """Names one question."""

    id: str = Field(max_length=64)


class LabSoundPath(LabPath):
    """Names one of its two sounds."""

    sound: Sound


class LabView(BaseModel):
    """How its figure is drawn."""

    measure: str = Field("", max_length=40)
    scheme: theme.Scheme = "light"
    compact: Literal["0", "1"] = "0"


class LabDial(BaseModel):
    """One perturbation; the control derives from it."""

    name: str
    title: str
    parameter: str
    unit: str
    low: float
    high: float
    step: float
    default: float
    neutral: float | None
    logarithmic: bool
    ends: tuple[str, str]
    description: str
    alignment: str


class LabModel(BaseModel):
    """A model whose weights are on this machine."""

    name: str
    title: str
    size: str


class LabClip(BaseModel):
    """An utterance of the demo corpus."""

    id: str
    speaker: str
    gender: str
    text: str
    seconds: float | None


class LabMeasure(BaseModel):
    """One way to compare a layer's two versions."""

    name: str
    title: str
    label: str
    reading: str


class LabChoices(BaseModel):
    """All that a question can be made of; your uploads are at ``/uploads``."""

    perturbations: list[LabDial]
    models: list[LabModel]
    clips: list[LabClip]
    measures: list[LabMeasure]
    most_models: int
    longest_s: float


class LabDrawing(BaseModel):
    """The figure of an answer for Plotly, and what is written around it, as HTML."""

    figure: dict[str, Any]
    measure: str
    reading: str
    caption: str
    numbers: str
    export: str


def lab_routes(services: Services) -> APIBlueprint:
    """Routes of the Signal Lab."""
    api = APIBlueprint("lab", __name__, abp_tags=[Tag(name="signal lab")])
    lab = services.lab
    catalogue = Catalogue(services.store, services.registry, lambda: [], lambda key: False)

    @api.before_request
    def only_json() -> None:
        if request.method == "POST" and not request.is_json:
            raise UnsupportedMediaType("Send the question as application/json.")

    @api.get("/lab", responses={200: LabChoices})
    def list_choices() -> dict[str, Any]:
        """List perturbations with their ranges, models at hand, and clips of the demo corpus."""
        return _choices(lab).model_dump(mode="json")

    @api.post("/lab", responses={200: LabTicket, 202: LabTicket, 404: ErrorBody, 415: ErrorBody})
    def ask(body: LabQuestion) -> Response:
        """Ask how alike each layer finds a clip and its perturbed version.

        200 with the answer where it is known, else 202: look again at ``Location``. A newer
        question of yours takes the place of one that has not begun.
        """
        ticket = lab.ask(body, current_owner())
        response = jsonify(_public(ticket))
        response.status_code = 200 if ticket.state == "done" else 202
        response.headers["Location"] = url_for("lab.get_question", id=ticket.id)
        return response

    @api.get("/lab/<id>", responses={200: LabTicket, 404: ErrorBody})
    def get_question(path: LabPath) -> dict[str, Any]:
        """Show one of your questions, with its answer once there is one."""
        return _public(lab.get(path.id, current_owner()))

    @api.get("/lab/<id>/figure", responses={200: LabDrawing, 404: ErrorBody, 409: ErrorBody})
    def get_figure(path: LabPath, query: LabView) -> dict[str, Any]:
        """Draw an answer: similarity over layers, its caption and its numbers."""
        ticket, answer = _answered(lab, path.id)
        dial = dials.find(ticket.question.perturbation)
        shown = shown_measure(answer.results, query.measure)
        compact = query.compact == "1"
        figure = lab_figure(
            answer.results, shown.name, catalogue.looks(query.scheme),
            scheme=query.scheme, compact=compact, height=340 if compact else 430,
        )  # fmt: skip
        caption = lab_caption(
            answer.results, dial, ticket.question.strength, shown, query.measure or None
        )
        places = {kind: [urls.lab_export(path.id, kind)] for kind in ("csv", "json")}
        return LabDrawing(
            figure=figure,
            measure=shown.name,
            reading=shown.reading,
            caption=markup(page.caption_children(caption)),
            numbers=markup(page.numbers(answer.results, shown, layer_table)),
            export=markup(page.export(places, ticket.question)),
        ).model_dump(mode="json")

    @api.get("/lab/<id>.csv", responses={404: ErrorBody, 409: ErrorBody})
    def get_csv(path: LabPath) -> Response:
        """Download an answer as CSV: a row a model, measure and layer."""
        _ticket, answer = _answered(lab, path.id)
        return _attachment(to_csv(answer.results), "text/csv; charset=utf-8", "csv")

    @api.get("/lab/<id>.json", responses={404: ErrorBody, 409: ErrorBody})
    def get_json(path: LabPath) -> Response:
        """Download an answer as JSON: one result a model, with its provenance."""
        ticket, _answer = _answered(lab, path.id)
        return _attachment(json.dumps(_public(ticket), indent=1) + "\n", "application/json", "json")

    @api.get("/lab/<id>/<sound>.wav", responses={404: ErrorBody})
    def get_sound(path: LabSoundPath) -> Response:
        """Hear the original or the perturbed sound, under one gain, as 16-bit WAV at 16 kHz."""
        content, private = lab.sound(path.id, current_owner(), path.sound)
        response = send_file(
            io.BytesIO(content),
            mimetype="audio/wav",
            download_name=f"signal-lab-{path.sound}.wav",
            etag=hashlib.sha256(content).hexdigest()[:32],
            conditional=True,
        )
        keep = not private and "v" in request.args
        response.headers["Cache-Control"] = (
            f"private, max-age={_DAY_S}, immutable" if keep else "private, no-cache"
        )
        return response

    return api


def _choices(lab: Lab) -> LabChoices:
    return LabChoices(
        perturbations=[
            LabDial(**{name: getattr(dial, name) for name in LabDial.model_fields})
            for dial in dials.DIALS.values()
        ],
        models=[LabModel(name=c.name, title=c.title, size=c.size) for c in lab.models()],
        clips=[
            LabClip(
                id=clip.id,
                speaker=clip.speaker or "",
                gender=clip.gender or "",
                text=clip.text or "",
                seconds=clip.seconds,
            )
            for clip in lab.clips()
        ],
        measures=[
            LabMeasure(**{name: getattr(info, name) for name in LabMeasure.model_fields})
            for info in MEASURES
        ],
        most_models=MOST_MODELS,
        longest_s=LONGEST_S,
    )


def _public(ticket: LabTicket) -> dict[str, Any]:
    """A question as JSON, without folders of this machine."""
    body = ticket.model_dump(mode="json")
    if ticket.answer is not None:
        body["answer"]["results"] = [public_result(result) for result in ticket.answer.results]
    return body


def _answered(lab: Lab, id: str) -> tuple[LabTicket, LabAnswer]:
    """A question that has its answer.

    Raises:
        ConflictError: It has none, or none yet.
    """
    ticket = lab.get(id, current_owner())
    if ticket.answer is None:
        raise ConflictError(f"This question is {ticket.state}: there is no answer to draw.")
    return ticket, ticket.answer


def _attachment(text: str, mimetype: str, kind: str) -> Response:
    return Response(
        text,
        content_type=mimetype,
        headers={"Content-Disposition": f'attachment; filename="signal-lab.{kind}"'},
    )
