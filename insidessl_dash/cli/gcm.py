"""``gcm``: from layers back to sound."""

from __future__ import annotations

import typer

from insidessl_dash.cli.gcm_evaluate import evaluate
from insidessl_dash.cli.gcm_render import render
from insidessl_dash.cli.gcm_train import train
from insidessl_dash.cli.gcm_vocoders import vocoders

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command("train")(train)
app.command("evaluate")(evaluate)
app.command("render")(render)
app.command("vocoders")(vocoders)
