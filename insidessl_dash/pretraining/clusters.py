"""Masked prediction of clusters: the model and the loss that HuBERT, WavLM and MR-HuBERT share.

The head is HuBERT's (2106.07447): a projection, then cosine similarity to one learned embedding a
cluster, divided by a temperature of 0.1.

HuBERT's loss is over masked frames only, which learns slowly at first: until the convolutions
carry what a frame sounds like, its neighbours cannot tell what is missing. With hours instead of
months to train, the loss also counts unmasked frames at the start, with a weight that falls
linearly from 1 to 0 over the first `unmasked_updates`; from there on it is HuBERT's.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from insidessl_dash.core.progress import ProgressHook
from insidessl_dash.pretraining.data import SpeechData
from insidessl_dash.pretraining.masking import span_mask
from insidessl_dash.pretraining.recipe import (
    Batch,
    FrameRecipe,
    RunSettings,
    export_encoder,
    frames_of,
    normalised,
)
from insidessl_dash.pretraining.targets import Targets

TEMPERATURE = 0.1
HEAD_DIM = 96


class ClusterSettings(RunSettings):
    """Clusters, and for how long unmasked frames count too."""

    clusters: int = Field(100, ge=2, le=65_000)
    unmasked_updates: int = Field(3000, ge=0)


class ClusterHead(nn.Module):
    """Logits over clusters: temperature-scaled cosine to learned embeddings.

    Args:
        width: Of the hidden states.
        clusters: How many.
    """

    def __init__(self, width: int, clusters: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, HEAD_DIM)
        self.codewords = nn.Parameter(torch.randn(clusters, HEAD_DIM) / HEAD_DIM**0.5)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., width) to float32 (..., clusters)."""
        projected = functional.normalize(self.project(hidden).float(), dim=-1)
        return projected @ functional.normalize(self.codewords.float(), dim=-1).T / TEMPERATURE


class ClusterPredictor(nn.Module):
    """An encoder of transformers with the head that predicts clusters."""

    def __init__(self, encoder: Any, clusters: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = ClusterHead(encoder.config.hidden_size, clusters)

    def forward(self, waveforms: Tensor, mask: Tensor) -> Tensor:
        """Cluster logits of every frame.

        Args:
            waveforms: (B, n), zero mean and unit variance a row.
            mask: bool (B, T); True where the input is replaced.

        Returns:
            float32 (B, T, clusters).
        """
        return self.head(self.encoder(waveforms, mask_time_indices=mask).last_hidden_state)


class ClusterRecipe(FrameRecipe):
    """What these objectives share; a subclass builds the model and says what the targets are.

    Attributes:
        labels: Cluster of every frame of every utterance.
        centroids: float32 (clusters, D).
        majority: The most common cluster of the training speakers.
    """

    Settings = ClusterSettings

    def __init__(
        self, data: SpeechData, settings: Any, cache: Path, progress: ProgressHook
    ) -> None:
        super().__init__(data, settings, cache, progress)
        self.labels, self.centroids = self.targets(cache, progress)
        counts = np.zeros(settings.clusters, np.int64)
        for labels, outside in zip(self.labels, data.held_out, strict=True):
            if not outside:
                counts += np.bincount(labels, minlength=settings.clusters)
        self.majority = int(counts.argmax())

    @abstractmethod
    def targets(self, cache: Path, progress: ProgressHook) -> Targets:
        """Labels and centroids; see `insidessl_dash.pretraining.targets`."""

    def inputs(self, waveforms: NDArray[np.float32], update: int) -> NDArray[np.float32]:
        """What the model hears of a batch; the labels are of `waveforms` as they are."""
        return waveforms

    def loss(
        self, model: Any, batch: Batch, update: int, device: str
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy in nats, and masked loss and accuracy as metrics."""
        waveforms, indices, starts = batch
        waves = normalised(torch.from_numpy(self.inputs(waveforms, update)).to(device))
        mask = self.mask(len(waves), waves.shape[1], self.rng("mask", update)).to(device)
        labels = np.stack(
            [self.labels[i][s : s + mask.shape[1]] for i, s in zip(indices, starts, strict=True)]
        )
        return self.losses(model, waves, mask, torch.from_numpy(labels).to(device), update)

    def losses(
        self, model: Any, waves: Tensor, mask: Tensor, labels: Tensor, update: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss and metrics of one rate."""
        logits = model(waves, mask)
        loss, masked = self.cross_entropy(logits, labels, mask, update)
        accuracy = (logits.detach()[mask].argmax(-1) == labels[mask]).float().mean()
        return loss, {"masked_loss": masked.item(), "masked_accuracy": float(accuracy)}

    def cross_entropy(
        self, logits: Tensor, labels: Tensor, mask: Tensor, update: int
    ) -> tuple[Tensor, Tensor]:
        """The loss at this update, and its masked part."""
        masked = functional.cross_entropy(logits[mask], labels[mask])
        until = self.settings.unmasked_updates
        weight = max(0.0, 1.0 - update / until) if until else 0.0
        if weight == 0:
            return masked, masked
        return masked + weight * functional.cross_entropy(logits[~mask], labels[~mask]), masked

    def measure(
        self, model: Any, waveforms: Tensor, index: int, rng: np.random.Generator, device: str
    ) -> dict[str, float]:
        """See `FrameRecipe.measure`."""
        mask = self.mask(1, waveforms.shape[1], rng).to(device)
        labels = torch.from_numpy(self.labels[index][: mask.shape[1]])[None].to(device)[mask]
        logits = self.high_logits(model, waveforms, mask)[mask]
        return {
            "masked_loss": float(functional.cross_entropy(logits, labels, reduction="sum")),
            "masked_accuracy": float((logits.argmax(-1) == labels).sum()),
            "majority_rate": float((labels == self.majority).sum()),
            "frames": float(len(labels)),
        }

    def high_logits(self, model: Any, waveforms: Tensor, mask: Tensor) -> Tensor:
        """Logits at 20 ms."""
        return model(waveforms, mask)

    def mask(self, rows: int, samples: int, rng: np.random.Generator) -> Tensor:
        """A mask of HuBERT's: 8% of frames start a span of 10."""
        return torch.from_numpy(span_mask(rows, frames_of(samples), rng))

    def export(self, model: Any, folder: Path) -> None:
        """The encoder for ``from_pretrained``; projection, embeddings and centroids as the head."""
        head = dict(model.head.state_dict())
        export_encoder(
            model.encoder, head | {"centroids": torch.from_numpy(self.centroids)}, folder
        )
