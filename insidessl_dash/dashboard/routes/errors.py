"""Errors over HTTP: one JSON shape under ``/api``, and never a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Response, jsonify, make_response, request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import HTTPException

from insidessl_dash.core.errors import InsideSSLError

if TYPE_CHECKING:
    from flask import Flask


class FieldError(BaseModel):
    """What is wrong with one field of a request."""

    field: str
    message: str


class ErrorInfo(BaseModel):
    """``type`` is stable and for programs, ``message`` for people."""

    type: str
    message: str
    fields: list[FieldError] | None = None


class ErrorBody(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorInfo


def error_info(error: InsideSSLError) -> ErrorInfo:
    """What the API says of an error that a user can act on."""
    return ErrorInfo(type=type(error).__name__, message=str(error))


def error_response(status: int, info: ErrorInfo) -> Response:
    """An error as JSON."""
    response = jsonify(ErrorBody(error=info).model_dump(exclude_none=True))
    response.status_code = status
    return response


def validation_response(error: ValidationError) -> Response:
    """A request that does not fit its schema: 422, with every field that is wrong."""
    fields = [
        FieldError(field=".".join(map(str, item["loc"])) or "body", message=item["msg"])
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    said = "; ".join(f"{item.field}: {item.message}" for item in fields[:3])
    more = f"; and {len(fields) - 3} more" if len(fields) > 3 else ""
    message = f"The request is not valid: {said}{more}."
    return error_response(422, ErrorInfo(type="ValidationError", message=message, fields=fields))


def register_errors(server: Flask) -> None:
    """Answer errors as JSON under ``/api``, and tell a browser elsewhere in plain words."""

    @server.errorhandler(InsideSSLError)
    def of_ours(error: InsideSSLError) -> Response:
        return error_response(error.status, error_info(error))

    @server.errorhandler(HTTPException)
    def of_http(error: HTTPException) -> Response | HTTPException:
        if error.response is not None or not request.path.startswith("/api"):
            return error
        status = error.code or 500
        name = type(error).__name__
        message = _MESSAGES.get(status, error.description or error.name)
        response = error_response(status, ErrorInfo(type=name, message=message))
        allow = dict(error.get_headers()).get("Allow")
        if allow:
            response.headers["Allow"] = allow
        return response

    @server.errorhandler(500)
    def of_bugs(error: HTTPException) -> Response:
        if request.path.startswith("/api"):
            info = ErrorInfo(type="InternalServerError", message=_MESSAGES[500])
            return error_response(500, info)
        return make_response(_MESSAGES[500], 500, {"Content-Type": "text/plain; charset=utf-8"})


_MESSAGES = {
    404: "There is nothing at this address. /api/v1/openapi.json lists what there is.",
    405: "This address does not take that method. /api/v1/openapi.json lists what there is.",
    413: "The request is too large.",
    500: "An error in this program; its log has the details. Please report it.",
}
