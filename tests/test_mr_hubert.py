"""MR-HuBERT: its wiring against plain functions on the public layout's weights, and its use."""

from __future__ import annotations

import json
import math
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_checkpoints import random_model, save, speechlike
from torch import Tensor
from torch.nn import functional as F
from typer.testing import CliRunner

from insidessl_dash import analyze
from insidessl_dash.analyses import ANALYSES
from insidessl_dash.analyses.base import State
from insidessl_dash.cli.main import app
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import ConflictError, ModelError
from insidessl_dash.core.registry import Registry
from insidessl_dash.encoders import load_encoder
from insidessl_dash.encoders.mr_hubert import MRHubertConfig, MRHubertModel, Sampler
from insidessl_dash.encoders.mr_hubert_checkpoint import convert
from insidessl_dash.features.batch import LayerBatch
from insidessl_dash.pretraining.recipe import NANO

WIDTH, HEADS, INNER = 16, 4, 24
TINY: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}
THREE_RATES = {"blocks": (3, 2, 2, 2, 3), "rates_ms": (20, 40, 80, 40, 20)}
NAMES = [f"T{k}" for k in range(5)] + ["D0", "T5", "T6", "T7", "T8", "U0"] + [
    f"T{k}" for k in range(9, 13)
]  # fmt: skip


def card(**fields: Any) -> ModelCard:
    values = {"name": "test", "title": "Test", "family": "mr-hubert", "size": "nano"}
    return ModelCard(**{**values, "kind": "mr-hubert", **fields})


def made(folder: Path, config: MRHubertConfig, normalize: bool = False) -> Any:
    """A model with random weights in a folder, loaded."""
    save(random_model(MRHubertModel, config, "sdpa"), folder, {"do_normalize": normalize})
    return load_encoder(card(source=str(folder)), device="cpu")


def one_by_one(encoder: Any, waveforms: Tensor) -> list[Tensor]:
    alone = [encoder(row[None]) for row in waveforms]
    return [torch.cat(parts) for parts in zip(*alone, strict=True)]


def largest_difference(found: Any, expected: Any) -> float:
    assert [a.shape for a in found] == [b.shape for b in expected]
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))


# --- a checkpoint in the public layout, and what it computes, written down independently ---


def their_weights(
    stages: dict[str, int], rates: int, *, kernel: int = 1, pre_norm: bool = False, seed: int = 0
) -> dict[str, Tensor]:
    """A random state dict with fairseq's names.

    Args:
        stages: Blocks of ``encoders.0``, .., ``middle_encoder``, ``decoders.0``, ...
        rates: Number of frame rates.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 0.2) -> Tensor:
        return torch.randn(shape, generator=generator) * scale

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = 1 + draw(width), draw(width)

    def linear(name: str, out: int, into: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = draw(out, into), draw(out)

    state: dict[str, Tensor] = {"mask_emb": draw(WIDTH)}
    into = 1
    for i, size in enumerate((10, 3, 3, 3, 3, 2, 2)):
        state[f"feature_extractor.conv_layers.{i}.0.weight"] = draw(8, into, size, scale=0.5)
        if pre_norm:
            norm(f"feature_extractor.conv_layers.{i}.2.1", 8)
        elif i == 0:
            norm("feature_extractor.conv_layers.0.2", 8)
        into = 8
    norm("layer_norm", 8)
    linear("post_extract_proj", WIDTH, 8)
    state["encoders.0.pos_conv.0.weight_g"] = 1 + draw(1, 1, 8)
    state["encoders.0.pos_conv.0.weight_v"] = draw(WIDTH, WIDTH // 4, 8)
    state["encoders.0.pos_conv.0.bias"] = draw(WIDTH)
    for stage, blocks in stages.items():
        norm(f"{stage}.layer_norm", WIDTH)
        for k in range(blocks):
            for part in "qkv":
                linear(f"{stage}.layers.{k}.self_attn.{part}_proj", WIDTH, WIDTH)
            linear(f"{stage}.layers.{k}.self_attn.out_proj", WIDTH, WIDTH)
            norm(f"{stage}.layers.{k}.self_attn_layer_norm", WIDTH)
            linear(f"{stage}.layers.{k}.fc1", INNER, WIDTH)
            linear(f"{stage}.layers.{k}.fc2", WIDTH, INNER)
            norm(f"{stage}.layers.{k}.final_layer_norm", WIDTH)
    for way in ("downsample_modules", "upsample_modules"):
        for i in range(rates - 1):
            for conv in ("upsample_conv", "downsample_conv"):
                state[f"{way}.{i}.{conv}.0.weight"] = draw(WIDTH, WIDTH, kernel)
                norm(f"{way}.{i}.{conv}.2", WIDTH)
    for i in range(rates):  # heads of pre-training
        linear(f"final_projs.{i}", 6, WIDTH)
        state[f"label_embs_concat.{i}"] = draw(10, 6)
    return state


def their_settings(ratios: list[int], **changes: Any) -> dict[str, Any]:
    model = {
        "_name": "multires_hubert",
        "label_rate": 50.0,
        "label_rate_ratios": ratios,
        "extractor_mode": "default",
        "encoder_layers": 4,
        "override_encoder_layers": "",
        "encoder_embed_dim": WIDTH,
        "encoder_ffn_embed_dim": INNER,
        "encoder_attention_heads": HEADS,
        "conv_adapator_kernal": 1,
        "conv_feature_layers": "[(8,10,5)] + [(8,3,2)] * 4 + [(8,2,2)] * 2",
        "conv_pos": 8,
        "conv_pos_groups": 4,
        "layer_norm_first": False,
        "use_single_target": True,
        **changes,
    }
    return {"model": model, "task": {"normalize": False, "label_rate_ratios": ratios}}


class Theirs:
    """The released wiring in straight lines, straight on the state dict."""

    def __init__(self, state: dict[str, Tensor], pre_norm: bool = False) -> None:
        self.w, self.pre_norm, self.states = state, pre_norm, []

    def norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def front(self, wave: Tensor) -> Tensor:
        x = wave[:, None]
        for i, stride in enumerate((5, 2, 2, 2, 2, 2, 2)):
            name = f"feature_extractor.conv_layers.{i}"
            x = F.conv1d(x, self.w[f"{name}.0.weight"], stride=stride)
            if self.pre_norm:
                x = self.norm(x.transpose(1, 2), f"{name}.2.1").transpose(1, 2)
            elif i == 0:  # over time, each channel by itself
                mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
                x = (x - mean) / torch.sqrt(var + 1e-5)
                x = x * self.w[f"{name}.2.weight"][:, None] + self.w[f"{name}.2.bias"][:, None]
            x = F.gelu(x)
        return self.linear(self.norm(x.transpose(1, 2), "layer_norm"), "post_extract_proj")

    def block(self, x: Tensor, name: str) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            q, k, v = (
                self.linear(x, f"{name}.self_attn.{part}_proj")
                .unflatten(-1, (HEADS, -1))
                .transpose(1, 2)
                for part in "qkv"
            )
            weights = (q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)).softmax(-1)
            return self.linear(
                (weights @ v).transpose(1, 2).flatten(2), f"{name}.self_attn.out_proj"
            )

        def feed(x: Tensor) -> Tensor:
            return self.linear(F.gelu(self.linear(x, f"{name}.fc1")), f"{name}.fc2")

        if self.pre_norm:
            x = x + attend(self.norm(x, f"{name}.self_attn_layer_norm"))
            return x + feed(self.norm(x, f"{name}.final_layer_norm"))
        x = self.norm(x + attend(x), f"{name}.self_attn_layer_norm")
        return self.norm(x + feed(x), f"{name}.final_layer_norm")

    def stage(self, x: Tensor, name: str, blocks: int) -> Tensor:
        if f"{name}.pos_conv.0.bias" in self.w:
            v = self.w[f"{name}.pos_conv.0.weight_v"]
            lengths = (v**2).sum((0, 1), keepdim=True).sqrt()
            kernel = self.w[f"{name}.pos_conv.0.weight_g"] * v / lengths
            bias = self.w[f"{name}.pos_conv.0.bias"]
            y = F.conv1d(x.transpose(1, 2), kernel, bias, padding=4, groups=4)[..., :-1]
            x = x + F.gelu(y).transpose(1, 2)
        if not self.pre_norm:
            x = self.norm(x, f"{name}.layer_norm")
        if name == "encoders.0":
            self.states.append(x)
        for k in range(blocks):
            x = self.block(x, f"{name}.layers.{k}")
            self.states.append(x)
        if self.pre_norm:
            x = self.states[-1] = self.norm(x, f"{name}.layer_norm")
        return x

    def sample(self, x: Tensor, name: str, up: int, down: int) -> Tensor:
        def normed(x: Tensor, conv: str) -> Tensor:
            mean, var = x.mean((1, 2), keepdim=True), x.var((1, 2), keepdim=True, correction=0)
            scale, shift = self.w[f"{name}.{conv}.2.weight"], self.w[f"{name}.{conv}.2.bias"]
            return F.gelu((x - mean) / torch.sqrt(var + 1e-5) * scale[:, None] + shift[:, None])

        x = x.transpose(1, 2)
        kernel = self.w[f"{name}.upsample_conv.0.weight"]
        size = kernel.shape[2]
        repeated = x.repeat_interleave(up, 2)
        y = F.conv_transpose1d(x, kernel, stride=up, output_padding=up - 1)
        y = (normed(y, "upsample_conv")[..., : repeated.shape[2]] + repeated) * math.sqrt(0.4)
        kernel = self.w[f"{name}.downsample_conv.0.weight"]
        z = normed(F.conv1d(y, kernel, stride=down, padding=(size - 1) // 2), "downsample_conv")
        z = (z + y[..., ::down]) * math.sqrt(0.4)
        z = (z + repeated[..., ::down]) * math.sqrt(0.4)
        self.states.append(z.transpose(1, 2))
        return self.states[-1]


def two_rates(theirs: Theirs, wave: Tensor, residual: str = "after") -> tuple[Tensor, Tensor]:
    """4-4-4 at 20, 40 and 20 ms; returns what the high and the low loss read."""
    frames = (wave.shape[1] - 400) // 320 + 1
    skip = theirs.stage(theirs.front(wave), "encoders.0", 4)
    down = theirs.sample(skip, "downsample_modules.0", 1, 2)
    low = down + theirs.stage(down, "middle_encoder", 4)
    up = theirs.sample(low, "upsample_modules.0", 2, 1)
    if residual == "before":
        return theirs.stage(up[:, :frames] + skip, "decoders.0", 4), low
    return theirs.stage(up, "decoders.0", 4)[:, :frames] + skip, low


STAGES = {"encoders.0": 4, "middle_encoder": 4, "decoders.0": 4}


def fairseq_file(path: Path, **changes: Any) -> Path:
    state = changes.pop("state", None) or their_weights(STAGES, 2)
    torch.save({"model": state, "args": None, "cfg": their_settings([1, 2], **changes)}, path)
    return path


def converted(tmp_path: Path, file: Path) -> Any:
    convert(file, tmp_path / "out")
    return load_encoder(card(source=str(tmp_path / "out")), device="cpu")


@pytest.mark.parametrize("samples", [6000, 6400], ids=["18 frames", "19 frames"])
@pytest.mark.parametrize("kernel", [1, 7])
def test_converted_layers_equal_the_released_wiring(
    tmp_path: Path, kernel: int, samples: int
) -> None:
    state = their_weights(STAGES, 2, kernel=kernel)
    encoder = converted(tmp_path, fairseq_file(tmp_path / "mono_base.pt", state=state))
    theirs = Theirs(state)
    wave = speechlike(samples, rows=2)
    high, low = two_rates(theirs, wave)
    frames = (samples - 400) // 320 + 1
    expected = [x[:, :frames] for x in theirs.states]
    assert list(encoder.layers) == NAMES
    assert largest_difference(encoder(wave), expected) < 1e-4
    rates = dict(zip(encoder.layers, encoder.frame_rates_hz, strict=True))
    assert {name for name, rate in rates.items() if rate == 25} == {"D0", "T5", "T6", "T7", "T8"}
    assert {rates[n] for n in rates if n not in ("D0", "T5", "T6", "T7", "T8")} == {50.0}
    assert expected[5].shape[1] == -(-frames // 2)
    with torch.no_grad():
        output = encoder._model(wave)
    assert largest_difference([output.high, *output.low], [high, low]) < 1e-4
    assert encoder.layer_policy["normalize"] is False
    assert encoder.layer_policy["residual"].startswith("added after the decoder")
    assert encoder.card.layers == 12


def test_residual_before_the_decoder(tmp_path: Path) -> None:
    state = their_weights(STAGES, 2)
    convert(fairseq_file(tmp_path / "x.pt", state=state), tmp_path / "out")
    config = tmp_path / "out" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "residual": "before"}))
    encoder = load_encoder(card(source=str(tmp_path / "out")), device="cpu")
    theirs, wave = Theirs(state), speechlike(6400)
    high, low = two_rates(theirs, wave, "before")
    assert largest_difference(encoder(wave), [x[:, :19] for x in theirs.states]) < 1e-4
    with torch.no_grad():
        output = encoder._model(wave)
    assert largest_difference([output.high, *output.low], [high, low]) < 1e-4
    assert encoder.layer_policy["residual"].startswith("added before the decoder")


def test_large_is_pre_norm_and_normalised(tmp_path: Path) -> None:
    state = their_weights(STAGES, 2, pre_norm=True)
    settings = their_settings([1, 2], layer_norm_first=True, extractor_mode="layer_norm")
    settings["task"]["normalize"] = True
    # As s3prl keeps it.
    torch.save(
        {
            "model_weight": state,
            "model_cfg": settings["model"],
            "task_cfg": settings["task"],
            "dictionaries_symbols": [["<s>", "0"]],
        },
        tmp_path / "large.pt",
    )
    encoder = converted(tmp_path, tmp_path / "large.pt")
    theirs, wave = Theirs(state, pre_norm=True), speechlike(6000)
    two_rates(theirs, (wave - wave.mean()) / wave.std(correction=0))
    assert largest_difference(encoder(wave), [x[:, :18] for x in theirs.states]) < 2e-4
    assert encoder.layer_policy["final_norm"] == "on the last state of each stage"
    assert encoder.layer_policy["normalize"] is True


def test_three_rates_raise_in_the_order_of_fairseq(tmp_path: Path) -> None:
    # fairseq gives decoders.0, which runs first (40 ms), the last of 3-2-2-2-3.
    stages = {"encoders.0": 3, "encoders.1": 2, "middle_encoder": 2}
    stages |= {"decoders.0": 3, "decoders.1": 2}
    state = their_weights(stages, 3)
    file = tmp_path / "b2-a.pt"
    torch.save({"model": state, "cfg": their_settings([1, 2, 1, 2])}, file)
    encoder = converted(tmp_path, file)

    theirs, wave = Theirs(state), speechlike(400 + 20 * 320)  # 21, 11 and 6 frames
    first = theirs.stage(theirs.front(wave), "encoders.0", 3)
    second = theirs.sample(first, "downsample_modules.0", 1, 2)
    second = theirs.stage(second, "encoders.1", 2)
    down = theirs.sample(second, "downsample_modules.1", 1, 2)
    middle = down + theirs.stage(down, "middle_encoder", 2)
    up = theirs.sample(middle, "upsample_modules.1", 2, 1)
    at_40 = theirs.stage(up, "decoders.0", 3)[:, :11] + second
    up = theirs.sample(at_40, "upsample_modules.0", 2, 1)
    at_20 = theirs.stage(up, "decoders.1", 2)[:, :21] + first

    assert encoder.layers == (
        "T0", "T1", "T2", "T3", "D0", "T4", "T5", "D1", "T6", "T7",
        "U0", "T8", "T9", "T10", "U1", "T11", "T12",
    )  # fmt: skip
    assert (
        encoder.frame_rates_hz
        == (50.0,) * 4 + (25.0,) * 3 + (12.5,) * 3 + (25.0,) * 4 + (50.0,) * 3
    )
    counts = [round(21 * rate / 50 + 0.49) for rate in encoder.frame_rates_hz]
    layers = encoder(wave)
    assert [layer.shape[1] for layer in layers] == counts
    expected = [x[:, :count] for x, count in zip(theirs.states, counts, strict=True)]
    assert largest_difference(layers, expected) < 1e-4
    with torch.no_grad():
        output = encoder._model(wave)
    assert largest_difference([output.high, *output.low], [at_20, at_40, middle]) < 1e-4


def test_what_was_saved_by_a_newer_pytorch_converts_alike(tmp_path: Path) -> None:
    old = their_weights(STAGES, 2)
    new = {
        k.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): v
        for k, v in old.items()
    }
    assert new.keys() != old.keys()
    convert(fairseq_file(tmp_path / "old.pt", state=old), tmp_path / "one")
    convert(fairseq_file(tmp_path / "new.pt", state=new), tmp_path / "two")
    one, two = (tmp_path / name / "model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_without_a_low_resolution_loss(tmp_path: Path) -> None:
    state = their_weights(STAGES, 2)
    del state["final_projs.1.weight"], state["final_projs.1.bias"], state["label_embs_concat.1"]
    file = fairseq_file(tmp_path / "b4-a.pt", state=state, use_single_prediction=True)
    config = convert(file, tmp_path / "out")
    assert config.low_resolution_loss is False
    assert config.low_steps == []


def drop(state: dict[str, Tensor]) -> None:
    del state["decoders.0.layers.3.fc1.weight"]


def add(state: dict[str, Tensor]) -> None:
    state["middle_encoder.pos_conv.0.bias"] = torch.zeros(WIDTH)


def resize(state: dict[str, Tensor]) -> None:
    state["middle_encoder.layers.0.fc2.bias"] = torch.zeros(5)


def hubert(state: dict[str, Tensor]) -> None:
    for name in [n for n in state if not n.startswith(("feature", "layer_norm"))]:
        del state[name]


@pytest.mark.parametrize(
    ("damage", "settings", "says"),
    [
        (drop, {}, r"missing: decoders\.0\.layers\.3\.fc1\.weight"),
        (add, {}, r"not part of it: middle_encoder\.pos_conv\.0\.bias"),
        (resize, {}, r"wrong shapes: middle_encoder\.layers\.0\.fc2\.bias \(5,\), .* \(16,\)"),
        (hubert, {"label_rate_ratios": []}, "is not an MR-HuBERT|no MR-HuBERT has"),
        (None, {"label_rate_ratios": [1, 2, 1, 2]}, "for 1 encoders"),
        (None, {"label_rate_ratios": [3, 4]}, "whole milliseconds"),
        (None, {"layer_type": "conformer"}, "layer_type = 'conformer'"),
        (None, {"use_plain_updownsample": True}, "use_plain_updownsample"),
        (None, {"encoder_attention_heads": 3}, "heads|divisible"),
        (None, {"conv_feature_layers": "__import__('os').mkdir('ran')"}, "conv_feature_layers"),
    ],
)
def test_another_architecture_says_what_is_wrong(
    tmp_path: Path, damage: Any, settings: dict[str, Any], says: str
) -> None:
    state = their_weights(STAGES, 2)
    if damage:
        damage(state)
    file = fairseq_file(tmp_path / "x.pt", state=state, **settings)
    with pytest.raises(ModelError, match=says) as caught:
        convert(file, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "config.json").exists()
    assert not Path("ran").exists()


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("writer", [torch.save, lambda x, p: p.write_bytes(pickle.dumps(x))])
def test_a_hostile_checkpoint_is_not_run(tmp_path: Path, writer: Any) -> None:
    mark, file = tmp_path / "ran", tmp_path / "x.pt"
    state = their_weights(STAGES, 2)
    writer({"model": state, "cfg": their_settings([1, 2]), "extra": Hostile(mark)}, file)
    with pytest.raises(ModelError, match=r"x\.pt was not loaded.*never run"):
        convert(file, tmp_path / "out")
    assert not mark.exists()


def test_the_dictionaries_of_fairseq_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dictionary:
        ran = False

        def __init__(self) -> None:
            self.symbols, self.indices = ["<s>", "0"], {"<s>": 0}

        def __setstate__(self, state: Any) -> None:
            Dictionary.ran = True

    Dictionary.__module__, Dictionary.__qualname__ = "fairseq.data.dictionary", "Dictionary"
    modules = ["fairseq", "fairseq.data", "fairseq.data.dictionary"]
    for name in modules:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules[modules[-1]].Dictionary = Dictionary  # type: ignore[attr-defined]
    file = tmp_path / "x.pt"
    torch.save(
        {
            "model": their_weights(STAGES, 2),
            "cfg": their_settings([1, 2]),
            "task_state": {"dictionaries": [Dictionary()]},
        },
        file,
    )
    convert(file, tmp_path / "out")
    assert not Dictionary.ran


def test_files_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no file"):
        convert(tmp_path / "nowhere.pt", tmp_path / "out")
    (tmp_path / "page.pt").write_text("<html>not found</html>")
    with pytest.raises(ModelError, match="damaged"):
        convert(tmp_path / "page.pt", tmp_path / "out")
    torch.save({"encoder.weight": torch.ones(2)}, tmp_path / "plain.pt")
    with pytest.raises(ModelError, match=r"not a fairseq or s3prl.*encoder\.weight"):
        convert(tmp_path / "plain.pt", tmp_path / "out")
    file = fairseq_file(tmp_path / "x.pt")
    convert(file, tmp_path / "out")
    with pytest.raises(ConflictError, match="another folder"):
        convert(file, tmp_path / "out")


# --- the encoder ---


@pytest.fixture(scope="module", params=["nano", "base"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    config = MRHubertConfig(**NANO) if request.param == "nano" else MRHubertConfig()
    folder = tmp_path_factory.mktemp(request.param)
    found = made(folder, config)
    (folder / "model.safetensors").unlink()  # 380 MB for Base
    return found


def test_every_state_is_named_and_has_its_rate(encoder: Any) -> None:
    width = encoder.dims[0]
    assert list(encoder.layers) == NAMES
    assert encoder.dims == (width,) * 15
    for samples in (400, 719, 720, 400 + 320 * 8):
        layers = encoder(speechlike(samples))
        frames = (samples - 400) // 320 + 1
        for layer, name, rate in zip(layers, encoder.layers, encoder.frame_rates_hz, strict=True):
            assert rate == (25 if name in ("D0", "T5", "T6", "T7", "T8") else 50)
            count = frames if rate == 50 else -(-frames // 2)
            assert layer.shape == (1, count, width), name
            assert layer.dtype == torch.float32
            assert layer.isfinite().all()
    with pytest.raises(ModelError, match=r"399 samples.*at least 400"):
        encoder(speechlike(399))


def test_batch_equals_one_by_one_and_repeats_itself(encoder: Any) -> None:
    waveforms = speechlike(6000, rows=3)
    together = encoder(waveforms)
    assert largest_difference(together, one_by_one(encoder, waveforms)) < 1e-4
    assert largest_difference(together, encoder(waveforms)) == 0


def test_three_rates_and_no_lower_rate(tmp_path: Path) -> None:
    three = made(tmp_path / "three", MRHubertConfig(**TINY, **THREE_RATES))
    assert len(three.layers) == 17
    assert [n for n in three.layers if n[0] != "T"] == ["D0", "D1", "U0", "U1"]
    same = made(tmp_path / "same", MRHubertConfig(**TINY, rates_ms=(20, 20, 20)))
    assert list(same.layers) == NAMES
    assert set(same.frame_rates_hz) == {50.0}
    waveforms = speechlike(6400, rows=2)
    assert {layer.shape[1] for layer in same(waveforms)} == {19}
    for each in (three, same):
        assert largest_difference(each(waveforms), one_by_one(each, waveforms)) < 1e-4


def test_entropy_and_curvature_see_the_true_frames(encoder: Any) -> None:
    waveforms = speechlike(16_000, rows=2)
    layers = encoder(waveforms)
    batch = LayerBatch(ids=["a", "b"], groups=["a/1", "b/1"], layers=layers)
    repeated = LayerBatch(
        ids=["a", "b"],
        groups=["a/1", "b/1"],
        layers=[
            layer.repeat_interleave(2, 1)[:, :49] if rate == 25 else layer
            for layer, rate in zip(layers, encoder.frame_rates_hz, strict=True)
        ],
    )
    low = [index for index, rate in enumerate(encoder.frame_rates_hz) if rate == 25]
    for name in ("entropy", "curvature"):
        lens = ANALYSES[name]()
        states = [State(), State()]
        for state, of in zip(states, (batch, repeated), strict=True):
            lens.update(state, of)
        (_, true), (_, twice) = (lens.compute(state) for state in states)
        assert true.shape == (2, len(lens.measures), 15)
        assert np.isfinite(true).all()
        differs = ~np.isclose(true, twice, rtol=1e-3)[:, 0]
        assert differs.all(axis=0).nonzero()[0].tolist() == low
        assert differs.any(axis=0).nonzero()[0].tolist() == low
    frames = layers[low[0]][0].double()
    steps = frames[1:] - frames[:-1]
    angles = F.cosine_similarity(steps[1:], steps[:-1]).clamp(-1, 1).acos()
    measures = [m.name for m in ANALYSES["curvature"].measures]
    assert true[0, measures.index("signed"), low[0]] == pytest.approx(
        float(angles.mean()), abs=1e-4
    )


def test_sampler_keeps_no_frame_and_loses_none() -> None:
    from fractions import Fraction

    for ratio in (Fraction(1, 2), Fraction(2, 1), Fraction(2, 5), Fraction(1)):
        for kernel in (1, 7):
            sampler = Sampler(4, kernel, ratio)
            for frames in (1, 2, 9, 10):
                assert sampler(torch.randn(1, frames, 4)).shape == (1, math.ceil(frames * ratio), 4)


def test_training_reads_every_rate_under_a_mask() -> None:
    torch.manual_seed(0)
    model = MRHubertModel._from_config(
        MRHubertConfig(**TINY, **THREE_RATES), attn_implementation="eager"
    ).train()
    wave = speechlike(400 + 20 * 320, rows=2)
    mask = torch.zeros(2, 21, dtype=torch.bool)
    mask[:, 4:14] = True
    output = model(wave, mask)
    assert output.states is None
    assert output.high.shape == (2, 21, WIDTH)
    assert [low.shape[1] for low in output.low] == [11, 6]
    assert model.config.low_steps == [2, 4]
    labels = torch.arange(21).expand(2, 21)
    for low, step in zip(output.low, model.config.low_steps, strict=True):
        assert labels[:, ::step].shape == mask[:, ::step].shape == low.shape[:2]
    (output.high[mask].sum() + sum(low.sum() for low in output.low)).backward()
    without = {name for name, value in model.named_parameters() if value.grad is None}
    assert without == set()
    silent = MRHubertModel._from_config(MRHubertConfig(**TINY, low_resolution_loss=False))
    assert silent(wave).low == ()


def test_masked_frames_reach_no_state() -> None:
    torch.manual_seed(0)
    model = MRHubertModel._from_config(MRHubertConfig(**TINY, feat_extract_norm="layer")).eval()
    one, other = speechlike(6400), speechlike(6400, seed=1)
    mask = torch.ones(1, 19, dtype=torch.bool)
    with torch.no_grad():
        assert torch.equal(model(one, mask).high, model(other, mask).high)
        assert not torch.equal(model(one).high, model(other).high)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"blocks": (6, 6)}, "an odd number of stages"),
        ({"blocks": (4, 0, 4)}, "whole numbers above 0"),
        ({"rates_ms": (20, 40, 40)}, "same backwards"),
        ({"rates_ms": (20, 40)}, "one a stage"),
        ({"rates_ms": (40, 80, 40)}, "from 20 ms"),
        ({"rates_ms": (20, 30, 20)}, "multiples"),
        ({"sampler_kernel": 2}, "an odd number"),
        ({"residual": "beside"}, "'beside'"),
    ],
)
def test_what_is_no_u_shape_is_refused(tmp_path: Path, changes: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        MRHubertConfig(**changes)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mr_hubert", **changes}))
    with pytest.raises(ModelError, match=says):
        load_encoder(card(source=str(tmp_path)), device="cpu")


def test_random_initialisation_follows_its_seed(tmp_path: Path) -> None:
    known = Registry(tmp_path / "home", tmp_path / "precomputed")
    config = MRHubertConfig(**TINY)
    (tmp_path / "shape").mkdir()
    config.save_pretrained(tmp_path / "shape")
    known.home.mkdir()
    base = card(name="base", source=str(tmp_path / "shape"))
    known.path.write_text(json.dumps([base.model_dump(mode="json")]))
    at = {
        seed: load_encoder(
            card(name="init", kind="random", base="base", seed=seed), device="cpu", registry=known
        )
        for seed in (0, 1)
    }
    assert at[0].weights_sha256 != at[1].weights_sha256
    torch.manual_seed(0)
    fresh = MRHubertModel._from_config(config).eval()
    wave = speechlike(4000)
    with torch.no_grad():
        assert largest_difference(at[0](wave), fresh(wave, states=True).states) < 1e-5


def test_cards_and_checkpoints_must_agree(tmp_path: Path) -> None:
    made(tmp_path, MRHubertConfig(**TINY))
    for wrong in ({"kind": "transformers"}, {"family": "hubert"}, {"layers": 14}):
        with pytest.raises(ModelError, match="card of test says"):
            load_encoder(card(source=str(tmp_path), **wrong), device="cpu")


def test_from_a_public_checkpoint_to_a_curve(tmp_path: Path, demo_files: list[Path]) -> None:
    file = fairseq_file(tmp_path / "mono_base.pt")
    run = CliRunner()

    def command(*arguments: str) -> str:
        result = run.invoke(app, list(arguments))
        assert result.exit_code == 0, result.output
        return result.output

    said = command("models", "convert-mr-hubert", str(file), str(tmp_path / "mine"))
    assert "models add" in said
    command("models", "add", "mr-mine", str(tmp_path / "mine"))
    shown = json.loads(command("models", "show", "mr-mine", "--json", "-"))
    assert (shown["family"], shown["kind"], shown["layers"]) == ("mr-hubert", "mr-hubert", 12)
    result = analyze(demo_files[0], models=["mr-mine"], lenses=["curvature"])[0]
    assert result.layers == NAMES
    assert result.frame_rates_hz == [50.0] * 5 + [25.0] * 5 + [50.0] * 5
    assert result.depth_percent[0] == 0
    assert result.depth_percent[NAMES.index("T12")] == 100
    assert result.depth_percent[NAMES.index("D0")] == pytest.approx(100 * 4.5 / 12), (
        "between T4 and T5"
    )
    assert all(math.isfinite(mean) for mean in result.curve().mean)
