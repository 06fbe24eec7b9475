"""Corpora fetched by name from OpenSLR: resumed, checked, unpacked, and written as a manifest.

Nothing appears under its name until it is whole: the archive grows as ``.part``, is unpacked into
a hidden folder, and that folder is renamed at the end.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insidessl_dash.core.errors import CorpusError, StorageError
from insidessl_dash.core.files import storage_error, write_json
from insidessl_dash.core.progress import ProgressHook, silent
from insidessl_dash.corpora.layouts import Row, librispeech_rows, speechocean_rows
from insidessl_dash.corpora.manifest import MANIFEST, Corpus, open_corpus

if TYPE_CHECKING:
    import httpx

BASE_URL = "https://www.openslr.org/resources"
BASE_URL_VARIABLE = "INSIDESSL_OPENSLR"
_CHUNK = 1 << 20
_TRIES = 5
_PAUSE_S = 1.0


@dataclass(frozen=True)
class Download:
    """A corpus that can be fetched.

    Attributes:
        name: As asked for.
        file: Address of the archive below the base.
        bytes: Size of the archive; for the reader, and to see that it fits.
        md5: As its publisher gives it in ``md5sum.txt``; None where none is published, then the
            archive is only held to its own checksum (gzip's), and its digest is recorded.
        sha256: As widely recorded for the same file.
        page: Where its publisher describes it.
        rows: Reads the unpacked archive.
    """

    name: str
    title: str
    file: str
    bytes: int
    md5: str | None
    sha256: str | None
    licence: str
    page: str
    rows: Callable[[Path], Iterator[Row]]


def _librispeech(subset: str, bytes: int, md5: str, sha256: str) -> Download:
    return Download(
        name=f"librispeech-{subset}",
        title=f"LibriSpeech {subset}",
        file=f"12/{subset}.tar.gz",
        bytes=bytes,
        md5=md5,
        sha256=sha256,
        licence="CC-BY-4.0",
        page="https://www.openslr.org/12",
        rows=lambda folder: librispeech_rows(folder, subset),
    )


DOWNLOADS = {
    item.name: item
    for item in (
        Download(
            name="speechocean762",
            title="speechocean762",
            file="101/speechocean762.tar.gz",
            bytes=520_810_923,
            md5=None,
            sha256=None,
            licence="CC-BY-4.0",
            page="https://www.openslr.org/101",
            rows=speechocean_rows,
        ),
        _librispeech(
            "test-clean",
            346_663_984,
            "32fa31d27d2e1cad72775fee3f4849a9",
            "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
        ),
        _librispeech(
            "dev-clean",
            337_926_286,
            "42e2234ba48799c1f50f24a7926300a1",
            "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
        ),
        _librispeech(
            "train-clean-100",
            6_387_309_499,
            "2a93770f6d5c6c964bc36631d331a522",
            "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
        ),
    )
}


def data_folder(home: Path, name: str) -> Path:
    """Where a downloaded corpus lies."""
    return home / "data" / name


def fetch(
    name: str, home: Path, progress: ProgressHook = silent, base_url: str | None = None
) -> Corpus:
    """Download a corpus, check it, unpack it and write its manifest.

    An interrupted download goes on where it stopped when asked again. A corpus that is here is
    left as it is.

    Args:
        name: One of `DOWNLOADS`.
        home: Folder of this installation.
        progress: Told of bytes while downloading, checking and unpacking, of files at the end.
        base_url: Where the archives are; default the environment's INSIDESSL_OPENSLR, or OpenSLR.

    Returns:
        The corpus, now known by its name.

    Raises:
        CorpusError: No such corpus, no network, a wrong digest, or a damaged archive.
        StorageError: The disk is full or the folder cannot be written.
    """
    item = DOWNLOADS.get(name)
    if item is None:
        raise CorpusError(f"No download named {name!r}. There are: {', '.join(DOWNLOADS)}.")
    folder = data_folder(home, name)
    if (folder / MANIFEST).is_file():
        return open_corpus(folder, name)
    base = (base_url or os.environ.get(BASE_URL_VARIABLE) or BASE_URL).rstrip("/")
    part = folder.with_name(f"{name}.tar.gz.part")
    unpacked = folder.with_name(f".{name}.unpacking")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _check_space(item, part)
        _download(item, f"{base}/{item.file}", part, progress)
        digests = _check(item, part, progress)
        shutil.rmtree(unpacked, ignore_errors=True)
        _unpack(item, part, unpacked, progress)
        try:
            _write_manifest(item, unpacked, progress)
        except CorpusError:
            if item.md5 is None:
                part.unlink()  # not what it should be, and asking again would find it the same
            raise
        write_json(
            unpacked / "SOURCE.json",
            {
                "name": item.name,
                "url": f"{base}/{item.file}",
                "page": item.page,
                "licence": item.licence,
                "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
                "bytes": part.stat().st_size,
                "digest_published": item.md5 is not None,
                **digests,
            },
        )
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)
        part.unlink()
    except OSError as error:
        raise storage_error(folder, error) from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return open_corpus(folder, name)


def _check_space(item: Download, part: Path) -> None:
    """Archive and unpacked files lie side by side for a while."""
    have = part.stat().st_size if part.exists() else 0
    need = 2.2 * item.bytes - have
    free = shutil.disk_usage(part.parent).free
    if free < need:
        raise StorageError(
            f"{item.title} needs {need / 1e9:.1f} GB while it is unpacked, {free / 1e9:.1f} GB are "
            "free. Free some space, or set INSIDESSL_HOME to a larger disk."
        )


def _download(item: Download, url: str, part: Path, progress: ProgressHook) -> None:
    import httpx

    timeout = httpx.Timeout(60, connect=20)
    error: httpx.HTTPError | None = None
    with httpx.Client(timeout=timeout, follow_redirects=True) as client:
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(min(2 ** (attempt - 1), 8) * _PAUSE_S)
            try:
                _stream(item, client, url, part, progress)
                return
            except httpx.HTTPStatusError as failed:
                status = failed.response.status_code
                if status < 500 and status != 429:
                    raise CorpusError(
                        f"{url} answers {status} {failed.response.reason_phrase}. Set "
                        f"{BASE_URL_VARIABLE} to a mirror of {BASE_URL}."
                    ) from failed
                error = failed
            except httpx.HTTPError as failed:
                error = failed
    have = part.stat().st_size if part.exists() else 0
    if have:
        raise CorpusError(
            f"The download of {item.title} was interrupted after {have / 1e6:.1f} MB ({error}). "
            f"Run `insidessl-dash data get {item.name}` again to go on from there."
        ) from error
    raise CorpusError(
        f"Cannot reach {url} ({error}). Check the network, or set {BASE_URL_VARIABLE} to a mirror "
        f"of {BASE_URL}."
    ) from error


def _stream(
    item: Download, client: httpx.Client, url: str, part: Path, progress: ProgressHook
) -> None:
    """Fetch what is missing of a file; a server without Range sends all of it again."""
    import httpx

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416:
            total = response.headers.get("Content-Range", "").rpartition("/")[2]
            if total == str(have):
                return
            part.unlink()
            raise httpx.ReadError("the part on disk is of another file; starting again")
        response.raise_for_status()
        if response.status_code != 206:
            have = 0
        length = int(response.headers.get("Content-Length") or 0)
        total_bytes = have + length if length else item.bytes
        with part.open("ab" if have else "wb") as file:
            for chunk in response.iter_raw():
                file.write(chunk)
                have += len(chunk)
                progress(f"downloading {item.name}", have, total_bytes)
        if length and have < total_bytes:
            raise httpx.ReadError(f"{total_bytes - have} bytes are missing")


def _check(item: Download, part: Path, progress: ProgressHook) -> dict[str, str]:
    """Digests of the archive; removes it if they are not the published ones."""
    total = part.stat().st_size
    hashes = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    done = 0
    with part.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for one in hashes.values():
                one.update(chunk)
            done += len(chunk)
            progress(f"checking {item.name}", done, total)
    found = {name: one.hexdigest() for name, one in hashes.items()}
    for name, expected in (("md5", item.md5), ("sha256", item.sha256)):
        if expected is not None and found[name] != expected:
            part.unlink()
            raise CorpusError(
                f"{item.title}: the archive's {name} is {found[name]}, published is {expected}. "
                "It was removed: download it again, or from another mirror "
                f"({BASE_URL_VARIABLE})."
            )
    return found


def _unpack(item: Download, part: Path, into: Path, progress: ProgressHook) -> None:
    total = part.stat().st_size
    into.mkdir()
    try:
        with part.open("rb") as file, gzip.GzipFile(fileobj=file) as plain:
            with tarfile.open(fileobj=plain, mode="r|") as archive:
                for member in archive:
                    archive.extract(member, into, filter="data")
                    progress(f"unpacking {item.name}", file.tell(), total)
            while plain.read(_CHUNK):
                pass  # to the end, where gzip's checksum is; tarfile alone would pass it over
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        part.unlink()
        what = (
            "tries to write elsewhere" if isinstance(error, tarfile.FilterError) else "is damaged"
        )
        raise CorpusError(
            f"{item.title}: the archive {what} ({error}). It was removed: download it again, or "
            f"from another mirror ({BASE_URL_VARIABLE})."
        ) from error


def _write_manifest(item: Download, folder: Path, progress: ProgressHook) -> None:
    rows: list[dict[str, Any]] = []
    for row in item.rows(folder):
        rows.append(row)
        if len(rows) % 100 == 0:
            progress(f"reading {item.name}", len(rows), len(rows))
    if not rows:
        raise CorpusError(f"{item.title}: no utterance in the archive.")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    progress(f"reading {item.name}", len(rows), len(rows))
