"""``lab``: one question of the Signal Lab, on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from insidessl_dash.cli.analysis import Seed, Source, _cards
from insidessl_dash.cli.output import check_target, out, write_json
from insidessl_dash.core import dials
from insidessl_dash.core.errors import NotFoundError
from insidessl_dash.core.files import whole_file
from insidessl_dash.core.lab import MEASURES
from insidessl_dash.core.settings import settings
from insidessl_dash.results.schema import Result

if TYPE_CHECKING:
    from insidessl_dash.engine.lab_flight import Clip


def lab(
    clip: Annotated[str, typer.Argument(help="A file, or an utterance of the demo corpus.")],
    perturbation: Annotated[str, typer.Option(help=f"One of: {', '.join(dials.DIALS)}.")],
    strength: Annotated[float, typer.Option(help="How much of it, in the unit of its dial.")],
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Model name; may be repeated.")
    ] = None,
    json: Annotated[str | None, typer.Option(help="Write JSON here; - for stdout.")] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Also write both sounds here, as WAV.")
    ] = None,
    seed: Seed = 0,
    source: Source = None,
) -> None:
    """Perturb a clip, and say how alike each layer finds the two versions."""
    from insidessl_dash.engine.lab_flight import Flight
    from insidessl_dash.engine.lab_spec import LabQuestion, LabTicket
    from insidessl_dash.notebook import Results, default_executor

    dial = dials.find(perturbation)
    taken = dial.taken(strength)
    if json is not None:
        check_target(json)
    cards, found = _cards(model or ["hubert-nano"], source), _clip(clip)
    executor = default_executor()
    results = []
    for card in cards:
        question = LabQuestion(
            utterance=found.id, models=(card.name,), perturbation=perturbation, strength=taken,
            seed=seed,
        )  # fmt: skip
        flight = Flight(LabTicket(id="cli", question=question), "", found, [card])
        info, _lenses = executor.describe(card.model_dump(mode="json"), [])
        outcome = executor.lab(flight.task([card]), flight.begin, flight.check)
        key = flight.result_key(card, info)
        results.append(outcome.results[0].model_copy(update={"key": key}))
    documents = Results(results).documents()
    if json is not None:
        write_json(json, documents[0] if len(documents) == 1 else documents)
    if out_folder is not None:
        sounds = outcome.sounds
        for name, content in (("original", sounds.original), ("perturbed", sounds.perturbed)):
            with whole_file(out_folder / f"{name}.wav") as temporary:
                temporary.write_bytes(content)
    if json != "-":
        for result in results:
            _print(result, dial.phrase.format(dial.written(taken)))


def _clip(name: str) -> Clip:
    """The file of that name, or the utterance.

    Raises:
        NotFoundError: There is neither.
    """
    from insidessl_dash.corpora.known import DEMO, known_corpus
    from insidessl_dash.engine.lab_flight import corpus_clip, file_clip

    if Path(name).is_file():
        return file_clip(Path(name))
    corpus = known_corpus(DEMO, settings())
    ids = [utterance.id for utterance in corpus.utterances]
    if name not in ids:
        raise NotFoundError(
            f"{name}: neither a file nor an utterance of the demo corpus. That has {len(ids)}, "
            f"{ids[0]} to {ids[-1]}."
        )
    return corpus_clip(corpus, name)


def _print(result: Result, phrase: str) -> None:
    """A row a layer, a column a measure."""
    from rich.table import Table

    table = Table(title=f"{result.model.name}: the clip {phrase}")
    table.add_column("layer", justify="right")
    for info in MEASURES:
        table.add_column(info.label, justify="right")
    for row, layer in enumerate(result.layers):
        values = [result.measures[info.name].mean[row] for info in MEASURES]
        table.add_row(layer, *("not defined" if v is None else f"{v:.4f}" for v in values))
    out.print(table)
    for note in dict.fromkeys(c.note for c in result.measures.values() if c.note):
        out.print(f"  {note}")
