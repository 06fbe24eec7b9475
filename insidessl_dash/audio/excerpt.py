"""The beginning of a file, read without the rest of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from insidessl_dash.audio.decode import resample
from insidessl_dash.audio.limits import LIMITS
from insidessl_dash.core.errors import AudioError
from insidessl_dash.core.types import SAMPLE_RATE


@dataclass(frozen=True)
class Excerpt:
    """The first seconds of a file.

    Attributes:
        samples: float32 (n,), 16 kHz, mono.
        whole_s: How long the file is, in seconds.
        notes: What was done that a listener should know.
    """

    samples: NDArray[np.float32]
    whole_s: float
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How much was read."""
        return len(self.samples) / SAMPLE_RATE


def excerpt(path: Path, seconds: float, *, name: str | None = None) -> Excerpt:
    """The first `seconds` of a file that was checked when it came, as 16 kHz mono.

    Args:
        path: The file.
        seconds: Most that is read.
        name: What to call it in errors; default the file's name.

    Raises:
        AudioError: It cannot be read, is too short, or is silent for so long.
    """
    name = name or path.name
    try:
        with soundfile.SoundFile(path) as file:
            rate, channels, frames = file.samplerate, file.channels, file.frames
            read = file.read(round(seconds * rate), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError) as error:
        raise AudioError(f"{name}: cannot be read as audio. Send the file again.") from error
    mono = read[:, 0] if channels == 1 else read.mean(axis=1)
    whole_s = max(frames, len(mono)) / rate
    if len(mono) < LIMITS.min_seconds * rate:
        raise AudioError(
            f"{name}: it lasts {len(mono) / rate:.3f} s, under the minimum of "
            f"{LIMITS.min_seconds:g} s."
        )
    if not np.isfinite(mono).all():
        raise AudioError(f"{name}: samples are NaN or infinite. Export it again as PCM.")
    if np.abs(mono).max() < LIMITS.silence_peak:
        raise AudioError(f"{name}: its first {len(mono) / rate:.1f} s are silent. Nothing to hear.")
    notes = []
    if whole_s > seconds + 0.02:
        notes.append(f"the first {seconds:g} s of {whole_s:.1f} s")
    if channels > 1:
        notes.append(f"{channels} channels averaged to mono")
    if rate != SAMPLE_RATE:
        notes.append(f"resampled from {rate} Hz to {SAMPLE_RATE} Hz")
    samples = np.ascontiguousarray(resample(np.ascontiguousarray(mono), rate), dtype=np.float32)
    return Excerpt(samples, whole_s, tuple(notes))
