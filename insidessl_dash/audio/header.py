"""Signs of a cut file that libsndfile passes over.

It silently cuts the length in a WAV or AIFF header to what the file holds, and takes an Ogg stream
to end where the file does, so a broken copy would pass for a short recording. Other formats
announce their length through libsndfile itself.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_STREAMED = 0x7FFF_0000
"""Data sizes from here on stand for "unknown" in headers written by a pipe."""

_LARGEST_PAGE = 65_307
"""Bytes of the largest Ogg page."""


def announced_frames(path: Path) -> int | None:
    """Frames (samples a channel) that a WAV or AIFF header announces; None where it says nothing.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] == b"RIFF" and start[8:] == b"WAVE":
            return _wav_frames(file)
        if start[:4] == b"FORM" and start[8:] in (b"AIFF", b"AIFC"):
            return _aiff_frames(file)
    return None


def ends_early(path: Path) -> bool:
    """Whether an Ogg file lacks the mark of a stream's last page: cut, or by a careless encoder.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(4) != b"OggS":
            return False
        file.seek(max(0, path.stat().st_size - _LARGEST_PAGE))
        tail = file.read()
    place = tail.rfind(b"OggS")
    return place < 0 or len(tail) < place + 6 or not tail[place + 5] & 0x04


def _wav_frames(file: BinaryIO) -> int | None:
    block_align = 0
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name == b"fmt ":
            fields = file.read(16)
            if len(fields) < 16:
                return None
            block_align = struct.unpack("<H", fields[12:14])[0]
            file.seek(size - 16 + size % 2, 1)
        elif name == b"data":
            return size // block_align if block_align and 0 < size < _STREAMED else None
        else:
            file.seek(size + size % 2, 1)
    return None


def _aiff_frames(file: BinaryIO) -> int | None:
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack(">4sI", head)
        if name == b"COMM":
            fields = file.read(6)
            return struct.unpack(">I", fields[2:])[0] or None if len(fields) == 6 else None
        file.seek(size + size % 2, 1)
    return None
