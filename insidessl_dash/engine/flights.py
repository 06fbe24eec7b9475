"""Computations that several jobs may wait for: who asks for what is under way shares it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from insidessl_dash.core.errors import Cancelled
from insidessl_dash.core.progress import ProgressHook
from insidessl_dash.engine.run import Outcome

_WAIT_S = 0.05


class Compute(Protocol):
    """Does the work, tells how far it is, and calls `check` often, which may raise."""

    def __call__(self, *, progress: ProgressHook, check: Callable[[], None]) -> Outcome:
        """Compute it."""
        ...


class _Flight:
    """One computation, cancelled when the last job that waits for it leaves."""

    def __init__(self) -> None:
        self.watchers: dict[str, ProgressHook] = {}
        self.done = threading.Event()
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.abandoned = False


class Flights:
    """Every shared computation that is under way; `len` counts them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def share(
        self,
        key: str,
        compute: Compute,
        job_id: str,
        *,
        progress: ProgressHook,
        check: Callable[[], None],
    ) -> Outcome:
        """Compute, or wait for the job that is computing the same.

        Args:
            key: The same for what may be shared.
            compute: Called in a thread of its own by the first who asks.
            job_id: Who waits.
            progress: Told how far it is.
            check: Called again and again; raises `Cancelled` to leave.

        Raises:
            Cancelled: From `check`; the computation stops if nobody else waits for it.
            InsideSSLError: What stopped the computation.
        """
        with self._lock:
            waiting = self._flights.get(key)
            leads = waiting is None or waiting.abandoned
            flight = _Flight() if waiting is None or waiting.abandoned else waiting
            self._flights[key] = flight
            flight.watchers[job_id] = progress
        if leads:
            threading.Thread(target=self._fly, args=(key, flight, compute), daemon=True).start()
        while not flight.done.wait(_WAIT_S):
            try:
                check()
            except Cancelled:
                with self._lock:
                    flight.watchers.pop(job_id, None)
                    flight.abandoned = not flight.watchers
                raise
        if flight.error is not None:
            raise flight.error
        assert flight.outcome is not None
        return flight.outcome

    def _fly(self, key: str, flight: _Flight, compute: Compute) -> None:
        def tell(step: str, completed: float, total: float) -> None:
            for watcher in list(flight.watchers.values()):
                watcher(step, completed, total)

        def check() -> None:
            if flight.abandoned:
                raise Cancelled("Cancelled.")

        try:
            flight.outcome = compute(progress=tell, check=check)
        except BaseException as error:
            flight.error = error
        finally:
            with self._lock:
                if self._flights.get(key) is flight:
                    del self._flights[key]
            flight.done.set()
