"""``gcm train``: a decoder for each layer of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from insidessl_dash.cli import training
from insidessl_dash.cli.output import out
from insidessl_dash.core.settings import settings
from insidessl_dash.results.decoder_banks import DecoderBanks, publish


def train(
    model: Annotated[str, typer.Option(help="The encoder whose layers are decoded; it is frozen.")],
    data: Annotated[list[str], typer.Option(help="Folder, manifest or known corpus; repeatable.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Where the run lives.")],
    preset: Annotated[
        str | None, typer.Option(help="flow (default), or regression for first looks.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="nano (default), or base: six blocks of 512.")
    ] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="Decoders for these layers only; repeatable.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(help="k-means clusters of a layer, not its continuous states.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last state.")] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="With --resume: allow more --updates than before.")
    ] = False,
    updates: Annotated[int | None, typer.Option(min=1)] = None,
    batch_seconds: Annotated[float | None, typer.Option(help="Audio in a batch.", min=1.0)] = None,
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
        Path | None, typer.Option(help="Decoded audio and statistics; runs may share one.")
    ] = None,
    ship_to: Annotated[
        Path | None, typer.Option("--ship", help="Write weights and card here at the end.")
    ] = None,
    dashboard: Annotated[
        bool | None,
        typer.Option(
            help="At the end, a copy where the dashboard finds it. Default: unless --layer, or "
            "a first look or tokens would hide flow decoders of the model."
        ),
    ] = None,
) -> None:
    """Train a decoder for every layer of a model, all in one run.

    What `gcm evaluate --decoders` reads is then in OUT/final. A copy goes to this installation's
    home, in place of an earlier one, so that the dashboard can decode visitors' recordings. A part
    of the layers, or a first look where there are flow decoders, is copied where `--dashboard`
    says so.
    """
    given: dict[str, Any] = {
        "model": model,
        "preset": preset,
        "size": size,
        "layers": layer or None,
        "tokens": tokens,
        "updates": updates,
        "batch_seconds": batch_seconds,
        "seed": seed,
    }
    given = {k: v for k, v in given.items() if v is not None} | training._assignments(setting)
    training.train(
        "decoders", given, data, exclude, out_folder, cache or out_folder / "cache",
        resume=resume, extend=extend, threads=threads, licence=licence, ship_to=ship_to,
    )  # fmt: skip
    if dashboard is None:
        banks = DecoderBanks(settings().home, settings().precomputed)
        hidden = banks.better_than(model, preset or "flow", tokens)
        if hidden is not None:
            out.print(
                f"The dashboard keeps the flow decoders of {model} ({hidden.folder}); "
                "--dashboard puts these in their place."
            )
        dashboard = not layer and hidden is None
    if dashboard:
        place = publish(ship_to or out_folder / "final", settings().home, model)
        out.print(f"For the dashboard: {place}")
