"""Jobs: accepted, run, watched, cancelled, and found again after a restart."""

from __future__ import annotations

import builtins
import logging
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from insidessl_dash.core.cards import ModelCard, weights_do_not_ship
from insidessl_dash.core.errors import (
    Cancelled,
    ConflictError,
    InsideSSLError,
    ModelError,
    NotFoundError,
    StorageError,
)
from insidessl_dash.core.progress import Rate
from insidessl_dash.core.registry import Registry
from insidessl_dash.core.types import Utterance, file_sha256, stable_hash
from insidessl_dash.corpora.manifest import Corpus
from insidessl_dash.engine.at_hand import ships_without_weights
from insidessl_dash.engine.flights import Flights
from insidessl_dash.engine.own import MatrixPlan, decode_matrix, plan_matrix
from insidessl_dash.engine.records import JobRecords
from insidessl_dash.engine.run import Executor, analyse
from insidessl_dash.engine.spec import ENDED, Job, JobSpec, MatrixSpec
from insidessl_dash.engine.uploads import Uploads
from insidessl_dash.engine.work import Work, in_their_words
from insidessl_dash.results.own_matrices import OwnMatrices
from insidessl_dash.results.provenance import now
from insidessl_dash.results.store import Store

log = logging.getLogger(__name__)
_AT_ONCE = 4
_MATRICES_AT_ONCE = 2
_MOST_OPEN = 3  # matrices that one visitor may have under way
_LOOK_EVERY_S = 1.0  # for word to cancel from the command line
_KEEP_JOBS = 200


class CorpusSource(Protocol):
    """Finds a corpus by name."""

    def __call__(self, name: str) -> Corpus:
        """The corpus; raises NotFoundError."""
        ...


class JobService:
    """Runs jobs for owners.

    Args:
        store: Where results are kept.
        executor: Where shards are computed.
        registry: The only source of models.
        uploads: The only source of a visitor's audio.
        corpora: The only source of corpora.

    Attributes:
        matrices: Where matrices of visitors' own recordings are kept.
    """

    def __init__(
        self,
        store: Store,
        executor: Executor,
        registry: Registry,
        uploads: Uploads,
        corpora: CorpusSource,
    ) -> None:
        self.store, self.executor = store, executor
        self.registry, self.uploads, self.corpora = registry, uploads, corpora
        self._lock = threading.RLock()
        self._jobs: dict[str, tuple[str, Job]] = {}
        self._cancelled: set[str] = set()
        self._closing = False
        self._flights = Flights()
        self._pool = ThreadPoolExecutor(_AT_ONCE, "job")
        self._slow = ThreadPoolExecutor(_MATRICES_AT_ONCE, "matrix")
        self.matrices = OwnMatrices(store.home)
        self._records = JobRecords(store.home)
        self._sweep()
        self._recover()

    def submit(self, spec: JobSpec | MatrixSpec, owner: str) -> Job:
        """Accept a job; the same job of the same owner, still under way, is the same job.

        Raises:
            UnknownModelError, NotFoundError: A model, corpus or upload that is not there, or a
                model without decoders.
            ModelError: Of a model the weights do not ship.
            ConflictError: Too many matrices of this owner are under way.
        """
        work = self._work(spec, owner)
        open = 0
        with self._lock:
            for who, job in self._jobs.values():
                leaving = job.id in self._cancelled or job.state in ENDED
                if who == owner and job.spec == spec and not leaving:
                    return job.model_copy(deep=True)
                open += who == owner and isinstance(job.spec, MatrixSpec) and not leaving
            if isinstance(spec, MatrixSpec) and open >= _MOST_OPEN:
                raise ConflictError(
                    f"{open} matrices of yours are being decoded or wait for their turn: let one "
                    "end, or cancel one."
                )
            job = Job(
                id=secrets.token_hex(8),
                spec=spec,
                created=now(),
                total=work.total,
                names=work.names,
            )
            self._keep(owner, job)
        work.pool.submit(self._run, owner, job.id, work)
        return job.model_copy(deep=True)

    def get(self, job_id: str, owner: str) -> Job:
        """A job as it stands.

        Raises:
            NotFoundError: No such job, or somebody else's.
        """
        return self._own(job_id, owner).model_copy(deep=True)

    def list(self, owner: str) -> builtins.list[Job]:
        """The owner's jobs, newest first."""
        with self._lock:
            mine = [job.model_copy(deep=True) for who, job in self._jobs.values() if who == owner]
        return sorted(mine, key=lambda job: job.created, reverse=True)

    def cancel(self, job_id: str, owner: str) -> Job:
        """Stop a job; its finished shards are kept. An ended job stays as it is."""
        with self._lock:
            job = self._own(job_id, owner)
            if job.state not in ENDED:
                self._cancelled.add(job_id)
                job.step = "cancelling"
                if job.state == "queued":
                    self._end(owner, job, "cancelled")
            return job.model_copy(deep=True)

    def owns(self, owner: str, key: str) -> bool:
        """Whether a private result came from a job of this owner."""
        with self._lock:
            return any(who == owner and key in job.results for who, job in self._jobs.values())

    def forget(self, owner: str, names: set[str] | None = None) -> None:
        """Drop ended jobs on uploads, all of the owner's or those that touch `names`, and matrices.

        A matrix that is being decoded is cancelled: nothing of a deleted recording comes back.
        """
        with self._lock:
            for id, (who, job) in list(self._jobs.items()):
                touched = bool(job.spec.uploads) and (
                    names is None or bool(names & set(job.spec.uploads))
                )
                if who == owner and touched and job.state in ENDED:
                    del self._jobs[id]
                    self._records.delete(id)
                elif who == owner and touched and isinstance(job.spec, MatrixSpec):
                    self._cancelled.add(id)
        self.matrices.forget(owner, names)

    def close(self) -> None:
        """Stop taking work; jobs under way are found again at the next start."""
        self._closing = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._slow.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._cancelled.update(self._jobs)

    # -- inside ---------------------------------------------------------------------------------

    def _work(self, spec: JobSpec | MatrixSpec, owner: str) -> Work:
        """What a job takes.

        Raises:
            UnknownModelError, NotFoundError: Of what it names, something is not there.
            ModelError: Of a model the weights do not ship.
        """
        if isinstance(spec, MatrixSpec):
            plan = plan_matrix(spec, owner, self.registry, self.uploads)
            compute = partial(self._decode, owner, plan)
            return Work(plan.cells, {}, (), compute, self._slow)
        cards = [self.registry.get(name) for name in dict.fromkeys(spec.models)]
        for card in cards:
            if ships_without_weights(card, self.registry):
                raise ModelError(weights_do_not_ship(card.name))
        corpus, names = self._corpus(spec, owner)
        total = len(corpus.utterances) * len(cards)
        return Work(
            total, names, corpus.utterances, partial(self._analyse, cards, corpus, spec), self._pool
        )

    def _corpus(self, spec: JobSpec, owner: str) -> tuple[Corpus, dict[str, str]]:
        if spec.corpus is not None:
            return self.corpora(spec.corpus), {}
        utterances: dict[str, Utterance] = {}
        names: dict[str, str] = {}
        for upload_id in dict.fromkeys(spec.uploads):
            upload = self.uploads.get(owner, upload_id)
            path = self.uploads.path(owner, upload_id)
            # The id follows from the audio, so a shared result shows nobody else's file name.
            id = file_sha256(path)[:16]
            utterances[id], names[id] = Utterance(id, path, corpus="upload"), upload.name
        return Corpus("upload", tuple(utterances.values())), names

    def _run(self, owner: str, job_id: str, work: Work) -> None:
        with self._lock:
            job = self._jobs[job_id][1]
            if job.state in ENDED:
                return
            job.state, job.step = "running", "loading the model"
            self._keep(owner, job)
        try:
            work.compute(job, Rate())
            self._end(owner, job, "done")
        except Cancelled:
            if not self._closing:  # else the record stays as it is, and the next start resumes it
                self._end(owner, job, "cancelled")
        except InsideSSLError as error:
            self._end(owner, job, "failed", in_their_words(str(error), job, work.files))
        except Exception:
            log.exception("Job %s failed", job_id)
            self._end(
                owner, job, "failed",
                f"An unexpected error stopped this job; the server's log has it as {job_id}.",
            )  # fmt: skip

    def _analyse(
        self,
        cards: builtins.list[ModelCard],
        corpus: Corpus,
        spec: JobSpec,
        job: Job,
        rate: Rate,
    ) -> None:
        each = len(corpus.utterances)
        for place, card in enumerate(cards):
            tell = partial(self._tell, job, rate, card.title, place * each)
            compute = partial(
                analyse, card, corpus, spec.lenses, self.store, self.executor, seed=spec.seed,
                private=spec.corpus is None, limits=spec.corpus is None,
                command=spec.corpus or "FILE...",
            )  # fmt: skip
            key = stable_hash(
                [
                    card.model_dump(mode="json"),
                    sorted(str(u.path) for u in corpus.utterances),
                    [lens.model_dump() for lens in spec.lenses],
                    spec.seed,
                ]
            )
            outcome = self._flights.share(
                key, compute, job.id, progress=tell, check=self._check(job.id)
            )
            with self._lock:
                job.results += [result.key for result in outcome.results]
                job.warning = outcome.warning or job.warning
                for utterance in outcome.results[0].utterances:
                    if utterance.error:
                        name = job.names.get(utterance.id, utterance.id)
                        job.skipped[name] = in_their_words(utterance.error, job, corpus.utterances)

    def _decode(self, owner: str, plan: MatrixPlan, job: Job, rate: Rate) -> None:
        def begun(key: str) -> None:
            with self._lock:
                job.results = [key]

        decode_matrix(
            plan, owner, self.matrices, self.executor,
            progress=partial(self._tell, job, rate, plan.task.card["title"], 0),
            check=self._check(job.id), begun=begun,
        )  # fmt: skip

    def _check(self, job_id: str) -> Callable[[], None]:
        """What raises `Cancelled` once a job is cancelled, here or from the command line."""
        looked = time.monotonic()

        def check() -> None:
            nonlocal looked
            if time.monotonic() - looked >= _LOOK_EVERY_S:
                looked = time.monotonic()
                if self._records.cancel_asked(job_id):
                    self._cancelled.add(job_id)
            if job_id in self._cancelled:
                raise Cancelled("Cancelled.")

        return check

    def _tell(
        self, job: Job, rate: Rate, title: str, before: int, step: str, done: float, _total: float
    ) -> None:
        with self._lock:
            job.completed = before + int(done)
            job.remaining_s = rate.remaining_s(job.completed, job.total)
            if job.id not in self._cancelled:
                job.step = f"{title}: {step}"

    def _own(self, job_id: str, owner: str) -> Job:
        with self._lock:
            who, job = self._jobs.get(job_id, (None, None))
            if job is None or who != owner:
                raise NotFoundError(f"No job {job_id!r} of yours. It may have expired.")
            return job

    def _end(self, owner: str, job: Job, state: str, error: str | None = None) -> None:
        with self._lock:
            if job.state in ENDED:
                return
            updates = {"state": state, "error": error, "step": state, "finished": now()}
            for name, value in updates.items():
                setattr(job, name, value)
            job.remaining_s = 0.0 if state == "done" else None
            if state == "done":
                job.completed = job.total
            self._cancelled.discard(job.id)
            self._keep(owner, job)

    def _keep(self, owner: str, job: Job) -> None:
        """Remember a job here, and on disk if it can be written."""
        self._jobs[job.id] = (owner, job)
        mine = [
            id for id, (who, kept) in self._jobs.items() if who == owner and kept.state in ENDED
        ]
        for id in mine[:-_KEEP_JOBS]:
            del self._jobs[id]
            self._records.delete(id)
        try:
            self._records.save(owner, job)
        except StorageError as error:
            job.warning = str(error)

    def _sweep(self) -> None:
        """Remove sounds of recordings that are gone; what cannot be removed now is, next time."""
        try:
            self.matrices.sweep(self.uploads.holds)
        except StorageError as error:
            log.warning("%s", error)

    def _recover(self) -> None:
        """Take up the jobs that an earlier process left unfinished."""
        for owner, job in self._records.all():
            self._jobs[job.id] = (owner, job)
            if job.state in ENDED:
                continue
            try:
                work = self._work(job.spec, owner)
            except InsideSSLError as error:
                self._end(owner, job, "failed", str(error))
                continue
            job.names = work.names
            job.state, job.results, job.completed = "queued", [], 0
            work.pool.submit(self._run, owner, job.id, work)
