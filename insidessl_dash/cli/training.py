"""``pretrain``."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated

import typer

from insidessl_dash.cli.output import out, progress_bar
from insidessl_dash.core.errors import ConfigError

RECIPES = ("hubert-nano",)


def pretrain(
    recipe: Annotated[str, typer.Argument(help=f"One of: {', '.join(RECIPES)}.")],
    data: Annotated[list[str], typer.Option(help="Folder, manifest or known corpus; repeatable.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Where the run lives.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last state.")] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="With --resume: allow more --updates than before.")
    ] = False,
    updates: Annotated[int | None, typer.Option(min=1)] = None,
    batch_seconds: Annotated[float | None, typer.Option(help="Audio in a batch.", min=1.0)] = None,
    learning_rate: Annotated[float | None, typer.Option()] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Corpus field to leave out, e.g. fsdd; repeatable.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.", min=1)] = None,
    licence: Annotated[str | None, typer.Option(help="Of the audio, for the card.")] = None,
    ship_to: Annotated[
        Path | None, typer.Option("--ship", help="Write weights and card here at the end.")
    ] = None,
) -> None:
    """Train a member of the Nano family."""
    import torch

    from insidessl_dash.notebook import open_audio
    from insidessl_dash.pretraining.card import ship, training_card
    from insidessl_dash.pretraining.data import prepare
    from insidessl_dash.pretraining.hubert import HubertRecipe
    from insidessl_dash.pretraining.loop import Run, RunSettings

    if recipe not in RECIPES:
        raise ConfigError(f"No recipe named {recipe!r}. There are: {', '.join(RECIPES)}.")
    given = {
        "updates": updates,
        "batch_seconds": batch_seconds,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    try:
        settings = RunSettings.model_validate({k: v for k, v in given.items() if v is not None})
    except ValueError as error:
        raise ConfigError(f"A setting is outside its range: {error}") from error
    if threads:
        torch.set_num_threads(threads)
    corpus = open_audio(data).select(lambda u: u.corpus not in (exclude or []))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cache = out_folder / "cache"
    with progress_bar() as progress:
        speech = prepare(
            corpus,
            cache,
            fraction=settings.held_out_fraction,
            seed=settings.seed,
            progress=progress,
        )
        objective = HubertRecipe(speech, settings, cache, progress)
        run = Run(objective, speech, settings, out_folder, device, resume, extend)
        run.train(progress)
    in_words = (
        torch.cuda.get_device_name()
        if device == "cuda"
        else f"{torch.get_num_threads()} CPU threads ({platform.machine()}, {os.cpu_count()} cores)"
    )
    card = training_card(run, corpus, in_words, licence)
    ship(run, ship_to or out_folder / "final", card)
    scores = card["held_out"]
    out.print(
        f"{run.update} updates, {run.seconds_seen:,.0f} s of audio seen; held-out masked accuracy "
        f"{scores['masked_accuracy']:.4f} against {scores['majority_rate']:.4f} for the most "
        f"common cluster ({scores['masked_accuracy'] / scores['majority_rate']:.2f} x)."
    )
