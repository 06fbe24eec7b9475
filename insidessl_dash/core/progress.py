"""One progress hook for the terminal bar, the worker and the web page."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class ProgressHook(Protocol):
    """Called with what is being done and how far it is; raises `Cancelled` to stop the work."""

    def __call__(self, step: str, completed: float, total: float) -> None:
        """Report."""


def silent(step: str, completed: float, total: float) -> None:
    """Report to nobody."""


@dataclass
class Rate:
    """Progress with its rate and remaining time.

    The rate is measured from the first report, so what a resumed job skips does not flatter it.
    """

    clock: Callable[[], float] = time.monotonic
    _started: float | None = field(default=None, init=False)
    _first: float = field(default=0.0, init=False)

    def remaining_s(self, completed: float, total: float) -> float | None:
        """Seconds left at the mean rate so far; None until a rate is known."""
        now = self.clock()
        if self._started is None:
            self._started, self._first = now, completed
            return None
        done, elapsed = completed - self._first, now - self._started
        if done <= 0 or elapsed <= 0:
            return None
        return max(0.0, (total - completed) * elapsed / done)
