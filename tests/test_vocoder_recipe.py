"""Training a vocoder: two players in one backward, exact resume, what is measured, what ships."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from insidessl_dash.core.errors import AudioError, Cancelled
from insidessl_dash.core.progress import silent
from insidessl_dash.generation.discriminators import (
    Discriminators,
    DiscriminatorSize,
    discriminator_loss,
    feature_distance,
    generator_loss,
)
from insidessl_dash.generation.fourier import FourierSize, FourierVocoder
from insidessl_dash.generation.vocoder import GriffinLim, load_vocoder
from insidessl_dash.pretraining import vocoder as recipe_module
from insidessl_dash.pretraining.data import SpeechData
from insidessl_dash.pretraining.loop import Run, learning_rate
from insidessl_dash.pretraining.recipes import recipe_class
from insidessl_dash.pretraining.vocoder import VocoderRecipe, VocoderSettings

SAMPLES = 16_000  # of an utterance
TINY = DiscriminatorSize(channels=4, windows=(512, 256))
SETTINGS = VocoderSettings(
    updates=4, batch_seconds=2, warmup=2, adversarial_from=2, learning_rate=2e-3
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe_module, "SIZE", FourierSize(width=24, hidden=48, blocks=2))
    monkeypatch.setattr(recipe_module, "CRITICS", TINY)


@pytest.fixture(scope="module")
def data() -> SpeechData:
    """Hums of four heights that swell and fade, under noise; the first two are held out."""
    rng = np.random.default_rng(0)
    time = np.arange(SAMPLES) / 16_000
    who = np.repeat(np.arange(4), 2)
    swell = 0.3 + 0.7 * np.sin(np.pi * 3 * time) ** 2
    waves = [
        swell * 0.1 * sum(np.sin(2 * np.pi * 90 * 1.2**s * k * time) / k for k in range(1, 8))
        + 0.02 * rng.standard_normal(SAMPLES)
        for s in who
    ]
    return SpeechData(
        samples=np.round(np.concatenate(waves) * 32768).astype(np.int16),
        offsets=SAMPLES * np.arange(len(who) + 1),
        ids=tuple(f"u{i}" for i in range(len(who))),
        speakers=tuple(f"s{s}" for s in who),
        held_out=who < 2,
        digest="made",
        skipped={},
    )


@pytest.fixture
def start(data: SpeechData, tmp_path: Path) -> Callable[..., Run]:
    def make(folder: str, resume: bool = False, **changes: Any) -> Run:
        settings = SETTINGS.model_copy(update=changes)
        recipe = VocoderRecipe(data, settings, tmp_path, silent)
        return Run(recipe, data, settings, tmp_path / folder, "cpu", resume)

    return make


def log(run: Run) -> list[dict[str, Any]]:
    return [json.loads(x) for x in (run.folder / "log.jsonl").read_text().splitlines()]


def gradients(module: nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


def relative_error(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> float:
    a, b = (torch.cat([x.flatten() for x in parts]) for parts in (found, wanted))
    return ((a - b).norm() / b.norm()).item()


# -- the two players ----------------------------------------------------------------------------


def test_one_backward_gives_each_player_its_own_gradients(start: Callable[..., Run]) -> None:
    """The same as two losses, each differentiated for one player alone."""
    run = start("apart", precision="float32", gain_db=0.0)
    model, settings = run.model, run.settings
    batch = run.batches(0)
    run.recipe.loss(model, batch, 3, "cpu")[0].backward()
    together = gradients(model.vocoder), gradients(model.critics)
    model.zero_grad()

    target = torch.from_numpy(batch[0])
    run.recipe.loss(model, batch, 2, "cpu")[0].backward()  # before the discriminators begin
    assert not gradients(model.critics)
    made = model.vocoder(recipe_module.log_mel(target))[:, : target.shape[1]]
    judged, recorded = model.critics(made), model.critics(target)
    against = generator_loss(judged) + settings.feature_weight * feature_distance(recorded, judged)
    against.backward()
    assert relative_error(together[0], gradients(model.vocoder)) < 1e-3
    model.zero_grad()
    with torch.no_grad():
        made = model.vocoder(recipe_module.log_mel(target))[:, : target.shape[1]]
    discriminator_loss(model.critics(target), model.critics(made)).backward()
    assert relative_error(together[1], gradients(model.critics)) < 1e-3


def test_neither_player_shortens_the_step_of_the_other(start: Callable[..., Run]) -> None:
    run = start("clip", clip_norm=0.5, critic_rate=0.25)
    seen = []
    run.optimizer.step = lambda: seen.append(  # type: ignore[method-assign]
        [torch.cat([g.flatten() for g in gradients(m)]).norm().item() for m in parts]
    )
    parts = [group.module for group in run.recipe.groups(run.model)]
    assert sum(len(list(p.parameters())) for p in parts) == len(run.parameters)
    run.update = 2
    loss = run.recipe.loss
    run.recipe.loss = lambda *a: (1000 * loss(*a)[0], {})  # type: ignore[method-assign]
    run._step()
    assert seen == [pytest.approx([0.5, 0.5], rel=1e-3)]
    rates = [group["lr"] for group in run.optimizer.param_groups]
    assert rates == [rate := learning_rate(run.settings, 3), 0.25 * rate]


def test_discriminators_tell_noise_from_hum_and_fooling_them_moves_towards_it() -> None:
    torch.manual_seed(0)
    critics = Discriminators(TINY)
    time = torch.arange(4000) / 16_000
    hum = 0.1 * torch.sin(2 * torch.pi * torch.tensor([[150.0], [210.0]]) * time)
    noise = 0.1 * torch.randn(2, 4000)
    optimiser = torch.optim.AdamW(critics.parameters(), 1e-2)
    first = discriminator_loss(critics(hum), critics(noise)).item()
    assert first == pytest.approx(2, abs=0.3)
    for _ in range(25):
        loss = discriminator_loss(critics(hum), critics(noise))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.5
    assert generator_loss(critics(hum)) < 0.5 < 1.5 < generator_loss(critics(noise))
    assert feature_distance(critics(hum), critics(hum)) == 0
    assert feature_distance(critics(hum), critics(noise)) > 0.3
    louder = [[3 * x for x in member] for member in critics(hum)]
    moved = [[3 * x for x in member] for member in critics(noise)]
    torch.testing.assert_close(
        feature_distance(louder, moved), feature_distance(critics(hum), critics(noise))
    )


def test_discriminators_have_the_stated_size_and_bear_silence() -> None:
    critics = Discriminators()
    parameters = sum(p.numel() for p in critics.parameters())
    assert f"{parameters:,}" in (DiscriminatorSize.__doc__ or "")
    silence = torch.zeros(1, 1025, requires_grad=True)
    answers = critics(silence)
    assert [len(member) for member in answers] == [6, 6, 6]
    generator_loss(answers).backward()
    assert silence.grad is not None
    assert silence.grad.isfinite().all()
    with pytest.raises(AudioError, match="at least 1025"):
        critics(silence[:, 1:])


# -- the recipe ---------------------------------------------------------------------------------


def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(start: Callable[..., Run]) -> None:
    """Stopped before and after the discriminators begin."""
    whole = start("whole")
    whole.train(silent)
    for kill_at in (1, 3):

        def stop(_step: str, completed: float, _total: float, at: int = kill_at) -> None:
            if completed == at:
                raise Cancelled("stop")

        with pytest.raises(Cancelled):
            start(f"broken{kill_at}").train(stop)
        resumed = start(f"broken{kill_at}", resume=True)
        assert resumed.update == kill_at
        resumed.train(silent)
        for a, b in zip(log(whole), log(resumed), strict=True):
            assert {**a, "wall_s": 0} == {**b, "wall_s": 0}
        for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
            assert torch.equal(a, b)
    entries = [entry for entry in log(whole) if "loss" in entry]
    assert ["telling" in entry for entry in entries] == [False] * 2 + [True] * 2


def test_a_tiny_vocoder_learns_its_speech_and_ships(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    run = start(
        "learn", updates=40, warmup=5, learning_rate=5e-3, adversarial_from=30, batch_seconds=1.0
    )
    run.train(silent)
    losses = [entry["mel_l1"] for entry in log(run) if "loss" in entry]
    assert losses[-1] < 0.5 * losses[0]
    held_out = [entry["held_out"] for entry in log(run) if "held_out" in entry]
    first, last = held_out[0], held_out[-1]
    assert last["mel_l1"] < 0.5 * first["mel_l1"]
    assert last["utterances"] == 4
    score = run.recipe.score(last, first)
    assert (score.value, score.chance) == (last["stoi"], last["griffin_lim_stoi"])
    assert score.higher_is_better

    shipped = run.folder / "checkpoints" / "update-000040"
    assert sorted(p.name for p in shipped.iterdir()) == ["config.json", "model.safetensors"]
    loaded = load_vocoder(str(shipped))
    assert isinstance(loaded, GriffinLim)
    loaded = loaded.start
    assert isinstance(loaded, FourierVocoder)
    mel = torch.randn(1, 9, 80) - 3
    with torch.no_grad():
        torch.testing.assert_close(loaded(mel), run.model.vocoder(mel), atol=2e-2, rtol=0)


def test_griffin_lim_is_computed_once_for_these_utterances(
    start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("floor")
    scores = run.recipe.evaluate(run.model, "cpu", 1.0, None)
    assert 0 < scores["griffin_lim_mel_l1"] < scores["mel_l1"]
    monkeypatch.setattr(recipe_module.GriffinLim, "__call__", None)
    assert start("again").recipe.evaluate(run.model, "cpu", 1.0, 60) == scores
    assert run.model.training


def test_gain_keeps_within_full_scale_and_follows_the_update(start: Callable[..., Run]) -> None:
    recipe = start("gain").recipe
    waves = np.random.default_rng(0).uniform(-0.7, 0.7, (64, 100)).astype(np.float32)
    changed = recipe._with_gain(waves, 3)
    ratios = (changed / waves)[:, :1]
    np.testing.assert_allclose(changed, ratios * waves, rtol=1e-5)
    assert changed.dtype == np.float32
    assert ratios.min() >= 10 ** (-6 / 20) - 1e-6
    assert ratios.min() < 0.6 < 1.3 < ratios.max()
    assert np.abs(changed).max() <= 1
    np.testing.assert_array_equal(changed, recipe._with_gain(waves, 3))
    assert not np.array_equal(changed, recipe._with_gain(waves, 4))


def test_phases_are_not_rounded_to_half_precision(start: Callable[..., Run]) -> None:
    vocoder = start("half").model.vocoder
    with torch.no_grad():
        vocoder.head.bias += 40.0  # where bfloat16 has steps of a quarter of a radian
        with torch.autocast("cpu", torch.bfloat16):
            _, phase = vocoder.spectrum(torch.randn(1, 5, 80) - 3)
    assert not torch.equal(phase, phase.bfloat16().float())


def test_the_recipe_is_known_by_name() -> None:
    assert recipe_class("fourier-vocoder") is VocoderRecipe
