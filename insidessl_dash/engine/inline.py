"""Compute in this process: the command line and notebooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from insidessl_dash.engine import lab_task, own_worker, worker
from insidessl_dash.engine.lab_spec import LabOutcome, LabTask
from insidessl_dash.engine.own_spec import MatrixPart, MatrixTask
from insidessl_dash.engine.run import Advance
from insidessl_dash.engine.spec import EncoderInfo, LensPlan, LensRequest, ShardOutcome, ShardTask
from insidessl_dash.results.schema import Result, Values


class InlineExecutor:
    """Shards one after the other, in this process."""

    def describe(
        self, card: dict[str, Any], requests: list[LensRequest]
    ) -> tuple[EncoderInfo, list[LensPlan]]:
        """See `worker.describe`."""
        return worker.describe(card, requests)

    def shards(
        self, tasks: list[ShardTask], advance: Advance, check: Callable[[], None]
    ) -> Iterator[tuple[ShardTask, ShardOutcome]]:
        """Yield each shard as it is done."""
        for task in tasks:
            count = 0

            def done(index: int = task.index) -> None:
                nonlocal count
                count += 1
                advance(index, count)
                check()

            yield task, worker.run_shard(task, done)

    def matrix(
        self, tasks: list[MatrixTask], advance: Advance, check: Callable[[], None]
    ) -> Iterator[tuple[MatrixTask, MatrixPart]]:
        """Yield each part as it is done."""
        for task in tasks:

            def done(cells: int, index: int = task.index) -> None:
                advance(index, cells)
                check()

            check()
            yield task, own_worker.run(task, done)

    def finish(self, *args: Any) -> list[tuple[Result, Values]]:
        """See `worker.finish`."""
        return worker.finish(*args)

    def lab(
        self, task: LabTask, begun: Callable[[], None], check: Callable[[], None]
    ) -> LabOutcome:
        """See `lab_task.run_lab`."""
        check()
        begun()
        return lab_task.run_lab(task)
