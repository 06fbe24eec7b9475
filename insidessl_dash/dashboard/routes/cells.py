"""``/examples``: the audio explorer's examples and their sounds; ``/gcm``: a page for each cell.

A request names an example by the names it was discovered under, and a cell by two integers; no
path is ever made from a request. Sounds are kept as Opus, sent with ranges and entity tags, and may
be kept for ever where the address carries the version (``v``) of the example. WAV is decoded here,
at the 16 kHz that it was made at, for whoever cannot decode Opus or wants a file; a browser would
give back what it resampled.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import soundfile
from flask import Flask, Response, make_response, request, send_file
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from insidessl_dash.core.errors import AudioError, NotFoundError
from insidessl_dash.core.types import LEVEL_DBFS, PLAYED_DB
from insidessl_dash.dashboard import urls
from insidessl_dash.dashboard.pages import explorer as page
from insidessl_dash.dashboard.pages import shell
from insidessl_dash.dashboard.pages.markup import markup
from insidessl_dash.dashboard.routes.errors import ErrorBody
from insidessl_dash.dashboard.routes.models import public_source
from insidessl_dash.dashboard.routes.services import Services
from insidessl_dash.results.explorer import Example, Examples, References

_YEAR_S = 31_536_000
_MOST_LAYERS = 99
_SHEETS = ("1-tokens", "2-base", "3-shell", "4-controls", "5-figures", "9-cells", "9-explorer")
_SCRIPTS = (
    "js/1-page.js",
    *(f"js/6-explorer-{part}.js" for part in ("cells", "example", "panel", "sound", "views")),
    "js/6-explorer.js",
)
_HTML = {"Content-Type": "text/html; charset=utf-8"}

Kind = Literal["opus", "wav"]


class ExamplePath(BaseModel):
    """Names one example: its model, and its own name."""

    model: str = Field(max_length=200)
    example: str = Field(max_length=200)


class ReferencePath(ExamplePath):
    """Names a sound that is no cell: the original, or its own mel vocoded."""

    sound: References
    kind: Kind


class CellPath(ExamplePath):
    """Names the sound of a cell: decoder D^(i), tokens z^(j), places in the model's layers."""

    i: int = Field(ge=0, le=_MOST_LAYERS)
    j: int = Field(ge=0, le=_MOST_LAYERS)
    kind: Kind


class ExampleFilter(BaseModel):
    """Narrows the list."""

    model: str | None = Field(None, max_length=200)


class ExampleSummary(BaseModel):
    """An example without its scores; `page` shows it, and a cell of it below ``/i/j``."""

    model: str
    name: str
    title: str
    voice: str
    gender: str
    text: str
    corpus: str
    seconds: float
    layers: list[str]
    url: str
    page: str


class ExampleList(BaseModel):
    """Every utterance that can be heard in every cell."""

    examples: list[ExampleSummary]


class ExampleDocument(Example):
    """An example.

    `version` changes when it does, and is what ``v`` carries; `level_dbfs` is the level of the
    speech, which the original was brought to as well.
    """

    version: str
    level_dbfs: float


def cell_routes(services: Services) -> APIBlueprint:
    """Routes of the examples and their sounds."""
    api = APIBlueprint("examples", __name__, abp_tags=[Tag(name="examples")])
    known = Examples(services.settings.home, services.settings.precomputed)

    @api.get("/examples", responses={200: ExampleList})
    def list_examples(query: ExampleFilter) -> dict[str, Any]:
        """List the examples of the audio explorer."""
        return {
            "examples": [
                ExampleSummary(
                    model=header.model,
                    name=header.name,
                    title=header.example.model.title,
                    voice=header.example.voice,
                    gender=header.example.gender,
                    text=header.example.text,
                    corpus=header.example.corpus,
                    seconds=header.example.seconds,
                    layers=header.example.layers,
                    url=urls.example(header.model, header.name),
                    page=urls.cell_page(header.model, header.name),
                ).model_dump()
                for header in known.headers()
                if query.model in (None, header.model)
            ]
        }

    @api.get("/examples/<model>/<example>", responses={200: ExampleDocument, 404: ErrorBody})
    def get_example(path: ExamplePath) -> dict[str, Any]:
        """Show one example: what is heard, and its scores in every cell."""
        found = known.get(path.model, path.example)
        return example_document(found, known.version(path.model, path.example))

    @api.get("/examples/<model>/<example>/<sound>.<kind>", responses={404: ErrorBody})
    def get_reference(path: ReferencePath) -> Response:
        """Hear the original, or its own mel through the vocoder, as Opus or WAV."""
        name = f"{path.model}-{path.example}-{path.sound}"
        return sound_response(
            known.reference(path.model, path.example, path.sound), path.kind, name
        )

    @api.get("/examples/<model>/<example>/cells/<i>/<j>.<kind>", responses={404: ErrorBody})
    def get_cell(path: CellPath) -> Response:
        """Hear one cell: decoder i reading the tokens of layer j, as Opus or WAV."""
        name = f"{path.model}-{path.example}-decoder-{path.i}-tokens-{path.j}"
        return sound_response(known.cell(path.model, path.example, path.i, path.j), path.kind, name)

    return api


def example_document(example: Example, version: str) -> dict[str, Any]:
    """An `ExampleDocument` as JSON."""
    body = example.model_dump(mode="json")
    body["model"]["source"] = public_source(body["model"]["source"])
    return {**body, "version": version, "level_dbfs": LEVEL_DBFS + PLAYED_DB}


def register_cell_pages(
    server: Flask,
    examples: Examples,
    own: Callable[[str], Example],
    asset: Callable[[str], str],
) -> None:
    """Serve a page for each example and each of its cells.

    Args:
        server: Of the dashboard.
        examples: What there is to hear.
        own: The matrix of a key, of whoever asks; raises NotFoundError.
        asset: The address of an asset.
    """

    def document(title: str, main: str, *, scripts: bool) -> str:
        head = (
            f'<link rel="icon" type="image/svg+xml" href="{asset("mark.svg")}">'
            f'<script src="{asset("boot.js")}"></script>'
            + "".join(
                f'<link rel="stylesheet" href="{asset(f"css/{name}.css")}">' for name in _SHEETS
            )
        )
        names = _SCRIPTS if scripts else ("js/1-page.js",)
        tail = "".join(f'<script src="{asset(name)}" defer></script>' for name in names)
        return shell.plain(title, main, head, tail)

    def unknown(why: str) -> Response:
        main = markup(page.unknown(why))
        return make_response(document("Not found", main, scripts=False), 404, _HTML)

    @server.route(f"{urls.GCM}/<model>/<example>")
    @server.route(f"{urls.GCM}/<model>/<example>/<i>/<j>")
    def cell_page(model: str, example: str, i: str = "", j: str = "") -> Response:
        mine = model == urls.OWN
        try:
            found = own(example) if mine else examples.get(model, example)
        except NotFoundError as error:
            return unknown(str(error))
        cell = None
        if i or j:
            if not all(part.isascii() and part.isdigit() and len(part) < 3 for part in (i, j)):
                return unknown("A cell is named by two whole numbers, decoder and token layer.")
            cell = int(i), int(j)
            if not found.has_cell(*cell):
                last = len(found.layers) - 1
                return unknown(
                    f"{found.model.title} has no cell with decoder {cell[0]} and tokens of layer "
                    f"{cell[1]}: its layers go from 0 to {last}"
                    + (f", and {len(found.missing)} have no decoder." if found.missing else ".")
                )
        main = markup(page.page(found, model, example, cell, _place(model, example)))
        title = f"{found.model.title}, {found.voice}"
        response = make_response(document(title, main, scripts=True), 200, _HTML)
        if mine:
            response.headers["Cache-Control"] = "private, no-store"
        return response


def _place(model: str, example: str) -> str:
    """Where the API has what the page of these names shows."""
    return urls.own_matrix(example) if model == urls.OWN else urls.example(model, example)


def sound_response(path: Path, kind: Kind, name: str, keep: str = "") -> Response:
    """A sound with its ranges and entity tag.

    Args:
        path: Of the Opus file.
        kind: As it is, or decoded.
        name: Of the file that a visitor saves.
        keep: Cache-Control; by default anybody's, for ever under its version.
    """
    if kind == "opus":
        response = send_file(path.resolve(), mimetype="audio/ogg", conditional=True)
    else:
        response = send_file(
            _wav(path),
            mimetype="audio/wav",
            as_attachment=True,
            download_name=f"{name}.wav",
            etag=f"{path.stat().st_mtime_ns:x}-{path.stat().st_size:x}-wav",
            conditional=True,
        )
    response.headers["Cache-Control"] = keep or (
        f"public, max-age={_YEAR_S}, immutable" if "v" in request.args else "no-cache"
    )
    return response


def _wav(path: Path) -> io.BytesIO:
    """The sound as 16-bit WAV at its own rate.

    Raises:
        AudioError: It is damaged.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32")
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{path.name} is damaged: it cannot be decoded.") from error
    found = io.BytesIO()
    soundfile.write(found, samples, rate, format="WAV", subtype="PCM_16")
    found.seek(0)
    return found
