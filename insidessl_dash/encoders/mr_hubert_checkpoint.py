"""Public MR-HuBERT checkpoints, in the layouts of fairseq and s3prl, as folders that load here.

fairseq keeps ``{"model": tensors, "cfg": {"model": .., "task": ..}, ..}``; s3prl's copies
``{"model_weight": tensors, "model_cfg": .., "task_cfg": .., "dictionaries_symbols": ..}``.
Parameter names and defaults are those of fairseq's ``MultiresHubertModel``.
"""

from __future__ import annotations

import ast
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from insidessl_dash.core.errors import ConflictError, ModelError
from insidessl_dash.core.files import whole_file, write_json
from insidessl_dash.core.types import SAMPLE_RATE
from insidessl_dash.encoders.mr_hubert import MRHubertConfig, MRHubertModel
from insidessl_dash.encoders.sources import SAFETENSORS

_HEADS = ("final_proj", "label_embs_concat", "target_glu")
"""Parts of the pre-training loss; not of the encoder."""

_CONVOLUTIONS = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"

_OF_BLOCKS = {
    "attention.": "self_attn.",
    "layer_norm.": "self_attn_layer_norm.",
    "feed_forward.intermediate_dense.": "fc1.",
    "feed_forward.output_dense.": "fc2.",
}
_OF_STAGES = {
    "pos_conv_embed.conv.parametrizations.weight.original0": "pos_conv.0.weight_g",
    "pos_conv_embed.conv.parametrizations.weight.original1": "pos_conv.0.weight_v",
    "pos_conv_embed.conv.": "pos_conv.0.",
}
_OF_SAMPLERS = {
    "up.": "upsample_conv.0.",
    "up_norm.": "upsample_conv.2.",
    "down.": "downsample_conv.0.",
    "down_norm.": "downsample_conv.2.",
}
_OUTSIDE = {
    "feature_projection.layer_norm.": "layer_norm.",
    "feature_projection.projection.": "post_extract_proj.",
    "masked_spec_embed": "mask_emb",
}


class _Ignored:
    """What an object that is not needed becomes; nothing of its class is looked up or run."""


_INERT: list[Any] = [(_Ignored, "fairseq.data.dictionary.Dictionary")]
"""In fairseq's own files: the names of the clusters, next to the weights."""


@dataclass(frozen=True)
class _Found:
    tensors: dict[str, Tensor]
    model: Mapping[str, Any]
    task: Mapping[str, Any]


def convert(checkpoint: Path, folder: Path) -> MRHubertConfig:
    """Write a public checkpoint as a folder that `load_encoder` reads.

    The file is read with the restricted unpickler of `torch.load`, so nothing in it is run. The
    heads of pre-training are left out. Tensors keep their type. Of three rates the samplers that
    raise the rate are used in fairseq's order (the last one first), which is what the models were
    trained with; s3prl's copy of the class takes them the other way round.

    Args:
        checkpoint: The ``.pt`` file.
        folder: Where to write config.json, preprocessor_config.json and model.safetensors; made
            if need be.

    Returns:
        The configuration.

    Raises:
        ModelError: It cannot be read, is of another layout or architecture, or its tensors are
            not those that its settings call for: names them as fairseq does.
        ConflictError: The folder has a model already.
    """
    folder = folder.expanduser()
    if any((folder / name).exists() for name in ("config.json", SAFETENSORS)):
        raise ConflictError(f"{folder} holds a model already: name another folder.")
    found = _read(checkpoint.expanduser())
    config = _config(found, checkpoint)
    tensors = _renamed(found.tensors, config, checkpoint)
    with whole_file(folder / SAFETENSORS) as temporary:
        save_file(tensors, temporary, {"format": "pt"})
    write_json(
        folder / "preprocessor_config.json",
        {"sampling_rate": SAMPLE_RATE, "do_normalize": bool(found.task.get("normalize", False))},
    )
    write_json(folder / "config.json", json.loads(config.to_json_string(use_diff=False)))
    return config


def _read(file: Path) -> _Found:
    try:
        with torch.serialization.safe_globals(_INERT):
            value = torch.load(
                file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
            )
    except FileNotFoundError as error:
        raise ModelError(f"There is no file {file}: name the downloaded .pt file.") from error
    except Exception as error:  # whatever hostile or cut bytes provoke
        what = re.search(r"GLOBAL (\S+)", str(error))
        said = f"it holds {what[1]}" if what else str(error).strip().split("\n")[0][:100]
        raise ModelError(
            f"{file} was not loaded: it is damaged, or holds more than tensors and settings, which "
            f"is never run here ({said}); s3prl's copies of the public checkpoints hold no more."
        ) from error
    if not isinstance(value, Mapping):
        value = {}
    settings = value.get("cfg")
    if "model_weight" in value:
        tensors, model, task = (value.get(k) for k in ("model_weight", "model_cfg", "task_cfg"))
    else:
        settings = settings if isinstance(settings, Mapping) else {}
        tensors, model, task = value.get("model"), settings.get("model"), settings.get("task")
    if not (
        isinstance(tensors, Mapping)
        and isinstance(model, Mapping)
        and isinstance(task, Mapping)
        and all(isinstance(name, str) and isinstance(t, Tensor) for name, t in tensors.items())
    ):
        raise ModelError(
            f"{file} is not a fairseq or s3prl checkpoint: expected tensors under 'model' with "
            "'cfg', or under 'model_weight' with 'model_cfg' and 'task_cfg'; it holds "
            f"{', '.join(sorted(map(str, value))[:8]) or 'something else'}."
        )
    # Newer releases of PyTorch name the parts of a normalised weight otherwise.
    new = {"parametrizations.weight.original0": "weight_g"}
    new["parametrizations.weight.original1"] = "weight_v"
    return _Found({_replaced(name, new, "in"): t for name, t in tensors.items()}, model, task)


def _config(found: _Found, file: Path) -> MRHubertConfig:
    model = found.model
    for setting, meant in (
        ("layer_type", "transformer"),
        ("activation_fn", "gelu"),
        ("use_plain_updownsample", False),
    ):
        if model.get(setting, meant) != meant:
            raise ModelError(
                f"{file} has {setting} = {model[setting]!r}: only MR-HuBERT with {meant!r} is read."
            )
    encoders = len({name.split(".")[1] for name in found.tensors if name.startswith("encoders.")})
    stages = [_stage(index, encoders) for index in range(2 * encoders + 1)]
    inside = [re.escape(f"{stage}.layers.") + r"(\d+)\." for stage in stages]
    blocks = [len({m[1] for name in found.tensors if (m := re.match(p, name))}) for p in inside]
    try:
        convolutions = _convolutions(str(model.get("conv_feature_layers", _CONVOLUTIONS)))
        ratios = list(model.get("label_rate_ratios") or found.task["label_rate_ratios"])
        if len(ratios) != 2 * encoders:
            raise ValueError(f"label_rate_ratios {ratios} for {encoders} encoders")
        rates = [Fraction(1000, SAMPLE_RATE)]
        for _, _, stride in convolutions:
            rates[0] *= stride
        for out, into in zip(ratios[::2], ratios[1::2], strict=True):
            rates.append(rates[-1] * into / out)
        if any(rate.denominator != 1 for rate in rates):
            raise ValueError(f"label_rate_ratios {ratios}: not in whole milliseconds")
        rates += rates[-2::-1]
        return MRHubertConfig(
            blocks=blocks,
            rates_ms=[int(rate) for rate in rates],
            sampler_kernel=int(
                found.tensors["downsample_modules.0.downsample_conv.0.weight"].shape[2]
            ),
            low_resolution_loss=not model.get("use_single_prediction", False),
            hidden_size=len(found.tensors["mask_emb"]),
            intermediate_size=len(found.tensors["encoders.0.layers.0.fc1.bias"]),
            num_attention_heads=int(model.get("encoder_attention_heads", 12)),
            do_stable_layer_norm=bool(model.get("layer_norm_first", False)),
            feat_extract_norm="layer" if model.get("extractor_mode") == "layer_norm" else "group",
            conv_dim=[width for width, _, _ in convolutions],
            conv_kernel=[kernel for _, kernel, _ in convolutions],
            conv_stride=[stride for _, _, stride in convolutions],
            conv_bias=bool(model.get("conv_bias", False)),
            num_conv_pos_embeddings=int(model.get("conv_pos", 128)),
            num_conv_pos_embedding_groups=int(model.get("conv_pos_groups", 16)),
        )
    except KeyError as error:
        raise ModelError(f"{file} is not an MR-HuBERT: it has no {error.args[0]}.") from error
    except Exception as error:  # the configuration's validation raises a variety of types
        said = str(error).strip().split("\n")[-1].strip()
        raise ModelError(f"{file} has settings that no MR-HuBERT has: {said[:200]}.") from error


def _convolutions(written: str) -> list[tuple[int, int, int]]:
    """(channels, kernel, stride) of each layer, from the expression that fairseq evaluates.

    >>> _convolutions("[(8,10,5)] + [(8,3,2)] * 2")
    [(8, 10, 5), (8, 3, 2), (8, 3, 2)]
    """

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value < 10_000:
            return node.value
        if isinstance(node, ast.List):
            return [value(item) for item in node.elts]
        if isinstance(node, ast.Tuple) and len(node.elts) == 3:
            return tuple(value(item) for item in node.elts)
        if isinstance(node, ast.BinOp):
            left, right = value(node.left), value(node.right)
            if isinstance(node.op, ast.Add) and isinstance(left, list) and isinstance(right, list):
                return left + right
            if isinstance(node.op, ast.Mult) and isinstance(left, list) and isinstance(right, int):
                return left * min(right, 100)
        raise ValueError(f"conv_feature_layers {written[:80]!r}")

    layers = value(ast.parse(written.strip(), mode="eval").body)
    if not isinstance(layers, list) or not all(isinstance(layer, tuple) for layer in layers):
        raise ValueError(f"conv_feature_layers {written[:80]!r}")
    return layers


def _renamed(theirs: dict[str, Tensor], config: MRHubertConfig, file: Path) -> dict[str, Tensor]:
    """The tensors under our names; every one of ours must be there, and none left over."""
    try:
        with torch.device("meta"):
            ours = MRHubertModel(config).state_dict()
    except ValueError as error:
        raise ModelError(f"{file} has settings that no MR-HuBERT has: {error}") from error
    names = {name: _fairseq_name(name, config) for name in ours}
    heads = {name for name in theirs if name.startswith(_HEADS)}
    shapes = [
        f"{names[name]} {tuple(theirs[names[name]].shape)}, its settings say {tuple(like.shape)}"
        for name, like in ours.items()
        if names[name] in theirs and theirs[names[name]].shape != like.shape
    ]
    differences = {
        "missing": sorted(set(names.values()) - theirs.keys()),
        "not part of it": sorted(theirs.keys() - set(names.values()) - heads),
        "wrong shapes": shapes,
    }
    said = [
        f"{what}: {', '.join(which[:4])}" + (f" and {len(which) - 4} more" if which[4:] else "")
        for what, which in differences.items()
        if which
    ]
    if said:
        raise ModelError(
            f"{file} is not an MR-HuBERT as its settings describe ({'; '.join(said)})."
        )
    return {name: theirs[names[name]].contiguous() for name in ours}


def _fairseq_name(name: str, config: MRHubertConfig) -> str:
    """What fairseq calls one of our parameters."""
    if match := re.match(r"feature_extractor\.conv_layers\.(\d+)\.(conv|layer_norm)\.", name):
        # Convolution, dropout, norm; a layer norm stands between two transpositions.
        norm = "2" if config.feat_extract_norm == "group" else "2.1"
        place = "0" if match[2] == "conv" else norm
        return f"feature_extractor.conv_layers.{match[1]}.{place}.{name[match.end() :]}"
    if match := re.match(r"stages\.(\d+)\.layers\.(\d+)\.", name):
        rest = _replaced(name[match.end() :], _OF_BLOCKS)
        return f"{_stage(int(match[1]), config.middle)}.layers.{match[2]}.{rest}"
    if match := re.match(r"stages\.(\d+)\.", name):
        rest = _replaced(name[match.end() :], _OF_STAGES)
        return f"{_stage(int(match[1]), config.middle)}.{rest}"
    if match := re.match(r"samplers\.(\d+)\.", name):
        index, downs = int(match[1]), config.middle
        # Of the modules that raise the rate fairseq runs the last one first.
        module = (
            f"downsample_modules.{index}"
            if index < downs
            else f"upsample_modules.{2 * downs - 1 - index}"
        )
        return f"{module}.{_replaced(name[match.end() :], _OF_SAMPLERS)}"
    return _replaced(name, _OUTSIDE)


def _stage(index: int, encoders: int) -> str:
    """What fairseq calls a stage, counted in the order in which they run."""
    if index < encoders:
        return f"encoders.{index}"
    return "middle_encoder" if index == encoders else f"decoders.{index - encoders - 1}"


def _replaced(name: str, parts: Mapping[str, str], where: str = "front") -> str:
    """The name with the first of these parts that it starts with (or has in it) replaced."""
    for part, other in parts.items():
        if name.startswith(part) if where == "front" else part in name:
            return name.replace(part, other, 1)
    return name
