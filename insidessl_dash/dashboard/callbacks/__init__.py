"""Callbacks: they read the page's state, call figures and pages, and hand back what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insidessl_dash.dashboard.callbacks import analysis, dynamics, screen

if TYPE_CHECKING:
    import dash

    from insidessl_dash.dashboard.callbacks.choice import Catalogue


def register(app: dash.Dash, catalogue: Catalogue) -> None:
    """Wire every callback of the page."""
    screen.register(app)
    dynamics.register(app, catalogue)
    analysis.register(app, catalogue)
