"""What the browser knows and the server does not: the colour scheme, how wide it is, the address.

A section never writes the address itself. It names the parameters of what it shows, and the
browser sets those and leaves the others. What the visitor asks for, on opening a link and on going
back, comes as a numbered `Asked`; a section follows it until it has answered to that number, so
that an answer that Dash drops (it drops every answer that a newer question overtakes) loses
nothing.
"""

from __future__ import annotations

from typing import TypedDict

import dash
from dash import ClientsideFunction, Input, Output

from insidessl_dash.dashboard import ids, theme


class Asked(TypedDict):
    """An address that the visitor went to; assets/js/1-page.js writes it.

    Attributes:
        search: Its query string.
        visit: Counts the addresses.
    """

    search: str
    visit: int


class Shown(TypedDict):
    """What a section wants in the address.

    Attributes:
        values: Its parameters; those that are None are taken away.
        replace: Whether this is what the visitor asked for, so that going back must not lead here.
    """

    values: dict[str, str | None]
    replace: bool


class Screen(TypedDict):
    """Kept in the browser; assets/js/page.js writes it."""

    scheme: theme.Scheme
    compact: bool


def register(app: dash.Dash) -> None:
    """Fill the stores, which the script then keeps in step; paint what is handed over."""
    app.clientside_callback(
        ClientsideFunction("insidessl", "screen"),
        Output(ids.SCREEN, "data"),
        Input(ids.SCREEN, "id"),
    )
    app.clientside_callback(
        ClientsideFunction("insidessl", "asked"),
        Output(ids.ASKED, "data"),
        Input(ids.ASKED, "id"),
    )
    for store in (ids.SHOWN, ids.OWN_SHOWN):
        app.clientside_callback(ClientsideFunction("insidessl", "shown"), Input(store, "data"))
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
