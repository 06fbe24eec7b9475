"""The encoder of Whisper: supervised, a contrast to the self-supervised families."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede transformers
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.types import SAMPLE_RATE
from insidessl_dash.encoders.inputs import check_waveforms
from insidessl_dash.encoders.states import block_states

PREFIXES = ("model.encoder.", "encoder.")
"""Where a full Whisper checkpoint keeps its encoder."""

SAMPLES_PER_FRAME = 320


class WhisperEncoderAdapter:
    """`transformers.WhisperEncoder` as an `Encoder`.

    The model sees windows of 30 s, padded with silence after the audio as its feature extractor
    does, and only the n // 320 frames that lie within the audio are kept: those whose 20 ms are
    all true. Audio over 30 s is cut into windows of 30 s that do not overlap, each encoded by
    itself, and their frames follow one another. Layer 0 is what enters block 1 (convolutions plus
    positions); layer L carries the encoder's final LayerNorm, the layers before it do not.

    Args:
        model: `WhisperEncoder`, on the CPU, in eval mode.
        card: What it is.
        policy: What else belongs in the layer policy.
        weights_sha256, revision, device: As in `Encoder`.
    """

    def __init__(
        self,
        model: nn.Module,
        card: ModelCard,
        *,
        policy: dict[str, str | bool | int | float],
        weights_sha256: str,
        revision: str,
        device: str,
    ) -> None:
        from transformers import WhisperFeatureExtractor

        config: Any = model.config
        self._model: Any = model.to(device).eval()
        window_s = config.max_source_positions * SAMPLES_PER_FRAME // SAMPLE_RATE
        self._window = window_s * SAMPLE_RATE
        self._features = WhisperFeatureExtractor(
            feature_size=config.num_mel_bins, chunk_length=window_s, sampling_rate=SAMPLE_RATE
        )
        depth = config.encoder_layers
        self.card = card
        self.layers = tuple(str(index) for index in range(depth + 1))
        self.dims = (config.d_model,) * (depth + 1)
        self.frame_rates_hz = (SAMPLE_RATE / SAMPLES_PER_FRAME,) * (depth + 1)
        self.weights_sha256 = weights_sha256
        self.revision = revision
        self.device = device
        self.layer_policy: dict[str, str | bool | int | float] = {
            "final_norm": "on the last state only",
            "window_s": window_s,
            "padding": "silence to the window, its frames dropped",
            "long_audio": "windows without overlap, frames concatenated",
            **policy,
        }

    def __call__(self, waveforms: Tensor) -> list[Tensor]:
        """Encode a batch; see `Encoder`.

        Args:
            waveforms: float32 (B, n), 16 kHz, all rows true audio of the same length.

        Returns:
            L + 1 tensors, float32 (B, n // 320, D).

        Raises:
            ModelError: Shorter than one frame, or not L + 1 states.
        """
        check_waveforms(waveforms, SAMPLES_PER_FRAME, self.card.name)
        windows = [
            self._encode(window)
            for window in waveforms.split(self._window, dim=-1)
            if window.shape[-1] >= SAMPLES_PER_FRAME
        ]
        if len(windows) == 1:
            return windows[0]
        return [torch.cat(parts, dim=1) for parts in zip(*windows, strict=True)]

    def _encode(self, window: Tensor) -> list[Tensor]:
        rows = list(window.to("cpu", torch.float32).numpy())
        mel = self._features(
            rows, sampling_rate=SAMPLE_RATE, return_tensors="pt", device=self.device
        ).input_features.to(self.device, torch.float32)
        frames = window.shape[-1] // SAMPLES_PER_FRAME
        # Not inference_mode: probes and decoders train on what is returned here.
        with torch.no_grad():
            states = block_states(self._model.layers, lambda: self._model(mel), self.card.name)
            states[-1] = self._model.layer_norm(states[-1])
        # Copies, so that the frames of the padding can be freed.
        return [state[:, :frames].clone() for state in states]
