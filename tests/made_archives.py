"""Tiny archives laid out like the real ones, and a server that can break off."""

from __future__ import annotations

import http.server
import io
import json
import tarfile

import numpy as np
import soundfile

SPEAKERS = """; LibriSpeech speakers
;ID  |SEX| SUBSET           |MINUTES| NAME
14   | F | train-clean-360  | 25.03 | Somebody Else
1089 | M | test-clean       | 8.03  | Peter Bobbe
121  | F | test-clean       | 8.11  | Nikolle Doolin | with a bar
"""


def audio(kind: str, seconds: float, seed: int) -> bytes:
    buffer = io.BytesIO()
    noise = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * 16_000))
    soundfile.write(buffer, noise, 16_000, format=kind, subtype="PCM_16")
    return buffer.getvalue()


def tar(files: dict[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


LIBRISPEECH = tar(
    {
        "LibriSpeech/SPEAKERS.TXT": SPEAKERS,
        "LibriSpeech/README.TXT": "words",
        "LibriSpeech/test-clean/1089/134686/1089-134686.trans.txt": (
            "1089-134686-0000 HE HOPED THERE WOULD BE STEW FOR DINNER\n"
            "1089-134686-0001 STUFF IT INTO YOU\n"
        ),
        "LibriSpeech/test-clean/1089/134686/1089-134686-0000.flac": audio("FLAC", 1.5, 0),
        "LibriSpeech/test-clean/1089/134686/1089-134686-0001.flac": audio("FLAC", 0.75, 1),
        "LibriSpeech/test-clean/121/121726/121-121726.trans.txt": (
            "121-121726-0000 ALSO A POPULAR CONTRIVANCE\n"
        ),
        "LibriSpeech/test-clean/121/121726/121-121726-0000.flac": audio("FLAC", 1.0, 2),
    }
)
SCORES = {
    "000010011": {
        "text": "WE CALL",
        "accuracy": 8,
        "words": [
            {"text": "WE", "phones": ["W", "IY0"], "phones-accuracy": [2.0, 2.0]},
            {"text": "CALL", "phones": "K AO0 L", "phones-accuracy": [2.0, 1.8, 2.0]},
        ],
    },
}
SPEECHOCEAN = tar(
    {
        "speechocean762/README.md": "words",
        "speechocean762/resource/scores.json": json.dumps(SCORES),
        "speechocean762/train/wav.scp": "000010011\tWAVE/SPEAKER0001/000010011.WAV\n",
        "speechocean762/train/text": "000010011\tWE CALL\n",
        "speechocean762/train/utt2spk": "000010011\t0001\n",
        "speechocean762/train/spk2age": "0001\t6\n",
        "speechocean762/train/spk2gender": "0001\tm\n",
        "speechocean762/test/wav.scp": "000030012 WAVE/SPEAKER0003/000030012.WAV\n",
        "speechocean762/test/text": "000030012 MARK IS GOING\n",
        "speechocean762/test/utt2spk": "000030012 0003\n",
        "speechocean762/test/spk2age": "0003 34\n",
        "speechocean762/test/spk2gender": "0003 f\n",
        "speechocean762/WAVE/SPEAKER0001/000010011.WAV": audio("WAV", 0.5, 0),
        "speechocean762/WAVE/SPEAKER0003/000030012.WAV": audio("WAV", 1.0, 1),
    }
)


class Mirror(http.server.ThreadingHTTPServer):
    """Serves `files`; can break off, ignore Range, or answer with an error."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {
            "/12/test-clean.tar.gz": LIBRISPEECH,
            "/101/speechocean762.tar.gz": SPEECHOCEAN,
        }
        self.requests: list[tuple[str, str | None]] = []
        self.break_after: list[int] = []
        self.statuses: list[int] = []
        self.ranges = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        data = self.server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        start = int(asked[6:-1]) if asked and self.server.ranges else 0
        if asked and start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if asked and self.server.ranges else 200)
        if asked and self.server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        stop = self.server.break_after.pop(0) if self.server.break_after else len(data)
        self.wfile.write(data[start : start + stop])
        self.close_connection = True
