"""The speaker objectives against NumPy, their score on held-out speakers, and what ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_checkpoints import card
from safetensors.torch import load_file

from insidessl_dash.core.errors import TrainingError
from insidessl_dash.core.progress import silent
from insidessl_dash.encoders import load_encoder
from insidessl_dash.encoders.ecapa_network import EcapaConfig
from insidessl_dash.pretraining import dino, ecapa
from insidessl_dash.pretraining.data import SpeechData
from insidessl_dash.pretraining.dino import DinoRecipe, DinoSettings, crop_lengths, dino_loss
from insidessl_dash.pretraining.ecapa import AngularMarginHead, EcapaRecipe, EcapaSettings

TINY = EcapaConfig(channels=16, mfa_channels=24, attention_channels=6, se_channels=4, embedding=10)
SHORT = 16_000  # samples of an utterance


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ecapa, "NANO", TINY)
    monkeypatch.setattr(dino, "NANO", TINY)


def speech(speakers: int = 6, each: int = 4, held_out: int = 3) -> SpeechData:
    """Hums of `speakers` heights under noise; the first speakers are held out."""
    rng = np.random.default_rng(0)
    time = np.arange(SHORT) / 16_000
    who = np.repeat(np.arange(speakers), each)
    waves = [
        0.1 * sum(np.sin(2 * np.pi * 90 * 1.2**s * k * time) / k for k in range(1, 8))
        + 0.02 * rng.standard_normal(SHORT)
        for s in who
    ]
    return SpeechData(
        samples=np.round(np.concatenate(waves) * 32768).astype(np.int16),
        offsets=SHORT * np.arange(len(who) + 1),
        ids=tuple(f"u{i}" for i in range(len(who))),
        speakers=tuple(f"s{s}" for s in who),
        held_out=who < held_out,
        digest="made",
        skipped={},
    )


def batch(data: SpeechData) -> tuple[Any, Any, Any]:
    indices = np.flatnonzero(~data.held_out)
    return np.stack([data.waveform(i) for i in indices]), indices, np.zeros(len(indices), int)


def recipe(kind: Any, settings: Any, tmp_path: Path, data: SpeechData | None = None) -> Any:
    return kind(data or speech(), settings, tmp_path, silent)


# -- against NumPy ------------------------------------------------------------------------------


@pytest.mark.parametrize(("margin", "scale"), [(0.2, 30.0), (0.0, 1.0)])
def test_margin_softmax(margin: float, scale: float) -> None:
    rng = np.random.default_rng(1)
    embeddings, vectors = rng.standard_normal((6, 8)), rng.standard_normal((4, 8))
    labels = np.array([0, 1, 2, 3, 0, 1])
    embeddings[4] = 5 * vectors[0]  # an angle of 0
    embeddings[5] = -vectors[1] + 0.05 * rng.standard_normal(8)  # an angle past pi - margin
    expected = np.empty((6, 4))
    for row in range(6):
        for column in range(4):
            a, b = embeddings[row], vectors[column]
            cosine = np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1)
            angle = np.arccos(cosine)
            if column == labels[row] and angle + margin <= np.pi:
                expected[row, column] = scale * np.cos(angle + margin)
            elif column == labels[row]:
                expected[row, column] = scale * (cosine - margin * np.sin(margin))
            else:
                expected[row, column] = scale * cosine
    head = AngularMarginHead(8, 4, margin, scale)
    head.weight.data = torch.from_numpy(vectors).float()
    logits, cosines = head(torch.from_numpy(embeddings).float(), torch.from_numpy(labels))
    np.testing.assert_allclose(logits.detach(), expected, atol=scale * 2e-5)
    assert np.arccos(cosines[5, 1].item()) > np.pi - 0.2, "the last case is the rare one"
    logits.sum().backward()
    assert torch.isfinite(head.weight.grad).all()


def test_dino_loss() -> None:
    rng = np.random.default_rng(2)
    student, teacher = rng.standard_normal((6, 3, 5)), rng.standard_normal((2, 3, 5))
    centre = rng.standard_normal(5)

    def shares(x: np.ndarray) -> np.ndarray:
        return np.exp(x) / np.exp(x).sum()

    terms = [
        -(shares((teacher[t, b] - centre) / 0.05) @ np.log(shares(student[s, b] / 0.1)))
        for t in range(2)
        for s in range(6)
        if s != t
        for b in range(3)
    ]
    assert len(terms) == 10 * 3
    answers = [torch.from_numpy(x).requires_grad_() for x in student]
    wanted = [torch.from_numpy(x).requires_grad_() for x in teacher]
    loss = dino_loss(answers, wanted, torch.from_numpy(centre), 0.1, 0.05)
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-9)
    loss.backward()
    assert all(x.grad is None for x in wanted), "nothing is learned through the teacher"


def test_crops_keep_their_proportion_in_short_audio(tmp_path: Path) -> None:
    assert crop_lengths(16_000 * 8, 3.0, 2.0) == (48_000, 32_000)
    assert crop_lengths(24_000, 3.0, 2.0) == (24_000, 16_000)
    made = recipe(DinoRecipe, DinoSettings(noise_snr_db=(80, 80)), tmp_path)
    waves = np.arange(2 * 50_000, dtype=np.float32).reshape(2, 50_000)
    long, short = made._crops(waves, 7, "cpu")
    assert (long.shape, short.shape) == ((2, 2, 48_000), (4, 2, 32_000))
    assert np.abs(np.diff(short, axis=2) - 1).mean() < 20, "stretches of the audio, in order"
    again = made._crops(waves, 7, "cpu")
    np.testing.assert_array_equal(long, again[0])
    assert not np.array_equal(long, made._crops(waves, 8, "cpu")[0])


def test_the_noise_of_a_crop_has_the_level_that_was_drawn(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(48_000) / 16_000).astype(np.float32)[None]
    made = recipe(DinoRecipe, DinoSettings(noise_snr_db=(20, 20)), tmp_path)
    long, _ = made._crops(tone, 0, "cpu")  # as long as the audio, so both are all of it
    noise = long[:, 0] - torch.from_numpy(tone)
    level = 10 * torch.log10(torch.from_numpy(tone).square().mean() / noise.square().mean(dim=1))
    np.testing.assert_allclose(level, 20, atol=0.1)
    assert abs(np.corrcoef(noise)[0, 1]) < 0.02, "each crop has noise of its own"


# -- recipes ------------------------------------------------------------------------------------


def test_the_supervised_model_learns_and_ships(tmp_path: Path) -> None:
    data = speech()
    made = recipe(EcapaRecipe, EcapaSettings(), tmp_path, data)
    model = made.build()
    assert made.count == 3
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for update in range(1, 16):
        loss, logged = made.loss(model, batch(data), update, "cpu")
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert logged["accuracy"] > 0.9
    scores = made.evaluate(model, "cpu", 3.0, None)
    assert scores == made.evaluate(model, "cpu", 3.0, None)
    assert (scores["trials"], scores["utterances"]) == (36, 12)
    assert scores["chance"] == 0.5
    made.export(model, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored["fc.conv.weight"].dtype == torch.float16
    encoder = load_encoder(card("ecapa", kind="ecapa", source=str(tmp_path)), device="cpu")
    waveform = data.waveform(0)[None]
    model.eval()
    with torch.no_grad():
        expected = made.embedder(model)(made.features(torch.from_numpy(waveform)))[-1]
    found = encoder(torch.from_numpy(waveform))[-1]
    assert torch.cosine_similarity(found, expected, dim=-1).item() > 0.9999


def test_the_teacher_follows_and_is_what_ships(tmp_path: Path) -> None:
    data = speech()
    made = recipe(DinoRecipe, DinoSettings(prototypes=16, updates=10), tmp_path, data)
    model = made.build()
    first = {k: v.clone() for k, v in model.teacher.named_parameters()}
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    loss, logged = made.loss(model, batch(data), 1, "cpu")
    loss.backward()
    optimiser.step()
    made.after_step(model, 1)
    assert 0 < logged["answer_entropy"] <= logged["mean_answer_entropy"] <= np.log(16) + 1e-6
    momentum = 1 - 0.004 * (1 + np.cos(np.pi / 10)) / 2
    for name, value in model.student.named_parameters():
        expected = momentum * first[name] + (1 - momentum) * value
        torch.testing.assert_close(dict(model.teacher.named_parameters())[name], expected)
    assert model.centre.abs().sum() > 0
    made.export(model, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")["blocks.0.conv.conv.weight"]
    teacher = model.teacher.encoder.state_dict()["blocks.0.conv.conv.weight"]
    torch.testing.assert_close(stored, teacher.half())


def test_a_limited_evaluation_hears_every_speaker(tmp_path: Path) -> None:
    made = recipe(EcapaRecipe, EcapaSettings(), tmp_path)
    chosen = made._of_every_speaker(6)
    assert sorted(made.data.speakers[i] for i in chosen) == ["s0", "s0", "s1", "s1", "s2", "s2"]
    assert len(made._of_every_speaker(None)) == 12


def test_one_held_out_speaker_makes_no_trials(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="two held-out speakers"):
        recipe(EcapaRecipe, EcapaSettings(), tmp_path, speech(held_out=1))
