"""The Scientific Insights Dashboard for self-supervised speech models.

In a notebook::

    from insidessl_dash import analyze, load_encoder, load_result
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "analyze", "load_encoder", "load_result"]

_LAZY = {
    "analyze": "insidessl_dash.notebook",
    "load_encoder": "insidessl_dash.encoders",
    "load_result": "insidessl_dash.notebook",
}


def __getattr__(name: str) -> Any:
    """Import the notebook calls on first use, so that the web process never imports torch."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
