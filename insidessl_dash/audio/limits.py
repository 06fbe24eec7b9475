"""What audio is accepted, said once: the limits, and the text that errors and the page show."""

from __future__ import annotations

from dataclasses import dataclass

EXTENSIONS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff")


@dataclass(frozen=True)
class AudioLimits:
    """Bounds on one audio file.

    Attributes:
        min_seconds: Shortest utterance; a curvature needs three frames of 20 ms, we ask for five.
        max_seconds: Longest utterance; None for no bound (corpora prepared by their owner).
        max_bytes: Largest file; None for no bound.
        silence_peak: Peak amplitude (full scale 1) under which a file counts as silent.
    """

    min_seconds: float = 0.1
    max_seconds: float | None = 300.0
    max_bytes: int | None = 50 * 2**20
    silence_peak: float = 1e-4


LIMITS = AudioLimits()
ACCEPTED = (
    "WAV, FLAC, OGG, Opus, MP3 or AIFF, any sample rate and channel count, "
    f"{LIMITS.min_seconds:g} s to {(LIMITS.max_seconds or 0) / 60:g} minutes, "
    f"at most {(LIMITS.max_bytes or 0) // 2**20} MB a file"
)
