"""``pretrain`` and ``models rebuild``."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from insidessl_dash.cli.output import out, progress_bar
from insidessl_dash.core.errors import (
    ConfigError,
    InsideSSLError,
    StorageError,
    TrainingError,
)
from insidessl_dash.core.files import write_json
from insidessl_dash.core.settings import settings


def pretrain(
    recipe: Annotated[str, typer.Argument(help="E.g. hubert-nano; an unknown one lists them all.")],
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
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting, NAME=VALUE; repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Corpus field to leave out, e.g. fsdd; repeatable.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.", min=1)] = None,
    licence: Annotated[str | None, typer.Option(help="Of the audio, for the card.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Decoded audio and targets; runs may share one.")
    ] = None,
    ship_to: Annotated[
        Path | None, typer.Option("--ship", help="Write weights and card here at the end.")
    ] = None,
) -> None:
    """Train a member of the Nano family."""
    given: dict[str, Any] = {
        "updates": updates,
        "batch_seconds": batch_seconds,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    given = {k: v for k, v in given.items() if v is not None} | _assignments(setting)
    train(
        recipe, given, data, exclude, out_folder, cache or out_folder / "cache",
        resume=resume, extend=extend, threads=threads, licence=licence, ship_to=ship_to,
    )  # fmt: skip


def rebuild(
    name: Annotated[str, typer.Argument(help="A member of the Nano family, e.g. hubert-nano.")],
    data: Annotated[list[str], typer.Option(help="The audio that its card names; repeatable.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Where the run lives.")],
    exclude: Annotated[
        list[str] | None, typer.Option(help="Corpus field to leave out, e.g. fsdd; repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last state.")] = False,
    threads: Annotated[int | None, typer.Option(help="CPU threads.", min=1)] = None,
) -> None:
    """Train a member again from its card: the same data, seed and settings."""
    path = settings().precomputed / "models" / name / "card.json"
    if not path.is_file():
        raise ConfigError(
            f"{name} has no card of its training here, so it cannot be trained again. These have: "
            f"{', '.join(sorted(p.parent.name for p in path.parents[1].glob('*/card.json')))}."
        )
    card = json.loads(path.read_text())
    # A run that was extended had another schedule until then: each stretch is trained in its turn.
    stretches = card.get("schedule") or [{"from_update": 0, "updates": card["settings"]["updates"]}]
    begun = _stretches_begun(out_folder) if resume else 0
    for place in range(max(0, begun - 1), len(stretches)):
        given = card["settings"] | {"updates": stretches[place]["updates"]}
        last = place == len(stretches) - 1
        train(
            card["name"], given, data, exclude, out_folder, out_folder / "cache",
            resume=resume or place > 0, extend=place > max(0, begun - 1), threads=threads,
            licence=card["data"]["licence"], like=card,
            until=None if last else stretches[place + 1]["from_update"],
        )  # fmt: skip


def train(
    name: str,
    given: dict[str, Any],
    audio: list[str],
    exclude: list[str] | None,
    folder: Path,
    cache: Path,
    *,
    resume: bool,
    extend: bool = False,
    threads: int | None = None,
    licence: str | None = None,
    ship_to: Path | None = None,
    like: dict[str, Any] | None = None,
    until: int | None = None,
) -> None:
    """Prepare the speech, run the recipe to its last update, write weights and card.

    Of a run that stops before, the card alone is written, into its folder, and says why.

    Args:
        name: Of the recipe.
        given: Settings that are not the default.
        audio, exclude: Corpora, and values of the manifest's corpus field to leave out.
        folder: Of the run.
        cache: For decoded audio and targets.
        resume, extend, threads, licence, ship_to: As for `pretrain`.
        like: A card whose data and teacher it must have.
        until: Stop at this update, with nothing shipped: the run is to be extended from there.

    Raises:
        ConfigError: No such recipe, or a setting outside its range.
        TrainingError: The data cannot be used, or it or a teacher is not that of `like`.
    """
    import torch

    from insidessl_dash.notebook import open_audio
    from insidessl_dash.pretraining.card import ship, training_card
    from insidessl_dash.pretraining.data import prepare
    from insidessl_dash.pretraining.loop import Run
    from insidessl_dash.pretraining.recipes import recipe_class

    kind = recipe_class(name)
    try:
        chosen = kind.Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(map(str, first["loc"]))
        known = ", ".join(kind.Settings.model_fields)
        raise ConfigError(f"Setting {what}: {first['msg']}. {name} has: {known}.") from error
    if threads:
        torch.set_num_threads(threads)
    corpus = open_audio(audio).select(lambda u: u.corpus not in (exclude or []))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        in_words = torch.cuda.get_device_name()
    else:
        count = f"{torch.get_num_threads()} CPU thread{'s' * (torch.get_num_threads() > 1)}"
        in_words = f"{count} ({platform.machine()}, {os.cpu_count()} cores)"
    with progress_bar() as progress:
        speech = prepare(
            corpus,
            cache,
            fraction=chosen.held_out_fraction,
            seed=chosen.seed,
            progress=progress,
        )
        if like and speech.digest != like["data"]["digest"]:
            raise TrainingError(
                "This is not the audio that the card names (digest "
                f"{speech.digest[:12]}, the card says {like['data']['digest'][:12]}): give the "
                "same corpora, and leave out the same ones."
            )
        recipe = kind(speech, chosen, cache, progress)
        for part, value in recipe.depends_on().items():
            if like and like.get(part, value) != value:
                raise TrainingError(
                    f"The card says {part} {like[part][:12]}, here it is {value[:12]}: this "
                    "installation ships another teacher than the member was trained with."
                )
        run = Run(recipe, speech, chosen, folder, device, resume, extend)
        try:
            run.train(progress, until=until)
        except (InsideSSLError, KeyboardInterrupt) as error:
            if any("held_out" in entry for entry in run.log()):
                why = str(error) or "stopped by hand"
                card = training_card(run, corpus, in_words, licence)
                with suppress(StorageError):
                    write_json(folder / "card.json", card | {"stopped": why})
            raise
    if until is not None:
        return
    card = training_card(run, corpus, in_words, licence)
    (folder / "card.json").unlink(missing_ok=True)  # of when it had stopped
    ship(run, ship_to or folder / "final", card)
    score = card["score"]
    out.print(
        f"{run.update} updates, {run.seconds_seen:,.0f} s of audio seen; held-out speakers: "
        f"{score['title']} {score['value']:.4f}; {score['chance_is']} {score['chance']:.4f}; "
        f"at initialisation {score['at_initialisation']:.4f}."
    )


def _stretches_begun(folder: Path) -> int:
    """How many schedules the run of a folder has had; 0 where there is no run."""
    try:
        record = json.loads((folder / "run.json").read_text())
    except FileNotFoundError:
        return 0
    return len(record.get("stretches", [None]))


def _assignments(pairs: list[str] | None) -> dict[str, Any]:
    """``NAME=VALUE`` with the value as JSON where it is JSON, else as text."""
    found: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set {pair}: give NAME=VALUE.")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found
