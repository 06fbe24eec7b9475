"""Decoding: every format, every kind of bad file, and resampling against SciPy."""

from __future__ import annotations

import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from insidessl_dash.audio.decode import decode, load, probe, resample
from insidessl_dash.audio.limits import AudioLimits
from insidessl_dash.core.errors import AudioError
from insidessl_dash.core.types import file_sha256

RATE = 16_000


def speechlike(seconds: float = 1.0, rate: int = RATE, peak: float = 0.5) -> np.ndarray:
    """A glide with harmonics below 3.5 kHz, faded in and out."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (110 * time + 20 * time**2)
    wave = sum(np.sin(k * phase) / k for k in range(1, 12))
    fade = np.minimum(1, np.minimum(time, time[::-1]) / 0.05)
    return (peak * fade * wave / np.abs(wave).max()).astype(np.float32)


FORMATS = {
    "wav": ("WAV", "PCM_16", 1e-4),
    "flac": ("FLAC", "PCM_16", 1e-4),
    "aiff": ("AIFF", "PCM_16", 1e-4),
    "ogg": ("OGG", "VORBIS", 0.1),
    "opus": ("OGG", "OPUS", 0.2),
    "mp3": ("MP3", "MPEG_LAYER_III", 0.1),
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_is_decoded(tmp_path: Path, suffix: str) -> None:
    kind, subtype, tolerance = FORMATS[suffix]
    wave = speechlike(1.5)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, wave, RATE, format=kind, subtype=subtype)
    audio = decode(path)
    assert audio.sample_rate == RATE
    assert audio.samples.dtype == np.float32
    assert audio.seconds == pytest.approx(1.5, abs=0.06)
    assert audio.sha256 == file_sha256(path)
    overlap = min(len(wave), len(audio.samples))
    error = np.abs(audio.samples[:overlap] - wave[:overlap]).max()
    assert error < tolerance


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_wav_encodings(tmp_path: Path, subtype: str) -> None:
    soundfile.write(tmp_path / "a.wav", speechlike(), RATE, subtype=subtype)
    error = np.abs(decode(tmp_path / "a.wav").samples - speechlike()).max()
    assert error < (0.03 if subtype in ("PCM_U8", "ULAW") else 1e-6)


def test_probe_checks_the_same_and_keeps_nothing(tmp_path: Path) -> None:
    wave = np.tile(speechlike(1.0, 48_000)[:, None], (60, 2))
    soundfile.write(tmp_path / "a.flac", wave, 48_000)
    tracemalloc.start()
    info = probe(tmp_path / "a.flac")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    audio = decode(tmp_path / "a.flac")
    assert (info.seconds, info.sha256, info.notes) == (audio.seconds, audio.sha256, audio.notes)
    assert info.seconds == 60
    assert peak < audio.samples.nbytes / 2


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = speechlike(), speechlike(peak=0.1)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), RATE, subtype="FLOAT")
    audio = decode(tmp_path / "a.wav")
    np.testing.assert_allclose(audio.samples, (left + right) / 2, atol=1e-7)
    assert audio.notes == ("2 channels averaged to mono",)


def test_eight_channels_at_192_khz(tmp_path: Path) -> None:
    wave = np.repeat(speechlike(0.5, 192_000)[:, None], 8, axis=1)
    soundfile.write(tmp_path / "a.wav", wave, 192_000, subtype="PCM_24")
    audio = load(tmp_path / "a.wav")
    assert audio.sample_rate == RATE
    assert len(audio.samples) == 8_000
    assert audio.notes == (
        "8 channels averaged to mono",
        "resampled from 192000 Hz to 16000 Hz",
    )
    inside = slice(800, -800)
    expected = speechlike(0.5)[inside]
    assert np.corrcoef(audio.samples[inside], expected)[0, 1] > 0.999


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 22_255, 15_999, 47_999])
def test_resampling_agrees_with_scipy(rate: int) -> None:
    wave = speechlike(1.0, rate)
    got = resample(wave, rate)
    assert got.dtype == np.float32
    assert len(got) == -(-len(wave) * RATE // rate)
    up, down = RATE // np.gcd(RATE, rate), rate // np.gcd(RATE, rate)
    expected = resample_poly(wave.astype(np.float64), up, down, window=("kaiser", 8.0))
    inside = slice(200, -200)
    error = np.abs(got[inside] - expected[inside])
    assert error.max() < 5e-3
    assert np.sqrt((error**2).mean()) < 1e-3


def test_resampling_does_not_alias() -> None:
    time = np.arange(48_000) / 48_000
    high = np.sin(2 * np.pi * 12_000 * time).astype(np.float32)
    assert np.abs(resample(high, 48_000)[200:-200]).max() < 0.01
    assert np.abs(resample(high, 47_999)[200:-200]).max() < 0.01


# -- what bad input gets ------------------------------------------------------------------------


def flac_claiming(path: Path, seconds: int) -> None:
    """A short FLAC whose header announces `seconds`."""
    soundfile.write(path, speechlike(), RATE, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    assert data[:4] == b"fLaC"
    place = 8 + 10
    packed = int.from_bytes(data[place : place + 8], "big")
    packed = (packed & ~((1 << 36) - 1)) | (seconds * RATE)
    data[place : place + 8] = packed.to_bytes(8, "big")
    path.write_bytes(data)


def wav_claiming(path: Path, seconds: int) -> None:
    """A short WAV whose header announces `seconds`."""
    soundfile.write(path, speechlike(), RATE, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", seconds * RATE * 2)
    path.write_bytes(data)


def make_bad(kind: str, folder: Path) -> Path:
    """One bad file of a kind; other tests send the same ones through the API."""
    path = folder / {"flac_truncated": "a.flac", "flac_claims_hours": "a.flac"}.get(kind, "a.wav")
    wave = speechlike()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("This is not audio.\n" * 100)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"samples": wave}))
    elif kind in ("flac_truncated", "wav_truncated"):
        soundfile.write(path, wave, RATE)
        path.write_bytes(path.read_bytes()[:-4000])
    elif kind == "short":
        soundfile.write(path, wave[:800], RATE)
    elif kind == "silence":
        soundfile.write(path, np.zeros(RATE), RATE)
    elif kind in ("nan", "inf"):
        wave[5000:5003] = float(kind)
        soundfile.write(path, wave, RATE, subtype="FLOAT")
    elif kind == "long":
        soundfile.write(path, np.tile(speechlike(1.0, 8000), 301), 8000, subtype="PCM_U8")
    elif kind == "large":
        soundfile.write(path, wave, RATE)
        with path.open("r+b") as file:
            file.truncate(51 * 2**20)
    elif kind == "flac_claims_hours":
        flac_claiming(path, 5 * 3600)
    elif kind == "wav_claims_hours":
        wav_claiming(path, 5 * 3600)
    elif kind == "other_container":
        soundfile.write(path, wave, RATE, format="AU")
    elif kind == "odd_rate":
        soundfile.write(path, wave, 500_000)
    else:
        raise AssertionError(kind)
    return path


BAD = {
    "empty": "empty (0 bytes)",
    "text": "cannot be decoded",
    "pickle": "cannot be decoded",
    "flac_truncated": "cannot be decoded as audio (damaged, truncated",
    "wav_truncated": "truncated: the header announces 1.00 s",
    "short": "0.050 s, under the minimum of 0.1 s",
    "silence": "silent",
    "nan": "3 samples are NaN",
    "inf": "3 samples are NaN or infinite",
    "long": "over the limit of 300 s",
    "large": "over the limit of 50 MB",
    "flac_claims_hours": "its header announces 18000 s, over the limit",
    "wav_claims_hours": "its header announces 18000 s, over the limit",
    "other_container": "not an accepted kind of file (AU)",
    "odd_rate": "a sample rate of 500000 Hz",
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("read", [decode, probe])
def test_bad_files_say_what_is_wrong(tmp_path: Path, kind: str, read) -> None:
    path = make_bad(kind, tmp_path)
    with pytest.raises(AudioError) as caught:
        read(path, name="mine.flac" if path.suffix == ".flac" else "mine.wav")
    message = str(caught.value)
    assert BAD[kind] in message
    assert message.startswith("mine.")
    assert str(tmp_path) not in message
    assert "\n" not in message
    assert caught.value.status == 422


@pytest.mark.parametrize("suffix", ["ogg", "opus", "mp3", "aiff"])
def test_truncated_compressed_files_never_pass_in_silence(tmp_path: Path, suffix: str) -> None:
    kind, subtype, _ = FORMATS[suffix]
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, speechlike(4.0), RATE, format=kind, subtype=subtype)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    try:
        said = " ".join(decode(path).notes)
    except AudioError as error:
        said = str(error)
    assert "truncated" in said


def test_wav_from_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speechlike(), RATE, subtype="PCM_16")
    data = bytearray((tmp_path / "a.wav").read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = b"\xff\xff\xff\xff"
    data[4:8] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(data)
    assert decode(tmp_path / "a.wav").seconds == pytest.approx(1.0, abs=1e-3)


def test_many_channels_are_read_in_little_memory(tmp_path: Path) -> None:
    wave = np.repeat(speechlike(0.2, 8_000)[:, None], 1024, axis=1)
    soundfile.write(tmp_path / "a.wav", wave, 8_000, subtype="PCM_16")
    tracemalloc.start()
    info = probe(tmp_path / "a.wav")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert info.seconds == pytest.approx(0.2)
    assert peak < 20 * 2**20


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.wav: No such file"):
        decode(tmp_path / "gone.wav")


def test_corpora_prepared_by_their_owner_may_be_long(tmp_path: Path) -> None:
    path = make_bad("long", tmp_path)
    assert decode(path, limits=AudioLimits(max_seconds=None, max_bytes=None)).seconds == 301
