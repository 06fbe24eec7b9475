"""data2vec: predict what a slowly moving copy of the model makes of the whole utterance.

Baevski et al. (2202.03555), for speech: the targets are the outputs of the feed-forward parts of
the teacher's top eight blocks, each normalised over time, averaged; the student regresses them at
masked frames. The teacher is a moving average of all of the student's weights.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede transformers
from insidessl_dash.pretraining.masking import span_mask
from insidessl_dash.pretraining.recipe import (
    NANO,
    Batch,
    FrameRecipe,
    RunSettings,
    export_encoder,
    frames_of,
    normalised,
)
from insidessl_dash.pretraining.wav2vec2 import MASK_START

from transformers import Data2VecAudioConfig, Data2VecAudioModel  # isort: skip


class Data2VecSettings(RunSettings):
    """How the teacher follows: its momentum rises linearly over `momentum_updates`."""

    top_layers: int = Field(8, ge=1)
    momentum_start: float = Field(0.99, ge=0, lt=1)
    momentum_end: float = Field(0.999, ge=0, lt=1)
    momentum_updates: int = Field(4000, ge=1)


class StudentAndTeacher(nn.Module):
    """The student with its regression head, and the teacher."""

    def __init__(self, config: Data2VecAudioConfig) -> None:
        super().__init__()
        self.encoder = Data2VecAudioModel._from_config(config, attn_implementation="eager")
        self.head = nn.Linear(config.hidden_size, config.hidden_size)
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(False)

    def train(self, mode: bool = True) -> StudentAndTeacher:
        """Never the teacher: in training mode transformers would mask its input."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, waveforms: Tensor, mask: Tensor, top_layers: int) -> tuple[Tensor, Tensor]:
        """Predictions and targets at masked frames, float32 (M, D) each."""
        with torch.no_grad():
            targets = teacher_targets(self.teacher, waveforms, top_layers)
        hidden = self.encoder(waveforms, mask_time_indices=mask).last_hidden_state
        return self.head(hidden[mask]).float(), targets[mask]

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the teacher: ``momentum`` of itself, the rest of the student."""
        own = list(self.teacher.parameters())
        torch._foreach_lerp_(own, list(self.encoder.parameters()), 1 - momentum)


def teacher_targets(teacher: Any, waveforms: Tensor, top_layers: int) -> Tensor:
    """Mean over the top blocks of their feed-forward outputs, each normalised over time.

    Args:
        teacher: `Data2VecAudioModel`.
        waveforms: (B, n), nothing masked.
        top_layers: How many blocks.

    Returns:
        float32 (B, T, D).
    """
    outputs: list[Tensor] = []
    blocks = teacher.encoder.layers[-top_layers:]
    hooks = [
        block.feed_forward.register_forward_hook(lambda _m, _i, output: outputs.append(output))
        for block in blocks
    ]
    try:
        teacher(waveforms)
    finally:
        for hook in hooks:
            hook.remove()
    # A freshly initialised block's output is tiny: the usual eps of 1e-5 would outweigh it.
    layers = [functional.instance_norm(x.float().transpose(1, 2), eps=1e-9) for x in outputs]
    return torch.stack(layers).mean(0).transpose(1, 2)


class Data2VecRecipe(FrameRecipe):
    """The objective of ``data2vec-nano``."""

    name = "data2vec-nano"
    objective = (
        "regression at masked frames of the mean of the top eight layers of a moving-average "
        "teacher that hears the whole utterance (data2vec)"
    )
    Settings = Data2VecSettings
    metric = "explained_variance"
    metric_title = "variance of the teacher's targets explained at masked frames"
    chance = "chance"
    chance_is = "always predicting the mean"
    note = (
        "Its targets are those of its own teacher, which changes as it learns: values at two "
        "updates are of two tasks, so the curve may fall while the model learns. What it learned "
        "shows in its layers, below."
    )

    def build(self) -> StudentAndTeacher:
        """See `Recipe.build`."""
        torch.manual_seed(self.seed)
        return StudentAndTeacher(Data2VecAudioConfig(**NANO))

    def loss(
        self, model: Any, batch: Batch, update: int, device: str
    ) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error; the targets' deviation over frames is logged against collapse."""
        waves = normalised(torch.from_numpy(batch[0]).to(device))
        predicted, targets = model(
            waves, self._mask(waves, self.rng("mask", update)), self.settings.top_layers
        )
        loss = functional.mse_loss(predicted, targets)
        return loss, {"target_std": targets.std(0).mean().item()}

    def after_step(self, model: Any, update: int) -> None:
        """The teacher follows."""
        settings = self.settings
        progress = min(1.0, update / settings.momentum_updates)
        rise = settings.momentum_end - settings.momentum_start
        model.follow(settings.momentum_start + rise * progress)

    def measure(
        self, model: Any, waveforms: Tensor, index: int, rng: np.random.Generator, device: str
    ) -> dict[str, float]:
        """See `FrameRecipe.measure`. The targets have mean 0 over an utterance."""
        predicted, targets = model(waveforms, self._mask(waveforms, rng), self.settings.top_layers)
        error = (predicted - targets).square().mean(-1)
        variance = (targets - targets.mean(0)).square().mean(-1)
        return {
            "mean_squared_error": float(error.sum()),
            "target_variance": float(variance.sum()),
            "frames": float(len(error)),
        }

    def evaluate(
        self, model: Any, device: str, max_crop_s: float, limit: int | None
    ) -> dict[str, float]:
        """See `FrameRecipe.evaluate`."""
        means = super().evaluate(model, device, max_crop_s, limit)
        explained = 1 - means["mean_squared_error"] / means["target_variance"]
        return {**means, "explained_variance": explained, "chance": 0.0}

    def _mask(self, waves: Tensor, rng: np.random.Generator) -> Tensor:
        mask = span_mask(len(waves), frames_of(waves.shape[1]), rng, start=MASK_START)
        return torch.from_numpy(mask).to(waves.device)

    def export(self, model: Any, folder: Path) -> None:
        """The student as `transformers.Data2VecAudioModel`, its regression as the head."""
        export_encoder(model.encoder, dict(model.head.state_dict()), folder)
