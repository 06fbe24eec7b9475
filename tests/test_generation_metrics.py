"""Metrics against closed forms: a shifted tone, a gain, identical signals, known distances."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from insidessl_dash.core.errors import AudioError
from insidessl_dash.generation import metrics
from insidessl_dash.generation.mel import frames_of

RATE = 16_000


@pytest.fixture(scope="module")
def speech(demo_files) -> np.ndarray:
    return soundfile.read(demo_files[0], dtype="float32")[0][: 3 * RATE]


def voice(f0: float, seconds: float = 1.0) -> np.ndarray:
    """Ten harmonics falling by 6 dB an octave."""
    time = np.arange(int(seconds * RATE)) / RATE
    return 0.1 * sum(np.sin(2 * np.pi * f0 * k * time) / k for k in range(1, 11))


def test_stoi_is_one_for_the_same_and_falls_with_noise(speech) -> None:
    noise = np.random.default_rng(0).standard_normal(len(speech))
    scores = [
        metrics.stoi(speech, speech + gain * speech.std() * noise).value for gain in (0, 0.5, 3)
    ]
    assert scores[0] == pytest.approx(1, abs=1e-6)
    assert None not in scores
    assert scores[0] > scores[1] > scores[2]
    assert metrics.stoi(speech, 0.1 * speech).value == pytest.approx(1, abs=1e-6)


def test_stoi_cuts_the_longer_one(speech) -> None:
    longer = np.concatenate([speech, np.ones(200, np.float32)])
    assert metrics.stoi(speech, longer).value == pytest.approx(1, abs=1e-6)


def test_stoi_is_not_measurable_where_it_means_nothing(speech) -> None:
    short = metrics.stoi(speech[:7999], speech[:7999])
    assert short.value is None
    assert "0.5 s" in short.reason
    silent = metrics.stoi(np.zeros(RATE), speech[:RATE])
    assert silent.value is None
    assert "silent" in silent.reason
    click = np.zeros(RATE)
    click[4000:6000] = voice(150, 0.125)
    with pytest.warns(RuntimeWarning, match="Not enough STFT frames"):
        little = metrics.stoi(click, click)
    assert little.value is None
    assert "30 frames" in little.reason


def test_the_mel_distance_of_a_gain_is_its_logarithm() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    assert metrics.mel_l1(noise, noise).value == 0
    assert metrics.mel_l1(noise, noise * 10**-0.5).value == pytest.approx(0.5, abs=1e-5)
    short = metrics.mel_l1(noise[:512], noise)
    assert (short.value, short.reason) == (None, "512 samples: a mel needs 513")


@pytest.mark.parametrize("f0", [80.0, 123.4, 220.0, 350.0])
def test_f0_of_a_tone_is_its_frequency(f0) -> None:
    track = metrics.f0_hz(voice(f0))
    assert len(track) == frames_of(RATE)
    inner = track[4:-4]
    assert not np.isnan(inner).any()
    assert np.abs(1200 * np.log2(inner / f0)).max() < 15


def test_f0_error_of_a_shifted_tone_is_the_shift() -> None:
    shifted = 120 * 2 ** (200 / 1200)
    original, generated = metrics.f0_hz(voice(120)), metrics.f0_hz(voice(shifted))
    assert metrics.f0_rmse_cents(original, generated).value == pytest.approx(200, abs=10)
    assert metrics.f0_rmse_cents(original, original).value == 0


def test_every_second_frame_says_the_same_f0() -> None:
    every, second = metrics.f0_hz(voice(140)), metrics.f0_hz(voice(140), 512)
    assert len(second) == 1 + RATE // 512
    both = ~np.isnan(every[::2][: len(second)]) & ~np.isnan(second)
    assert both.mean() > 0.8
    np.testing.assert_allclose(every[::2][: len(second)][both], second[both], rtol=0.02)


def test_f0_error_is_over_frames_voiced_in_both() -> None:
    original, generated = np.full(30, 100.0), np.full(25, 200.0)
    original[:10] = np.nan
    generated[20:] = np.nan
    generated[10:15] = 100
    found = metrics.f0_rmse_cents(original, generated).value
    assert found == pytest.approx(np.sqrt((5 * 0 + 5 * 1200**2) / 10))
    generated[19] = np.nan
    few = metrics.f0_rmse_cents(original, generated)
    assert few.value is None
    assert few.reason.startswith("9 frames voiced in both")


def test_what_is_not_voiced_has_no_f0(speech) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    assert np.isnan(metrics.f0_hz(noise)).mean() > 0.9
    silence = metrics.f0_hz(np.zeros(RATE))
    assert len(silence) == frames_of(RATE)
    assert np.isnan(silence).all()
    assert metrics.f0_rmse_cents(silence, metrics.f0_hz(speech)).value is None


def test_energy_correlation_ignores_gain_and_turns_with_the_envelope() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(2 * RATE)
    slow = np.sin(2 * np.pi * 1.5 * np.arange(2 * RATE) / RATE)
    loud, opposite = 0.1 * noise * np.exp(slow), 0.1 * noise[::-1] * np.exp(-slow)
    assert metrics.energy_correlation(loud, 0.3 * loud).value == pytest.approx(1, abs=1e-9)
    turned = metrics.energy_correlation(loud, opposite).value
    assert turned is not None
    assert turned < -0.95


def test_energy_correlation_is_pearson_of_log_frame_energy(speech) -> None:
    other = speech[::-1]
    tracks = [
        [
            np.log(max(np.mean(x[k : k + 1024].astype(float) ** 2), 1e-8))
            for k in range(0, len(x) - 1023, 256)
        ]
        for x in (speech, other)
    ]
    a, b = (np.array(t) - np.mean(t) for t in tracks)
    expected = (a @ b) / np.sqrt((a @ a) * (b @ b))
    assert metrics.energy_correlation(speech, other).value == pytest.approx(expected, abs=1e-9)


def test_energy_correlation_is_not_measurable_without_variation(speech) -> None:
    silent = metrics.energy_correlation(np.zeros(RATE), speech[:RATE])
    assert silent.value is None
    assert "original" in silent.reason
    silent = metrics.energy_correlation(speech[:RATE], np.zeros(RATE))
    assert silent.value is None
    assert "generated" in silent.reason
    assert metrics.energy_correlation(speech[:3000], speech[:3000]).value is None


@pytest.mark.parametrize(
    "metric", [metrics.stoi, metrics.mel_l1, metrics.energy_correlation], ids=lambda m: m.__name__
)
def test_metrics_refuse_what_is_no_waveform(metric, speech) -> None:
    broken = speech.copy()
    broken[5] = np.nan
    with pytest.raises(AudioError, match="NaN"):
        metric(speech, broken)
    with pytest.raises(AudioError, match=r"shape \(1, "):
        metric(speech[None], speech)
