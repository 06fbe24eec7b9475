"""Who is asking: a random token in the browser, known here only by its hash.

There are no accounts. A browser gets a token in a cookie that scripts cannot read and other sites
cannot send; a script brings its own secret as ``Authorization: Bearer``. Uploads, jobs and the
results of uploads belong to whoever holds the token.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TYPE_CHECKING

from flask import Response, g, request
from werkzeug.exceptions import Forbidden, Unauthorized

if TYPE_CHECKING:
    from flask import Flask

COOKIE = "insidessl_owner"
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{32,128}")
_DAYS = 30
_SAFE = ("GET", "HEAD", "OPTIONS")
_NO_COOKIE = (
    "/_dash-dependencies",
    "/_dash-component-suites/",
    "/assets/",
    "/_favicon",
    "/_reload",
)


def current_owner() -> str:
    """The owner behind this request: 32 hexadecimal digits, the only form that is ever stored."""
    return g.owner


def register_owner(server: Flask) -> None:
    """Find the owner of each request, and refuse changes that another site asks for."""

    @server.before_request
    def identify() -> None:
        if request.method not in _SAFE:
            _refuse_foreign()
        token = _bearer() or _cookie()
        if token is None:
            if request.method not in _SAFE and request.path.startswith("/api"):
                raise Unauthorized(
                    "Say who you are: send the cookie that any GET of this API sets, or "
                    "'Authorization: Bearer SECRET' with a secret of your own of 32 to 128 letters "
                    "and digits. What you send belongs to whoever holds it."
                )
            token = g.new_token = secrets.token_urlsafe(32)
        g.owner = hashlib.sha256(f"insidessl:{token}".encode()).hexdigest()[:32]

    @server.after_request
    def remember(response: Response) -> Response:
        token = g.get("new_token")
        anyones = response.cache_control.public  # a cache between may hand it to somebody else
        if token is None or anyones or _navigation() or request.path.startswith(_NO_COOKIE):
            return response
        response.set_cookie(
            COOKIE,
            token,
            max_age=_DAYS * 86_400,
            httponly=True,
            samesite="Strict",
            secure=request.is_secure,
        )
        return response


def _bearer() -> str | None:
    header = request.headers.get("Authorization")
    if header is None or not request.path.startswith("/api"):
        return None
    kind, _, token = header.partition(" ")
    if kind.lower() != "bearer":
        return None  # some other gatekeeper's, e.g. basic authentication at a proxy
    if not _TOKEN.fullmatch(token.strip()):
        raise Unauthorized("A bearer token has 32 to 128 letters, digits, '.', '_', '~' or '-'.")
    return token.strip()


def _cookie() -> str | None:
    token = request.cookies.get(COOKIE, "")
    return token if _TOKEN.fullmatch(token) else None


def _navigation() -> bool:
    """Whether a person is opening a page.

    After a link on another site a browser does not send a Strict cookie it has: a new one set in
    that answer would replace it, and its uploads with it. The page's own next request is asked.
    """
    mode = request.headers.get("Sec-Fetch-Mode")
    return mode == "navigate" or (mode is None and "text/html" in request.headers.get("Accept", ""))


def _refuse_foreign() -> None:
    """Refuse a change that a page of another site sends.

    Browsers say so in Sec-Fetch-Site; older ones, and plain http, in Origin. What neither header
    comes with is not a browser, or carries no cookie. X-Forwarded-Host may be believed here:
    another site cannot add it without a preflight that is never granted.
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site in ("same-origin", "none"):
        return
    if site is None and origin is None:
        return
    here = {request.host, request.headers.get("X-Forwarded-Host", request.host)}
    if site is None and origin is not None and origin.partition("://")[2] in here:
        return
    raise Forbidden("This request comes from another site, which may not change anything here.")
