"""What the commands of the matrix share: their options, vocoder, judge and training cards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from insidessl_dash.core.errors import ModelError
from insidessl_dash.core.settings import settings

if TYPE_CHECKING:
    from insidessl_dash.core.cards import ModelCard
    from insidessl_dash.generation.judge import Judge
    from insidessl_dash.generation.vocoder import Vocoder
    from insidessl_dash.results.training_card import TrainingCard

GRIFFIN_LIM = "griffin-lim"
"""Names the vocoder that learned nothing."""

VOCODER = "shipped:fourier-vocoder"
"""The default: it keeps most of held-out speech, see ``precomputed/gcm/vocoders.json``."""

CONTENT, SPEAKER = "whisper-base", "ecapa-voxceleb"
SHIPPED_CONTENT, SHIPPED_SPEAKER = "hubert-nano-it2", "ecapa-nano"

Decoders = Annotated[
    str | None,
    typer.Option(help="Its decoders: a folder. Default: those that the dashboard finds."),
]
VocoderOption = Annotated[
    str, typer.Option("--vocoder", help="Folder, shipped:NAME, hub id, or griffin-lim.")
]
Content = Annotated[
    str, typer.Option(help="Model that scores content, or MODEL:LAYER; not the encoder.")
]
Speaker = Annotated[
    str, typer.Option(help="Model that scores the voice, or MODEL:LAYER; not the encoder.")
]
Steps = Annotated[int | None, typer.Option(help="Of the flow's solver.", min=1)]
Threads = Annotated[int | None, typer.Option(help="CPU threads.", min=1)]


def bank_of(model: str, decoders: str | None) -> str:
    """Where the decoders of a ``--decoders`` are; without one, those of this installation.

    Raises:
        NotFoundError: This installation has none of the model.
    """
    from insidessl_dash.results.decoder_banks import DecoderBanks

    if decoders is not None:
        return decoders
    return str(DecoderBanks(settings().home, settings().precomputed).get(model).folder)


def model_of(judge: str) -> str:
    """``MODEL`` of ``MODEL`` or ``MODEL:LAYER``."""
    return judge.partition(":")[0]


def load_judge(content: str, speaker: str, cards: dict[str, ModelCard]) -> Judge:
    """The networks that score cells.

    Args:
        content, speaker: ``MODEL`` or ``MODEL:LAYER``.
        cards: By name, of these models at least.

    Raises:
        ModelError, ConfigError: One cannot be loaded, or has no such layer.
    """
    from insidessl_dash.encoders.loading import load_encoder
    from insidessl_dash.generation.content import Content, Identity
    from insidessl_dash.generation.judge import Judge

    (heard, _, layer), (known, _, voice_layer) = content.partition(":"), speaker.partition(":")
    try:
        return Judge(
            Content(load_encoder(cards[heard]), layer or None),
            Identity(load_encoder(cards[known]), voice_layer or None),
        )
    except ModelError as error:
        if not {heard, known} & {CONTENT, SPEAKER}:
            raise
        raise ModelError(
            f"{error} Or judge with models that ship: --content {SHIPPED_CONTENT} --speaker "
            f"{SHIPPED_SPEAKER} (not the model under study)."
        ) from error


def open_vocoder(source: str, device: str) -> Vocoder:
    """The vocoder of a ``--vocoder``.

    Raises:
        ModelError: It cannot be loaded.
    """
    from insidessl_dash.generation.vocoder import GriffinLim, load_vocoder

    return GriffinLim() if source == GRIFFIN_LIM else load_vocoder(source, device=device)


def training_card_of(source: str) -> TrainingCard | None:
    """The training card of decoders or of a vocoder; None where it has none."""
    from insidessl_dash.encoders.sources import find_checkpoint
    from insidessl_dash.results.training_card import read_training_card

    if source == GRIFFIN_LIM:
        return None
    found = find_checkpoint(source, precomputed=settings().precomputed, weights=False)
    return read_training_card(found.folder)
