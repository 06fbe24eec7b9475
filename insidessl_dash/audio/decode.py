"""From a file to 16 kHz mono float32, or to an error that says what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from insidessl_dash.audio.header import announced_frames, ends_early
from insidessl_dash.audio.limits import ACCEPTED, EXTENSIONS, LIMITS, AudioLimits
from insidessl_dash.core.errors import AudioError
from insidessl_dash.core.types import SAMPLE_RATE, file_sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 1 << 18
_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "MPEG", "AIFF")
_FRAME_S = 0.02
_RATES_HZ = (1_000, 384_000)
_MOST_SAMPLES = 1 << 29  # of an upload, all channels: 5 minutes of 8 at 192 kHz pass
_LARGEST_TABLE = 2_000_000


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


@dataclass(frozen=True)
class AudioInfo:
    """A file that passed every check: as `Audio`, without the samples."""

    seconds: float
    sample_rate: int
    sha256: str
    notes: tuple[str, ...] = ()


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
    blocks: list[NDArray[np.float32]] = []
    info = _read(path, name or path.name, limits, blocks.append)
    samples = np.ascontiguousarray(np.concatenate(blocks or [np.zeros(0, np.float32)]))
    return Audio(samples, info.sample_rate, info.sha256, info.notes)


def probe(path: Path, *, name: str | None = None, limits: AudioLimits = LIMITS) -> AudioInfo:
    """Apply every check of `decode` in the memory of one block, and keep no samples.

    Raises:
        AudioError: As `decode`.
    """
    return _read(path, name or path.name, limits, lambda block: None)


def _read(
    path: Path, name: str, limits: AudioLimits, keep: Callable[[NDArray[np.float32]], None]
) -> AudioInfo:
    check_file(path, name, limits)
    got, bad, peak = 0, 0, 0.0
    try:
        announced = announced_frames(path) or 0
        with soundfile.SoundFile(path) as file:
            rate, channels = file.samplerate, file.channels
            cut = announced - file.frames > _FRAME_S * rate
            claimed = announced if cut else file.frames
            _check_format(name, file.format, rate, claimed)
            _check_duration(name, claimed / rate, limits, claimed=True)
            if limits.max_seconds is not None and claimed * channels > _MOST_SAMPLES:
                raise AudioError(
                    f"{name}: {channels} channels of {claimed / rate:.0f} s at {rate} Hz are too "
                    "much for one file. Export it as mono, or cut it into shorter files."
                )
            size = max(1, _BLOCK // channels)
            while len(block := file.read(size, dtype="float32", always_2d=True)):
                mono = block[:, 0] if channels == 1 else block.mean(axis=1)
                finite = np.isfinite(mono)
                got += len(mono)
                bad += len(mono) - int(finite.sum())
                peak = max(peak, float(np.abs(mono, where=finite, out=np.zeros_like(mono)).max()))
                keep(mono)
                if limits.max_seconds and got > limits.max_seconds * rate:
                    break
            estimated = file.format in ("MP3", "MPEG")
        early, sha256 = ends_early(path), file_sha256(path)
    except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError) as error:
        raise AudioError(
            f"{name}: cannot be decoded as audio (damaged, truncated, or not what its name says). "
            f"Accepted: {ACCEPTED}."
        ) from error
    except OSError as error:
        raise AudioError(f"{name}: {error.strerror or 'cannot be read'}.") from error
    notes = []
    if got < claimed:
        short = f"header announces {claimed / rate:.2f} s, {got / rate:.2f} s could be read"
        if not estimated:
            raise AudioError(f"{name}: truncated: the {short}. Copy or export the file again.")
        if got < 0.9 * claimed:
            notes.append(f"perhaps truncated: the {short}")
    if early:
        notes.append("perhaps truncated: it has no end mark")
    _check_duration(name, got / rate, limits)
    if bad:
        raise AudioError(
            f"{name}: {bad} samples are NaN or infinite. Export it again as PCM or clean floats."
        )
    if peak < limits.silence_peak:
        raise AudioError(
            f"{name}: silent (peak below {limits.silence_peak:g} of full scale). Nothing to see."
        )
    if channels > 1:
        notes.append(f"{channels} channels averaged to mono")
    if rate != SAMPLE_RATE:
        notes.append(f"resampled from {rate} Hz to {SAMPLE_RATE} Hz")
    return AudioInfo(got / rate, rate, sha256, tuple(notes))


def load(path: Path, *, name: str | None = None, limits: AudioLimits = LIMITS) -> Audio:
    """`decode`, then resample to 16 kHz."""
    audio = decode(path, name=name, limits=limits)
    if audio.sample_rate == SAMPLE_RATE:
        return audio
    samples = resample(audio.samples, audio.sample_rate)
    return Audio(samples, SAMPLE_RATE, audio.sha256, audio.notes)


def resample(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """Band-limited resampling to 16 kHz (torchaudio, windowed sinc with a Hann window).

    Its filter table grows with the product of the two rates over their common divisor: 13 GB for
    47,999 Hz. Such odd rates go through SciPy's polyphase filter, which keeps one row of it.

    Args:
        samples: float32, shape (n,).
        rate_hz: Their sample rate.

    Returns:
        float32, shape (ceil(n * 16000 / rate_hz),).
    """
    if rate_hz == SAMPLE_RATE:
        return samples
    common = math.gcd(rate_hz, SAMPLE_RATE)
    up, down = SAMPLE_RATE // common, rate_hz // common
    if up * down > _LARGEST_TABLE:
        from scipy.signal import resample_poly

        return resample_poly(samples, up, down).astype(np.float32)
    import torch

    from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede torchaudio

    from torchaudio.functional import resample as torchaudio_resample  # isort: skip

    return torchaudio_resample(torch.from_numpy(samples), rate_hz, SAMPLE_RATE).numpy()


def _check_format(name: str, kind: str, rate: int, frames: int) -> None:
    if kind not in _FORMATS:
        raise AudioError(f"{name}: not an accepted kind of file ({kind}). Accepted: {ACCEPTED}.")
    low, high = _RATES_HZ
    if not low <= rate <= high:
        raise AudioError(
            f"{name}: a sample rate of {rate} Hz is not of speech. Export it at 16000 Hz."
        )
    if frames == 0:
        raise AudioError(f"{name}: truncated: no audio in it. Copy or export the file again.")


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
