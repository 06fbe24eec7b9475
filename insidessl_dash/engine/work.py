"""What a job takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from insidessl_dash.core.progress import Rate
from insidessl_dash.core.types import Utterance
from insidessl_dash.engine.spec import Job


@dataclass(frozen=True)
class Work:
    """What a job takes, whatever kind it is.

    Attributes:
        total: As `Job.total`; `names` as `Job.names`.
        files: May be named in a message.
        compute: Does it, and keeps what comes of it in the job.
        pool: Where it waits for its turn: a matrix takes minutes, and must not hold up the rest.
    """

    total: int
    names: dict[str, str]
    files: Sequence[Utterance]
    compute: Callable[[Job, Rate], None]
    pool: ThreadPoolExecutor


def in_their_words(message: str, job: Job, files: Sequence[Utterance]) -> str:
    """A message with the owner's names in place of those that files have here."""
    for utterance in files:
        if name := job.names.get(utterance.id):
            message = message.replace(utterance.path.name, name).replace(utterance.id, name)
    return message
