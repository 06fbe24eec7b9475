"""The commands, and how their errors leave: one line on stderr, exit code 2."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Annotated

import typer

from insidessl_dash import __version__
from insidessl_dash.cli import analysis, data, gcm, jobs, models, probing, serving, training
from insidessl_dash.cli.lab import lab
from insidessl_dash.cli.verification import verification
from insidessl_dash.core.errors import InsideSSLError

app = typer.Typer(
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Look inside self-supervised speech models, layer by layer. "
    "Without a command: open the dashboard.",
)
app.command("serve")(serving.serve)
app.command("worker")(serving.worker)
app.command("analyze")(analysis.analyze)
app.command("precompute")(analysis.precompute)
app.command("verify")(analysis.verify)
app.command("dynamics")(analysis.dynamics)
app.command("lab")(lab)
app.command("verification")(verification)
app.command("pretrain")(training.pretrain)
models.app.command("rebuild")(training.rebuild)
app.add_typer(models.app, name="models", help="Models that can be analysed.")
app.add_typer(data.app, name="data", help="Corpora known by name.")
app.add_typer(probing.app, name="probe", help="What can be read from single frames, by layer.")
app.add_typer(gcm.app, name="gcm", help="From layers back to sound: decoders and vocoders.")
app.add_typer(jobs.app, name="jobs", help="Jobs of this installation's dashboard.")


@app.callback(invoke_without_command=True)
def _default(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        serving.serve()


def main() -> None:
    """Run the command line."""
    _quiet()
    try:
        app()
    except InsideSSLError as error:
        line = " ".join(str(error).split())
        print(f"insidessl-dash: error: {line}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("insidessl-dash: stopped; what was computed is kept.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _quiet() -> None:
    """Keep libraries' notices out of a user's way; warnings of this package still show."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
