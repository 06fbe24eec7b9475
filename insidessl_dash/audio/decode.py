"""From a file to 16 kHz mono float32, or to an error that says what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from insidessl_dash.audio.limits import ACCEPTED, EXTENSIONS, LIMITS, AudioLimits
from insidessl_dash.core.errors import AudioError
from insidessl_dash.core.types import SAMPLE_RATE, file_sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 1 << 18


@dataclass(frozen=True)
class Audio:
    """A decoded file.

    Attributes:
        samples: float32, shape (n,), nominally in [-1, 1].
        sample_rate: In Hz.
        sha256: Digest of the file's bytes.
        notes: What was done that a listener should know (channels averaged, resampled).
    """

    samples: NDArray[np.float32]
    sample_rate: int
    sha256: str
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.sample_rate


def check_file(path: Path, name: str, limits: AudioLimits = LIMITS) -> None:
    """Check size and extension without opening the file.

    Raises:
        AudioError: The file is missing, empty, too large, or not of an accepted kind.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise AudioError(f"{name}: {error.strerror}.") from error
    if size == 0:
        raise AudioError(f"{name}: the file is empty (0 bytes).")
    if limits.max_bytes is not None and size > limits.max_bytes:
        raise AudioError(
            f"{name}: {size / 2**20:.1f} MB is over the limit of {limits.max_bytes / 2**20:g} MB. "
            "Cut it into shorter files, or compress it to FLAC or Opus."
        )
    if Path(name).suffix.lower() not in EXTENSIONS:
        raise AudioError(f"{name}: not an accepted kind of file. Accepted: {ACCEPTED}.")


def decode(path: Path, *, name: str | None = None, limits: AudioLimits = LIMITS) -> Audio:
    """Read a file at its own rate as mono, with every check applied.

    Channels are averaged block by block, so that memory holds one channel.

    Args:
        path: The file.
        name: What to call it in errors (an upload's own name); default the file's name.
        limits: Bounds to hold it to.

    Raises:
        AudioError: Empty, not audio, truncated, too short or long, silent, NaN or Inf samples.
    """
    name = name or path.name
    check_file(path, name, limits)
    try:
        with soundfile.SoundFile(path) as file:
            rate, channels, claimed = file.samplerate, file.channels, file.frames
            _check_duration(name, claimed / rate, limits, claimed=True)
            blocks = []
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block[:, 0] if channels == 1 else block.mean(axis=1))
                if limits.max_seconds and sum(map(len, blocks)) > limits.max_seconds * rate:
                    break
            lossy_length = file.format in ("MP3", "MPEG")
    except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError) as error:
        raise AudioError(
            f"{name}: cannot be decoded as audio (damaged, truncated, or not what its name says). "
            f"Accepted: {ACCEPTED}."
        ) from error
    except OSError as error:
        raise AudioError(f"{name}: {error.strerror or 'cannot be read'}.") from error
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if len(samples) < claimed and not lossy_length:
        raise AudioError(
            f"{name}: truncated: the header announces {claimed / rate:.2f} s, "
            f"{len(samples) / rate:.2f} s could be read. Copy or export the file again."
        )
    _check_duration(name, len(samples) / rate, limits)
    if not np.isfinite(samples).all():
        bad = int(np.size(samples) - np.isfinite(samples).sum())
        raise AudioError(
            f"{name}: {bad} samples are NaN or infinite. Export it again as PCM or clean floats."
        )
    if float(np.abs(samples).max()) < limits.silence_peak:
        raise AudioError(
            f"{name}: silent (peak below {limits.silence_peak:g} of full scale). Nothing to see."
        )
    notes = [f"{channels} channels averaged to mono"] if channels > 1 else []
    if rate != SAMPLE_RATE:
        notes.append(f"resampled from {rate} Hz to {SAMPLE_RATE} Hz")
    return Audio(np.ascontiguousarray(samples), rate, file_sha256(path), tuple(notes))


def load(path: Path, *, name: str | None = None, limits: AudioLimits = LIMITS) -> Audio:
    """`decode`, then resample to 16 kHz."""
    audio = decode(path, name=name, limits=limits)
    if audio.sample_rate == SAMPLE_RATE:
        return audio
    samples = resample(audio.samples, audio.sample_rate)
    return Audio(samples, SAMPLE_RATE, audio.sha256, audio.notes)


def resample(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """Band-limited resampling to 16 kHz (torchaudio, windowed sinc with a Hann window).

    Args:
        samples: float32, shape (n,).
        rate_hz: Their sample rate.

    Returns:
        float32, shape (ceil(n * 16000 / rate_hz),).
    """
    import torch

    from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede torchaudio

    from torchaudio.functional import resample as torchaudio_resample  # isort: skip

    return torchaudio_resample(torch.from_numpy(samples), rate_hz, SAMPLE_RATE).numpy()


def _check_duration(
    name: str, seconds: float, limits: AudioLimits, *, claimed: bool = False
) -> None:
    says = "its header announces" if claimed else "it lasts"
    if limits.max_seconds is not None and seconds > limits.max_seconds:
        raise AudioError(
            f"{name}: {says} {seconds:.0f} s, over the limit of {limits.max_seconds:g} s. "
            "Cut it into shorter files."
        )
    if seconds < limits.min_seconds:
        raise AudioError(
            f"{name}: {says} {seconds:.3f} s, under the minimum of {limits.min_seconds:g} s: "
            "too few frames of 20 ms to measure."
        )
