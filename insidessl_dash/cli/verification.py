"""``verification``: which layers tell speakers apart."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from insidessl_dash.cli.analysis import Seed, Source, _print_table, _write_results
from insidessl_dash.cli.output import out, progress_bar, warn
from insidessl_dash.core.settings import settings


def verification(
    corpus: Annotated[
        str, typer.Option(help="Known corpus or manifest, with a speaker on every row.")
    ],
    model: Annotated[list[str], typer.Option("--model", help="Model, or mfcc; repeatable.")],
    held_out_of: Annotated[
        str, typer.Option(help="A shipped model: only its held-out speakers are taken.")
    ] = "hubert-nano",
    all_speakers: Annotated[
        bool, typer.Option("--all-speakers", help="Take every speaker of the corpus instead.")
    ] = False,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Also write the results as files here.")
    ] = None,
    seed: Seed = 0,
    source: Source = None,
) -> None:
    """Tell speakers apart by the cosine of utterance means: the equal error rate of each layer."""
    from insidessl_dash.cli.probing import _cards_and_mfcc, _held_out, _is_known
    from insidessl_dash.engine.verification import verify_speakers
    from insidessl_dash.notebook import Results, open_audio
    from insidessl_dash.results.store import Store

    cards = _cards_and_mfcc(model, source)
    speech = open_audio(corpus)
    if not all_speakers:
        speech = _held_out(speech, held_out_of)
    words = ["--all-speakers"] if all_speakers else ["--held-out-of", held_out_of]
    words += ["--seed", str(seed)] if seed else []
    store = Store(settings().home, settings().precomputed)
    results = []
    for card in cards:
        command = ["insidessl-dash", "verification", "--corpus", corpus, "--model", card.name]
        with progress_bar() as progress:
            result, values = verify_speakers(
                card, speech, seed=seed, progress=progress, command=shlex.join(command + words)
            )
        store.put(result, values, private=seed != 0 or not _is_known(corpus))
        if out_folder:
            _write_results(Results([result]), out_folder)
        results.append(result)
        for utterance in result.utterances:
            if utterance.error:
                warn(utterance.error)
    _print_table(Results(results))
    out.print("Chance is 0.5.")
