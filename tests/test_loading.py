"""Checkpoints as they come: with heads, in old names, in pieces, damaged, hostile, or absent."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from huggingface_hub import errors as hub_errors
from made_checkpoints import card, model_class, random_model, save, speechlike, tiny_config
from safetensors.torch import load_file, save_file

from insidessl_dash.core.errors import ModelError, UnknownModelError
from insidessl_dash.core.registry import Registry
from insidessl_dash.encoders import load_encoder
from insidessl_dash.encoders.loading import model_type
from insidessl_dash.engine.at_hand import at_hand, ships_without_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def known(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home", tmp_path / "precomputed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small HuBERT that loads."""
    model = random_model(model_class("hubert"), tiny_config("hubert"))
    return save(model, tmp_path / "checkpoint", {"do_normalize": True})


def load(folder: Path, **fields: Any) -> Any:
    return load_encoder(card(**{"source": str(folder), **fields}), device="cpu")


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def rewrite(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def same_layers(one: Any, other: Any, tolerance: float = 0.0) -> bool:
    waveforms = speechlike(4000)
    pairs = zip(one(waveforms), other(waveforms), strict=True)
    return all((a - b).abs().max() <= tolerance for a, b in pairs)


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("wav2vec2", "ForPreTraining"),
        ("hubert", "ForCTC"),
        ("wavlm", "ForCTC"),
        ("data2vec", "ForCTC"),
        ("unispeech-sat", "ForPreTraining"),
    ],
)
def test_the_head_of_a_checkpoint_is_left_out(tmp_path: Path, family: str, head: str) -> None:
    whole = random_model(model_class(family, head), tiny_config(family))
    save(whole, tmp_path / "whole")
    save(getattr(whole, whole.base_model_prefix), tmp_path / "base")
    one, other = (load(tmp_path / name, family=family) for name in ("whole", "base"))
    assert one.layers == ("0", "1", "2", "3")
    assert same_layers(one, other)
    assert one.weights_sha256 != other.weights_sha256


def test_digest_is_that_of_the_weights_file(folder: Path) -> None:
    weights = folder / "model.safetensors"
    assert load(folder).weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    tensors = tensors_of(folder)
    rewrite(folder, {k: v + 0.125 if k.endswith("bias") else v for k, v in tensors.items()})
    assert load(folder).weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_old_names_in_a_pickled_state_dict(folder: Path) -> None:
    expected = load(folder)
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in tensors_of(folder).items()
    }
    assert any(name.endswith("weight_g") for name in old)
    (folder / "model.safetensors").unlink()
    torch.save(old, folder / "pytorch_model.bin")
    found = load(folder)
    assert same_layers(found, expected)
    digest = hashlib.sha256((folder / "pytorch_model.bin").read_bytes()).hexdigest()
    assert found.weights_sha256 == digest


def test_safetensors_are_preferred(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    load(folder)


def test_weights_in_several_files(folder: Path, tmp_path: Path) -> None:
    expected = load(folder)
    names = sorted(tensors_of(folder))
    where = {name: f"model-{1 + (i % 2):05}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(where.values()):
        save_file({n: tensors_of(folder)[n] for n in names if where[n] == file}, folder / file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    found = load(folder)
    assert same_layers(found, expected)
    assert found.weights_sha256 not in ("", expected.weights_sha256)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match="lacks model-00002-of-00002"):
        load(folder)


def test_float16_weights_are_computed_in_float32(folder: Path) -> None:
    rewrite(folder, {name: tensor.half() for name, tensor in tensors_of(folder).items()})
    edit_config(folder, dtype="float16")
    layers = load(folder)(speechlike(4000))
    assert {layer.dtype for layer in layers} == {torch.float32}


def test_source_replaces_the_cards_and_stays_out_of_it(folder: Path) -> None:
    there = card(source="someone/not-reached")
    encoder = load_encoder(there, device="cpu", source=folder)
    assert encoder.card.source == "someone/not-reached"
    assert encoder.card.local == str(folder)
    assert encoder.revision == ""
    assert same_layers(encoder, load_encoder(encoder.card, device="cpu"))


def test_shipped_models_come_from_precomputed(folder: Path, known: Registry) -> None:
    with pytest.raises(ModelError, match="hubert-nano are not in this installation"):
        load_encoder("hubert-nano", device="cpu", registry=known)
    edit_config(folder, num_hidden_layers=3)
    shutil.copytree(folder, known.precomputed / "models" / "tiny")
    encoder = load_encoder(card(source="shipped:tiny"), device="cpu", registry=known)
    assert encoder.card.layers == 3
    with pytest.raises(ModelError, match="not the name"):
        load_encoder(card(source="shipped:../x"), device="cpu", registry=known)


def test_a_member_that_ships_without_weights_says_how_to_train_it(known: Registry) -> None:
    ablation = known.precomputed / "models" / "no-weights"
    ablation.mkdir(parents=True)
    (ablation / "card.json").write_text("{}")
    member = card(source="shipped:no-weights")
    with pytest.raises(ModelError, match="models rebuild no-weights"):
        load_encoder(member, device="cpu", registry=known)
    assert ships_without_weights(member, known)
    assert not at_hand(member, known)


def test_the_initialisation_of_a_member_takes_its_description_alone(
    known: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ablation = known.precomputed / "models" / "no-weights"
    ablation.mkdir(parents=True)
    (ablation / "card.json").write_text("{}")
    member = card(name="no-weights", source="shipped:no-weights", layers=3)
    monkeypatch.setattr(Registry, "get", lambda _self, _name: member)
    init = card(name="no-weights-init", kind="random", base="no-weights", seed=0, layers=3)
    assert not at_hand(init, known)
    shutil.copy(folder / "config.json", ablation)
    assert at_hand(init, known)
    assert len(load_encoder(init, device="cpu", registry=known).layers) == 4


def test_model_type_reads_the_configuration_alone(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert model_type(card(source=str(folder))) == "hubert"


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def list_config(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def other_architecture(folder: Path) -> None:
    edit_config(folder, model_type="bert")


def remote_code(folder: Path) -> None:
    edit_config(folder, model_type="mine", auto_map={"AutoModel": "evil.Model"})
    (folder / "evil.py").write_text("raise SystemExit('ran')")


def impossible_config(folder: Path) -> None:
    edit_config(folder, num_attention_heads=5)


def quantised(folder: Path) -> None:
    edit_config(folder, quantization_config={"quant_method": "bitsandbytes"})


def other_rate(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text('{"sampling_rate": 8000}')


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def text_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def missing_tensor(folder: Path) -> None:
    tensors = tensors_of(folder)
    del tensors["encoder.layers.1.final_layer_norm.weight"]
    rewrite(folder, tensors)


def left_over_tensor(folder: Path) -> None:
    rewrite(folder, {**tensors_of(folder), "encoder.layers.3.x.weight": torch.zeros(2)})


def wrong_shape(folder: Path) -> None:
    edit_config(folder, intermediate_size=52)


def not_finite(folder: Path) -> None:
    tensors = tensors_of(folder)
    tensors["encoder.layer_norm.bias"][0] = float("nan")
    rewrite(folder, tensors)


def integers(folder: Path) -> None:
    tensors = tensors_of(folder)
    tensors["encoder.layer_norm.bias"] = torch.zeros(32, dtype=torch.int8)
    rewrite(folder, tensors)


def whole_model_pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save([1, 2], folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (without_config, r"has no config\.json.*save_pretrained"),
        (broken_config, r"config\.json is not readable JSON"),
        (list_config, "does not hold a JSON object"),
        (other_architecture, r"'bert'.*data2vec-audio, ecapa, hubert.*adding-a-model"),
        (remote_code, "'mine'"),
        (impossible_config, "config.json"),
        (quantised, "quantised"),
        (other_rate, "8000 Hz"),
        (no_weights, r"no weights: model\.safetensors"),
        (text_weights, "not a safetensors file"),
        (cut_weights, "not a safetensors file"),
        (missing_tensor, r"missing: encoder\.layers\.1\.final_layer_norm\.weight"),
        (left_over_tensor, r"not part of it: encoder\.layers\.3\.x\.weight"),
        (wrong_shape, r"wrong shapes: .*\(48,\), config\.json says \(52,\).* and \d+ more"),
        (not_finite, r"NaN or infinity \(encoder\.layer_norm\.bias\)"),
        (integers, r"quantised weights \(encoder\.layer_norm\.bias"),
        (whole_model_pickled, "not a plain state dict"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_says_why(folder: Path, damage: Any, says: str) -> None:
    damage(folder)
    with pytest.raises(ModelError, match=says) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("writer", [torch.save, lambda x, p: p.write_bytes(pickle.dumps(x))])
def test_a_hostile_pickle_is_not_run(folder: Path, name: str, writer: Any) -> None:
    mark = folder / "ran"
    (folder / "model.safetensors").unlink()
    writer({"encoder.layer_norm.weight": torch.ones(2), "x": Hostile(mark)}, folder / name)
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        load(folder)
    assert not mark.exists()


def test_the_card_must_be_right(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"is a hubert model.*says wavlm"):
        load(folder, family="wavlm")
    with pytest.raises(ModelError, match="kind whisper"):
        load(folder, kind="whisper")
    with pytest.raises(ModelError, match=r"has 3 Transformer blocks.*says 12"):
        load(folder, layers=12)
    load(folder, family="my-own-hue")


def test_names_devices_and_folders_that_do_not_exist(tmp_path: Path, known: Registry) -> None:
    with pytest.raises(UnknownModelError, match="wavlm-base"):
        load_encoder("wavlm-bsae", registry=known)
    for source in ("./nowhere", "/no/such/folder", "one two", ""):
        with pytest.raises(ModelError, match="neither a folder"):
            load_encoder(card(source=source), device="cpu")
    for folder in (tmp_path / "nowhere", Path("runs/nowhere")):
        with pytest.raises(ModelError, match="neither a folder"):
            load_encoder(card(), device="cpu", source=folder)
    for device in ("cuda", "cuda:7") if not torch.cuda.is_available() else ():
        with pytest.raises(ModelError, match="no GPU"):
            load_encoder("melspec", device=device)
    with pytest.raises(ModelError, match="not a device"):
        load_encoder("melspec", device="tpu9")


class Hub:
    """Stands in for `huggingface_hub.snapshot_download`: what it has, and what was asked."""

    def __init__(self, files: Path, cache: Path) -> None:
        self.files, self.folder = files, cache / "snapshots" / COMMIT
        self.asked: list[tuple[str, list[str]]] = []

    def __call__(self, repository: str, *, revision: str, allow_patterns: list[str]) -> str:
        self.asked.append((revision, allow_patterns))
        self.folder.mkdir(parents=True, exist_ok=True)
        for pattern in allow_patterns:
            for file in self.files.glob(pattern):
                shutil.copy(file, self.folder)
        return str(self.folder)


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    stand_in = Hub(folder, tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.snapshot_download", stand_in)
    return stand_in


def test_from_the_hub_only_what_is_needed_is_fetched(hub: Hub, folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"not wanted")
    (folder / "vocab.json").write_text("{}")
    encoder = load_encoder(card(source="some/hubert", revision="v2"), device="cpu")
    assert encoder.revision == COMMIT
    assert sorted(file.name for file in hub.folder.iterdir()) == [
        "config.json", "model.safetensors", "preprocessor_config.json",
    ]  # fmt: skip
    assert [revision for revision, _ in hub.asked] == ["v2"]


def test_from_the_hub_a_pickle_only_where_there_is_no_other(hub: Hub, folder: Path) -> None:
    torch.save(tensors_of(folder), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert load_encoder(card(source="some/hubert"), device="cpu").revision == COMMIT
    # The second request names the commit of the first.
    assert [revision for revision, _ in hub.asked] == ["main", COMMIT]


def test_from_the_hub_without_weights(hub: Hub) -> None:
    assert model_type(card(source="some/hubert")) == "hubert"
    assert not (hub.folder / "model.safetensors").exists()


def answer(kind: Any) -> Exception:
    request = httpx.Request("GET", "https://hub.invalid")
    return kind("404", response=httpx.Response(404, request=request))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (hub_errors.LocalEntryNotFoundError("Got: ConnectError"), r"hf download some/hubert.*add"),
        (httpx.ConnectTimeout("slow"), "does not answer"),
        (answer(hub_errors.RevisionNotFoundError), "no revision 'v9'"),
        (answer(hub_errors.GatedRepoError), "accept its terms"),
        (answer(hub_errors.RepositoryNotFoundError), "no repository some/hubert"),
        (OSError(28, "No space left on device", "/cache/x"), "HF_HOME"),
    ],
)
def test_hub_errors_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(ModelError, match=says):
        load_encoder(card(source="some/hubert", revision="v9"), device="cpu")
