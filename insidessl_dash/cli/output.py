"""What the command line prints: progress on stderr, results on stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from insidessl_dash.core.files import whole_file
from insidessl_dash.core.progress import ProgressHook, Rate

errors = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, soft_wrap=True)


@contextmanager
def progress_bar() -> Iterator[ProgressHook]:
    """A bar with remaining time on a terminal; a plain line every few seconds otherwise."""
    if not errors.is_terminal:
        yield _plain()
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=errors, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def report(step: str, completed: float, total: float) -> None:
            bar.update(task, description=step, completed=completed, total=total)

        yield report


def _plain(every_s: float = 5.0) -> ProgressHook:
    rate, last = Rate(), [-every_s]

    def report(step: str, completed: float, total: float) -> None:
        remaining = rate.remaining_s(completed, total)
        if time.monotonic() - last[0] < every_s:
            return
        last[0] = time.monotonic()
        left = "" if remaining is None else f", {remaining:.0f} s left"
        print(f"{step}: {completed:g} of {total:g}{left}", file=sys.stderr, flush=True)

    return report


def write_json(target: str, value: Any) -> None:
    """Write JSON to a file, whole or not at all, or to standard output for ``-``."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    with whole_file(Path(target)) as temporary:
        temporary.write_text(text)


def warn(message: str) -> None:
    """One line on stderr."""
    print(f"insidessl-dash: warning: {message}", file=sys.stderr)
