"""The worker's side of a visitor's own matrix: its head, or one row, as sound and scores."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from insidessl_dash.analyses.parallel import each
from insidessl_dash.audio.decode import load
from insidessl_dash.core.errors import Cancelled
from insidessl_dash.core.memory import give_back
from insidessl_dash.core.settings import settings
from insidessl_dash.core.types import SAMPLE_RATE
from insidessl_dash.engine import worker
from insidessl_dash.engine.examples import cell_metrics, make_document, opus
from insidessl_dash.engine.own_spec import HEAD, LONGEST_S, MatrixPart, MatrixTask
from insidessl_dash.engine.plan import fingerprint
from insidessl_dash.generation.content import Content, Identity
from insidessl_dash.generation.decoders import load_decoders
from insidessl_dash.generation.judge import METRICS, Against, Judge
from insidessl_dash.generation.matrix import CellMaker, score_cells
from insidessl_dash.generation.mel import levelled
from insidessl_dash.generation.vocoder import GriffinLim, load_vocoder
from insidessl_dash.results.matrix import Grid, MatrixConfig

_BATCH_SECONDS = 24.0
"""Of generated audio at once: progress is told, and a cancel is heard, this often."""

_Files = tuple[tuple[str, int, int], ...]


class _Heard:
    """A recording, ready to be decoded and compared with."""

    def __init__(self, maker: CellMaker, judge: Judge, path: Path, name: str) -> None:
        audio = load(path, name=name)
        most = round(LONGEST_S * SAMPLE_RATE)
        self.maker, self.judge = maker, judge
        self.notes = list(audio.notes)
        if len(audio.samples) > most:
            self.notes.append(f"the first {LONGEST_S:g} s of {audio.seconds:.1f} s are decoded")
        self.original = levelled(torch.from_numpy(audio.samples[:most]))
        self.against: Against = judge.against(self.original)


def run(task: MatrixTask, done: Callable[[int], None]) -> MatrixPart:
    """Decode and score a part of a matrix.

    Args:
        task: Which part.
        done: Told how many of its cells are done, after each batch.

    Raises:
        AudioError: The recording cannot be read, or is too short.
        ModelError: Decoders of another encoder, or too short for one frame of it.
        Cancelled: `worker.cancel` was called for the run.
    """
    started = time.monotonic()

    def check() -> None:
        if task.run in worker._cancelled:
            raise Cancelled("Cancelled.")

    heard = _heard(task)
    check()
    part = _head(task, heard) if task.index == HEAD else _row(task, heard, done, check)
    give_back()
    return part.model_copy(update={"wall_s": time.monotonic() - started})


def _head(task: MatrixTask, heard: _Heard) -> MatrixPart:
    maker = heard.maker
    vocoded = maker.vocoded(heard.original)
    (ceiling,) = heard.against.scores(vocoded[None])
    blank: Grid = [[None] * len(maker.encoder.layers) for _ in maker.bank.layers]
    example = make_document(
        maker,
        cell_metrics(
            heard.judge,
            {info.name: blank for info in METRICS},
            {name: measured.value for name, measured in ceiling.items()},
        ),
        id="own",
        voice=task.name,
        corpus="own recording",
        seconds=len(heard.original) / SAMPLE_RATE,
        updates=task.updates,
    )
    sounds = [opus(heard.original.numpy()), opus(vocoded.numpy())]
    return MatrixPart(example=example, notes=heard.notes, sounds=sounds, wall_s=0.0)


def _row(
    task: MatrixTask, heard: _Heard, done: Callable[[int], None], check: Callable[[], None]
) -> MatrixPart:
    sounds: list[bytes] = []

    def keep(places: list[tuple[int, int]], waveforms: Tensor) -> None:
        check()
        sounds.extend(each(opus, waveforms.numpy()))

    values, why = score_cells(
        heard.maker, heard.against, heard.original, [task.index], done=done, heard=keep
    )
    return MatrixPart(
        scores={name: grid[0] for name, grid in values.items()},
        why={name: grid[0] for name, grid in why.items()},
        sounds=sounds,
        wall_s=0.0,
    )


# -- what is loaded once for many tasks, and again when its files change --------------------------


def _heard(task: MatrixTask) -> _Heard:
    audio = Path(task.audio)
    about = audio.stat() if audio.is_file() else None
    stamp = (about.st_mtime_ns, about.st_size) if about else ()
    return _open(_identity(task, "audio", "name"), stamp, _maker(task), _judge(task))


@lru_cache(maxsize=1)
def _open(identity: str, _stamp: tuple[int, ...], maker: CellMaker, judge: Judge) -> _Heard:
    said = json.loads(identity)
    return _Heard(maker, judge, Path(said["audio"]), said["name"])


def _maker(task: MatrixTask) -> CellMaker:
    shipped = settings().precomputed
    files = [fingerprint(task.card, shipped)]
    files += [fingerprint({"source": source}, shipped) for source in (task.decoders, task.vocoder)]
    return _made(_identity(task, "card", "decoders", "vocoder", "config"), tuple(files))


@lru_cache(maxsize=2)
def _made(identity: str, _files: tuple[_Files, ...]) -> CellMaker:
    said = json.loads(identity)
    encoder = worker.kept_encoder(said["card"])
    bank = load_decoders(said["decoders"], device=encoder.device)
    source = said["vocoder"]
    vocoder = load_vocoder(source, device=encoder.device) if source else GriffinLim()
    config = MatrixConfig.model_validate(said["config"])
    return CellMaker(encoder, bank, vocoder, config, _BATCH_SECONDS)


def _judge(task: MatrixTask) -> Judge:
    shipped = settings().precomputed
    files = tuple(fingerprint(card, shipped) for card in (task.content, task.voice))
    judge = _judges(_identity(task, "content", "voice"), files)
    judge.check_other_than(worker.kept_encoder(task.card))
    return judge


@lru_cache(maxsize=1)
def _judges(identity: str, _files: tuple[_Files, ...]) -> Judge:
    said = json.loads(identity)
    return Judge(
        Content(worker.kept_encoder(said["content"])), Identity(worker.kept_encoder(said["voice"]))
    )


def _identity(task: MatrixTask, *fields: str) -> str:
    said: dict[str, Any] = task.model_dump(mode="json", include=set(fields))
    return json.dumps(said, sort_keys=True)
