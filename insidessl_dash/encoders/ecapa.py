"""ECAPA-TDNN speaker encoders: every block as a layer, and where their weights are read from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import ModelError
from insidessl_dash.core.types import SAMPLE_RATE
from insidessl_dash.encoders.base import Encoder
from insidessl_dash.encoders.ecapa_network import (
    HOP,
    N_MELS,
    SHORTEST,
    EcapaConfig,
    EcapaTdnn,
    SpeakerMel,
    initialise,
)
from insidessl_dash.encoders.inputs import check_waveforms
from insidessl_dash.encoders.sources import find_folder
from insidessl_dash.encoders.weights import (
    files_digest,
    load_plain,
    read_tensors,
    tensors_digest,
)

LAYERS = ("E0", "E1", "E2", "E3", "E4", "E5", "E6")

WEIGHT_FILES = (
    "embedding_model.safetensors",
    "model.safetensors",
    "embedding_model.ckpt",
)
"""Names under which the weights are kept, most wanted first; the last is a pickled state dict."""

MODEL_TYPE = "ecapa"
"""``model_type`` in the config.json of one trained here; speechbrain's have none."""


class EcapaEncoder:
    """An ECAPA-TDNN as an `Encoder`.

    Layers: E0, the 80 log-mel bands that go in, less their mean over the utterance; E1, the first
    convolution; E2 to E4, the SE-Res2 blocks; E5, their aggregation; E6, the embedding. E0 to E5
    have 100 frames a second. E6 is one vector an utterance: one frame, and a frame rate of 0.

    Args:
        network: On the CPU, in eval mode.
        card: What it is.
        policy: What else belongs in the layer policy.
        weights_sha256, revision, device: As in `Encoder`.
    """

    def __init__(
        self,
        network: EcapaTdnn,
        card: ModelCard,
        *,
        policy: dict[str, str | bool | int | float],
        weights_sha256: str,
        revision: str,
        device: str,
    ) -> None:
        self._network = network.to(device).eval()
        self._mel = SpeakerMel().to(device)
        config = network.config
        self.card = card
        self.layers: tuple[str, ...] = LAYERS
        self.dims: tuple[int, ...] = (
            (N_MELS,) + (config.channels,) * 4 + (config.mfa_channels, config.embedding)
        )
        self.frame_rates_hz: tuple[float, ...] = (SAMPLE_RATE / HOP,) * 6 + (0.0,)
        self.weights_sha256 = weights_sha256
        self.revision = revision
        self.device = device
        self.layer_policy: dict[str, str | bool | int | float] = {
            "mels": N_MELS,
            "mel_mean": "of the utterance, subtracted",
            "embedding": "one frame an utterance",
            **policy,
        }

    def __call__(self, waveforms: Tensor) -> list[Tensor]:
        """Encode a batch; see `Encoder`.

        Args:
            waveforms: float32 (B, n), 16 kHz, all rows true audio of the same length.

        Returns:
            E0 to E5, float32 (B, n // 160 + 1, D), and E6, (B, 1, D).

        Raises:
            ModelError: Shorter than 40 ms.
        """
        check_waveforms(waveforms, SHORTEST, self.card.name)
        # Not inference_mode: probes and decoders train on what is returned here.
        with torch.no_grad():
            mel = self._mel(waveforms.to(self.device, torch.float32))
            return [mel, *(state.contiguous() for state in self._network(mel))]


def load_ecapa(
    card: ModelCard, *, precomputed: Path, device: str, base: ModelCard | None = None
) -> Encoder:
    """An ECAPA-TDNN from a folder, from what ships, or from a hub repository of speechbrain.

    The widths are read from the tensors, so no description beside the weights is needed.

    Args:
        card: What it is.
        precomputed: Folder of what ships.
        device: As `torch.device` takes it.
        base: For an untrained network, the card whose widths it has; `card` then has the seed.

    Raises:
        ModelError: It cannot be found, or holds other tensors than such a network's.
    """
    origin = base or card
    folder, revision = find_folder(
        card.local or origin.local or origin.source,
        revision=origin.revision,
        precomputed=precomputed,
        wanted=WEIGHT_FILES,
    )
    file = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if file is None:
        raise ModelError(
            f"{folder} has no weights of a speaker model: one of {', '.join(WEIGHT_FILES)} is read."
        )
    tensors = read_tensors([file])
    config = EcapaConfig.of(tensors, folder)
    policy: dict[str, str | bool | int | float] = {}
    if base is None or card.seed is None:
        network, digest = EcapaTdnn(config), files_digest([file])
        load_plain(network, tensors, folder)
    else:
        network = initialise(config, card.seed)
        digest, policy = tensors_digest(network.state_dict()), {"initialisation_seed": card.seed}
    return EcapaEncoder(
        network, card, policy=policy, weights_sha256=digest, revision=revision, device=device
    )
