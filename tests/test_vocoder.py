"""Vocoders: alignment, storage, refusals, and copy synthesis where nothing is learned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from insidessl_dash.core.errors import ModelError
from insidessl_dash.generation.fourier import FourierSize, FourierVocoder
from insidessl_dash.generation.losses import mel_l1, multi_resolution_stft
from insidessl_dash.generation.mel import frames_of, log_mel, mel_filters, samples_of
from insidessl_dash.generation.metrics import stoi
from insidessl_dash.generation.vocoder import GriffinLim, load_vocoder

SMALL = FourierSize(width=16, hidden=32, blocks=2)


@pytest.fixture(scope="module")
def speech(demo_files) -> torch.Tensor:
    waveform = soundfile.read(demo_files[0], dtype="float32")[0]
    return torch.from_numpy(waveform[None, :24_100])


@pytest.fixture
def small() -> FourierVocoder:
    torch.manual_seed(0)
    return FourierVocoder(SMALL).eval()


@pytest.fixture(scope="module")
def hifigan_folder(tmp_path_factory) -> Path:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    torch.manual_seed(0)
    config = SpeechT5HifiGanConfig(
        upsample_initial_channel=16,
        upsample_rates=[16, 16],
        upsample_kernel_sizes=[32, 32],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]],
        initializer_range=0.2,
    )
    network = SpeechT5HifiGan(config)
    network.mean.fill_(-2.5)
    network.scale.fill_(1.5)
    folder = tmp_path_factory.mktemp("hifigan")
    network.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("samples", [513, 16_000, 16_127, 16_128, 24_100])
def test_the_true_spectrum_gives_back_the_waveform(small, speech, samples) -> None:
    """The head's STFT is the mel's: no shift, no gain, every sample, the ends included."""
    waveform = speech[:, :samples]
    spectrum = torch.stft(
        waveform, 1024, 256, window=torch.hann_window(1024), return_complex=True
    ).transpose(1, 2)
    assert spectrum.shape[1] == log_mel(waveform).shape[1]
    made = small.synthesise(spectrum.abs().clamp(min=1e-12).log(), spectrum.angle())
    assert made.shape == (1, samples_of(frames_of(samples)))
    torch.testing.assert_close(made[:, :samples], waveform, atol=1e-5, rtol=0)


def test_the_default_size_is_what_is_stated() -> None:
    vocoder = FourierVocoder()
    parameters = sum(p.numel() for p in vocoder.parameters())
    assert parameters == 5_954_946
    assert f"{parameters:,}" in (FourierSize.__doc__ or "")
    assert 2 * sum(t.numel() for t in vocoder.state_dict().values()) < 12_000_000


def test_a_vocoder_hears_as_far_as_stated(small) -> None:
    mel = torch.randn(1, 41, 80) - 3
    louder = mel.clone()
    louder[:, 20] += 1
    with torch.no_grad():
        moved = [
            (a - b).abs().amax((0, 2))
            for a, b in zip(small.spectrum(mel), small.spectrum(louder), strict=True)
        ]
    changed = sum(moved).nonzero().flatten()
    reach = 3 * (1 + SMALL.blocks)
    assert (changed.min(), changed.max()) == (20 - reach, 20 + reach)


def test_every_vocoder_keeps_rows_apart(small, hifigan_folder, speech) -> None:
    mel = log_mel(torch.cat([speech[:, :8000], 0.3 * speech[:, 8000:16_000]]))
    for vocoder in (small, load_vocoder(str(hifigan_folder)), GriffinLim(4)):
        with torch.no_grad():
            batch = vocoder(mel)
            assert batch.shape == (2, 32 * 256), vocoder.name
            assert batch.dtype == torch.float32
            assert torch.equal(batch, vocoder(mel)), vocoder.name
            for index in range(2):
                alone = vocoder(mel[index : index + 1])[0]
                torch.testing.assert_close(batch[index], alone, atol=1e-5, rtol=0)
            assert not torch.allclose(batch[0], batch[1], atol=1e-4), vocoder.name


def test_every_vocoder_refuses_what_is_no_mel(small, hifigan_folder) -> None:
    for vocoder in (small, load_vocoder(str(hifigan_folder)), GriffinLim(4)):
        for shape in ((2, 80, 10), (10, 80), (2, 0, 80)):
            with pytest.raises(ModelError, match="batch, frames, 80"):
                vocoder(torch.zeros(shape))


def test_silence_below_16_bits_is_one_silence(small) -> None:
    with torch.no_grad():
        assert torch.equal(
            small(torch.full((1, 5, 80), -10.0)), small(torch.full((1, 5, 80), -5.0))
        )


def test_a_vocoder_can_be_trained(small) -> None:
    noise = 0.05 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(1))
    target = log_mel(noise)
    optimiser = torch.optim.Adam(small.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        loss = mel_l1(log_mel(small(target)[:, :8000]), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_the_stft_loss_reaches_every_weight_in_mixed_precision(small, speech) -> None:
    target = speech[:, 8000:16_000]
    with torch.autocast("cpu", torch.bfloat16):
        made = small(log_mel(target))[:, :8000]
        sum(multi_resolution_stft(made, target)).backward()
    assert made.dtype == torch.float32
    for name, parameter in small.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_griffin_lim_is_intelligible_and_leaves_the_random_state_alone(speech) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    made = GriffinLim(16)(log_mel(speech))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(GriffinLim(16)(log_mel(speech)), made)  # from another random state
    score = stoi(speech[0].numpy(), made[0].numpy()).value
    assert score is not None
    assert score > 0.9


def test_griffin_lim_is_that_of_torchaudio(speech) -> None:
    import torchaudio

    mel = log_mel(speech)
    inverse = torch.linalg.pinv(mel_filters(torch.device("cpu")))
    magnitudes = (10.0 ** mel.double() @ inverse).clamp(min=0).float()
    magnitudes = torch.cat([magnitudes, magnitudes[:, -1:]], dim=1).transpose(1, 2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wanted = torchaudio.functional.griffinlim(
            magnitudes[0], torch.hann_window(1024), 1024, 256, 1024, 1.0, 8, 0.99, None, True
        )
    torch.testing.assert_close(GriffinLim(8)(mel)[0], wanted, atol=1e-3, rtol=0)


def test_griffin_lim_from_true_phases_keeps_them(speech) -> None:
    """From the recording's own phases, one round stays closer to it than random ones ever get."""

    class Own(FourierVocoder):
        def forward(self, mel: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.pad(speech, (0, 256 * mel.shape[1] - speech.shape[1]))

    made = GriffinLim(1, start=Own(SMALL))(log_mel(speech))[0, : speech.shape[1]]
    score = stoi(speech[0].numpy(), made.numpy()).value
    assert score is not None
    assert score > 0.97
    assert torch.nn.functional.cosine_similarity(made, speech[0], dim=0) > 0.9


def test_a_stored_vocoder_is_the_same_in_float16(small, tmp_path) -> None:
    small.save(tmp_path / "voc")
    stored = load_file(tmp_path / "voc" / "model.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.float16}
    loaded = load_vocoder(str(tmp_path / "voc"))
    assert isinstance(loaded, GriffinLim)
    assert len(loaded.weights_sha256) == 64
    assert loaded.name == "Fourier vocoder, then Griffin-Lim"
    loaded = loaded.start
    assert isinstance(loaded, FourierVocoder)
    assert loaded.size == SMALL
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    for name, tensor in small.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float()), name
    mel = torch.randn(1, 9, 80) - 3
    with torch.no_grad():
        torch.testing.assert_close(loaded(mel), small(mel), atol=2e-2, rtol=0)


def test_a_diverged_vocoder_is_not_stored(small, tmp_path) -> None:
    with torch.no_grad():
        small.head.weight[0, 0] = 1e6
    with pytest.raises(ModelError, match=r"head\.weight.*diverged"):
        small.save(tmp_path / "voc")
    assert not (tmp_path / "voc").exists()


def _config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "hubert"}, "no vocoder.*name a folder"),
        ({"mel": {"sample_rate": 22_050}}, "another mel.*train it again"),
        ({"size": {"width": 16}}, "size.*copy the whole folder"),
        ({"size": {"width": 16, "hidden": 32, "blocks": -2}}, "size.*copy the whole folder"),
        ({"size": {"width": 16, "hidden": 64, "blocks": 2}}, "wrong shapes.*another checkpoint"),
        ({"size": {"width": 16, "hidden": 32, "blocks": 3}}, r"missing.*blocks\.2"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(small, tmp_path, changes, said) -> None:
    small.save(tmp_path)
    _config(tmp_path, **changes)
    with pytest.raises(ModelError, match=said):
        load_vocoder(str(tmp_path))


def test_weights_that_lack_or_add_tensors_are_refused(small, tmp_path) -> None:
    small.save(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    save_file({k: v for k, v in whole.items() if k != "head.bias"}, file)
    with pytest.raises(ModelError, match=r"missing: head\.bias"):
        load_vocoder(str(tmp_path))
    save_file({**whole, "extra": torch.zeros(1)}, file)
    with pytest.raises(ModelError, match="not part of it: extra"):
        load_vocoder(str(tmp_path))
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_vocoder(str(tmp_path))
    file.unlink()
    with pytest.raises(ModelError, match="no weights"):
        load_vocoder(str(tmp_path))


def test_hifigan_is_what_transformers_computes(hifigan_folder, speech) -> None:
    from transformers import SpeechT5HifiGan

    mel = log_mel(speech[:, :5000])
    loaded = load_vocoder(str(hifigan_folder))
    reference = SpeechT5HifiGan.from_pretrained(hifigan_folder).eval()
    with torch.no_grad():
        expected = reference(mel[0])
        assert expected.std() > 1e-4
        torch.testing.assert_close(loaded(mel)[0], expected, atol=1e-6, rtol=0)
    assert loaded.name == "HiFi-GAN"
    assert len(loaded.weights_sha256) == 64


@pytest.fixture
def hifigan_copy(hifigan_folder, tmp_path) -> Path:
    for file in hifigan_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_hifigan_loads_as_the_public_checkpoint_is_stored(hifigan_copy) -> None:
    """An older model_type, and a pickle: read with the restricted unpickler."""
    safetensors = hifigan_copy / "model.safetensors"
    torch.save(load_file(safetensors), hifigan_copy / "pytorch_model.bin")
    mel = torch.randn(1, 4, 80) - 3
    expected = load_vocoder(str(hifigan_copy))(mel)
    safetensors.unlink()
    _config(hifigan_copy, model_type="hifigan")
    assert torch.equal(load_vocoder(str(hifigan_copy))(mel), expected)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sampling_rate": 22_050}, "22050 Hz.*microsoft"),
        ({"model_in_dim": 100}, "100 bands.*microsoft"),
        ({"upsample_rates": [8, 16]}, "128 samples.*microsoft"),
        ({"upsample_initial_channel": 32}, "wrong shapes.*same checkpoint"),
        ({"upsample_rates": 7}, "does not describe"),
    ],
)
def test_a_hifigan_of_another_kind_is_refused(hifigan_copy, changes, said) -> None:
    _config(hifigan_copy, **changes)
    with pytest.raises(ModelError, match=said):
        load_vocoder(str(hifigan_copy))


def test_a_vocoder_that_is_not_there_is_said_to_be_missing(tmp_path) -> None:
    with pytest.raises(ModelError, match="neither a folder"):
        load_vocoder(str(tmp_path / "nowhere"))


def test_griffin_lim_of_silence_is_silent() -> None:
    made = GriffinLim(2)(torch.full((1, 3, 80), -10.0))
    assert made.shape == (1, 768)
    assert made.abs().max() < 1e-6
