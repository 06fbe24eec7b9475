"""What the command line prints: progress on stderr, results on stdout."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from insidessl_dash.core.errors import ConfigError
from insidessl_dash.core.files import whole_file
from insidessl_dash.core.progress import ProgressHook, Rate

errors = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
out = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


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

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
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


def check_target(target: str) -> None:
    """Refuse a place that JSON cannot be written to, before anything is computed for it.

    Raises:
        ConfigError: It is empty, a folder, or in a folder that cannot be written.
    """
    if target == "-":
        return
    if not target.strip():
        raise ConfigError("--json was given no file: name one, or - for standard output.")
    path = Path(target)
    if path.is_dir():
        raise ConfigError(f"--json {target}: this is a folder. Name a file in it.")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise ConfigError(f"--json {target}: {above.name} is a file, not a folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"--json {target}: the folder {above} cannot be written. Name another.")


def write_json(target: str, value: Any) -> None:
    """Write JSON to a file, whole or not at all, or to standard output for ``-``.

    Raises:
        ConfigError: As `check_target`.
        StorageError: The file cannot be written.
    """
    check_target(target)
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    with whole_file(Path(target)) as temporary:
        temporary.write_text(text)


def warn(message: str) -> None:
    """One line on stderr."""
    print(f"insidessl-dash: warning: {message}", file=sys.stderr)
