"""The contract of an encoder."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from insidessl_dash.core.cards import ModelCard


class Encoder(Protocol):
    """Equal-length waveforms in, every layer out.

    Attributes:
        card: What the model is.
        layers: Names, shallow to deep: "0".."L" for Transformer states (0 enters block 1), "mel"
            for the log-mel baseline.
        dims: Width of each layer.
        frame_rates_hz: Frames a second of each layer; 0 where an utterance is one vector.
        weights_sha256: Digest of the weights in use (of the file, or of the tensors where they
            were drawn at random); "" for a model without weights.
        revision: Hub commit or "" where there is none.
        layer_policy: How the layers were read, e.g. {"final_norm": "on the last state only",
            "normalize": true}; part of a result's key.
        device: Where it computes.
    """

    card: ModelCard
    layers: tuple[str, ...]
    dims: tuple[int, ...]
    frame_rates_hz: tuple[float, ...]
    weights_sha256: str
    revision: str
    layer_policy: dict[str, str | bool | int | float]
    device: str

    def __call__(self, waveforms: Tensor) -> list[Tensor]:
        """Encode a batch in one forward pass, without gradients, in eval mode.

        Args:
            waveforms: float32 (B, n), 16 kHz, all rows true audio of the same length; no padding.

        Returns:
            One float32 tensor (B, T_l, D_l) a layer, on the encoder's device.

        Raises:
            ModelError: Too short for one frame, or not the number of states the card announces.
        """
        ...
