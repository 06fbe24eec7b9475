"""Headers that tell the browser what this site never does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Response, current_app, request

if TYPE_CHECKING:
    from flask import Flask

_SCRIPTS = "INSIDESSL_INLINE_SCRIPTS"
_API_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self), payment=(), usb=()",
}


def allow_inline_scripts(server: Flask, hashes: Iterable[str]) -> None:
    """Name the page's own inline scripts (``app.csp_hashes()``), so that no other one runs.

    Until this is called any inline script may run.
    """
    server.config[_SCRIPTS] = " ".join(f"'{item.strip(chr(39))}'" for item in hashes)


def register_headers(server: Flask) -> None:
    """Add the headers to every answer."""
    server.config.setdefault(_SCRIPTS, "'unsafe-inline'")

    @server.after_request
    def add(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        api = request.path.startswith("/api/")
        policy = _API_POLICY if api else _page_policy()
        response.headers.setdefault("Content-Security-Policy", policy)
        if api:
            response.headers.setdefault("Cache-Control", "no-store")
        return response


def _page_policy() -> str:
    """Everything from here; Plotly sets inline styles, and draws exports through blobs."""
    scripts = current_app.config[_SCRIPTS]
    return "; ".join(
        [
            "default-src 'self'",
            f"script-src 'self' {scripts}".rstrip(),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "media-src 'self' blob:",
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'self'",
        ]
    )
