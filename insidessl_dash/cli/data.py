"""``data list | get | add | remove | align``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from insidessl_dash.cli.output import out, progress_bar, warn
from insidessl_dash.core.errors import ConfigError
from insidessl_dash.core.settings import settings

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.command("list")
def list_corpora() -> None:
    """Corpora that are here, and those that can be downloaded."""
    from insidessl_dash.corpora.downloads import DOWNLOADS
    from insidessl_dash.corpora.known import known_corpora

    here = {card.name for card in known_corpora(settings())}
    for name in sorted(here):
        out.print(f"{name:28} here")
    for name in sorted(set(DOWNLOADS) - here):
        out.print(f"{name:28} insidessl-dash data get {name}")


@app.command("get")
def get(name: Annotated[str, typer.Argument(help="As `data list` names it.")]) -> None:
    """Download a corpus by name; an interrupted download goes on where it stopped."""
    from insidessl_dash.corpora.downloads import fetch

    with progress_bar() as progress:
        corpus = fetch(name, settings().home, progress)
    out.print(f"{name}: {len(corpus.utterances)} utterances, {corpus.seconds / 3600:.2f} hours.")


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="How to name it here.")],
    path: Annotated[str, typer.Argument(help="A folder of audio, or a manifest.")],
) -> None:
    """Name a corpus of your own, so that the dashboard can offer it."""
    from insidessl_dash.corpora.known import add_corpus

    if not path.strip():
        raise ConfigError("The path is empty: name a folder of audio, or a manifest.")
    corpus = add_corpus(name, Path(path), settings())
    out.print(f"{name}: {len(corpus.utterances)} utterances.")


@app.command("remove")
def remove(name: Annotated[str, typer.Argument(help="As `data add` named it.")]) -> None:
    """Forget a corpus that was added; its files and results stay."""
    from insidessl_dash.corpora.known import remove_corpus

    remove_corpus(name, settings())
    out.print(f"{name}: removed; its files are where they were.")


@app.command("align")
def align(
    corpus: Annotated[str, typer.Argument(help="Known corpus, manifest or folder.")],
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Default: alignments/NAME.jsonl in INSIDESSL_HOME.")
    ] = None,
    beam: Annotated[
        float, typer.Option(help="Drop hypotheses this much less likely; smaller is slower.")
    ] = 1e-100,
) -> None:
    """Find when each phone is said; an interrupted run goes on where it stopped."""
    from insidessl_dash.cli.probing import alignment_file
    from insidessl_dash.corpora.alignment import align_corpus
    from insidessl_dash.notebook import open_audio

    found = open_audio(corpus)
    target = out_file or alignment_file(found)
    with progress_bar() as progress:
        aligned = align_corpus(found, target, beam=beam, progress=progress)
    out.print(
        f"{found.name}: {len(aligned.phones)} of {len(found.utterances)} utterances aligned; "
        f"{target}"
    )
    for reason, count in aligned.header["failures"].items():
        warn(f"{count} not aligned: {reason}")
