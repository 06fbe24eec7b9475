"""The mel convention and the losses, each against something that is not our code."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import get_window

from insidessl_dash.core.errors import AudioError
from insidessl_dash.generation import mel
from insidessl_dash.generation.losses import RESOLUTIONS, mel_l1, multi_resolution_stft


@pytest.fixture(scope="module")
def speech(demo_files) -> np.ndarray:
    return soundfile.read(demo_files[0], dtype="float32")[0][:32_000]


@pytest.fixture(scope="module")
def extractor():
    from transformers import SpeechT5FeatureExtractor

    return SpeechT5FeatureExtractor()


def reference(extractor, waveform: np.ndarray) -> np.ndarray:
    return extractor(audio_target=waveform, sampling_rate=16_000)["input_values"][0]


@pytest.mark.parametrize("samples", [513, 1000, 15_999, 16_000, 16_128, 16_129, 32_000])
def test_the_mel_is_that_of_speecht5(extractor, speech, samples) -> None:
    expected = reference(extractor, speech[:samples])
    made = mel.log_mel(torch.from_numpy(speech[None, :samples]))
    assert made.dtype == torch.float32
    assert made.shape == (1, mel.frames_of(samples), 80)
    np.testing.assert_allclose(made[0].numpy(), expected, atol=1e-4, rtol=0)


def test_faint_bands_beside_loud_ones_agree_too(extractor) -> None:
    tone = (0.9 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)
    tone[8_000:] = 0  # then digital silence, which is the floor
    expected = reference(extractor, tone)
    made = mel.log_mel(torch.from_numpy(tone[None]))[0].numpy()
    np.testing.assert_allclose(made, expected, atol=1e-4, rtol=0)
    assert (made[-1] == -10).all()
    assert made.max() > 0


def test_rows_of_a_batch_are_those_of_single_waveforms(speech) -> None:
    rows = torch.from_numpy(np.stack([speech[:16_000], 0.1 * speech[16_000:]]))
    batch = mel.log_mel(rows)
    assert torch.equal(batch, mel.log_mel(rows))
    for row, waveform in zip(batch, rows, strict=True):
        torch.testing.assert_close(row, mel.log_mel(waveform[None])[0], atol=1e-5, rtol=0)


def test_the_mel_is_float64_under_mixed_precision_and_has_gradients(speech) -> None:
    waveform = torch.from_numpy(speech[None, :4000]).requires_grad_()
    plain = mel.log_mel(waveform)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mel.log_mel(waveform), plain)
    plain.sum().backward()
    assert waveform.grad is not None
    assert waveform.grad.isfinite().all()
    assert waveform.grad.abs().max() > 0


def test_a_first_call_in_inference_mode_does_not_forbid_gradients_later(speech) -> None:
    mel.mel_filters.cache_clear()
    mel._window.cache_clear()
    waveform = torch.from_numpy(speech[None, :1000].copy())
    with torch.inference_mode():
        mel.log_mel(waveform)
    mel.log_mel(waveform.requires_grad_()).sum().backward()
    assert waveform.grad is not None


@pytest.mark.parametrize(("shape", "said"), [((1, 512), "at least 513"), ((16_000,), "batch")])
def test_what_has_no_mel_is_refused(shape, said) -> None:
    with pytest.raises(AudioError, match=said):
        mel.log_mel(torch.zeros(shape))


def test_a_vocoder_gives_back_every_sample_of_a_waveform() -> None:
    for samples in (513, 16_000, 16_127, 16_128, 16_129):
        extra = mel.samples_of(mel.frames_of(samples)) - samples
        assert 0 < extra <= mel.HOP


def magnitudes(x: np.ndarray, size: int, hop: int, window: int) -> np.ndarray:
    """STFT magnitudes by hand: reflected ends, window in the middle of the FFT's frame."""
    padded = np.pad(x.astype(np.float64), size // 2, mode="reflect")
    taper = np.zeros(size)
    start = (size - window) // 2
    taper[start : start + window] = get_window("hann", window)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * taper
    return np.maximum(np.abs(np.fft.rfft(frames)), np.sqrt(1e-7))


def test_the_stft_loss_is_its_formula(speech) -> None:
    rng = np.random.default_rng(0)
    target = np.stack([speech[:8000], 0.01 * speech[8000:16_000]])
    predicted = (target + 0.01 * rng.standard_normal(target.shape)).astype(np.float32)
    convergence, distance = [], []
    for resolution in RESOLUTIONS:
        for made, wanted in zip(predicted, target, strict=True):
            p, s = magnitudes(made, *resolution), magnitudes(wanted, *resolution)
            convergence.append(np.linalg.norm(s - p) / np.linalg.norm(s))
            distance.append(np.mean(np.abs(np.log(s) - np.log(p))))
    found = multi_resolution_stft(torch.from_numpy(predicted), torch.from_numpy(target))
    assert found[0].item() == pytest.approx(np.mean(convergence), rel=1e-4)
    assert found[1].item() == pytest.approx(np.mean(distance), rel=1e-4)


def test_the_stft_loss_of_halving_and_of_equals_is_known(speech) -> None:
    target = torch.from_numpy(speech[None, :8000]) + 0.1 * torch.randn(1, 8000)
    convergence, distance = multi_resolution_stft(target / 2, target)
    assert convergence.item() == pytest.approx(0.5, rel=1e-4)
    assert distance.item() == pytest.approx(np.log(2), rel=1e-2)
    assert [x.item() for x in multi_resolution_stft(target, target)] == [0, 0]


def test_the_stft_loss_of_silence_has_finite_gradients() -> None:
    predicted = torch.zeros(1, 4000, requires_grad=True)
    sum(multi_resolution_stft(predicted, torch.zeros(1, 4000))).backward()
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()


def test_the_mel_loss_is_the_mean_distance_above_the_quiet_floor() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.uniform(-10, 1, (2, 7, 80)).astype(np.float32) for _ in range(2))
    expected = np.mean(np.abs(np.maximum(a, -5) - np.maximum(b, -5)))
    found = mel_l1(torch.from_numpy(a), torch.from_numpy(b))
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert mel_l1(torch.full((1, 3, 80), -10.0), torch.full((1, 3, 80), -6.0)).item() == 0


def test_losses_refuse_what_does_not_match() -> None:
    with pytest.raises(AudioError, match="differ in shape"):
        mel_l1(torch.zeros(1, 3, 80), torch.zeros(1, 4, 80))
    with pytest.raises(AudioError, match="differ in shape"):
        multi_resolution_stft(torch.zeros(1, 4000), torch.zeros(1, 4001))
    with pytest.raises(AudioError, match="at least 1025"):
        multi_resolution_stft(torch.zeros(1, 1024), torch.zeros(1, 1024))
