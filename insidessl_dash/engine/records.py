"""Job records on disk: they survive a restart of anything."""

from __future__ import annotations

import logging
from pathlib import Path

from insidessl_dash.core.errors import NotFoundError, StorageError
from insidessl_dash.engine.spec import ENDED, Job
from insidessl_dash.results.store import Blobs

log = logging.getLogger(__name__)


class JobRecords:
    """Jobs with their owners, in ``<home>/jobs``.

    Args:
        home: Folder that this installation writes to.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "jobs"
        self._blobs: Blobs | None = None

    def save(self, owner: str, job: Job) -> None:
        """Write a job.

        Raises:
            StorageError: The folder cannot be written.
        """
        if self._blobs is None:
            self._blobs = Blobs(self._folder)
        self._blobs.set(f"job:{job.id}", f"{owner}\n{job.model_dump_json()}".encode())
        if job.state in ENDED:
            self._blobs.delete(f"cancel:{job.id}")

    def delete(self, job_id: str) -> None:
        """Forget a job."""
        if self._blobs is not None:
            self._blobs.delete(f"job:{job_id}")
            self._blobs.delete(f"cancel:{job_id}")

    def all(self) -> list[tuple[str, Job]]:
        """Owner and job of every readable record, oldest first."""
        blobs = self._existing()
        rows = []
        for key in blobs.keys("job:") if blobs else []:
            record = blobs.get(key) if blobs else None
            if record is None:
                continue
            owner, _, text = record.decode().partition("\n")
            try:
                rows.append((owner, Job.model_validate_json(text)))
            except ValueError:
                log.warning("Job record %s is of another release; dropped.", key)
                self.delete(key.removeprefix("job:"))
        return sorted(rows, key=lambda row: row[1].created)

    def ask_to_cancel(self, job_id: str) -> Job:
        """Leave word for the dashboard that runs the job; an ended one stays as it is.

        Raises:
            NotFoundError: No such job.
        """
        job = next((job for _owner, job in self.all() if job.id == job_id), None)
        if job is None:
            raise NotFoundError(f"No job {job_id!r}. `insidessl-dash jobs list` shows them.")
        if self._blobs is not None and job.state not in ENDED:
            self._blobs.set(f"cancel:{job_id}", b"1")
        return job

    def cancel_asked(self, job_id: str) -> bool:
        """Whether somebody left word to cancel; the word is taken."""
        blobs = self._existing()
        if blobs is None or blobs.get(f"cancel:{job_id}") is None:
            return False
        blobs.delete(f"cancel:{job_id}")
        return True

    def _existing(self) -> Blobs | None:
        if self._blobs is None and (self._folder / "cache.db").exists():
            try:
                self._blobs = Blobs(self._folder)
            except StorageError as error:
                log.warning("%s", error)
        return self._blobs
