"""All layers of every family, against transformers' own states and closed forms."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from made_checkpoints import (
    CLASSES,
    card,
    config_of,
    model_class,
    random_model,
    save,
    speechlike,
    tiny_config,
)
from torch import Tensor

from insidessl_dash.core.errors import ModelError
from insidessl_dash.core.registry import Registry
from insidessl_dash.encoders import load_encoder
from insidessl_dash.encoders.states import block_states

NORMALISED = {"do_normalize": True, "sampling_rate": 16_000}


@pytest.fixture
def known(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home", tmp_path / "precomputed")


def reference_states(model: Any, waveforms: Tensor) -> list[Tensor]:
    """What transformers calls hidden states, layer 0 from a hook on block 1."""
    entered: list[Tensor] = []
    handle = model.encoder.layers[0].register_forward_pre_hook(
        lambda _block, args: entered.append(args[0].clone())
    )
    with torch.no_grad():
        output = model(waveforms, output_hidden_states=True)
    handle.remove()
    return [entered[0], *output.hidden_states[1:]]


def normalised(waveforms: Tensor) -> Tensor:
    from transformers import Wav2Vec2FeatureExtractor

    extract = Wav2Vec2FeatureExtractor(do_normalize=True)
    rows = [row.numpy() for row in waveforms]
    return extract(rows, sampling_rate=16_000, return_tensors="pt").input_values


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-4) -> None:
    assert len(found) == len(expected)
    for layer, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one.shape == other.shape, layer
        assert (one - other).abs().max() <= tolerance, layer


@pytest.fixture(scope="module", params=list(CLASSES))
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A checkpoint of the true Base configuration, loaded from its folder."""
    family = request.param
    reference = random_model(model_class(family), config_of(family))
    folder = save(reference, tmp_path_factory.mktemp(family), NORMALISED)
    encoder = load_encoder(card(family, source=str(folder)), device="cpu")
    (folder / "model.safetensors").unlink()  # 380 MB each
    return SimpleNamespace(family=family, reference=reference, encoder=encoder)


def test_base_has_thirteen_layers_at_50_hz(base: Any) -> None:
    encoder = base.encoder
    assert encoder.layers == tuple(str(index) for index in range(13))
    assert encoder.dims == (768,) * 13
    assert encoder.frame_rates_hz == (50.0,) * 13
    assert encoder.card.layers == 12
    assert encoder.device == "cpu"
    assert encoder.layer_policy["final_norm"] == "none in this model"
    for samples in (400, 719, 720, 5000):
        layers = encoder(speechlike(samples))
        assert len(layers) == 13
        for layer in layers:
            assert layer.shape == (1, (samples - 400) // 320 + 1, 768)
            assert layer.dtype == torch.float32


def test_base_layers_are_what_enters_and_leaves_the_blocks(base: Any) -> None:
    waveforms = speechlike(6000, rows=2)
    expected = reference_states(base.reference, normalised(waveforms))
    assert_close(base.encoder(waveforms), expected)


def test_base_batch_equals_one_by_one(base: Any) -> None:
    waveforms = speechlike(6000, rows=3)
    together = base.encoder(waveforms)
    alone = [base.encoder(row[None]) for row in waveforms]
    assert_close(together, [torch.cat(parts) for parts in zip(*alone, strict=True)])


def test_base_repeats_itself_exactly(base: Any) -> None:
    waveforms = speechlike(4000)
    assert_close(base.encoder(waveforms), base.encoder(waveforms), tolerance=0)


def test_base_refuses_what_gives_no_frame(base: Any) -> None:
    with pytest.raises(ModelError, match=r"399 samples.*at least 400 \(25 ms"):
        base.encoder(speechlike(399))
    with pytest.raises(ModelError, match="batch, samples"):
        base.encoder(speechlike(800)[0])


@pytest.mark.parametrize(
    ("family", "changes", "final_norm"),
    [
        ("wav2vec2", {"feat_extract_norm": "group"}, "none in this model"),
        (
            "hubert",
            {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
            "on the last state only",
        ),
    ],
    ids=["group norm, post-LN", "layer norm, pre-LN"],
)
def test_large(tmp_path: Path, family: str, changes: dict[str, Any], final_norm: str) -> None:
    shape = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    }
    reference = random_model(model_class(family), config_of(family, **shape, **changes))
    waveforms = speechlike(4800)
    with torch.no_grad():
        last = reference(normalised(waveforms)).last_hidden_state
    save(reference.half(), tmp_path, NORMALISED)
    del reference
    encoder = load_encoder(card(family, source=str(tmp_path), size="large"), device="cpu")
    (tmp_path / "model.safetensors").unlink()
    layers = encoder(waveforms)
    assert [tuple(layer.shape) for layer in layers] == [(1, 14, 1024)] * 25
    assert all(layer.isfinite().all() for layer in layers)
    assert encoder.dims == (1024,) * 25
    assert encoder.layer_policy["final_norm"] == final_norm
    # Weights went through float16 on the way.
    assert (layers[-1] - last).abs().max() < 0.02 * last.abs().max()


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm", "unispeech-sat"])
def test_pre_norm_models_carry_the_final_norm_on_the_last_state_only(
    tmp_path: Path, family: str
) -> None:
    config = tiny_config(family, do_stable_layer_norm=True, feat_extract_norm="layer")
    reference = random_model(model_class(family), config)
    save(reference, tmp_path, NORMALISED)
    encoder = load_encoder(card(family, source=str(tmp_path)), device="cpu")
    assert encoder.layer_policy["final_norm"] == "on the last state only"

    waveforms = normalised(speechlike(8000))
    left: list[Tensor] = []
    for block in reference.encoder.layers:
        block.register_forward_hook(
            lambda _block, _args, out: left.append(out[0] if isinstance(out, tuple) else out)
        )
    with torch.no_grad():
        last = reference(waveforms).last_hidden_state
        assert_close(encoder(speechlike(8000))[1:], [*left[:-1], last], tolerance=1e-5)
        # The raw last state is something else: the policy decides.
        assert (reference.encoder.layer_norm(left[-1]) - last).abs().max() < 1e-6
        assert (left[-1] - last).abs().max() > 0.01


@pytest.mark.parametrize(
    ("preprocessor", "norm", "normalize", "decided_by"),
    [
        ({"do_normalize": True}, "group", True, "preprocessor_config.json"),
        ({"do_normalize": False}, "layer", False, "preprocessor_config.json"),
        (None, "layer", True, "norm of the convolutions"),
        (None, "group", False, "norm of the convolutions"),
    ],
)
def test_input_is_normalised_as_the_checkpoint_says(
    tmp_path: Path, preprocessor: Any, norm: str, normalize: bool, decided_by: str
) -> None:
    reference = random_model(model_class("hubert"), tiny_config("hubert", feat_extract_norm=norm))
    save(reference, tmp_path, preprocessor)
    encoder = load_encoder(card(source=str(tmp_path)), device="cpu")
    assert encoder.layer_policy["normalize"] is normalize
    assert encoder.layer_policy["normalize_from"] == decided_by
    waveforms = speechlike(8000, rows=2)
    expected = reference_states(reference, normalised(waveforms) if normalize else waveforms)
    assert_close(encoder(waveforms), expected)


def test_data2vec_is_normalised_by_convention(tmp_path: Path) -> None:
    save(random_model(model_class("data2vec"), tiny_config("data2vec")), tmp_path)
    encoder = load_encoder(card("data2vec", source=str(tmp_path)), device="cpu")
    assert encoder.layer_policy["normalize"] is True


def test_layers_can_be_trained_on(tmp_path: Path) -> None:
    save(random_model(model_class("hubert"), tiny_config("hubert")), tmp_path)
    encoder = load_encoder(card(source=str(tmp_path)), device="cpu")
    probe = torch.nn.Linear(32, 2)
    probe(encoder(speechlike(4000))[1]).sum().backward()
    assert probe.weight.grad is not None


def test_a_block_that_does_not_run_is_noticed() -> None:
    blocks = [torch.nn.Linear(2, 2) for _ in range(3)]
    with pytest.raises(ModelError, match="3 states instead of 4"):
        block_states(blocks, lambda: blocks[1](blocks[0](torch.zeros(1, 2))), "dropped")
    assert not any(block._forward_hooks for block in blocks)


def test_random_initialisation_follows_its_seed(tmp_path: Path, known: Registry) -> None:
    from insidessl_dash.pretraining.hubert import HubertModel, nano_config

    shipped = known.precomputed / "models" / "hubert-nano"
    torch.manual_seed(5)
    trained = HubertModel(nano_config())
    save(trained, shipped, NORMALISED)
    (shipped / "model.safetensors").unlink()  # only the shape is needed

    torch.manual_seed(1)
    before = torch.get_rng_state()
    encoder = load_encoder("hubert-nano-init", device="cpu", registry=known)
    assert torch.equal(torch.get_rng_state(), before)
    again = load_encoder("hubert-nano-init", device="cpu", registry=known)
    other = load_encoder(
        card(kind="random", base="hubert-nano", seed=5, size="nano"), device="cpu", registry=known
    )
    assert encoder.weights_sha256 == again.weights_sha256 != other.weights_sha256
    assert len(encoder.weights_sha256) == 64
    waveforms = speechlike(6000)
    assert_close(encoder(waveforms), again(waveforms), tolerance=0)
    # The seed gives what pre-training with that seed starts from.
    assert_close(other(waveforms), reference_states(trained.eval(), normalised(waveforms)))


def whisper_config() -> Any:
    from transformers import WhisperConfig

    return WhisperConfig(
        d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=30,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import WhisperForConditionalGeneration

    reference = random_model(WhisperForConditionalGeneration, whisper_config())
    folder = save(reference.half(), tmp_path_factory.mktemp("whisper"))
    encoder = load_encoder(card("whisper", source=str(folder)), device="cpu")
    return SimpleNamespace(reference=reference.float().model.encoder, encoder=encoder)


def whisper_states(model: Any, waveforms: Tensor) -> list[Tensor]:
    from transformers import WhisperFeatureExtractor

    rows = [row.numpy() for row in waveforms]
    mel = WhisperFeatureExtractor()(rows, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        output = model(mel.input_features, output_hidden_states=True)
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    return [state[:, : waveforms.shape[1] // 320] for state in states]


def test_whisper_keeps_the_frames_of_the_audio(whisper: Any) -> None:
    encoder = whisper.encoder
    assert encoder.layers == ("0", "1", "2")
    assert encoder.dims == (32,) * 3
    assert encoder.frame_rates_hz == (50.0,) * 3
    waveforms = speechlike(16_000 + 319, rows=2)
    layers = encoder(waveforms)
    assert layers[0].shape == (2, 50, 32)
    assert_close(layers, whisper_states(whisper.reference, waveforms))
    with pytest.raises(ModelError, match="319 samples"):
        encoder(speechlike(319))


def test_whisper_reads_long_audio_in_windows(whisper: Any) -> None:
    waveforms = speechlike(31 * 16_000)
    layers = whisper.encoder(waveforms)
    assert layers[0].shape == (1, 31 * 50, 32)
    parts = [
        whisper_states(whisper.reference, part)
        for part in (waveforms[:, :480_000], waveforms[:, 480_000:])
    ]
    assert_close(layers, [torch.cat(pair, dim=1) for pair in zip(*parts, strict=True)])


def test_whisper_encoder_without_a_decoder(whisper: Any, tmp_path: Path) -> None:
    save(whisper.reference, tmp_path)
    encoder = load_encoder(card("whisper", source=str(tmp_path)), device="cpu")
    waveforms = speechlike(4000)
    assert_close(encoder(waveforms), whisper.encoder(waveforms))


def slaney_mel(hz: Any) -> Any:
    hz = np.asarray(hz, dtype=float)
    return np.where(
        hz < 1000, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1) / 1000) * 27 / np.log(6.4)
    )


def reference_log_mel(x: np.ndarray) -> np.ndarray:
    """Frame by frame in float64, from the definitions."""
    mels = np.linspace(slaney_mel(50), slaney_mel(8000), 82)
    grid = np.linspace(0, 8000, 200_001)
    edges = np.interp(mels, slaney_mel(grid), grid)
    hz = np.arange(1025) * 16_000 / 2048
    filters = np.zeros((80, 1025))
    for band, (low, mid, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        rising, falling = (hz - low) / (mid - low), (high - hz) / (high - mid)
        filters[band] = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    y = np.array(x, dtype=float)
    y[1:] -= 0.97 * x[:-1].astype(float)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = [y[start : start + 400] * window for start in range(0, len(y) - 399, 160)]
    mel = np.stack([filters @ np.abs(np.fft.rfft(frame, 2048)) for frame in frames])
    return np.log(np.maximum(mel, max(1e-5, mel.max() * 1e-4)))


def test_melspec_equals_the_definition() -> None:
    encoder = load_encoder("melspec", device="cpu")
    assert (encoder.layers, encoder.dims, encoder.frame_rates_hz) == (("mel",), (80,), (100.0,))
    assert encoder.weights_sha256 == ""
    waveforms = speechlike(8123, rows=2)
    waveforms[1, 3000:5000] = 0.01  # constant: the floor
    (layer,) = encoder(waveforms)
    assert layer.shape == (2, (8123 - 400) // 160 + 1, 80)
    for row, found in zip(waveforms, layer, strict=True):
        np.testing.assert_allclose(found, reference_log_mel(row.numpy()), atol=2e-3)
    assert_close([layer[1:]], encoder(waveforms[1:]), tolerance=1e-5)
    assert encoder(torch.zeros(1, 400))[0].isfinite().all()
    with pytest.raises(ModelError, match="399 samples"):
        encoder(speechlike(399))
