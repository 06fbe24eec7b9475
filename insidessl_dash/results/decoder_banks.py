"""Decoders that are on this installation, found without loading any.

A bank is a folder as ``gcm train`` writes it (config.json, model.safetensors, card.json), named for
its encoder: ``<home>/gcm/decoders/<model>/`` (trained here) or
``precomputed/gcm/decoders/<model>/`` (what ships). Banks are discovered, never listed by hand, and
found by name among those discovered: no path is made from what somebody asks. What was trained here
comes before what ships, since somebody trained it in order to hear it.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from insidessl_dash.core.errors import NotFoundError
from insidessl_dash.core.files import storage_error
from insidessl_dash.core.types import file_sha256
from insidessl_dash.results.training_card import read_training_card

log = logging.getLogger(__name__)

MODEL_TYPE = "insidessl-decoders"
"""``model_type`` in the config.json of a bank."""

FOLDER = "gcm/decoders"
"""Below ``precomputed`` and below the home."""

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "card.json"


class _Encoder(BaseModel):
    """What a bank says of the encoder that it was trained on."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    weights_sha256: str
    layer_policy: dict[str, Any]
    layers: list[str] = Field(min_length=1)


class _Config(BaseModel):
    """The part of a bank's config.json that needs no torch."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model_type: str
    encoder: _Encoder
    layers: list[str] = Field(min_length=1)
    preset: str
    size: dict[str, Any]
    tokens: int | None

    @model_validator(mode="after")
    def _ours(self) -> _Config:
        if self.model_type != MODEL_TYPE:
            raise ValueError(f"model_type {self.model_type!r} is not {MODEL_TYPE!r}")
        stray = [layer for layer in self.layers if layer not in self.encoder.layers]
        if stray:
            raise ValueError(f"decoder {stray[0]!r} belongs to no layer of {self.encoder.name}")
        return self


@dataclass(frozen=True)
class Bank:
    """Decoders of one model, not loaded.

    Attributes:
        model: Name of the model in the registry, and of the folder.
        folder: Where they are.
        layers: All layers of the encoder: the columns.
        decoder_layers: Those with a decoder: the rows.
        trained_on: Name, weights and layer policy of the encoder that they were trained on.
        preset, tokens: As `results.matrix.DecoderInfo`.
        updates: That they were trained for; None where no card says so.
    """

    model: str
    folder: Path
    layers: tuple[str, ...]
    decoder_layers: tuple[str, ...]
    trained_on: dict[str, Any]
    preset: str
    tokens: int | None
    updates: int | None

    @property
    def missing(self) -> tuple[str, ...]:
        """Layers without a decoder."""
        return tuple(layer for layer in self.layers if layer not in self.decoder_layers)

    @property
    def weights_sha256(self) -> str:
        """Digest of the weights file.

        Raises:
            NotFoundError: It is gone.
        """
        return weights_digest(self.folder)


class DecoderBanks:
    """Every bank of an installation, looked for at each call: one trained now is there now.

    Args:
        home: Folder that this installation writes to.
        precomputed: Folder of what ships.
    """

    def __init__(self, home: Path, precomputed: Path) -> None:
        self._places = (home / FOLDER, precomputed / FOLDER)

    def models(self) -> list[Bank]:
        """By model; what cannot be read is logged and left out."""
        found: dict[str, Bank] = {}
        for place in self._places:
            for path in sorted(place.glob(f"[!.]*/{CONFIG}")):
                folder = path.parent
                usable = folder.name not in found and (folder / WEIGHTS).is_file()
                bank = _read(folder, _stamp(path)) if usable else None
                if bank is not None:
                    found[bank.model] = bank
        return [found[model] for model in sorted(found)]

    def better_than(self, model: str, preset: str, tokens: int | None) -> Bank | None:
        """The flow decoders of continuous layers that these would hide, where these are others."""
        if preset == "flow" and tokens is None:
            return None
        for bank in self.models():
            if bank.model == model and (bank.preset, bank.tokens) == ("flow", None):
                return bank
        return None

    def get(self, model: str) -> Bank:
        """The decoders of a model.

        Raises:
            NotFoundError: It has none here; the message says how to train them.
        """
        for bank in self.models():
            if bank.model == model:
                return bank
        raise NotFoundError(
            f"{model[:64]} has no decoders on this installation, so its layers cannot be heard. "
            f"Train them: {training_command(model[:64])}"
        )


def training_command(model: str) -> str:
    """What makes the decoders of a model, and puts them where the dashboard finds them."""
    return f"insidessl-dash gcm train --model {model} --data MANIFEST --out RUN"


def publish(product: Path, home: Path, model: str) -> Path:
    """Copy trained decoders to where the dashboard finds them, in place of older ones.

    Args:
        product: Folder that `gcm train` wrote; it stays as it is.
        home: Folder that this installation writes to.
        model: Name of the encoder in the registry.

    Returns:
        Where they are now.

    Raises:
        StorageError: The home cannot be written.
    """
    target = home / FOLDER / model
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as name:
            fresh, old = Path(name) / "fresh", Path(name) / "old"
            fresh.mkdir()
            for file in (WEIGHTS, CARD, CONFIG):
                if (product / file).is_file():
                    shutil.copyfile(product / file, fresh / file)
            if target.exists():
                target.rename(old)
            fresh.rename(target)
    except OSError as error:
        raise storage_error(target, error) from error
    return target


def weights_digest(folder: Path) -> str:
    """SHA-256 of the weights in a folder; read once a process, and again if the file changes.

    Raises:
        NotFoundError: There are none.
    """
    try:
        return _digest(folder / WEIGHTS, _stamp(folder / WEIGHTS))
    except OSError as error:
        raise NotFoundError(f"{folder.name} has no {WEIGHTS} ({error.strerror}).") from error


@lru_cache(maxsize=64)
def _digest(path: Path, _stamp: Sequence[int]) -> str:
    return file_sha256(path)


@lru_cache(maxsize=64)
def _read(folder: Path, _stamp: Sequence[int]) -> Bank | None:
    try:
        config = _Config.model_validate(json.loads((folder / CONFIG).read_bytes()))
    except (OSError, ValueError) as error:
        log.warning("%s holds no decoders that can be used: %s", folder, error)
        return None
    card = read_training_card(folder)
    return Bank(
        model=folder.name,
        folder=folder,
        layers=tuple(config.encoder.layers),
        decoder_layers=tuple(config.layers),
        trained_on=config.encoder.model_dump(exclude={"layers"}),
        preset=config.preset,
        tokens=config.tokens,
        updates=card.updates if card else None,
    )


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size
