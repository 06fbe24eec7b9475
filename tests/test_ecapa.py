"""ECAPA-TDNN against speechbrain's own numbers, its layers, and what is no such checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_checkpoints import card, speechlike
from safetensors.torch import load_file, save_file
from torch import Tensor

from insidessl_dash.analyses import ANALYSES
from insidessl_dash.analyses.base import LayerBatch, State
from insidessl_dash.analyses.summary import summarise
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import ModelError
from insidessl_dash.core.registry import Registry
from insidessl_dash.encoders import load_encoder, sources
from insidessl_dash.encoders.ecapa import LAYERS
from insidessl_dash.encoders.ecapa_network import EcapaConfig, EcapaTdnn, SpeakerMel, initialise

GOLDEN = Path(__file__).parent / "golden" / "ecapa_reference.npz"  # tools/ecapa_reference.py
SMALL = EcapaConfig(channels=16, mfa_channels=24, attention_channels=6, se_channels=4, embedding=10)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(GOLDEN, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


@pytest.fixture(scope="module")
def tensors(golden: dict[str, Any]) -> dict[str, Tensor]:
    """The weights that speechbrain's network had, by its names; counters as it starts them."""
    shapes = json.loads(str(golden["names"]))
    flat, found, start = golden["weights"], {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        found[name] = torch.from_numpy(flat[start : start + size].reshape(shape))
        start += size
    counters = EcapaTdnn(SMALL).state_dict()
    return {**{k: v for k, v in counters.items() if k.endswith("tracked")}, **found}


@pytest.fixture
def folder(tensors: dict[str, Tensor], tmp_path: Path) -> Path:
    save_file(tensors, tmp_path / "embedding_model.safetensors")
    return tmp_path


def speaker(folder: Path | str, **fields: Any) -> ModelCard:
    return card("ecapa", **{"kind": "ecapa", "source": str(folder), **fields})


def test_the_front_end_is_speechbrains(golden: dict[str, Any]) -> None:
    waveform = torch.from_numpy(golden["waveform"])[None]
    mel = SpeakerMel()(waveform)[0]
    assert mel.shape == golden["E0"].shape
    assert np.abs(mel.numpy() - golden["E0"]).max() < 1e-3  # of values up to 60 dB
    assert np.ptp(golden["E0"], axis=0).max() > 75, "the quiet parts reach the floor"


def test_every_block_is_speechbrains(golden: dict[str, Any], folder: Path) -> None:
    encoder = load_encoder(speaker(folder), device="cpu")
    layers = encoder(torch.from_numpy(golden["waveform"])[None])
    for name, layer in zip(LAYERS, layers, strict=True):
        expected = golden[name]
        assert layer[0].shape == expected.shape
        error = np.abs(layer[0].numpy() - expected).max()
        assert error < 1e-4 * np.abs(expected).max(), name


def test_layers_dims_and_rates(folder: Path) -> None:
    encoder = load_encoder(speaker(folder, layers=6), device="cpu")
    assert encoder.layers == ("E0", "E1", "E2", "E3", "E4", "E5", "E6")
    assert encoder.dims == (80, 16, 16, 16, 16, 24, 10)
    assert encoder.frame_rates_hz == (100.0,) * 6 + (0.0,)
    for samples in (640, 799, 8000):
        layers = encoder(speechlike(samples, rows=2))
        frames = [samples // 160 + 1] * 6 + [1]
        shapes = [(2, t, d) for t, d in zip(frames, encoder.dims, strict=True)]
        assert [tuple(layer.shape) for layer in layers] == shapes
        assert {layer.dtype for layer in layers} == {torch.float32}
    with pytest.raises(ModelError, match="at least 640"):
        encoder(speechlike(639))


def test_a_batch_equals_one_by_one(folder: Path) -> None:
    encoder = load_encoder(speaker(folder), device="cpu")
    waveforms = speechlike(4000, rows=3) * torch.tensor([[1.0], [1e-3], [10.0]])
    together = encoder(waveforms)
    for row in range(3):
        for one, other in zip(together, encoder(waveforms[row : row + 1]), strict=True):
            assert (one[row] - other[0]).abs().max() < 1e-4 * other.abs().max()


def test_the_defaults_are_the_public_model() -> None:
    with torch.device("meta"):
        network = EcapaTdnn(EcapaConfig())
    assert sum(p.numel() for p in network.parameters()) == 20_767_552
    assert network.fc.conv.weight.shape == (192, 6144, 1)


def test_a_pickled_state_dict_as_on_the_hub(folder: Path, tensors: dict[str, Tensor]) -> None:
    expected = load_encoder(speaker(folder), device="cpu")
    (folder / "embedding_model.safetensors").unlink()
    torch.save(tensors, folder / "embedding_model.ckpt")
    found = load_encoder(speaker(folder), device="cpu")
    waveforms = speechlike(4000)
    assert all(
        torch.equal(a, b) for a, b in zip(expected(waveforms), found(waveforms), strict=True)
    )
    assert found.weights_sha256 not in ("", expected.weights_sha256)


def test_of_a_hub_repository_only_the_weights_are_fetched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, list[str]]] = []
    there = folder / ("a" * 40)
    there.mkdir()

    def snapshot(repository: str, revision: str, wanted: list[str]) -> Path:
        asked.append((repository, revision, wanted))
        if wanted == ["embedding_model.ckpt"]:
            tensors = load_file(folder / "embedding_model.safetensors")
            torch.save(tensors, there / "embedding_model.ckpt")
        return there

    monkeypatch.setattr(sources, "_snapshot", snapshot)
    encoder = load_encoder(speaker("speechbrain/some-ecapa"), device="cpu")
    assert encoder.revision == "a" * 40
    assert [revision for _, revision, _ in asked] == ["main", "a" * 40, "a" * 40]
    assert asked[-1][2] == ["embedding_model.ckpt"]


def test_an_untrained_network_has_the_widths_of_its_base(folder: Path, tmp_path: Path) -> None:
    known = Registry(tmp_path / "home", tmp_path / "precomputed")
    target = known.precomputed / "models" / "tiny"
    target.mkdir(parents=True)
    (folder / "embedding_model.safetensors").rename(target / "model.safetensors")
    known.add(speaker("shipped:tiny", name="tiny"))
    untrained = card("ecapa", name="tiny-init", kind="random", base="tiny", seed=3)
    encoder = load_encoder(untrained, device="cpu", registry=known)
    assert encoder.dims == load_encoder("tiny", device="cpu", registry=known).dims
    expected = initialise(SMALL, 3)(SpeakerMel()(speechlike(4000)))
    assert torch.equal(encoder(speechlike(4000))[-1], expected[-1])
    assert encoder.layer_policy["initialisation_seed"] == 3


def test_what_is_no_such_checkpoint(folder: Path, tensors: dict[str, Tensor]) -> None:
    def refused(changed: dict[str, Tensor], match: str) -> None:
        save_file(changed, folder / "embedding_model.safetensors")
        with pytest.raises(ModelError, match=match):
            load_encoder(speaker(folder), device="cpu")

    less = {k: v for k, v in tensors.items() if k != "asp_bn.norm.running_mean"}
    refused(less, r"missing: asp_bn\.norm\.running_mean")
    refused({**tensors, "classifier.weight": torch.ones(2)}, r"not part of it: classifier\.weight")
    refused({**tensors, "fc.conv.bias": torch.ones(3)}, r"wrong shapes: fc\.conv\.bias \(3,\)")
    refused({**tensors, "fc.conv.bias": torch.full((10,), torch.nan)}, "NaN or infinity")
    refused({"weight": torch.ones(2)}, "does not hold an ECAPA-TDNN")
    (folder / "embedding_model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights of a speaker model"):
        load_encoder(speaker(folder), device="cpu")


@pytest.mark.parametrize("lens", list(ANALYSES))
def test_what_is_not_defined_for_one_frame_or_a_mean_of_zero_says_so(
    lens: str, folder: Path
) -> None:
    """E6 has no frames to spread or turn; the mean of E0 over the utterance is zero by making."""
    encoder = load_encoder(speaker(folder), device="cpu")
    analysis = ANALYSES[lens]()
    state = State()
    for index in range(3):
        clean, other = (encoder(speechlike(8000, seed=10 * index + k)) for k in (0, 1))
        views = dict.fromkeys(analysis.views, other)
        analysis.update(state, LayerBatch([f"u{index}"], ["all/3"], clean, views))
    _, values = analysis.compute(state)
    for measure in range(len(analysis.measures)):
        mean = summarise(values[:, measure]).mean
        undefined = {name for name, value in zip(LAYERS, mean, strict=True) if value is None}
        assert undefined == ({"E0"} if lens == "invariance" else {"E6"})
