"""Decoders of layers: a stack or one by one, the solver, what is stored, training, resuming."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import Cancelled, ConfigError, ModelError, TrainingError
from insidessl_dash.core.progress import silent
from insidessl_dash.generation import decoder_networks, products
from insidessl_dash.generation.decoder_networks import SIZES, DecoderSize
from insidessl_dash.generation.decoders import DecoderBank, load_decoders, nearest, solve
from insidessl_dash.generation.matrix import check_match
from insidessl_dash.generation.mel import QUIET, frames_of, levelled, log_mel
from insidessl_dash.generation.products import float32_products
from insidessl_dash.pretraining import decoders as recipe_module
from insidessl_dash.pretraining.data import SpeechData
from insidessl_dash.pretraining.decoders import DecoderRecipe, DecoderSettings, decoded_layers
from insidessl_dash.pretraining.loop import Run
from insidessl_dash.pretraining.recipes import recipe_class

TINY = DecoderSize(width=16, blocks=2, heads=2, hidden=24, patch=2)
WIDTH = 12
SAMPLES = 16_000
SETTINGS = DecoderSettings(
    model="made", updates=4, batch_seconds=2, max_crop_s=1, warmup=2, steps=1, precision="float32"
)


class MadeEncoder:
    """Layers that say less and less of the log-mel, at 50 frames a second, unpadded."""

    layers = ("0", "1", "2")
    dims = (WIDTH,) * 3
    frame_rates_hz = (50.0,) * 3
    weights_sha256 = "e" * 64
    revision = ""
    layer_policy: dict[str, Any] = {"final_norm": "none"}  # noqa: RUF012
    device = "cpu"
    card = ModelCard(name="made", title="Made", size="base", kind="transformers", family="hubert")

    def __call__(self, waveforms: Tensor) -> list[Tensor]:
        spectrum = waveforms.unfold(1, 400, 320).double()
        energy = torch.fft.rfft(spectrum).abs()[..., 1:].unfold(-1, 16, 16).mean(-1)
        bands = (energy + 1e-4).log().float()
        return [bands * 3, bands.tanh() + 5, bands.mean(-1, keepdim=True).expand_as(bands)]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "nano", TINY)
    monkeypatch.setattr(recipe_module, "load_encoder", lambda name: MadeEncoder())


@pytest.fixture(scope="module")
def data() -> SpeechData:
    """Low and high noise, each with its own swell; the first speaker is held out."""
    rng = np.random.default_rng(0)
    time = np.arange(SAMPLES) / 16_000
    who = np.repeat(np.arange(4), 2)
    waves = []
    for _ in who:
        noise = np.fft.rfft(rng.standard_normal((2, SAMPLES)))
        noise[0, 2000:] = noise[1, :2000] = 0
        level_db = 25 * np.sin(2 * np.pi * (3 * time + rng.uniform(0, 1, (2, 1)))) - 45
        waves.append((np.fft.irfft(noise) * 10 ** (level_db / 20)).sum(0))
    return SpeechData(
        samples=np.round(np.concatenate(waves) * 32768).astype(np.int16),
        offsets=SAMPLES * np.arange(len(who) + 1),
        ids=tuple(f"u{i}" for i in range(len(who))),
        speakers=tuple(f"s{s}" for s in who),
        held_out=who < 1,
        digest="made",
        skipped={},
    )


@pytest.fixture
def start(data: SpeechData, tmp_path: Path) -> Callable[..., Run]:
    def make(folder: str, resume: bool = False, **changes: Any) -> Run:
        settings = SETTINGS.model_copy(update=changes)
        recipe = DecoderRecipe(data, settings, tmp_path, silent)
        return Run(recipe, data, settings, tmp_path / folder, "cpu", resume)

    return make


def says(**changes: Any) -> dict[str, Any]:
    return {
        "name": "made",
        "weights_sha256": "e" * 64,
        "layer_policy": {"final_norm": "none"},
        "layers": ["0", "1", "2"],
        "frame_rates_hz": [50.0, 50.0, 50.0],
        "first_frame_s": 0.0125,
        **changes,
    }


def random_bank(preset: Any = "flow", tokens: int | None = None, **changes: Any) -> DecoderBank:
    """Three decoders of different weights, none of them zero."""
    bank = DecoderBank(("0", "1", "2"), WIDTH, TINY, preset, says(**changes), tokens)
    generator = torch.Generator().manual_seed(1)
    for parameter in bank.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    bank.state_mean.copy_(torch.randn(3, WIDTH, generator=generator))
    bank.state_std.copy_(torch.tensor([0.5, 1.0, 2.0]))
    bank.mel_mean.fill_(-1.0)
    if tokens:
        bank.centroids.copy_(torch.randn(bank.centroids.shape, generator=generator))
    return bank.eval().requires_grad_(False)


def some_states(cells: int, frames: int = 49, seed: int = 2) -> Tensor:
    return torch.randn(cells, frames, WIDTH, generator=torch.Generator().manual_seed(seed))


# -- the networks -------------------------------------------------------------------------------


def plain_flow(weights: dict[str, Tensor], x: Tensor, time: float, states: Tensor) -> Tensor:
    """One decoder's mel of one utterance, (T, 80) and (T, D), with plain operations."""

    def linear(name: str, x: Tensor) -> Tensor:
        return functional.linear(x, weights[f"{name}.weight"].T, weights[f"{name}.bias"][0])

    def norm(x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    def turned(x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        angles = torch.arange(len(x))[:, None] * 10_000.0 ** (-torch.arange(half) / half)
        pairs = torch.complex(x[:, :half], x[:, half:])
        pairs = pairs * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([pairs.real, pairs.imag], dim=-1)

    angles = 1000 * time * 10_000.0 ** (-torch.arange(32) / 32)
    condition = functional.silu(linear("time_in", torch.cat([angles.cos(), angles.sin()])))
    condition = functional.silu(linear("time_out", condition))
    said = states.reshape(len(x) // 2, -1)
    h = linear("embed", torch.cat([x.reshape(len(x) // 2, -1), said], dim=-1))
    for k in range(TINY.blocks):
        of = linear("modulate", condition) + weights[f"blocks.{k}.table"].flatten()
        shift, scale, gate, shift2, scale2, gate2 = of.chunk(6)
        q, key, v = linear(f"blocks.{k}.qkv", norm(h) * (1 + scale) + shift).chunk(3, dim=-1)
        heads = []
        for a, b, c in zip(*(y.chunk(TINY.heads, dim=-1) for y in (q, key, v)), strict=True):
            score = turned(a) @ turned(b).T / math.sqrt(a.shape[-1])
            heads.append(score.softmax(-1) @ c)
        h = h + gate * linear(f"blocks.{k}.out", torch.cat(heads, dim=-1))
        inside = linear(f"blocks.{k}.expand", norm(h) * (1 + scale2) + shift2)
        inside = functional.gelu(inside, approximate="tanh")
        h = h + gate2 * linear(f"blocks.{k}.contract", inside)
    shift, scale = linear("last_modulate", condition).chunk(2)
    found = linear("head", norm(h) * (1 + scale) + shift) + linear("straight", said)
    return found.reshape(len(x), 80)


def test_the_stack_is_each_decoder_by_itself() -> None:
    bank = random_bank()
    noisy = torch.randn(3, 2, 20, 80)
    states = torch.randn(3, 2, 20, WIDTH)
    together = bank.network(noisy, torch.tensor([0.25, 0.75]), states)
    for i in range(3):
        weights = {name: values[i] for name, values in bank.network.state_dict().items()}
        for b, time in enumerate((0.25, 0.75)):
            alone = plain_flow(weights, noisy[i, b], time, states[i, b])
            torch.testing.assert_close(together[i, b], alone, rtol=1e-3, atol=1e-3)


def test_regression_hears_both_sides_and_only_its_own_decoder() -> None:
    bank = random_bank("regression")
    states = torch.randn(3, 1, 60, WIDTH)
    before = bank.network(states)
    assert before.shape == (3, 1, 60, 80)
    changed = states.clone()
    changed[1, 0, 30] += 1.0
    moved = (bank.network(changed) - before).abs().amax(dim=(1, 3)) > 0
    assert not moved[0].any()
    assert not moved[2].any()
    places = moved[1].nonzero()[:, 0]
    assert places.min() == 30 - 2 * 3 * TINY.blocks  # three tokens of two frames a block
    assert places.max() == 31 + 2 * 3 * TINY.blocks


def test_the_nano_preset_fits_what_may_ship(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with torch.device("meta"):
        network = decoder_networks.FlowNetwork(13, 192, SIZES["nano"])
        base = decoder_networks.FlowNetwork(1, 768, SIZES["base"])
    assert 2 * sum(p.numel() for p in network.parameters()) < 25e6
    assert (len(base.blocks), SIZES["base"].width) == (6, 512)


# -- decoding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["flow", "regression"])
@pytest.mark.parametrize("frames", [63, 64])
def test_a_cell_alone_is_the_cell_in_a_batch(preset: str, frames: int) -> None:
    bank, states, decoders = random_bank(preset), some_states(5), [2, 0, 2, 1, 0]
    together = bank.decode(states, decoders, frames, seed=3, steps=2)
    assert together.shape == (5, frames, 80)
    assert together.min() >= QUIET
    for cell, decoder in enumerate(decoders):
        alone = bank.decode(
            states[cell : cell + 1], torch.tensor([decoder]), frames, seed=3, steps=2
        )
        torch.testing.assert_close(together[cell], alone[0], rtol=1e-4, atol=1e-4)
    assert (together[0] - together[3]).abs().max() > 0.01


def test_the_noise_is_the_same_for_every_cell_and_follows_the_seed() -> None:
    bank, states = random_bank(), some_states(1).expand(2, -1, -1)
    first, second = bank.decode(states, [1, 1], 50, seed=0, steps=1)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)
    assert (bank.decode(states, [1, 1], 50, seed=1, steps=1)[0] - first).abs().max() > 0.01


def test_decoding_ends_at_the_mel_that_the_network_says() -> None:
    bank = random_bank()
    for name, parameter in bank.network.named_parameters():
        parameter.data.fill_(0.5 if name == "head.bias" else 0.0)
    bank.mel_std.fill_(0.1)
    for steps in (1, 8):
        made = bank.decode(some_states(1), [0], 400, seed=0, steps=steps)
        made = (made - bank.mel_mean) / bank.mel_std
        torch.testing.assert_close(made, torch.full_like(made, 0.5), rtol=0, atol=1e-4)


def test_the_loss_is_the_error_of_the_velocity_weighted_by_the_path_that_is_left() -> None:
    bank = random_bank()
    states, mel, noise = (
        torch.randn(3, 2, 20, WIDTH),
        torch.randn(2, 20, 80),
        torch.randn(2, 20, 80),
    )
    time = torch.tensor([0.2, 0.7])
    found = bank.losses(states, mel, noise, time)
    noisy = (1 - time)[:, None, None] * noise + time[:, None, None] * mel
    own = (states - bank.state_mean[:, None, None]) / bank.state_std[:, None, None, None]
    end = bank.network(noisy.expand(3, -1, -1, -1), time, own)
    velocity = (end - noisy) / (1 - time)[:, None, None]
    error = (velocity - (mel - noise)).square().mean(dim=(2, 3))
    wanted = (error * (1 - time) ** 2).mean(dim=1)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_the_solver_against_closed_forms() -> None:
    start = torch.tensor([1.0, -2.0])
    straight = solve(lambda x, t: torch.full_like(x, 3.0), start, 1)
    torch.testing.assert_close(straight, start + 3.0)
    bent = solve(lambda x, t: torch.full_like(x, 2 * t), start, 50)
    torch.testing.assert_close(bent, start + 1 - 0.02**2)  # of the last step, Euler's
    errors = [(solve(lambda x, t: x, start, n) - start * math.e).abs().max() for n in (8, 16)]
    assert errors[0] < 0.06
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.15)  # second order


@pytest.mark.parametrize("rate", [50.0, 25.0])
def test_states_are_read_at_the_true_time_of_each_mel_frame(rate: float) -> None:
    """States that are their own centre time, in seconds, come back as the mel frame's."""
    bank = random_bank(frame_rates_hz=[50.0, 25.0, 0.0])
    count = 100 if rate == 50 else 50
    times = 0.0125 + torch.arange(count) / rate
    found = bank.align(times[None, :, None].expand(1, -1, WIDTH), 126)[0, :, 0]
    wanted = (torch.arange(126) * 256 / 16_000).clamp(times[0], times[-1])
    torch.testing.assert_close(found, wanted)


def test_tokens_are_centroids_of_the_layer_that_a_state_is_of() -> None:
    bank, plain = random_bank(tokens=4), random_bank()
    states = some_states(2)
    snapped = torch.stack(
        [
            bank.centroids[j][(x[:, None] - bank.centroids[j]).square().sum(-1).argmin(-1)]
            for x, j in zip(states, (2, 0), strict=True)
        ]
    )
    found = bank.decode(states, [1, 1], 50, seed=0, steps=1, sources=["2", "0"])
    torch.testing.assert_close(found, plain.decode(snapped, [1, 1], 50, seed=0, steps=1))
    torch.testing.assert_close(nearest(states[0], bank.centroids[2]), snapped[0])
    with pytest.raises(ModelError, match="name the layer"):
        bank.decode(states, [1, 1], 50, seed=0)
    with pytest.raises(ModelError, match="no layer '7'"):
        bank.decode(states, [1, 1], 50, seed=0, sources=["7", "0"])


def test_what_cannot_be_decoded_is_refused() -> None:
    bank = random_bank()
    with pytest.raises(ModelError, match="12 channels"):
        bank.decode(torch.zeros(1, 9, WIDTH + 1), [0], 10, seed=0)
    with pytest.raises(ModelError, match="2 cells"):
        bank.decode(torch.zeros(1, 9, WIDTH), [0, 1], 10, seed=0)
    with pytest.raises(ModelError, match="no decoder 3"):
        bank.decode(torch.zeros(1, 9, WIDTH), [3], 10, seed=0)


def test_decoders_of_another_encoder_are_refused() -> None:
    check_match(MadeEncoder(), random_bank())
    with pytest.raises(ModelError, match="trained on made"):
        check_match(MadeEncoder(), random_bank(weights_sha256="f" * 64))


# -- storing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("preset", "tokens"), [("flow", None), ("regression", 3)])
def test_what_is_saved_decodes_alike(tmp_path: Path, preset: str, tokens: int | None) -> None:
    bank = random_bank(preset, tokens)
    bank.state_mean.mul_(1e6)  # beyond float16
    bank.save(tmp_path)
    loaded = load_decoders(str(tmp_path))
    assert (loaded.layers, loaded.dims, loaded.preset) == (bank.layers, bank.dims, preset)
    assert (loaded.encoder, loaded.tokens) == (bank.encoder, tokens)
    assert len(loaded.weights_sha256) == 64
    assert not any(p.requires_grad for p in loaded.parameters())
    torch.testing.assert_close(loaded.state_mean, bank.state_mean)
    for name, values in bank.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], values.half().float())


def test_what_is_no_bank_is_refused(tmp_path: Path) -> None:
    bank = random_bank()
    bank.save(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())

    def refused(what: str, **changes: Any) -> None:
        path.write_text(json.dumps(config | changes))
        with pytest.raises(ModelError, match=what):
            load_decoders(str(tmp_path))

    refused("another mel", mel={**config["mel"], "hop": 320})
    refused("model of type 'hubert'", model_type="hubert")
    refused("does not describe decoders", encoder={"name": "made"})
    refused("does not describe decoders", size=None)
    refused("does not describe decoders", preset="magic")
    refused("not those of a DecoderBank", layers=["0", "1"])
    next(iter(bank.parameters())).data[0, 0, 0] = 1e6
    with pytest.raises(ModelError, match="not finite in float16"):
        bank.save(tmp_path)


# -- training -----------------------------------------------------------------------------------


def test_all_decoders_start_alike(start: Callable[..., Run]) -> None:
    for preset in ("flow", "regression"):
        for name, values in start(preset, preset=preset).model.network.state_dict().items():
            assert len(values) == 3
            if name.startswith("straight"):
                continue
            assert torch.equal(values[0], values[1])
            assert torch.equal(values[0], values[2])


def test_what_normalises_is_of_the_training_speakers(
    start: Callable[..., Run], data: SpeechData
) -> None:
    bank = start("statistics").model
    waves = [levelled(torch.from_numpy(data.waveform(i))[None]) for i in range(2, 8)]
    mels = torch.cat([log_mel(wave)[0].clamp(min=QUIET) for wave in waves])
    torch.testing.assert_close(bank.mel_mean, mels.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bank.mel_std, mels.std(0, correction=0), rtol=1e-3, atol=1e-3)
    frames = torch.cat([MadeEncoder()(wave)[1][0] for wave in waves])
    torch.testing.assert_close(bank.state_mean[1], frames.mean(0), rtol=1e-4, atol=1e-4)
    spread = (frames - frames.mean(0)).square().mean().sqrt()
    torch.testing.assert_close(bank.state_std[1], spread, rtol=1e-3, atol=1e-3)


def test_a_flow_starts_from_a_ridge_regression_on_its_own_layer(
    start: Callable[..., Run], data: SpeechData
) -> None:
    """Before the first update the mel at the path's end is that of a plain regression."""
    bank = start("ridge").model
    rows: list[list[Tensor]] = [[], []]
    for i in range(2, 8):
        wave = levelled(torch.from_numpy(data.waveform(i))[None])
        mel = bank.normalise(log_mel(wave))[0, :62]
        read = (bank.align(MadeEncoder()(wave)[1][0], 62) - bank.state_mean[1]) / bank.state_std[1]
        rows[0].append(read.reshape(31, -1))
        rows[1].append(mel.reshape(31, -1))
    x, y = (torch.cat(each).double().numpy() for each in rows)
    x = np.hstack([x, np.ones((len(x), 1))])
    stacked = np.vstack([x, math.sqrt(0.1 * len(x)) * np.eye(x.shape[1])])
    targets = np.vstack([y, np.zeros((x.shape[1], y.shape[1]))])
    wanted, *_ = np.linalg.lstsq(stacked, targets, rcond=None)
    found = bank.network(torch.randn(3, 1, 62, 80), torch.rand(1), torch.stack([
        torch.from_numpy(x[:31, :-1].reshape(1, 62, WIDTH)).float()] * 3))  # fmt: skip
    said = torch.from_numpy((x[:31] @ wanted).reshape(62, 80)).float()
    torch.testing.assert_close(found[1, 0].detach(), said, rtol=1e-3, atol=1e-3)


def test_a_decoder_does_not_depend_on_those_trained_beside_it(start: Callable[..., Run]) -> None:
    together, alone = start("all"), start("one", layers=("1",))
    together.train(silent)
    alone.train(silent)
    assert alone.model.layers == ("1",)
    for name, values in alone.model.network.state_dict().items():
        torch.testing.assert_close(
            together.model.network.state_dict()[name][1], values[0], rtol=1e-2, atol=5e-4
        )


@pytest.mark.parametrize("preset", ["flow", "regression"])
def test_decoders_learn_and_the_layer_that_says_more_is_decoded_better(
    start: Callable[..., Run], preset: str
) -> None:
    run = start(preset, preset=preset, updates=120, learning_rate=5e-3, warmup=5, steps=4)
    first = run.recipe.evaluate(run.model, "cpu", 1.0, None)
    for _ in range(120):
        run._step()
    last = run.recipe.evaluate(run.model, "cpu", 1.0, None)
    assert last["loss"] < 0.7 * first["loss"]
    assert last["mel_l1"] < 0.8 * last["mean_mel_l1"]
    assert last["mel_l1_0"] < last["mel_l1_2"]
    assert last["mel_l1"] == pytest.approx(np.mean([last[f"mel_l1_{i}"] for i in range(3)]))


def test_a_run_that_was_stopped_ends_where_the_other_does(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    whole = start("whole", tokens=5)
    whole.train(silent)
    stopped = start("stopped", tokens=5)

    def stop(message: str, done: int, total: int) -> None:
        if message.startswith("loss") and done == 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        stopped.train(stop)
    again = start("stopped", resume=True, tokens=5)
    assert again.update == 2
    again.train(silent)
    for name, values in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], values), name
    stored = {x.name for x in (tmp_path / "whole" / "checkpoints").iterdir()}
    assert stored == {f"update-{k:06d}" for k in (0, 1, 2, 4)}
    last = load_decoders(str(tmp_path / "whole" / "checkpoints" / "update-000004"))
    assert last.encoder["weights_sha256"] == "e" * 64
    names = set(whole.model.state_dict())
    assert all(name.split(".")[0] in {"network", "mel_mean", "mel_std"} | {
        "state_mean", "state_std", "centroids"} for name in names)  # fmt: skip
    with pytest.raises(TrainingError, match="preset"):
        start("stopped", resume=True, tokens=5, preset="regression")


def test_layers_that_cannot_be_decoded_together() -> None:
    made = MadeEncoder()
    assert decoded_layers(made, None) == [0, 1, 2]
    assert decoded_layers(made, ("2", "0")) == [0, 2]
    with pytest.raises(TrainingError, match="no layer '9'"):
        decoded_layers(made, ("9",))
    made.frame_rates_hz = (50.0, 50.0, 0.0)
    assert decoded_layers(made, None) == [0, 1]
    with pytest.raises(TrainingError, match="no layer '2'"):
        decoded_layers(made, ("2",))
    made.dims = (WIDTH, 2 * WIDTH, WIDTH)
    with pytest.raises(TrainingError, match="--layer"):
        decoded_layers(made, None)


def test_the_recipe_is_known_and_its_settings_are_checked() -> None:
    assert recipe_class("decoders") is DecoderRecipe
    with pytest.raises(ConfigError):
        recipe_class("decoder")
    with pytest.raises(ValueError, match="preset"):
        DecoderSettings(model="made", preset="fast")


def test_a_mel_of_a_crop_has_as_many_frames_as_its_states_are_read_at() -> None:
    assert frames_of(SAMPLES) == log_mel(torch.zeros(1, SAMPLES)).shape[1] == 63


# -- products -----------------------------------------------------------------------------------


def test_products_are_those_of_float32_whoever_makes_them() -> None:
    generator = torch.Generator().manual_seed(3)
    left = torch.randn(3, 130, 70, generator=generator)
    right = torch.randn(3, 70, 90, generator=generator)
    before = torch.backends.mkldnn.matmul.fp32_precision
    exact = (left.double() @ right.double()).float()
    with float32_products():
        torch.testing.assert_close(left @ right, exact, rtol=1e-4, atol=1e-4)
    assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_products_that_would_be_rounded_are_left_to_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision
    monkeypatch.setattr(products, "_onednn_is_exact", lambda: False)
    with float32_products():
        assert torch.backends.mkldnn.matmul.fp32_precision == before
    monkeypatch.setattr(products, "_onednn_is_exact", lambda: True)
    with pytest.raises(RuntimeError), float32_products():
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert torch.backends.mkldnn.matmul.fp32_precision == before
