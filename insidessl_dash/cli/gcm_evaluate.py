"""``gcm evaluate``: every layer decoded by every decoder, and what survives."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from insidessl_dash.cli.analysis import Seed, Source, _cards
from insidessl_dash.cli.gcm_parts import (
    CONTENT,
    SPEAKER,
    VOCODER,
    Content,
    Decoders,
    Speaker,
    Steps,
    Threads,
    VocoderOption,
    bank_of,
    load_judge,
    model_of,
    open_vocoder,
    training_card_of,
)
from insidessl_dash.cli.output import out, progress_bar, warn
from insidessl_dash.core.errors import ConfigError, StorageError
from insidessl_dash.core.settings import settings

if TYPE_CHECKING:
    from insidessl_dash.corpora.manifest import Corpus
    from insidessl_dash.results.matrix import MatrixResult
    from insidessl_dash.results.store import Blobs

ENOUGH = 40
SPEAKERS = 20
"""Fewest utterances and speakers of a matrix that is shown as evidence."""


def evaluate(
    model: Annotated[str, typer.Option(help="The encoder whose layers are decoded.")],
    corpus: Annotated[
        str, typer.Option(help="Known corpus or manifest, with speaker and seconds on every row.")
    ],
    decoders: Decoders = None,
    vocoder: VocoderOption = VOCODER,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="The matrix goes to CORPUS/MODEL in it. Default: this home."),
    ] = None,
    utterances: Annotated[
        int, typer.Option(help="Of 2 to 6 s, spread over the speakers.", min=1)
    ] = ENOUGH,
    content: Content = CONTENT,
    speaker: Speaker = SPEAKER,
    all_speakers: Annotated[
        bool, typer.Option("--all-speakers", help="Not only those that training held out.")
    ] = False,
    steps: Steps = None,
    threads: Threads = None,
    seed: Seed = 0,
    source: Source = None,
) -> None:
    """Decode every layer with every decoder, and measure what survives of the original.

    An interrupted run goes on where it stopped.
    """
    import torch

    from insidessl_dash.encoders.loading import load_encoder
    from insidessl_dash.engine.matrix import choose_utterances, evaluate_matrix, forget
    from insidessl_dash.engine.worker import public_source
    from insidessl_dash.generation.decoders import load_decoders
    from insidessl_dash.notebook import open_audio
    from insidessl_dash.results.matrix import MatrixConfig, matrix_name
    from insidessl_dash.results.matrix_files import FOLDER, write_matrix

    if threads:
        torch.set_num_threads(threads)
    judges = [model_of(content), model_of(speaker)]
    cards = {card.name: card for card in _cards([model, *judges], source)}
    speech = open_audio(corpus)
    place = bank_of(model, decoders)
    if not all_speakers:
        speech = _held_out(speech, place, vocoder)
    speakers = min(SPEAKERS, (utterances + 1) // 2)
    speech = choose_utterances(speech, utterances, speakers, seed)
    if utterances < ENOUGH:
        warn(f"{utterances} utterances: a first look. Evidence takes {ENOUGH}, by {SPEAKERS}.")
    encoder = load_encoder(cards[model])
    bank = load_decoders(place, device=encoder.device)
    waves = open_vocoder(vocoder, encoder.device)
    judge = load_judge(content, speaker, cards)
    trained = training_card_of(place)
    words = ["insidessl-dash", "gcm", "evaluate", "--model", model]
    words += ["--decoders", public_source(decoders)] if decoders else []
    words += ["--vocoder", public_source(vocoder)] if vocoder != VOCODER else []
    words += ["--corpus", corpus, "--utterances", str(utterances)]
    words += ["--content", content, "--speaker", speaker]
    words += ["--all-speakers"] if all_speakers else []
    words += ["--steps", str(steps)] if steps else []
    words += ["--seed", str(seed)] if seed else []
    kept = _kept()
    with progress_bar() as progress:
        result, values = evaluate_matrix(
            encoder, bank, waves, judge, speech, MatrixConfig(seed=seed, steps=steps),
            updates=trained.updates if trained else None, kept=kept, progress=progress,
            command=shlex.join(words),
        )  # fmt: skip
    name = matrix_name(model, bank.preset, bank.tokens)
    target = (out_folder or settings().home / FOLDER) / speech.name / name
    write_matrix(target, result, values)
    if kept is not None:
        forget(kept, result.key)
    for utterance in result.utterances:
        if utterance.error:
            warn(utterance.error)
    _print(result)
    out.print(f"Written to {target}")


def _kept() -> Blobs | None:
    """Where finished utterances are kept; None, with a warning, where that cannot be written."""
    from insidessl_dash.results.store import Store

    try:
        return Store(settings().home, settings().precomputed).live()
    except StorageError as error:
        warn(f"{error} An interrupted run starts anew.")
        return None


def _held_out(speech: Corpus, decoders: str, vocoder: str) -> Corpus:
    """Speech of the speakers that the training of decoders and vocoder never heard.

    Raises:
        ConfigError: Nobody knows who they are, or the corpus has none of them.
    """
    otherwise = "Give --all-speakers where the corpus is not what they were trained on."
    card = training_card_of(decoders)
    if card is None:
        raise ConfigError(
            f"{decoders} has no training card that names held-out speakers. {otherwise}"
        )
    left = set(card.data.held_out_speakers)
    of_vocoder = training_card_of(vocoder)
    if of_vocoder is not None:
        left &= set(of_vocoder.data.held_out_speakers)
    if not left & {utterance.speaker for utterance in speech.utterances}:
        raise ConfigError(
            f"{speech.name} has no speaker that the training of both decoders and vocoder held "
            f"out: name the corpus that they were trained on. {otherwise}"
        )
    return speech.select(lambda u: u.speaker in left, f"{speech.name}-held-out")


def _print(result: MatrixResult) -> None:
    out.print(f"{result.title}; {result.corpus.name}, n = {result.corpus.utterances}")
    columns = ("vocoder only", "diagonal", "off diagonal", "lower", "upper")
    out.print(f"{'':<20}" + "".join(f"{name:>14}" for name in columns) + "  better triangle")
    for name, measure in result.metrics.items():
        sides = measure.asymmetry
        shown = (
            measure.ceiling, measure.diagonal, measure.off_diagonal, sides.lower, sides.upper,
        )  # fmt: skip
        numbers = [
            "not measurable" if x.mean is None else f"{x.mean:.{1 if measure.unit else 4}f}"
            for x in shown
        ]
        test = "" if sides.p is None else f" (p = {sides.p:.2g})"
        out.print(
            f"{name:<20}" + "".join(f"{x:>14}" for x in numbers)
            + f"  {sides.better or 'neither'}{test}"
        )  # fmt: skip
    out.print(
        "Higher is better, but of "
        + " and ".join(n for n, m in result.metrics.items() if not m.higher_is_better)
        + "."
    )
    broken = result.rupture()
    out.print(
        "Content does not drop between neighbouring layers."
        if broken is None
        else f"Largest content drop between neighbouring layers: {broken.drop:.4f}, from layer "
        f"{broken.before} to {broken.after}."
    )
    cells = len(result.decoder_layers) * len(result.layers) * result.corpus.utterances
    wall_s = result.provenance.wall_s
    out.print(f"{cells} cells, {wall_s:.0f} s: {wall_s / cells:.2f} s a cell, scoring included.")
    if result.missing:
        warn(f"No decoder for the layers {', '.join(result.missing)}: their rows are missing.")
