"""``gcm vocoders``: how well vocoders give back speech from its mel."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from insidessl_dash.cli.analysis import Seed
from insidessl_dash.cli.output import check_target, out, progress_bar, warn
from insidessl_dash.core.errors import ConfigError
from insidessl_dash.core.settings import settings

if TYPE_CHECKING:
    from insidessl_dash.core.types import Utterance
    from insidessl_dash.generation.vocoder import Vocoder
    from insidessl_dash.results.copy_synthesis import CopySynthesis, Scores

VERSION = 1
"""Of the method: changes when its numbers do."""


def vocoders(
    corpus: Annotated[
        str, typer.Option(help="Known corpus or manifest, with a speaker on every row.")
    ],
    vocoder: Annotated[
        list[str] | None,
        typer.Option(
            "--vocoder", help="Folder, shipped:NAME or hub id; repeatable. Griffin-Lim always is."
        ),
    ] = None,
    out_file: Annotated[
        Path | None,
        typer.Option("--out", help="The result, a JSON file. Default: where the page looks."),
    ] = None,
    utterances: Annotated[
        int, typer.Option(help="At most so many, spread over the speakers.", min=1)
    ] = 60,
    all_speakers: Annotated[
        bool,
        typer.Option("--all-speakers", help="Not only those that the vocoders' training held out."),
    ] = False,
    seed: Seed = 0,
) -> None:
    """Turn speech to mel and back with each vocoder: what survives is the ceiling of decoding."""
    from insidessl_dash.engine.plan import corpus_digest
    from insidessl_dash.engine.worker import public_source
    from insidessl_dash.generation import copy_synthesis as method
    from insidessl_dash.generation.vocoder import GriffinLim, load_vocoder
    from insidessl_dash.notebook import open_audio
    from insidessl_dash.results.copy_synthesis import CopySynthesis, write_copy_synthesis
    from insidessl_dash.results.matrix_files import FOLDER, VOCODERS
    from insidessl_dash.results.provenance import now, versions
    from insidessl_dash.results.schema import CorpusInfo, Provenance

    out_file = out_file or settings().home / FOLDER / VOCODERS
    check_target(str(out_file))
    sources = list(dict.fromkeys(vocoder or []))
    speech = open_audio(corpus)
    if all_speakers:
        chosen, whose = list(speech.utterances), "all speakers of the corpus"
    else:
        chosen, whose = _held_out(speech.utterances, sources, corpus)
    chosen = method.spread_over_speakers(chosen, utterances, seed)
    loaded: dict[str, Vocoder] = {public_source(s): load_vocoder(s) for s in sources}
    if len(loaded) < len(sources):
        raise ConfigError(
            "Two --vocoder folders have the same name: rename one, so that the result says which "
            "is which."
        )
    started = time.monotonic()
    with progress_bar() as progress:
        found = method.copy_synthesis([*_and_alone(loaded), ("", GriffinLim())], chosen, progress)
    used = [info for info in found.utterances if info.error is None]
    words = ["insidessl-dash", "gcm", "vocoders", "--corpus", corpus]
    words += [word for source in loaded for word in ("--vocoder", source)]
    words += ["--utterances", str(utterances), *(["--all-speakers"] if all_speakers else [])]
    words += ["--seed", str(seed)] if seed else []
    result = CopySynthesis(
        corpus=CorpusInfo(
            name=speech.name,
            digest=corpus_digest({info.id: info.sha256 or "" for info in used}),
            utterances=len(used),
            seconds=round(sum(info.seconds or 0 for info in used), 3),
            speakers=len({info.speaker for info in used if info.speaker}) or None,
            licence=speech.licence,
        ),
        speakers=whose,
        ids=found.ids,
        measures=method.MEASURES,
        vocoders=found.vocoders,
        own_phases=found.own_phases,
        utterances=found.utterances,
        provenance=Provenance(
            created=now(),
            versions=versions(),
            device="cpu",
            seed=seed,
            command=shlex.join(words),
            wall_s=round(time.monotonic() - started, 2),
            analysis_version=VERSION,
        ),
    )
    write_copy_synthesis(result, out_file)
    for info in found.utterances:
        if info.error:
            warn(f"{info.id}: {info.error}")
    _print(result)


def _and_alone(loaded: dict[str, Vocoder]) -> Iterator[tuple[str, Vocoder]]:
    """Each vocoder, and after one whose phases Griffin-Lim makes consistent the network alone."""
    for source, vocoder in loaded.items():
        yield source, vocoder
        start = getattr(vocoder, "start", None)
        if start is not None:
            yield source, start


def _held_out(
    utterances: tuple[Utterance, ...], sources: list[str], corpus: str
) -> tuple[list[Utterance], str]:
    """Those whose speakers every vocoder with a training card held out, and that in words."""
    from insidessl_dash.encoders.sources import find_checkpoint
    from insidessl_dash.results.training_card import read_training_card

    otherwise = "Give --all-speakers to measure on every speaker."
    cards = {}
    for source in sources:
        found = find_checkpoint(source, precomputed=settings().precomputed, weights=False)
        card = read_training_card(found.folder)
        if card is not None:
            cards[card.name] = set(card.data.held_out_speakers)
    if not cards:
        raise ConfigError(
            f"No vocoder given has a training card that names held-out speakers. {otherwise}"
        )
    kept = [u for u in utterances if all(u.speaker in speakers for speakers in cards.values())]
    if not kept:
        raise ConfigError(
            f"{corpus} has no speaker that {' and '.join(cards)} held out. Name the corpus that "
            f"it was trained on. {otherwise}"
        )
    return kept, f"speakers held out of the training of {' and '.join(cards)}"


def _print(result: CopySynthesis) -> None:
    from rich.table import Table

    table = Table(
        title=f"Copy synthesis, {result.corpus.name}, {len(result.ids)} utterances: "
        f"{result.speakers}"
    )
    table.add_column("vocoder")
    for measure in result.measures.values():
        title = f"{measure.title} ({measure.unit})" if measure.unit else measure.title
        table.add_column(title, justify="right")
    rows = [(f"{v.name} ({v.source})" if v.source else v.name, v.measures) for v in result.vocoders]
    for title, scores in [*rows, ("none: the recording's phases", result.own_phases)]:
        table.add_row(
            title,
            *(
                _cell(scores[name], len(result.ids), 1 if measure.unit else 4)
                for name, measure in result.measures.items()
            ),
        )
    out.print(table)


def _cell(scores: Scores, utterances: int, digits: int) -> str:
    """Mean ± deviation, and n where it is not every utterance."""
    if scores.mean is None:
        return "not measurable"
    std = "" if scores.std is None else f" ± {scores.std:.{digits}f}"
    fewer = f" (n = {scores.n})" if scores.n < utterances else ""
    return f"{scores.mean:.{digits}f}{std}{fewer}"
