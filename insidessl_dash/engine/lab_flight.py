"""A question of the Signal Lab on its way: its clip, its models, what it is kept under."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from insidessl_dash.core import dials
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import Cancelled, NotFoundError
from insidessl_dash.core.lab import LONGEST_S, VERSION
from insidessl_dash.core.types import file_sha256, stable_hash
from insidessl_dash.corpora.manifest import Corpus
from insidessl_dash.engine.lab_spec import LabAnswer, LabSounds, LabTask, LabTicket
from insidessl_dash.engine.spec import EncoderInfo
from insidessl_dash.engine.uploads import Uploads
from insidessl_dash.results.schema import Result


@dataclass(frozen=True)
class Clip:
    """What is listened to.

    Attributes:
        id: What results call it.
        path: The file.
        name: What errors call it.
        sha256: Of the file.
        corpus: ``upload``, or the name of the corpus.
        private: Whether it is a visitor's, so that nothing of it may be written to disk.
        argument: What a command line calls it.
    """

    id: str
    path: Path
    name: str
    sha256: str
    corpus: str
    licence: str | None
    private: bool
    argument: str = "FILE"


def own_clip(uploads: Uploads, owner: str, id: str) -> Clip:
    """An upload as a clip.

    Raises:
        NotFoundError: No such upload of this owner.
    """
    upload, path = uploads.get(owner, id), uploads.path(owner, id)
    # Its id follows from the audio: a result shows nobody what the file is called.
    return Clip(upload.sha256[:16], path, upload.name, upload.sha256, "upload", None, True)


def file_clip(path: Path) -> Clip:
    """A file of whoever types a command, under the id that an upload of it would have.

    Raises:
        NotFoundError: It cannot be read.
    """
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise NotFoundError(f"{path}: this file cannot be read.") from error
    return Clip(
        sha256[:16], path, path.name, sha256, "upload", None, True, argument=shlex.quote(str(path))
    )


def corpus_clip(corpus: Corpus, id: str) -> Clip:
    """An utterance of a corpus as a clip.

    Raises:
        NotFoundError: No such utterance, or its audio is not on this machine.
    """
    utterance = next((each for each in corpus.utterances if each.id == id), None)
    if utterance is None:
        raise NotFoundError(
            f"No utterance {id[:64]!r} in the demo corpus. GET /api/v1/lab lists those there are."
        )
    try:
        stat = utterance.path.stat()
        sha256 = _digest(utterance.path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise NotFoundError(f"The audio of {id} is not on this machine.") from error
    licence = utterance.licence or corpus.licence
    return Clip(id, utterance.path, id, sha256, corpus.name, licence, private=False, argument=id)


@dataclass
class Flight:
    """A question on its way.

    Attributes:
        begun: A worker has begun; it will be finished.
        overtaken: A newer question came; unless it has begun, it is not computed.
        forgotten: Its upload was deleted; nothing of it is kept.
        keys: What its results are kept under, once that is known.
    """

    ticket: LabTicket
    owner: str
    clip: Clip
    cards: list[ModelCard]
    begun: bool = False
    overtaken: bool = False
    forgotten: bool = False
    keys: list[str] = field(default_factory=list)

    @property
    def pending(self) -> bool:
        """Whether an answer will still come of it."""
        return not self.overtaken and self.ticket.state in ("queued", "running")

    def begin(self) -> None:
        """Called once a worker has begun."""
        self.begun = True
        self.ticket.state = "running"

    def check(self) -> None:
        """Give up while nothing was begun.

        Raises:
            Cancelled: A newer question came first.
        """
        if self.overtaken and not self.begun:
            raise Cancelled("A newer question came first.")

    @property
    def sound_key(self) -> str:
        """What its sounds are kept under: the audio and what is done to it."""
        question = self.ticket.question
        parts = [
            self.clip.sha256, question.perturbation, question.strength, question.seed,
            dials.VERSION, LONGEST_S,
        ]  # fmt: skip
        return stable_hash(parts)[:32]

    def result_key(self, card: ModelCard, info: EncoderInfo) -> str:
        """What the result of a model is kept under: the sounds, the weights, how they are read."""
        weights = info.weights_sha256 or card.name
        parts = [self.sound_key, self.clip.corpus, weights, info.layer_policy, VERSION]
        return stable_hash(parts)[:32]

    def task(self, cards: list[ModelCard]) -> LabTask:
        """What a worker is given, for some of the models."""
        question, clip = self.ticket.question, self.clip
        command = (
            f"insidessl-dash lab {clip.argument} "
            f"--perturbation {question.perturbation} --strength {question.strength:g}"
        )
        return LabTask(
            run=f"lab-{self.ticket.id}",
            cards=[card.model_dump(mode="json") for card in cards],
            path=str(clip.path),
            clip=clip.id,
            name=clip.name,
            sha256=clip.sha256,
            corpus=clip.corpus,
            licence=clip.licence,
            perturbation=question.perturbation,
            strength=question.strength,
            seed=question.seed,
            command=command + (f" --seed {question.seed}" if question.seed else ""),
        )

    def answer(self, results: list[Result], sounds: LabSounds) -> LabAnswer:
        """Results and sounds under the names of this question.

        The same weights may have been asked for under another name before.
        """
        named = [
            result.model_copy(
                update={
                    "model": result.model.model_copy(
                        update={"name": card.name, "title": card.title}
                    )
                }
            )
            for card, result in zip(self.cards, results, strict=True)
        ]
        return LabAnswer(
            results=named,
            gain_db=sounds.gain_db,
            seconds=sounds.seconds,
            whole_s=sounds.whole_s,
            notes=sounds.notes,
            versions={
                "original": hashlib.sha256(sounds.original).hexdigest()[:16],
                "perturbed": hashlib.sha256(sounds.perturbed).hexdigest()[:16],
            },
        )


@lru_cache(maxsize=256)
def _digest(path: Path, _mtime_ns: int, _size: int) -> str:
    return file_sha256(path)
