"""Perturbed views: repeatable, within their ranges, and what their names say."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from insidessl_dash.audio.perturb import (
    CHAIN_PROBABILITY,
    PERTURBATIONS,
    _chain,
    perturb,
    view_seed,
)
from insidessl_dash.core.errors import ConfigError
from insidessl_dash.core.types import SAMPLE_RATE

LENGTH = 12_345


def speech_like(length: int = LENGTH) -> np.ndarray:
    """A harmonic tone under a syllable envelope, peak about 0.4: the same on every machine."""
    t = np.arange(length) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 8))
    return (0.2 * tone * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def sine(hz: float, seconds: float = 1.0) -> np.ndarray:
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def loudest_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 18))
    return float(spectrum.argmax()) * SAMPLE_RATE / (1 << 18)


def digest(samples: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(samples).tobytes()).hexdigest()


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_same_seed_same_view(name):
    samples = speech_like()
    before = samples.copy()
    first, again, other = (perturb(samples, name, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(samples, before)
    assert first.dtype == np.float32
    assert first.ndim == 1
    assert np.isfinite(first).all()
    assert (len(first) == LENGTH) == PERTURBATIONS[name].keeps_length
    np.testing.assert_array_equal(first, again)
    assert digest(first) != digest(samples)
    if not name.startswith("speed"):
        assert digest(first) != digest(other)


def test_global_generators_are_neither_read_nor_moved():
    samples = speech_like()
    views = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        states = random.getstate(), np.random.get_state()[1].tolist()
        views.append({name: digest(perturb(samples, name, 3)) for name in PERTURBATIONS})
        assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    assert views[0] == views[1]


def test_another_process_gives_the_same_views_and_a_cheap_import():
    script = """
import json, sys
from insidessl_dash.audio.perturb import PERTURBATIONS, perturb
heavy = [name for name in ("torch", "librosa", "audiomentations", "numba") if name in sys.modules]
sys.path.insert(0, sys.argv[1])
from test_perturb import digest, speech_like
digests = {name: digest(perturb(speech_like(), name, 9)) for name in PERTURBATIONS}
print(json.dumps([heavy, digests]))
"""
    command = [sys.executable, "-c", script, str(Path(__file__).parent)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    heavy, digests = json.loads(out.stdout.splitlines()[-1])
    assert heavy == []
    assert digests == {name: digest(perturb(speech_like(), name, 9)) for name in PERTURBATIONS}


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"named 'echo'.*chain, gaussian_noise"):
        perturb(speech_like(), "echo", 0)


def test_seed_follows_audio_name_and_run():
    keys = [("a", "gain", 0), ("b", "gain", 0), ("a", "chain", 0), ("a", "gain", 1)]
    seeds = {view_seed(*key) for key in keys}
    assert len(seeds) == 4
    assert view_seed("a", "gain", 0) == view_seed("a", "gain", 0)


def test_every_perturbation_is_described():
    for name, entry in PERTURBATIONS.items():
        assert entry.name == name
        assert entry.title
        assert entry.description.endswith(".")
        assert set(entry.versions()) == set(entry.libraries)


def test_noise_is_white_gaussian_within_its_range():
    samples = speech_like(8_000)
    amplitudes = []
    for seed in range(300):
        noise = perturb(samples, "gaussian_noise", seed) - samples
        amplitudes.append(noise.std())
    assert 0.00095 < min(amplitudes) < 0.0025
    assert 0.0135 < max(amplitudes) < 0.0158
    assert np.mean(amplitudes) == pytest.approx(0.008, abs=0.001)
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.05
    standard = noise / noise.std()
    assert np.mean(standard**4) == pytest.approx(3, abs=0.3)


def test_gain_is_within_12_db_and_never_clips():
    samples = speech_like(2_000)
    gains = []
    for seed in range(400):
        view = perturb(samples, "gain", seed)
        ratio = float(view @ samples / (samples @ samples))
        np.testing.assert_allclose(view, ratio * samples, atol=1e-6)
        gains.append(20 * np.log10(ratio))
    assert -12.001 < min(gains) < -11
    assert 11 < max(gains) < 12.001
    assert np.mean(gains) == pytest.approx(0, abs=1.5)
    loud = samples / np.abs(samples).max()
    peaks = [np.abs(perturb(loud, "gain", seed)).max() for seed in range(20)]
    assert max(peaks) > 2


def test_time_mask_silences_one_stretch():
    samples = np.full(16_000, 0.5, np.float32)
    shares = []
    for seed in range(200):
        view = perturb(samples, "time_mask", seed)
        touched = np.flatnonzero(view != samples)
        assert touched[-1] - touched[0] + 1 <= 0.2 * len(samples) + 1
        shares.append((touched[-1] - touched[0] + 1) / len(samples))
        middle = view[touched[0] + 81 : touched[-1] - 80]  # fades of 5 ms are 80 samples
        assert not middle.any()
    assert min(shares) < 0.03
    assert max(shares) > 0.18


def test_pitch_shift_moves_a_tone_by_at_most_four_semitones():
    tone = sine(440)
    shifts = []
    for seed in range(30):
        view = perturb(tone, "pitch_shift", seed)
        shifts.append(12 * np.log2(loudest_hz(view[2_000:-2_000]) / 440))
    assert -4.1 < min(shifts) < -2
    assert 2 < max(shifts) < 4.1


def test_pitch_shift_does_not_delay():
    click = np.zeros(16_000, np.float32)
    click[7_900:8_100] = np.hanning(200)
    for seed in range(5):
        view = perturb(click, "pitch_shift", seed).astype(float)
        centre = np.sum(view**2 * np.arange(16_000)) / np.sum(view**2)
        assert centre == pytest.approx(8_000, abs=80)  # 5 ms, a quarter of a frame


def test_chain_takes_each_of_four_steps_seven_times_in_ten():
    steps = PERTURBATIONS["chain"].apply.keywords["steps"]
    singles = [
        PERTURBATIONS[n].apply for n in ("gaussian_noise", "pitch_shift", "gain", "time_mask")
    ]
    assert list(steps) == singles
    taken = np.zeros(4)
    patterns = set()

    def recorder(place):
        def step(samples, rng):
            rng.uniform(size=place)
            row.append(place)
            return samples

        return step

    for seed in range(2_000):
        row: list[int] = []
        _chain(np.zeros(1), np.random.default_rng(seed), steps=[recorder(i) for i in range(4)])
        assert row == sorted(row)
        taken[row] += 1
        patterns.add(tuple(row))
    np.testing.assert_allclose(taken / 2_000, CHAIN_PROBABILITY, atol=0.04)
    assert len(patterns) == 16


@pytest.mark.parametrize("snr_db", [20, 10, 5, 0])
def test_noise_at_a_ratio_has_that_ratio(snr_db):
    samples = speech_like()
    noise = perturb(samples, f"noise_{snr_db}db", 0).astype(float) - samples
    measured = 10 * np.log10(np.mean(samples.astype(float) ** 2) / np.mean(noise**2))
    assert measured == pytest.approx(snr_db, abs=0.01)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_changes_duration_and_pitch_together(factor):
    view = perturb(sine(440), f"speed_{factor}", 0)
    assert len(view) == pytest.approx(16_000 / factor, abs=1)
    assert loudest_hz(view) == pytest.approx(440 * factor, rel=1e-3)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_shortest_accepted_utterance_is_long_enough(name):
    for seed in range(5):
        assert np.isfinite(perturb(speech_like(1_600), name, seed)).all()
