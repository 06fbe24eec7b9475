"""What Dask runs: thin functions that reach the worker's side only inside a worker.

The web process imports this module to name the functions; it must not import torch, so the
worker's side is imported by name when a task runs.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from distributed import get_worker

from insidessl_dash.engine.lab_spec import LabOutcome, LabTask
from insidessl_dash.engine.own_spec import MatrixPart, MatrixTask
from insidessl_dash.engine.spec import ShardOutcome, ShardTask


def _worker_side() -> Any:
    return import_module("insidessl_dash.engine.worker")


def topic(run: str) -> str:
    """Where a run's progress events go."""
    return f"insidessl-{run}"


def warm() -> None:
    """See `worker.warm`."""
    _worker_side().warm()


def describe(card: dict[str, Any], requests: list[Any]) -> Any:
    """See `worker.describe`."""
    return _worker_side().describe(card, requests)


def run_shard(task: ShardTask) -> ShardOutcome:
    """See `worker.run_shard`; progress goes out as events."""
    process = get_worker()
    count = 0

    def done() -> None:
        nonlocal count
        count += 1
        process.log_event(topic(task.run), {"shard": task.index, "done": count})

    return _worker_side().run_shard(task, done)


def run_matrix(task: MatrixTask) -> MatrixPart:
    """See `own_worker.run`; progress goes out as events."""
    process = get_worker()

    def done(cells: int) -> None:
        process.log_event(topic(task.run), {"shard": task.index, "done": cells})

    return import_module("insidessl_dash.engine.own_worker").run(task, done)


def finish(*args: Any) -> Any:
    """See `worker.finish`."""
    return _worker_side().finish(*args)


def run_lab(task: LabTask) -> LabOutcome:
    """See `lab_task.run_lab`; an event says that it has begun."""
    get_worker().log_event(topic(task.run), {"begun": True})
    return import_module("insidessl_dash.engine.lab_task").run_lab(task)


def cancel(run: str) -> None:
    """See `worker.cancel`; runs beside a busy task, on the worker's event loop."""
    _worker_side().cancel(run)
