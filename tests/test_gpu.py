"""On a GPU the numbers are those of the CPU: ``python -m pytest -m gpu`` where there is one."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from made_checkpoints import CLASSES, card, model_class, random_model, save, speechlike, tiny_config
from test_decoders import SAMPLES, random_bank, some_states

from insidessl_dash.core.registry import registry
from insidessl_dash.encoders import load_encoder
from insidessl_dash.engine import worker
from insidessl_dash.engine.verification import verify_speakers
from insidessl_dash.generation.fourier import FourierVocoder
from insidessl_dash.generation.griffin_lim import GriffinLim
from insidessl_dash.generation.mel import log_mel
from insidessl_dash.notebook import analyze, open_audio
from insidessl_dash.results.schema import Result
from insidessl_dash.results.store import Store

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference as a share of the norm."""
    error = torch.linalg.vector_norm(found.cpu().double() - expected.double())
    return float(error / torch.linalg.vector_norm(expected.double()))


def assert_same_curves(found: Result, expected: Result) -> None:
    assert (expected.provenance.device, found.provenance.device) == (
        "cpu",
        torch.cuda.get_device_name(),
    )
    for name, curve in expected.measures.items():
        again = np.array(found.measures[name].mean, dtype=float)
        np.testing.assert_allclose(again, np.array(curve.mean, dtype=float), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("family", CLASSES)
def test_layers_of_every_family(family: str, tmp_path: Path) -> None:
    model = random_model(model_class(family), tiny_config(family))
    folder = save(model, tmp_path, {"do_normalize": True, "sampling_rate": 16_000})
    waves = speechlike(50_000, rows=3)
    expected, found = (
        load_encoder(card(family), device=device, source=folder)(waves)
        for device in ("cpu", "cuda")
    )
    assert all(layer.is_cuda for layer in found)
    assert max(map(difference, found, expected)) < 1e-4


@pytest.mark.parametrize("name", ["melspec", "hubert-nano-init", "ecapa-nano-init"])
def test_layers_of_the_registry(name: str) -> None:
    waves = speechlike(50_000, rows=3)
    found = load_encoder(name, device="cuda")(waves)
    assert max(map(difference, found, load_encoder(name, device="cpu")(waves))) < 1e-4


def test_lenses(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lenses = ["entropy", "curvature", ("invariance", {"perturbation": "gain"})]
    results = {}
    for device in ("cpu", "cuda"):
        monkeypatch.setattr(worker, "load_encoder", partial(load_encoder, device=device))
        worker._encoder.cache_clear()
        store = Store(tmp_path / device, tmp_path / "nothing")
        results[device] = analyze(folder, "hubert-nano-init", lenses, store=store)
    worker._encoder.cache_clear()
    for found, expected in zip(results["cuda"], results["cpu"], strict=True):
        assert_same_curves(found, expected)


def test_verification(folder: Path) -> None:
    model, corpus = registry().get("ecapa-nano-init"), open_audio(folder)
    found, expected = (
        verify_speakers(model, corpus, device=device)[0] for device in ("cuda", "cpu")
    )
    assert_same_curves(found, expected)


@pytest.mark.parametrize("preset", ["flow", "regression"])
def test_decoding(preset: str) -> None:
    bank, states = random_bank(preset), some_states(3)
    expected = bank.decode(states, [0, 1, 2], 61, seed=0)
    found = copy.deepcopy(bank).to("cuda").decode(states.cuda(), [0, 1, 2], 61, seed=0)
    assert difference(found, expected) < 1e-4


def test_vocoders() -> None:
    mel = log_mel(speechlike(SAMPLES, rows=2))
    for vocoder in (GriffinLim(iterations=4), FourierVocoder().eval().requires_grad_(False)):
        expected = vocoder(mel)
        on_gpu = vocoder.to("cuda") if isinstance(vocoder, FourierVocoder) else vocoder
        assert difference(on_gpu(mel.cuda()), expected) < 1e-3
