"""A model hub on this machine: what its client asks for, and what can go wrong on the way."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LARGE = (".safetensors", ".bin")
_API = re.compile(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class LocalHub(http.server.ThreadingHTTPServer):
    """Serves the folders in `repositories` by id, each with one commit on ``main``.

    Attributes:
        repositories: Repository id -> folder of its files; may change while it runs.
        sent: Path and Range header ("" without one) of every request for a file's content.
        break_after: Repository id -> how many bytes of weights to send before hanging up, next
            and after that.
        broken: Hang up at once whenever weights are asked for.
        stall_s: How long weights take to begin.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Path] = {}
        self.sent: list[tuple[str, str]] = []
        self.break_after: dict[str, list[int]] = {}
        self.broken = False
        self.stall_s = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def start(self) -> LocalHub:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def commit(self, repository: str) -> str:
        """The commit of ``main``: 40 hexadecimal digits that follow from the files."""
        digest = hashlib.sha1(repository.encode())
        for file in sorted(self.repositories[repository].iterdir()):
            digest.update(f"{file.name} {file.stat().st_size}".encode())
        return digest.hexdigest()

    def environment(self, cache: Path) -> dict[str, str]:
        """What a process needs to take this for the model hub."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(cache),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    server: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        if match := _API.fullmatch(path):
            repository, what, revision = match.groups()
            if self._found(repository, revision):
                self._json(self._description(repository) if what == "revision" else
                           self._tree(repository))  # fmt: skip
        elif match := _FILE.fullmatch(path):
            repository, revision, name = match.groups()
            if self._found(repository, revision):
                self._file(repository, name, body=body)
        else:
            self._refuse("EntryNotFound")

    def _found(self, repository: str, revision: str) -> bool:
        if repository not in self.server.repositories:
            self._refuse("RepoNotFound")
        elif revision not in ("main", self.server.commit(repository)):
            self._refuse("RevisionNotFound")
        else:
            return True
        return False

    def _description(self, repository: str) -> dict:
        files = sorted(self.server.repositories[repository].iterdir())
        return {
            "id": repository,
            "modelId": repository,
            "sha": self.server.commit(repository),
            "private": False,
            "siblings": [{"rfilename": file.name} for file in files],
        }

    def _tree(self, repository: str) -> list[dict]:
        entries = []
        for file in sorted(self.server.repositories[repository].iterdir()):
            size, etag = file.stat().st_size, _etag(file)
            entry = {"type": "file", "path": file.name, "size": size, "oid": etag[:40]}
            if file.suffix in _LARGE:
                entry["lfs"] = {"oid": etag, "size": size, "pointerSize": 134}
            entries.append(entry)
        return entries

    def _json(self, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def _file(self, repository: str, name: str, *, body: bool) -> None:
        file = self.server.repositories[repository] / Path(name).name
        if not file.is_file():
            return self._refuse("EntryNotFound")
        asked = self.headers.get("Range") or ""
        if body:
            self.server.sent.append((f"{repository}/{name}", asked))
            if self.server.broken and file.suffix in _LARGE:
                self.close_connection = True
                return None
            time.sleep(self.server.stall_s if file.suffix in _LARGE else 0)
        size = file.stat().st_size
        start = int(match[1]) if (match := re.fullmatch(r"bytes=(\d+)-", asked)) else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{_etag(file)}"')
        self.send_header("X-Repo-Commit", self.server.commit(repository))
        self.end_headers()
        if body:
            breaks = self.server.break_after.get(repository) if file.suffix in _LARGE else None
            self._send(file, start, breaks.pop(0) if breaks else size - start)
        return None

    def _send(self, file: Path, start: int, left: int) -> None:
        self.close_connection = start + left < file.stat().st_size
        with file.open("rb") as stream:
            stream.seek(start)
            while left > 0 and (piece := stream.read(min(left, 1 << 20))):
                self.wfile.write(piece)
                left -= len(piece)

    def _refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _etag(file: Path) -> str:
    stat = file.stat()
    return hashlib.sha256(f"{file} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
