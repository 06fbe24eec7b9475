"""``gcm render``: every cell of a matrix as sound, for the audio explorer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from insidessl_dash.cli.analysis import Source, _cards
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
from insidessl_dash.cli.output import out, progress_bar
from insidessl_dash.core.errors import ConfigError
from insidessl_dash.core.settings import settings

VOICES = 4


def render(
    model: Annotated[str, typer.Option(help="The encoder whose layers are decoded.")],
    decoders: Decoders = None,
    corpus: Annotated[str, typer.Option(help="Known corpus, folder or manifest.")] = "demo",
    utterance: Annotated[
        list[str] | None, typer.Option(help="Id of one; repeatable. Default: four voices.")
    ] = None,
    vocoder: VocoderOption = VOCODER,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="Examples go to MODEL/UTTERANCE in it. Default: this home."),
    ] = None,
    content: Content = CONTENT,
    speaker: Speaker = SPEAKER,
    steps: Steps = None,
    gain_db: Annotated[float, typer.Option(help="The one gain of all cells.")] = 0.0,
    threads: Threads = None,
    source: Source = None,
) -> None:
    """Decode, score and keep every cell of some utterances as sound, which the page then plays."""
    import torch

    from insidessl_dash.encoders.loading import load_encoder
    from insidessl_dash.engine.examples import choose_examples, make_example
    from insidessl_dash.generation.decoders import load_decoders
    from insidessl_dash.notebook import open_audio
    from insidessl_dash.results.explorer import FOLDER
    from insidessl_dash.results.matrix import MatrixConfig, matrix_name

    if threads:
        torch.set_num_threads(threads)
    judges = [model_of(content), model_of(speaker)]
    cards = {card.name: card for card in _cards([model, *judges], source)}
    speech = open_audio(corpus)
    if utterance:
        by_id = {u.id: u for u in speech.utterances}
        unknown = [id for id in utterance if id not in by_id]
        if unknown:
            raise ConfigError(
                f"{speech.name} has no utterance {unknown[0]!r}. It has {len(by_id)}, such as "
                f"{', '.join(sorted(by_id)[:3])}."
            )
        chosen = [by_id[id] for id in utterance]
    else:
        chosen = choose_examples(speech, VOICES)
    encoder = load_encoder(cards[model])
    place = bank_of(model, decoders)
    bank = load_decoders(place, device=encoder.device)
    waves = open_vocoder(vocoder, encoder.device)
    judge = load_judge(content, speaker, cards)
    trained = training_card_of(place)
    target = (out_folder or settings().home / FOLDER) / matrix_name(model, bank.preset, bank.tokens)
    with progress_bar() as progress:
        for each in chosen:
            example = make_example(
                encoder, bank, waves, judge, each, speech, target,
                MatrixConfig(steps=steps, gain_db=gain_db),
                updates=trained.updates if trained else None, progress=progress,
            )  # fmt: skip
            cells = len(example.decoder_layers) * len(example.layers)
            out.print(f"{each.id}: {cells} cells of {example.seconds:.1f} s, {example.voice}")
    out.print(f"Written to {target}")
