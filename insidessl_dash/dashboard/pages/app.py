"""What Dash draws: the instrument and the analysis, and what they keep in the browser."""

from __future__ import annotations

from collections.abc import Sequence

import dash_mantine_components as dmc
from dash import dcc

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.settings import Settings
from insidessl_dash.dashboard import ids, theme
from insidessl_dash.dashboard.pages.analyze import analyze
from insidessl_dash.dashboard.pages.dynamics import dynamics
from insidessl_dash.dashboard.pages.explorer import explorer
from insidessl_dash.dashboard.pages.gcm import gcm
from insidessl_dash.dashboard.pages.lab import lab
from insidessl_dash.dashboard.pages.training import training


def app_layout(
    corpora: Sequence[str], cards: Sequence[ModelCard], settings: Settings
) -> dmc.MantineProvider:
    """The app's part of the document.

    Args:
        corpora: Names of the corpora that can be chosen.
        cards: Models that can be chosen for an analysis.
        settings: What the page says about uploads.
    """
    return dmc.MantineProvider(
        [
            dcc.Store(id=ids.SCREEN),
            dcc.Store(id=ids.ASKED),
            dcc.Store(id=ids.FOLLOWED),
            dcc.Store(id=ids.SHOWN),
            dcc.Store(id=ids.HIDE, data=[]),
            dcc.Store(id=ids.REFRESH, data=0),
            dcc.Store(id=ids.ANALYSIS),
            dcc.Store(id=ids.OWN_FOLLOWED),
            dcc.Store(id=ids.OWN_SHOWN),
            dcc.Store(id=ids.PAINT),
            dcc.Store(id=ids.OWN_PAINT),
            dcc.Store(id=ids.TRAINING_ASKED),
            dcc.Store(id=ids.TRAINING_AT),
            dcc.Store(id=ids.TRAINING_FRAMES),
            dcc.Store(id=ids.TRAINING_FOLLOWED),
            dcc.Store(id=ids.TRAINING_SHOWN),
            dcc.Store(id=ids.TRAINING_PAINT),
            dcc.Store(id=ids.GCM_ASKED),
            dcc.Store(id=ids.GCM_FOLLOWED),
            dcc.Store(id=ids.GCM_SHOWN),
            dcc.Store(id=ids.GCM_PAINT),
            dcc.Store(id=ids.TROUBLE),
            dynamics(corpora),
            training(),
            gcm(),
            explorer(),
            lab(),
            analyze(cards, settings),
        ],
        theme=theme.MANTINE,
        defaultColorScheme="auto",
    )
