"""The command line: ``insidessl-dash``. Every command is thin over what the notebook calls."""

from insidessl_dash.cli.main import main

__all__ = ["main"]
