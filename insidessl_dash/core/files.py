"""Files that are either whole or absent."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from insidessl_dash.core.errors import StorageError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it only if the block succeeds.

    An interrupted write leaves the old file, or none, and no debris.

    Raises:
        StorageError: The disk is full, or the folder cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around a write of `path`: what goes wrong says what to do, whichever library writes.

    Raises:
        StorageError: The disk is full, or the folder cannot be written.
    """
    try:
        yield
    except SafetensorError as error:  # it has the system's number of the error in its text alone
        found = re.search(r"os error (\d+)", str(error))
        number = int(found.group(1)) if found else errno.EIO
        raise storage_error(path, OSError(number, str(error))) from error
    except OSError as error:
        raise storage_error(path, error) from error


def owner_folder(owner: str) -> str:
    """Name of the folder of what belongs to an owner: a digest, so that no name reaches a path.

    >>> owner_folder("../me")
    'ce34fa7a0fa784bdda3acc1ad25c0272'
    """
    return hashlib.sha256(owner.encode()).hexdigest()[:32]


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value as a whole file."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def storage_error(path: Path, error: OSError) -> StorageError:
    """Say what to do about a failed write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = "the disk is full. Free some space and try again; what was computed is kept."
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        what = f"the folder is read-only. {_ELSEWHERE}"
    else:
        what = f"{error.strerror or error}. {_ELSEWHERE}"
    return StorageError(f"Cannot write {path.name}: {what}")


_ELSEWHERE = (
    "Name a folder that can be written (INSIDESSL_HOME is where this program keeps its own files)."
)
