"""wav2vec 2.0 and its relatives: convolutions at 50 Hz, then a Transformer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede transformers
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.types import SAMPLE_RATE
from insidessl_dash.encoders.inputs import check_waveforms, zero_mean_unit_variance
from insidessl_dash.encoders.sources import Checkpoint
from insidessl_dash.encoders.states import block_states


@dataclass(frozen=True)
class Family:
    """How one architecture is loaded.

    Attributes:
        name: The card's ``family``.
        model_class: Its base model in transformers.
        prefix: Where checkpoints with a head keep the base model.
        attention: The fastest implementation that transformers has for it.
        conv_norm: Norm of its convolutions, ``group`` or ``layer``, where config.json is silent.
    """

    name: str
    model_class: str
    prefix: str
    attention: str = "sdpa"
    conv_norm: str = "group"


FAMILIES: dict[str, Family] = {
    "wav2vec2": Family("wav2vec2", "Wav2Vec2Model", "wav2vec2."),
    "hubert": Family("hubert", "HubertModel", "hubert."),
    # Gated relative position bias: transformers computes it in its own attention only.
    "wavlm": Family("wavlm", "WavLMModel", "wavlm.", attention="eager"),
    "data2vec-audio": Family(
        "data2vec", "Data2VecAudioModel", "data2vec_audio.", conv_norm="layer"
    ),
    "unispeech-sat": Family("unispeech-sat", "UniSpeechSatModel", "unispeech_sat."),
}
"""By the ``model_type`` of config.json. A new family of this shape is one line here."""


class TransformersEncoder:
    """A model of `FAMILIES` as an `Encoder`.

    Layers "0".."L" are (B, T, D) with T = (n - 400) // 320 + 1 for the usual convolutions.
    Layer 0 is what enters block 1: after the projection and the positional convolution, and after
    the LayerNorm where that comes before the blocks (post-LN, most Base models). Layer l is what
    leaves block l. Pre-LN models (``do_stable_layer_norm``, most Large ones) have a LayerNorm
    after the last block: layer L is taken after it, the layers before it are not normalised.
    That is what the literature's numbers were computed with (``hidden_states`` of transformers
    up to 5.15); the policy "final_norm" records it.

    Args:
        model: Loaded, on the CPU, in eval mode.
        card: What it is.
        normalize: Bring each waveform to zero mean and unit variance first.
        policy: What else belongs in the layer policy.
        weights_sha256, revision, device: As in `Encoder`.
    """

    def __init__(
        self,
        model: nn.Module,
        card: ModelCard,
        *,
        normalize: bool,
        policy: dict[str, str | bool | int | float],
        weights_sha256: str,
        revision: str,
        device: str,
    ) -> None:
        config: Any = model.config
        self._model = model.to(device).eval()
        self._encoder: Any = model.encoder
        self._normalize = normalize
        self._pre_norm = bool(getattr(config, "do_stable_layer_norm", False))
        self._shortest = 1
        for kernel, stride in zip(config.conv_kernel[::-1], config.conv_stride[::-1], strict=True):
            self._shortest = (self._shortest - 1) * stride + kernel
        depth = config.num_hidden_layers
        self.card = card
        self.layers = tuple(str(index) for index in range(depth + 1))
        self.dims = (config.hidden_size,) * (depth + 1)
        self.frame_rates_hz = (SAMPLE_RATE / math.prod(config.conv_stride),) * (depth + 1)
        self.weights_sha256 = weights_sha256
        self.revision = revision
        self.device = device
        self.layer_policy: dict[str, str | bool | int | float] = {
            "final_norm": "on the last state only" if self._pre_norm else "none in this model",
            "normalize": normalize,
            **policy,
        }

    def __call__(self, waveforms: Tensor) -> list[Tensor]:
        """Encode a batch; see `Encoder`.

        Args:
            waveforms: float32 (B, n), 16 kHz, all rows true audio of the same length.

        Returns:
            L + 1 tensors, float32 (B, T, D).

        Raises:
            ModelError: Too short for one frame, or not L + 1 states.
        """
        check_waveforms(waveforms, self._shortest, self.card.name)
        # Not inference_mode: probes and decoders train on what is returned here.
        with torch.no_grad():
            inputs = waveforms.to(self.device, torch.float32)
            if self._normalize:
                inputs = zero_mean_unit_variance(inputs)
            states = block_states(self._encoder.layers, lambda: self._model(inputs), self.card.name)
            if self._pre_norm:
                states[-1] = self._encoder.layer_norm(states[-1])
        return states


def wants_normalised_input(checkpoint: Checkpoint) -> tuple[bool, str]:
    """Whether the model was trained on normalised waveforms, and what says so.

    ``do_normalize`` of preprocessor_config.json decides. Without it, the convention of the
    original releases: models with layer norm in the convolutions were trained on normalised
    input, those with group norm were not (and are nearly indifferent to it, because group norm
    removes gain and offset itself).
    """
    if checkpoint.preprocessor is not None and "do_normalize" in checkpoint.preprocessor:
        return bool(checkpoint.preprocessor["do_normalize"]), "preprocessor_config.json"
    norm = checkpoint.config.get("feat_extract_norm") or FAMILIES[checkpoint.model_type].conv_norm
    return norm == "layer", "norm of the convolutions"
