"""The Dask cluster: one local worker process a device by default, or a scheduler elsewhere."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, Nanny, Scheduler, SpecCluster, wait
from distributed.client import ClosedClientError, FutureCancelledError

from insidessl_dash.core.errors import InsideSSLError
from insidessl_dash.core.settings import settings
from insidessl_dash.core.types import stable_hash
from insidessl_dash.engine import tasks as remote
from insidessl_dash.engine.lab_spec import LabOutcome, LabTask
from insidessl_dash.engine.own_spec import MatrixPart, MatrixTask
from insidessl_dash.engine.plan import fingerprint
from insidessl_dash.engine.run import Advance
from insidessl_dash.engine.spec import EncoderInfo, LensPlan, LensRequest, ShardOutcome, ShardTask
from insidessl_dash.results.schema import Result, Values

_POLL_S = 0.2
_LAB_POLL_S = 0.05
_WORKER_S = 60


class ClusterError(InsideSSLError):
    """The cluster cannot be reached, or lost its workers."""

    status = 503


def visible_gpus() -> list[str]:
    """Indices of the GPUs this process may use, found without importing torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [index for index in chosen.split(",") if index.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return [str(i) for i, row in enumerate(listing.stdout.splitlines()) if row.startswith("GPU ")]


def _nannies(**options: Any) -> dict[int, dict[str, Any]]:
    """One worker process a device, each restarted by its nanny if it dies."""
    # Dask gives workers one BLAS thread each; ours run one task at a time on the whole machine.
    dask.config.set({"distributed.nanny.pre-spawn-environ": {}})
    devices: list[str | None] = [*visible_gpus()] or [None]
    return {
        place: {
            "cls": Nanny,
            "options": {
                "nthreads": 1,
                "memory_limit": 0,
                "dashboard": False,
                "env": {} if device is None else {"CUDA_VISIBLE_DEVICES": device},
                **options,
            },
        }
        for place, device in enumerate(devices)
    }


def _local_cluster() -> SpecCluster:
    workers = _nannies(host="127.0.0.1")
    scheduler = {
        "cls": Scheduler,
        "options": {
            "host": "127.0.0.1",
            "port": 0,
            "dashboard": False,
            "dashboard_address": "127.0.0.1:0",
        },
    }
    return SpecCluster(workers=workers, scheduler=scheduler, name="insidessl")


def run_workers(scheduler: str) -> None:
    """Serve a scheduler with this machine's devices until stopped.

    Raises:
        ClusterError: The scheduler does not answer.
    """

    async def serve() -> None:
        nannies = [await spec["cls"](scheduler, **spec["options"]) for spec in _nannies().values()]
        await asyncio.gather(*(nanny.finished() for nanny in nannies))

    try:
        asyncio.run(serve())
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(f"Cannot work for {scheduler}: {error}.") from error


class DaskExecutor:
    """Computes on Dask workers; the client is made on first use.

    Args:
        scheduler: Address such as ``tcp://10.0.0.5:8786``; None for a local cluster.
    """

    def __init__(self, scheduler: str | None = None) -> None:
        self._address = scheduler
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._cluster: SpecCluster | None = None
        self._described: dict[str, tuple[Any, tuple[EncoderInfo, list[LensPlan]]]] = {}

    def client(self) -> Client:
        """The client, connected.

        Raises:
            ClusterError: The scheduler does not answer.
        """
        with self._lock:
            if self._client is None:
                try:
                    if self._address is None:
                        self._cluster = _local_cluster()
                    self._client = Client(
                        self._cluster or self._address, timeout=20, set_as_default=False
                    )
                except (OSError, ValueError, TimeoutError, FutureTimeout) as error:
                    raise ClusterError(
                        f"The scheduler at {self._address or 'this machine'} does not answer: "
                        f"{error}. Start it, or unset INSIDESSL_SCHEDULER to compute here."
                    ) from error
            return self._client

    @property
    def ready(self) -> bool:
        """Whether a worker is connected."""
        client = self._client
        return client is not None and bool(client.scheduler_info(n_workers=-1)["workers"])

    def warm(self) -> None:
        """Connect, and have every worker import what it will need and load the default model."""
        client = self.client()
        client.wait_for_workers(1, timeout=60)
        workers = list(client.scheduler_info(n_workers=-1)["workers"])
        futures = [client.submit(remote.warm, workers=[w], pure=False) for w in workers]
        with client.as_current():
            wait(futures)

    def describe(
        self, card: dict[str, Any], requests: list[LensRequest]
    ) -> tuple[EncoderInfo, list[LensPlan]]:
        """See `worker.describe`; asked once for a model whose files have not changed.

        So what was computed before is found while the worker is busy with something else.
        """
        identity = stable_hash([card, [request.model_dump() for request in requests]])
        files = fingerprint(card, settings().precomputed)
        if (known := self._described.get(identity)) and known[0] == files:
            return known[1]
        described = self._call(remote.describe, card, requests)
        self._described[identity] = (files, described)
        return described

    def shards(
        self, tasks: list[ShardTask], advance: Advance, check: Callable[[], None]
    ) -> Iterator[tuple[ShardTask, ShardOutcome]]:
        """Yield each shard as it is done; a lost worker's shards are computed by another."""
        yield from self._each(remote.run_shard, tasks, advance, check)

    def matrix(
        self, tasks: list[MatrixTask], advance: Advance, check: Callable[[], None]
    ) -> Iterator[tuple[MatrixTask, MatrixPart]]:
        """Yield each part of a matrix as it is done, as `shards` does.

        Parts take seconds and there are many of them, so anything else goes before the next one.
        """
        yield from self._each(remote.run_matrix, tasks, advance, check, priority=-10)

    def _each(
        self,
        function: Callable[[Any], Any],
        tasks: Sequence[Any],
        advance: Advance,
        check: Callable[[], None],
        priority: int = 0,
    ) -> Iterator[tuple[Any, Any]]:
        if not tasks:
            return
        client, run = self._connected(), tasks[0].run
        client.subscribe_topic(
            remote.topic(run), lambda event: advance(event[1]["shard"], event[1]["done"])
        )
        futures = {
            client.submit(function, task, pure=False, priority=priority): task for task in tasks
        }
        pending = set(futures)
        try:
            while pending:
                check()
                try:
                    with client.as_current():
                        done = wait(pending, timeout=_POLL_S, return_when="FIRST_COMPLETED").done
                except (TimeoutError, FutureTimeout):
                    continue
                except (FutureCancelledError, CancelledError) as error:
                    raise _lost(error) from error
                for future in done:
                    pending.discard(future)
                    yield futures[future], self._result(future)
        finally:
            if pending:
                client.run(remote.cancel, run, on_error="ignore")
                client.cancel(list(pending), force=True)
            client.unsubscribe_topic(remote.topic(run))

    def finish(self, *args: Any) -> list[tuple[Result, Values]]:
        """See `worker.finish`."""
        return self._call(remote.finish, *args)

    def lab(
        self, task: LabTask, begun: Callable[[], None], check: Callable[[], None]
    ) -> LabOutcome:
        """See `lab_task.run_lab`: before everything that waits, and given up while it waits.

        Args:
            task: What to do.
            begun: Called once a worker has begun.
            check: Called while waiting; raises `Cancelled` to give up.
        """
        client = self._connected()
        client.subscribe_topic(remote.topic(task.run), lambda _event: begun())
        future = client.submit(remote.run_lab, task, pure=False, priority=20)
        try:
            while not future.done():
                check()
                with suppress(TimeoutError, FutureTimeout), client.as_current():
                    wait(future, timeout=_LAB_POLL_S)
            return self._result(future)
        except (FutureCancelledError, CancelledError) as error:
            raise _lost(error) from error
        finally:
            with suppress(ClosedClientError):
                if not future.done():
                    client.cancel([future], force=True)
                client.unsubscribe_topic(remote.topic(task.run))

    def close(self) -> None:
        """Disconnect, and stop the local cluster."""
        with self._lock:
            if self._client is not None:
                self._client.close(timeout=2)
            if self._cluster is not None:
                self._cluster.close(timeout=5)
            self._client = self._cluster = None

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        client = self._connected()
        return self._result(client.submit(function, *args, pure=False, priority=10))

    def _connected(self) -> Client:
        """The client, with a worker to work for it."""
        client = self.client()
        if not self.ready:
            try:
                client.wait_for_workers(1, timeout=_WORKER_S)
            except (TimeoutError, FutureTimeout) as error:
                raise ClusterError(
                    f"No worker is connected to {self._address or 'the local scheduler'}. "
                    "Start one: insidessl-dash worker ADDRESS."
                ) from error
        return client

    def _result(self, future: Future) -> Any:
        try:
            return future.result()
        except KilledWorker as error:
            raise ClusterError(
                "The worker died repeatedly on this work (out of memory?). "
                "Try shorter files, or a smaller model."
            ) from error
        except (FutureCancelledError, CancelledError) as error:
            raise _lost(error) from error


def _lost(error: BaseException) -> ClusterError:
    return ClusterError(
        f"The scheduler went away ({error or type(error).__name__}). What was finished is kept: "
        "ask again once it is back."
    )
