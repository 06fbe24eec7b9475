"""``/uploads``: audio of the visitor, streamed to disk and checked file by file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Response, jsonify, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field
from werkzeug.exceptions import BadRequest, UnsupportedMediaType
from werkzeug.formparser import FormDataParser

from insidessl_dash.audio.limits import ACCEPTED
from insidessl_dash.core.errors import AudioError, ConfigError, InsideSSLError
from insidessl_dash.dashboard.routes.errors import ErrorBody, ErrorInfo, error_info
from insidessl_dash.dashboard.routes.owner import current_owner
from insidessl_dash.dashboard.routes.services import Services
from insidessl_dash.engine.incoming import Incoming
from insidessl_dash.engine.uploads import Upload

log = logging.getLogger(__name__)
_MOST_PARTS = 1000
_FIELD_BYTES = 512 * 1024  # also of the parser's window, which takes chunks of 64 kB
_ENVELOPE_BYTES = 2**20


class UploadPath(BaseModel):
    """Names one upload."""

    id: str = Field(max_length=64)


class Uploaded(BaseModel):
    """The visitor's uploads, oldest first."""

    uploads: list[Upload]
    accepted: str = Field(description="What kinds of file are taken, in words.")


class FileOutcome(BaseModel):
    """What became of one file of a request."""

    name: str
    ok: bool
    id: str | None = None
    upload: Upload | None = None
    error: ErrorInfo | None = None


class UploadOutcome(BaseModel):
    """What became of each file, in the order sent; `error` if none of them could be used."""

    files: list[FileOutcome]
    error: ErrorInfo | None = None


class Deleted(BaseModel):
    """How many were deleted."""

    deleted: int


_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "files": {"type": "array", "items": {"type": "string", "format": "binary"}}
                },
            }
        }
    },
}


def upload_routes(services: Services) -> APIBlueprint:
    """Routes of the visitor's uploads."""
    api = APIBlueprint("uploads", __name__, abp_tags=[Tag(name="uploads")])
    most_files = services.settings.upload_files

    @contextmanager
    def received() -> Iterator[list[Incoming[Upload]]]:
        """The files of this request, each written to disk as it came; none left behind."""
        owner = current_owner()
        incoming: list[Incoming[Upload]] = []

        def receive(
            total_content_length: int | None,
            filename: str | None,
            content_type: str | None,
            content_length: int | None = None,
        ) -> Incoming[Upload]:
            item = services.uploads.open(owner, filename)
            if len(incoming) >= most_files:
                item.refuse(
                    ConfigError(
                        f"{item.name}: one upload takes at most {most_files} files. "
                        "Send the rest in another."
                    )
                )
            incoming.append(item)
            return item

        parser = FormDataParser(
            stream_factory=receive,  # type: ignore[arg-type]
            max_form_memory_size=_FIELD_BYTES,
            max_form_parts=_MOST_PARTS,
            silent=False,
        )
        try:
            try:
                parser.parse(
                    request.stream,
                    request.mimetype,
                    request.content_length,
                    request.mimetype_params,
                )
            except ValueError as error:
                raise BadRequest(f"The multipart body is damaged: {error}.") from error
            yield incoming
        finally:
            for item in incoming:
                item.discard()

    @api.post(
        "/uploads",
        responses={201: UploadOutcome, 413: ErrorBody, 415: ErrorBody, 422: UploadOutcome},
        openapi_extensions={"requestBody": _BODY},
    )
    def add_uploads() -> Response:
        """Upload audio files; each is accepted or refused on its own.

        Send multipart/form-data with one part a file. 201 if any file was accepted.
        """
        request.max_content_length = services.settings.upload_mb * 2**20 + _ENVELOPE_BYTES
        if request.mimetype != "multipart/form-data":
            raise UnsupportedMediaType("Send the files as multipart/form-data, one part a file.")
        with received() as incoming:
            outcomes = [_finish(item) for item in incoming]
        if not outcomes:
            raise AudioError(f"No file in the request. Accepted: {ACCEPTED}.")
        body = UploadOutcome(files=[outcome for outcome, _status in outcomes])
        status = 201
        if not any(outcome.ok for outcome, _status in outcomes):
            first, status = outcomes[0]
            message = first.error.message if first.error else ""
            if len(outcomes) > 1:
                message = f"None of the {len(outcomes)} files could be used. {message}"
            body.error = ErrorInfo(type=first.error.type if first.error else "", message=message)
        response = jsonify(body.model_dump(mode="json", exclude_none=True))
        response.status_code = status
        return response

    @api.get("/uploads", responses={200: Uploaded})
    def list_uploads() -> dict[str, Any]:
        """List your uploads."""
        uploads = services.uploads.list(current_owner())
        return {"uploads": [u.model_dump(mode="json") for u in uploads], "accepted": ACCEPTED}

    @api.get("/uploads/<id>", responses={200: Upload, 404: ErrorBody})
    def get_upload(path: UploadPath) -> dict[str, Any]:
        """Show one of your uploads."""
        return services.uploads.get(current_owner(), path.id).model_dump(mode="json")

    @api.delete("/uploads/<id>", responses={200: Deleted, 404: ErrorBody})
    def delete_upload(path: UploadPath) -> dict[str, Any]:
        """Delete one of your uploads, and the ended jobs on it."""
        services.uploads.delete(current_owner(), path.id)
        services.service.forget(current_owner(), {path.id})
        services.lab.forget(current_owner(), {path.id})
        return {"deleted": 1}

    @api.delete("/uploads", responses={200: Deleted})
    def delete_uploads() -> dict[str, Any]:
        """Delete all of your uploads, and the ended jobs on them."""
        deleted = services.uploads.delete_all(current_owner())
        services.service.forget(current_owner())
        services.lab.forget(current_owner())
        return {"deleted": deleted}

    return api


def _finish(incoming: Incoming[Upload]) -> tuple[FileOutcome, int]:
    """Accept or refuse one file, whatever is wrong with it."""
    said: dict[str, Any] = {"name": incoming.name}
    try:
        upload = incoming.finish()
    except InsideSSLError as error:
        return FileOutcome(**said, ok=False, error=error_info(error)), error.status
    except Exception:
        log.exception("Checking an upload failed")
        message = f"{incoming.name}: could not be checked; the log of the server has the details."
        info = ErrorInfo(type="InternalServerError", message=message)
        return FileOutcome(**said, ok=False, error=info), 500
    return FileOutcome(**said, ok=True, id=upload.id, upload=upload), 201
