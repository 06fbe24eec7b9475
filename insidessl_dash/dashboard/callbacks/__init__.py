"""Callbacks: they read the page's state, call figures and pages, and hand back what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insidessl_dash.dashboard.callbacks import analysis, dynamics, gcm, screen, training

if TYPE_CHECKING:
    import dash

    from insidessl_dash.dashboard.callbacks.choice import Catalogue
    from insidessl_dash.results.matrix_files import Matrices
    from insidessl_dash.results.trajectories import Trajectories


def register(
    app: dash.Dash, catalogue: Catalogue, trajectories: Trajectories, matrices: Matrices
) -> None:
    """Wire every callback of the page."""
    screen.register(app)
    dynamics.register(app, catalogue)
    training.register(app, catalogue, trajectories)
    gcm.register(app, catalogue, matrices)
    analysis.register(app, catalogue)
