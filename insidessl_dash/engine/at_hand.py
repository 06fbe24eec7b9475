"""Which models can be used now: their weights are on this machine. Torch-free, asks nobody."""

from __future__ import annotations

from pathlib import Path

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import InsideSSLError
from insidessl_dash.core.registry import Registry

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "embedding_model.safetensors",
    "embedding_model.ckpt",
)
_NEED_NONE = ("melspec", "mfcc")


def at_hand(card: ModelCard, registry: Registry) -> bool:
    """Whether a model can be loaded without fetching anything.

    Args:
        card: Which model.
        registry: Knows the base of a random initialisation, and the folder of what ships.
    """
    if card.kind in _NEED_NONE:
        return True
    if card.kind == "random":
        try:
            base = registry.get(card.base or "")
        except InsideSSLError:
            return False
        described = (_shipped(base, registry) / "config.json").is_file()
        # An ECAPA-TDNN has its widths from its tensors: there the description is not enough.
        return at_hand(base, registry) or (described and base.kind != "ecapa")
    source = card.local or card.source
    if not source:
        return False
    shipped = source.removeprefix("shipped:")
    folder = Path(source).expanduser()
    if shipped != source:
        folder = registry.precomputed / "models" / shipped
    if shipped != source or folder.is_dir():
        return any((folder / name).is_file() for name in _WEIGHTS)
    return _cached(source, card.revision)


def ships_without_weights(card: ModelCard, registry: Registry) -> bool:
    """Whether a model is one whose results and card ship, and its weights do not."""
    shipped = (
        card.source.startswith("shipped:") and (_shipped(card, registry) / "card.json").is_file()
    )
    return shipped and not at_hand(card, registry)


def _shipped(card: ModelCard, registry: Registry) -> Path:
    """Where the files of a card that ships are."""
    return registry.precomputed / "models" / card.source.removeprefix("shipped:")


def _cached(repository: str, revision: str) -> bool:
    """Whether the hub's cache on this machine has the weights of a repository."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [try_to_load_from_cache(repository, name, revision=revision) for name in _WEIGHTS]
    except (OSError, HFValidationError):
        return False
    return any(isinstance(path, str) for path in found)
