"""Tensors of a checkpoint: reading them without running anything, checking them, their digest."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede transformers
from insidessl_dash.core.errors import ModelError
from insidessl_dash.core.types import file_sha256, stable_hash
from insidessl_dash.encoders.sources import PICKLED, SAFETENSORS, WEIGHT_FILES

_NOT_NEEDED = {"masked_spec_embed"}
"""Replaces masked frames in training; nothing is masked here."""


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights: safetensors if there are any, else ``pytorch_model.bin``.

    Raises:
        ModelError: None there, or an index that names files that are not.
    """
    found = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if found is None:
        raise ModelError(
            f"{folder} has no weights: {SAFETENSORS} is read, or {PICKLED} where that is missing."
        )
    if found.suffix != ".json":
        return [found]
    try:
        names = sorted(set(json.loads(found.read_text())["weight_map"].values()))
        files = [folder / Path(name).name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{found} is not an index of weight files: fetch it again.") from error
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise ModelError(f"{folder} lacks {', '.join(missing[:3])}: fetch the checkpoint again.")
    return files


def read_tensors(files: Sequence[Path]) -> dict[str, Tensor]:
    """All tensors of weight files, on the CPU, as stored.

    Safetensors hold nothing but tensors. ``pytorch_model.bin`` is a pickle: it is read with the
    restricted unpickler of `torch.load`, which refuses everything that is not a tensor.

    Raises:
        ModelError: Not such a file, or more than tensors in it.
    """
    tensors: dict[str, Tensor] = {}
    for file in files:
        read = _read_safetensors if file.suffix == ".safetensors" else _read_pickled
        tensors.update(read(file))
    return tensors


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{file} is not a safetensors file ({_line(error)}): a download cut short, or another "
            "format under that name; fetch it again or write it with safetensors."
        ) from error


def _read_pickled(file: Path) -> dict[str, Tensor]:
    try:
        value = torch.load(
            file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
        )
    except Exception as error:  # whatever hostile or cut bytes provoke
        raise ModelError(
            f"{file} was not loaded: it is damaged, or holds more than tensors, which is never "
            f"run here ({_line(error)}); get the checkpoint as safetensors."
        ) from error
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    ):
        raise ModelError(
            f"{file} is not a plain state dict (names and tensors): save `model.state_dict()`, "
            "or better, `model.save_pretrained(folder)`."
        )
    return dict(value)


def without_prefix(tensors: Mapping[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    """The encoder's tensors under the encoder's own names.

    A checkpoint with a head (CTC, pre-training, a decoder) keeps its encoder below a prefix; the
    head is left out. Without such a prefix every tensor is taken as it is.
    """
    for prefix in prefixes:
        inside = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if inside:
            return inside
    return dict(tensors)


def load_into(
    model_class: Any, config: Any, tensors: dict[str, Tensor], where: Path, attention: str
) -> nn.Module:
    """A float32 model in eval mode with exactly these weights.

    Raises:
        ModelError: Tensors are missing, left over, of the wrong shape, integers or not finite.
    """
    unusable = [
        name
        for name, tensor in tensors.items()
        if name.endswith((".weight", ".bias")) and not tensor.is_floating_point()
    ]
    if unusable:
        raise ModelError(
            f"{where} holds quantised weights ({_some(unusable)} not floating-point): "
            "use the checkpoint as it was before quantisation."
        )
    with quiet_transformers():
        try:
            model, info = model_class.from_pretrained(
                None,
                config=config,
                state_dict=tensors,
                attn_implementation=attention,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # reported below, with all other differences
                output_loading_info=True,
            )
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(
                f"{where} cannot be loaded as {model_class.__name__} ({_line(error)}): "
                "config.json and the weights do not belong together."
            ) from error
    shapes = {
        f"{name} {tuple(found)}, config.json says {tuple(expected)}"
        for name, found, expected in info["mismatched_keys"]
    }
    differences = {
        "wrong shapes": shapes,
        "missing": set(info["missing_keys"]) - _NOT_NEEDED,
        "not part of it": set(info["unexpected_keys"]) - _NOT_NEEDED,
    }
    said = [f"{what}: {_some(names)}" for what, names in differences.items() if names]
    if said:
        raise ModelError(
            f"The weights in {where} are not those of the {model_class.__name__} that config.json "
            f"describes ({'; '.join(said)}): use both files of the same checkpoint."
        )
    broken = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    if broken:
        raise ModelError(
            f"The weights in {where} hold NaN or infinity ({_some(broken)}): "
            "training diverged or the file is damaged; use another checkpoint."
        )
    return model.eval().requires_grad_(False)


def load_plain(network: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Put a checkpoint's tensors into a network that is not of transformers, as float32.

    The network is left in eval mode, without gradients.

    Raises:
        ModelError: Tensors are missing, left over, of the wrong shape or not finite.
    """
    own = network.state_dict()
    differences = {
        "wrong shapes": {
            f"{name} {tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}"
            for name in own.keys() & tensors.keys()
            if own[name].shape != tensors[name].shape
        },
        "missing": own.keys() - tensors.keys(),
        "not part of it": tensors.keys() - own.keys(),
        "NaN or infinity": {
            name
            for name, tensor in tensors.items()
            if tensor.is_floating_point() and not tensor.isfinite().all()
        },
    }
    said = [f"{what}: {_some(names)}" for what, names in differences.items() if names]
    if said:
        raise ModelError(
            f"The weights in {where} are not those of a {type(network).__name__} "
            f"({'; '.join(said)}): use another checkpoint, or fetch it again."
        )
    network.load_state_dict(dict(tensors))
    network.float().eval().requires_grad_(False)


def files_digest(files: Sequence[Path]) -> str:
    """SHA-256 of a weights file; of several, the hash of their names and digests.

    A file is read once a process, and again if its size or time changes.
    """
    digests = {
        file.name: _digest(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns)
        for file in files
    }
    return next(iter(digests.values())) if len(digests) == 1 else stable_hash(digests)


@lru_cache(maxsize=256)
def _digest(path: str, _size: int, _modified_ns: int) -> str:
    return file_sha256(Path(path))


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep the progress bars and load reports of transformers off the terminal."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _some(names: Sequence[str] | set[str]) -> str:
    first = ", ".join(sorted(names)[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"


def _line(error: BaseException) -> str:
    """The first line of an error, short enough for a sentence."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text if len(text) <= 120 else text[:117] + "..."
