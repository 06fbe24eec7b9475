"""wav2vec 2.0: tell the quantised latent of a masked frame from others of the same utterance.

Baevski et al. (2006.11477). The model is `transformers.Wav2Vec2ForPreTraining`. Its own loss
gathers a hundred vectors a frame; here the cosines of all masked frames of an utterance are one
matrix product and the same entries are read from it, which gives the same number (tested) in
about half the time an update.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
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

from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining  # isort: skip

MASK_START = 0.065
"""Fraction of frames that start a masked span of 10: about half of all frames are masked."""


class Wav2Vec2Settings(RunSettings):
    """Gumbel temperature falls geometrically over `temperature_updates`, then stays."""

    negatives: int = Field(100, ge=1)
    temperature_start: float = Field(2.0, gt=0)
    temperature_end: float = Field(0.5, gt=0)
    temperature_updates: int = Field(5000, ge=1)


def nano_config() -> Wav2Vec2Config:
    """Nano with two codebooks of 64 entries."""
    return Wav2Vec2Config(
        **NANO,
        feat_quantizer_dropout=0.0,
        num_codevector_groups=2,
        num_codevectors_per_group=64,
        codevector_dim=128,
        proj_codevector_dim=128,
    )


def negative_positions(masked: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """For each of `masked` frames, `count` others of them, drawn with replacement.

    Returns:
        int64, shape (masked, count); row i never holds i.
    """
    drawn = rng.integers(0, masked - 1, (masked, count))
    return drawn + (drawn >= np.arange(masked)[:, None])


def contrastive_logits(
    predicted: Tensor, quantised: Tensor, negatives: Tensor, temperature: float
) -> Tensor:
    """Cosine of each prediction with its target (column 0) and with the negatives.

    A negative that equals the target is no negative: its logit is minus infinity.

    Args:
        predicted, quantised: (M, D), of the masked frames of one utterance.
        negatives: int64 (M, K), rows of `quantised`.
        temperature: Divides the cosine.

    Returns:
        float32 (M, 1 + K).
    """
    targets = functional.normalize(quantised.float(), dim=-1, eps=1e-8)
    cosines = functional.normalize(predicted.float(), dim=-1, eps=1e-8) @ targets.T / temperature
    with torch.no_grad():
        _, codes = torch.unique(quantised, dim=0, return_inverse=True)
        same = codes[negatives] == codes[:, None]
    others = cosines.gather(1, negatives).masked_fill(same, float("-inf"))
    return torch.cat([cosines.diagonal()[:, None], others], dim=1)


class Wav2Vec2Recipe(FrameRecipe):
    """The objective of ``wav2vec2-nano``."""

    name = "wav2vec2-nano"
    objective = (
        "contrastive: find the quantised latent of a masked frame among 100 others of the same "
        "utterance; Gumbel codebooks with a diversity loss (wav2vec 2.0)"
    )
    Settings = Wav2Vec2Settings
    metric = "contrastive_accuracy"
    metric_title = "masked frames whose target is found among the candidates"
    chance = "chance"
    chance_is = "drawing one of the candidates"

    def build(self) -> Wav2Vec2ForPreTraining:
        """See `Recipe.build`."""
        torch.manual_seed(self.seed)
        return Wav2Vec2ForPreTraining._from_config(nano_config(), attn_implementation="eager")

    def loss(
        self, model: Any, batch: Batch, update: int, device: str
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy over the candidates, plus the diversity loss."""
        settings = self.settings
        progress = min(1.0, update / settings.temperature_updates)
        ratio = settings.temperature_end / settings.temperature_start
        model.set_gumbel_temperature(settings.temperature_start * ratio**progress)
        waves = normalised(torch.from_numpy(batch[0]).to(device))
        logits, perplexity, entries = self._predict(model, waves, self.rng("mask", update))
        contrastive = functional.cross_entropy(logits, torch.zeros_like(logits[:, 0]).long())
        diversity = (entries - perplexity) / entries
        loss = contrastive + model.config.diversity_loss_weight * diversity
        accuracy = (logits.detach().argmax(-1) == 0).float().mean()
        return loss, {
            "contrastive_loss": contrastive.item(),
            "contrastive_accuracy": float(accuracy),
            "code_perplexity": perplexity.item(),
        }

    def measure(
        self, model: Any, waveforms: Tensor, index: int, rng: np.random.Generator, device: str
    ) -> dict[str, float]:
        """See `FrameRecipe.measure`. Found: no candidate is as near as the target."""
        logits, perplexity, _ = self._predict(model, waveforms, rng)
        target = torch.zeros_like(logits[:, 0]).long()
        candidates = torch.isfinite(logits).sum(-1)
        found = (logits[:, :1] > logits[:, 1:]).all(-1)
        return {
            "contrastive_loss": float(functional.cross_entropy(logits, target, reduction="sum")),
            "contrastive_accuracy": float((found & (candidates > 1)).sum()),
            "chance": float((1.0 / candidates).sum()),
            "code_perplexity": float(perplexity) * len(logits),
            "frames": float(len(logits)),
        }

    def _predict(
        self, model: Any, waves: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, int]:
        mask = span_mask(len(waves), frames_of(waves.shape[1]), rng, start=MASK_START)
        on_device = torch.from_numpy(mask).to(waves.device)
        output = model(waves, mask_time_indices=on_device)
        rows = []
        for row in range(len(mask)):
            masked = on_device[row]
            negatives = negative_positions(int(mask[row].sum()), self.settings.negatives, rng)
            rows.append(
                contrastive_logits(
                    output.projected_states[row][masked],
                    output.projected_quantized_states[row][masked],
                    torch.from_numpy(negatives).to(waves.device),
                    model.config.contrastive_logits_temperature,
                )
            )
        entries = model.config.num_codevectors_per_group * model.config.num_codevector_groups
        return torch.cat(rows), output.codevector_perplexity, entries

    def export(self, model: Any, folder: Path) -> None:
        """The encoder as `transformers.Wav2Vec2Model`; projections and codebooks as the head."""
        head = {k: v for k, v in model.state_dict().items() if not k.startswith("wav2vec2.")}
        export_encoder(model.wav2vec2, head, folder)
