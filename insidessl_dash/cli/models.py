"""``models list | show | add | remove``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from insidessl_dash.cli.output import out, write_json
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import ConfigError, ConflictError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.command("list")
def list_models() -> None:
    """Every model that can be named."""
    from rich.table import Table

    from insidessl_dash.core.registry import registry
    from insidessl_dash.engine.at_hand import ships_without_weights

    table = Table(box=None, pad_edge=False)
    for column in ("name", "size", "family", "layers", "licence", "source"):
        # A name is there to be copied: it stays in one piece, the others fold.
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for card in registry().cards():
        without = ships_without_weights(card, registry())
        source = "results ship, weights do not" if without else card.source
        table.add_row(
            card.name, card.size, card.family, str(card.layers or ""), card.licence, source
        )
    out.print(table)


@app.command("show")
def show(
    name: str,
    json: Annotated[str | None, typer.Option(help="Write JSON here; - for stdout.")] = None,
) -> None:
    """One model's card."""
    from insidessl_dash.core.registry import registry

    card = registry().get(name)
    if json is not None:
        write_json(json, card.model_dump(mode="json"))
        return
    for field, value in card.model_dump(mode="json").items():
        if value not in (None, ""):
            out.print(f"{field:12} {value}")


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="How to name it here, e.g. my-hubert.")],
    source: Annotated[str, typer.Argument(help="A folder, or a hub repository id.")],
    family: Annotated[str, typer.Option(help="wav2vec2, hubert, wavlm, ...; default: read.")] = "",
    size: Annotated[str, typer.Option(help="nano, base or large; default: read.")] = "",
    title: Annotated[str, typer.Option(help="As shown; default: the name.")] = "",
    revision: Annotated[str, typer.Option(help="Hub branch, tag or commit.")] = "main",
    licence: Annotated[str, typer.Option(help="SPDX identifier.")] = "",
) -> None:
    """Register a checkpoint; it is loaded once to see that it works."""
    from insidessl_dash.core.registry import registry
    from insidessl_dash.encoders import load_encoder
    from insidessl_dash.encoders.loading import family_and_kind, model_type

    if not source.strip():
        raise ConfigError("The source is empty: name a folder, or a hub repository id.")
    if any(known.name == name for known in registry().cards()):
        raise ConflictError(
            f"{name} is a model here already. Choose another name, or remove it first if it was "
            "added: insidessl-dash models remove NAME."
        )
    folder = Path(source).expanduser()
    if folder.exists():
        source = str(folder.resolve())
    try:
        card = ModelCard(
            name=name,
            title=title or name,
            family=family or "unknown",
            size=size or "base",  # type: ignore[arg-type]
            kind="transformers",
            source=source,
            revision=revision,
            licence=licence,
        )
    except ValueError as error:
        raise ConfigError(
            f"{name!r} (size {size!r}) cannot be registered: use lower-case letters, digits, "
            "'.', '_' and '-' in the name, and nano, base or large for the size."
        ) from error
    read, kind = family_and_kind(model_type(card))
    card = card.model_copy(update={"family": family or read, "kind": kind})
    encoder = load_encoder(card)
    if not size:
        guess = "nano" if encoder.dims[-1] < 512 else "base" if encoder.dims[-1] < 1024 else "large"
        card = card.model_copy(update={"size": guess})
    registry().add(card.model_copy(update={"layers": encoder.card.layers}))
    out.print(f"{name}: {len(encoder.layers)} layers of width {encoder.dims[-1]}, registered.")


@app.command("convert-mr-hubert")
def convert_mr_hubert(
    checkpoint: Annotated[Path, typer.Argument(help="A .pt file of fairseq or s3prl.")],
    folder: Annotated[Path, typer.Argument(help="Where to write what can be added.")],
) -> None:
    """Make a public MR-HuBERT checkpoint loadable; nothing in it is run."""
    from insidessl_dash.encoders.mr_hubert_checkpoint import convert

    config = convert(checkpoint, folder)
    stages = "-".join(map(str, config.blocks))
    rates = "/".join(map(str, config.rates_ms))
    out.print(f"{folder}: {stages} blocks of width {config.hidden_size} at {rates} ms.")
    out.print(f"To use it: insidessl-dash models add NAME {folder}")


@app.command("remove")
def remove(name: str) -> None:
    """Forget a model that was added; its results stay."""
    from insidessl_dash.core.registry import registry

    registry().remove(name)
    out.print(f"{name}: removed.")
