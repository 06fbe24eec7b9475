"""What the browser knows and the server does not: the colour scheme, and how wide it is."""

from __future__ import annotations

from typing import TypedDict

import dash
from dash import ClientsideFunction, Input, Output

from insidessl_dash.dashboard import ids, theme


class Screen(TypedDict):
    """Kept in the browser; assets/js/page.js writes it."""

    scheme: theme.Scheme
    compact: bool


def register(app: dash.Dash) -> None:
    """Fill the screen store, which the script then keeps in step; paint what is handed over."""
    app.clientside_callback(
        ClientsideFunction("insidessl", "screen"),
        Output(ids.SCREEN, "data"),
        Input(ids.SCREEN, "id"),
    )
    for store in (ids.PAINT, ids.OWN_PAINT):
        app.clientside_callback(ClientsideFunction("insidessl", "paint"), Input(store, "data"))
    app.clientside_callback(ClientsideFunction("insidessl", "trouble"), Input(ids.TROUBLE, "data"))


def read(screen: Screen | None) -> tuple[theme.Scheme, bool]:
    """Scheme and compactness; light and wide until the browser has said.

    >>> read(None)
    ('light', False)
    """
    screen = screen or {"scheme": "light", "compact": False}
    return ("dark" if screen.get("scheme") == "dark" else "light"), bool(screen.get("compact"))
