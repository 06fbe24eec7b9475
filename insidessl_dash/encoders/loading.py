"""From a model's name to an `Encoder`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede transformers
from insidessl_dash.core.cards import Kind, ModelCard
from insidessl_dash.core.errors import ModelError
from insidessl_dash.core.registry import Registry
from insidessl_dash.core.registry import registry as default_registry
from insidessl_dash.encoders.base import Encoder
from insidessl_dash.encoders.ecapa import MODEL_TYPE as ECAPA
from insidessl_dash.encoders.ecapa import load_ecapa
from insidessl_dash.encoders.melspec import MelSpecEncoder
from insidessl_dash.encoders.mfcc import MfccEncoder
from insidessl_dash.encoders.sources import Checkpoint, find_checkpoint
from insidessl_dash.encoders.transformers_encoder import (
    FAMILIES,
    TransformersEncoder,
    wants_normalised_input,
)
from insidessl_dash.encoders.weights import (
    files_digest,
    load_into,
    quiet_transformers,
    read_tensors,
    tensors_digest,
    weight_files,
    without_prefix,
)
from insidessl_dash.encoders.whisper import PREFIXES, WhisperEncoderAdapter

MR_HUBERT = "mr_hubert"
_FAMILY_OF = {
    **{kind: family.name for kind, family in FAMILIES.items()},
    "whisper": "whisper",
    MR_HUBERT: "mr-hubert",
    ECAPA: "ecapa",
}
KNOWN_FAMILIES = frozenset(_FAMILY_OF.values())
_KIND_OF: dict[str, Kind] = {"whisper": "whisper", MR_HUBERT: "mr-hubert", ECAPA: "ecapa"}


def load_encoder(
    model: str | ModelCard,
    *,
    device: str | None = None,
    registry: Registry | None = None,
    source: str | Path | None = None,
) -> Encoder:
    """Load a model so that a call gives all its layers.

    No code of a checkpoint is ever run. Weights are computed in float32 whatever they are
    stored in.

    Args:
        model: Name in the registry, or a card.
        device: ``cpu``, ``cuda`` or ``cuda:N``; by default a GPU if there is one.
        registry: By default the one of this process.
        source: Take the weights from here (a folder or a hub id) instead of the card's source,
            for a training checkpoint or an offline copy; by default the card's ``local``.

    Returns:
        An `Encoder`; its card has the depth filled in, and `source` as ``local``.

    Raises:
        UnknownModelError: No such name.
        ModelError: It cannot be found, is of an unsupported architecture, or its weights are not
            what config.json or the card says.

    Example:
        >>> import torch
        >>> encoder = load_encoder("melspec", device="cpu")
        >>> [tuple(layer.shape) for layer in encoder(torch.randn(2, 16_000))]
        [(2, 98, 80)]
    """
    known = registry or default_registry()
    card = known.get(model) if isinstance(model, str) else model
    if source is not None:
        local = str(source.expanduser().absolute() if isinstance(source, Path) else source)
        card = card.model_copy(update={"local": local})
    device = _device(device)
    if card.kind == "melspec":
        return MelSpecEncoder(card, device)
    if card.kind == "mfcc":
        return MfccEncoder(card, device)
    if card.kind == "ecapa":
        return load_ecapa(card, precomputed=known.precomputed, device=device)
    if card.kind == "random":
        return _initialise(card, known, device)
    checkpoint = find_checkpoint(
        card.local or card.source, revision=card.revision, precomputed=known.precomputed
    )
    config = _config(checkpoint, card)
    files = weight_files(checkpoint.folder)
    prefixes, attention = _loading_of(checkpoint)
    tensors = without_prefix(read_tensors(files), prefixes)
    network = load_into(_class_of(checkpoint), config, tensors, checkpoint.folder, attention)
    return _adapt(network, card, checkpoint, files_digest(files), device, {})


def model_type(card: ModelCard, *, registry: Registry | None = None) -> str:
    """The architecture that a card's checkpoint says it has, e.g. ``hubert`` or ``whisper``.

    Reads config.json alone: of a hub repository no weights are fetched.

    Raises:
        ModelError: It cannot be found, or its architecture is not supported.
    """
    known = registry or default_registry()
    checkpoint = find_checkpoint(
        card.local or card.source,
        revision=card.revision,
        precomputed=known.precomputed,
        weights=False,
    )
    _require_supported(checkpoint)
    return checkpoint.model_type


def family_and_kind(model_type: str) -> tuple[str, Kind]:
    """The family and the kind that a card of an architecture has.

    >>> family_and_kind("data2vec-audio")
    ('data2vec', 'transformers')
    """
    return _FAMILY_OF[model_type], _KIND_OF.get(model_type, "transformers")


def _initialise(card: ModelCard, known: Registry, device: str) -> Encoder:
    """The base card's architecture with the weights that its training would start from."""
    if card.base is None or card.seed is None:
        raise ModelError(f"The card of {card.name} is of kind random but lacks base or seed.")
    base = known.get(card.base)
    if base.kind == "ecapa":
        return load_ecapa(card, precomputed=known.precomputed, device=device, base=base)
    checkpoint = find_checkpoint(
        card.local or base.local or base.source,
        revision=base.revision,
        precomputed=known.precomputed,
        weights=False,
    )
    config = _config(checkpoint, base)
    _, attention = _loading_of(checkpoint)
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.random.default_generator.manual_seed(card.seed)
        network = _class_of(checkpoint)._from_config(
            config, attn_implementation=attention, dtype=torch.float32
        )
    network.eval().requires_grad_(False)
    digest = tensors_digest(network.state_dict())
    return _adapt(network, card, checkpoint, digest, device, {"initialisation_seed": card.seed})


def _adapt(
    network: nn.Module,
    card: ModelCard,
    checkpoint: Checkpoint,
    digest: str,
    device: str,
    policy: dict[str, str | bool | int | float],
) -> Encoder:
    whisper = checkpoint.model_type == "whisper"
    config: Any = network.config
    depth = config.encoder_layers if whisper else config.num_hidden_layers
    if card.layers not in (None, depth):
        raise ModelError(
            f"{checkpoint.source} has {depth} Transformer blocks, but the card of {card.name} "
            f"says {card.layers}: correct one of the two."
        )
    card = card.model_copy(update={"layers": depth})
    common: dict[str, Any] = {
        "weights_sha256": digest,
        "revision": checkpoint.revision,
        "device": device,
    }
    if whisper:
        return WhisperEncoderAdapter(network, card, policy=policy, **common)
    mr_hubert = checkpoint.model_type == MR_HUBERT
    if mr_hubert:  # in its config.json a field at its default may be left out
        norm = {"feat_extract_norm": config.feat_extract_norm}
        checkpoint = replace(checkpoint, config={**checkpoint.config, **norm})
    normalize, decided_by = wants_normalised_input(checkpoint)
    policy = {"normalize_from": decided_by, **policy}
    if mr_hubert:
        from insidessl_dash.encoders.mr_hubert import MRHubertEncoder

        return MRHubertEncoder(network, card, normalize=normalize, policy=policy, **common)
    return TransformersEncoder(network, card, normalize=normalize, policy=policy, **common)


def _config(checkpoint: Checkpoint, card: ModelCard) -> Any:
    """The configuration object of a checkpoint that is what its card says."""
    _require_supported(checkpoint)
    family, kind = family_and_kind(checkpoint.model_type)
    if card.kind != kind or (card.family in _FAMILY_OF.values() and card.family != family):
        raise ModelError(
            f"{checkpoint.source} is a {family} model, but the card of {card.name} says "
            f"{card.family} (kind {card.kind}): correct the card, or use another source."
        )
    if "quantization_config" in checkpoint.config:
        raise ModelError(
            f"{checkpoint.source} is quantised: use the checkpoint as it was before quantisation."
        )
    rate = (checkpoint.preprocessor or {}).get("sampling_rate", 16_000)
    if rate != 16_000:
        raise ModelError(
            f"{checkpoint.source} was trained on audio at {rate} Hz: only 16 kHz models are read."
        )
    try:
        return _class_of(checkpoint).config_class.from_dict(checkpoint.config)
    except Exception as error:  # its validation raises a variety of types
        raise ModelError(
            f"The config.json of {checkpoint.source} is not a valid {checkpoint.model_type} "
            f"configuration ({str(error).splitlines()[0][:120]}): fetch it again."
        ) from error


def _require_supported(checkpoint: Checkpoint) -> None:
    if checkpoint.model_type not in _FAMILY_OF:
        said = repr(checkpoint.model_type) if checkpoint.model_type else "no model_type"
        raise ModelError(
            f"{checkpoint.source} is not of a supported architecture (config.json: {said}): "
            f"{', '.join(sorted(_FAMILY_OF))} are; docs/adding-a-model.md says how to add one."
        )


def _class_of(checkpoint: Checkpoint) -> Any:
    import transformers
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    if checkpoint.model_type == "whisper":
        return WhisperEncoder
    if checkpoint.model_type == MR_HUBERT:
        from insidessl_dash.encoders.mr_hubert import MRHubertModel

        return MRHubertModel
    return getattr(transformers, FAMILIES[checkpoint.model_type].model_class)


def _loading_of(checkpoint: Checkpoint) -> tuple[tuple[str, ...], str]:
    """Prefixes below which checkpoints keep the encoder, and the attention to use."""
    if checkpoint.model_type == "whisper":
        return PREFIXES, "sdpa"
    if checkpoint.model_type == MR_HUBERT:
        return (f"{MR_HUBERT}.",), "sdpa"
    family = FAMILIES[checkpoint.model_type]
    return (family.prefix,), family.attention


def _device(asked: str | None) -> str:
    if asked is None:
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(asked).type
    except RuntimeError as error:
        raise ModelError(f"{asked!r} is not a device: use cpu, cuda or cuda:N.") from error
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise ModelError(f"There is no GPU for device {asked!r}: use cpu.")
        # Convolutions default to TF32 on a GPU, which is not the float32 that is promised.
        torch.backends.cudnn.allow_tf32 = False
    return asked
