"""Perturbations on a dial, each against NumPy or SciPy used apart from it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, freqz_sos
from test_perturb import digest, loudest_hz, sine, speech_like

from insidessl_dash.audio.strength import TURNS, dial_seed, room, turn
from insidessl_dash.core.dials import DIALS, find
from insidessl_dash.core.errors import ConfigError
from insidessl_dash.core.types import SAMPLE_RATE


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def test_what_is_described_is_what_there_is() -> None:
    assert list(TURNS) == list(DIALS)
    for name, dial in DIALS.items():
        assert dial.name == name
        assert dial.low < dial.high
        assert dial.low <= dial.default <= dial.high
        assert dial.taken(dial.default) == dial.default
        assert "{}" in dial.phrase
        assert dial.description.endswith(".")
        assert dial.alignment.endswith(".")
        assert len(dial.ends) == 2
        if dial.logarithmic:
            assert dial.low > 0


@pytest.mark.parametrize("name", DIALS)
def test_the_same_is_asked_and_given_and_the_ends_differ(name: str) -> None:
    samples, dial = speech_like(), DIALS[name]
    before = samples.copy()
    ends = [turn(samples, name, strength, 5) for strength in (dial.low, dial.high)]
    np.testing.assert_array_equal(samples, before)
    for strength, first in zip((dial.low, dial.high), ends, strict=True):
        again = turn(samples, name, strength, 5)
        np.testing.assert_array_equal(first, again)
        assert first.dtype == np.float32
        assert np.isfinite(first).all()
        assert (len(first) == len(samples)) == (name != "speed")
    assert digest(ends[0]) != digest(ends[1])
    if dial.neutral is not None:
        np.testing.assert_array_equal(turn(samples, name, dial.neutral, 5), samples)


def test_only_what_is_random_depends_on_the_seed() -> None:
    samples = speech_like()
    changed = set()
    for name, dial in DIALS.items():
        one, two = (digest(turn(samples, name, dial.default, seed)) for seed in (1, 2))
        changed |= {name} if one != two else set()
    assert changed == {"noise", "mask", "reverb"}
    keys = [("a", "noise", 0), ("b", "noise", 0), ("a", "mask", 0), ("a", "noise", 1)]
    assert len({dial_seed(*key) for key in keys}) == 4
    assert dial_seed("a", "noise", 0) == dial_seed("a", "noise", 0)


@pytest.mark.parametrize("snr_db", [-5, 3, 30])
def test_noise_has_the_ratio_and_is_the_same_noise(snr_db: float) -> None:
    samples = speech_like()
    noise = turn(samples, "noise", snr_db, 7).astype(np.float64) - samples
    assert 20 * np.log10(rms(samples) / rms(noise)) == pytest.approx(snr_db, abs=0.01)
    other = turn(samples, "noise", 10, 7).astype(np.float64) - samples
    assert np.corrcoef(noise, other)[0, 1] > 0.999
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    low, high = np.array_split(spectrum, 2)
    assert low.mean() / high.mean() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("db", [-20, 6, 20])
def test_gain_is_that_gain_and_does_not_clip(db: float) -> None:
    samples = speech_like()
    louder = turn(samples, "gain", db, 0)
    assert 20 * np.log10(rms(louder) / rms(samples)) == pytest.approx(db, abs=1e-4)
    assert (np.abs(turn(samples, "gain", 20, 0)).max() > 1) == (np.abs(samples).max() > 0.1)


@pytest.mark.parametrize("semitones", [-6, -0.5, 6])
def test_pitch_moves_by_semitones_and_leaves_time(semitones: float) -> None:
    tone = sine(440)
    tone[: SAMPLE_RATE // 2] = 0
    shifted = turn(tone, "pitch", semitones, 0)
    cents = 1200 * np.log2(loudest_hz(shifted) / loudest_hz(tone))
    assert cents == pytest.approx(100 * semitones, abs=10)
    onset = np.argmax(np.abs(shifted) > 0.15) / SAMPLE_RATE
    assert onset == pytest.approx(0.5, abs=0.02)


def test_a_mask_has_its_share_and_holds_every_shorter_one() -> None:
    samples = np.full(SAMPLE_RATE, 0.3, dtype=np.float32)
    fade = int(0.005 * SAMPLE_RATE)
    for seed in range(5):
        before = np.zeros(len(samples), dtype=bool)
        for percent in (5, 20, 40):
            silent = turn(samples, "mask", percent, seed) == 0
            assert silent.sum() == pytest.approx(percent / 100 * len(samples), abs=2 * fade + 2)
            assert np.flatnonzero(np.diff(silent.astype(int))).size <= 2
            # The fades of a longer mask may reach a few samples into a shorter one.
            assert (before & ~silent).sum() <= 2 * fade
            before = silent


@pytest.mark.parametrize("factor", [0.8, 1.1, 1.25])
def test_speed_divides_the_duration_and_multiplies_the_pitch(factor: float) -> None:
    tone = sine(400)
    faster = turn(tone, "speed", factor, 0)
    assert len(faster) == int(np.ceil(len(tone) / factor))
    assert loudest_hz(faster) == pytest.approx(400 * factor, rel=0.002)


@pytest.mark.parametrize("cutoff_hz", [250, 2000, 6000])
def test_low_pass_is_a_butterworth_filter_without_delay(cutoff_hz: float) -> None:
    impulse = np.zeros(8192, dtype=np.float32)
    impulse[4096] = 1
    response = turn(impulse, "low-pass", cutoff_hz, 0)
    assert int(np.abs(response).argmax()) == 4096
    np.testing.assert_allclose(response[4096:6000], response[4096:2192:-1], atol=1e-6)
    hz = np.array([cutoff_hz / 2, cutoff_hz, min(1.2 * cutoff_hz, 7500)])
    found = np.abs(np.fft.rfft(response, 16_000))[np.round(hz).astype(int)]
    _w, once = freqz_sos(butter(4, cutoff_hz, fs=SAMPLE_RATE, output="sos"), hz, fs=SAMPLE_RATE)
    np.testing.assert_allclose(found, np.abs(once) ** 2, rtol=0.01, atol=1e-3)
    assert 20 * np.log10(found[1]) == pytest.approx(-6.02, abs=0.1)


@pytest.mark.parametrize("rt60_s", [0.1, 0.4, 1.0])
def test_a_room_decays_by_60_db_in_its_time(rt60_s: float) -> None:
    response = room(rt60_s, np.random.default_rng(3))
    assert np.sum(response**2) == pytest.approx(1)
    assert response[0] ** 2 == pytest.approx(0.5)
    assert np.abs(response[1:]).max() < response[0]
    # Schroeder's backward integral of the tail, fitted between -5 and -25 dB.
    energy = np.cumsum(response[:0:-1] ** 2)[::-1]
    decay = 10 * np.log10(energy / energy[0])
    fitted = np.flatnonzero((decay < -5) & (decay > -25))
    slope = np.polyfit(fitted / SAMPLE_RATE, decay[fitted], 1)[0]
    assert -60 / slope == pytest.approx(rt60_s, rel=0.08)
    impulse = np.zeros(SAMPLE_RATE, dtype=np.float32)
    impulse[100] = 1
    wet = turn(impulse, "reverb", rt60_s, 3)
    assert int(np.abs(wet).argmax()) == 100
    assert not wet[:99].any() or np.abs(wet[:99]).max() < 1e-7


def test_strengths_are_taken_at_steps_within_the_range() -> None:
    assert find("noise").taken(9.6) == 10
    assert find("speed").taken(1.1249) == 1.1
    for strength in (-6, 31, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="White noise takes -5 to 30 dB"):
            find("noise").taken(strength)
    with pytest.raises(ConfigError, match=r"named 'echo'.*noise, pitch"):
        turn(speech_like(), "echo", 1, 0)
