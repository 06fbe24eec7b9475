"""HuBERT iteration 1: predict the k-means cluster of masked MFCC frames (2106.07447).

The encoder is `transformers.HubertModel`; the head is HuBERT's: a projection, then cosine
similarity to one learned embedding a cluster, divided by a temperature of 0.1.

HuBERT's loss is over masked frames only, which learns slowly at first: until the convolutions
carry what a frame sounds like, its neighbours cannot tell what is missing. With hours instead of
months to train, the loss also counts unmasked frames at the start, with a weight that falls
linearly from 1 to 0 over the first `unmasked_updates`; from there on it is HuBERT's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede transformers
from insidessl_dash.core.progress import ProgressHook
from insidessl_dash.core.types import SAMPLE_RATE, stable_seed
from insidessl_dash.pretraining.data import HOP, SpeechData
from insidessl_dash.pretraining.masking import span_mask
from insidessl_dash.pretraining.targets import mfcc_targets

from transformers import HubertConfig, HubertModel  # isort: skip

TEMPERATURE = 0.1
HEAD_DIM = 96


def nano_config() -> HubertConfig:
    """12 layers x 192, 4 heads, feed-forward 768, post-LN, group norm: Base in small.

    The convolutions keep Base's kernels and strides (400 samples seen, 320 apart) with fewer
    channels. No dropout: the model sees each utterance a handful of times.
    """
    return HubertConfig(
        hidden_size=192,
        num_hidden_layers=12,
        num_attention_heads=4,
        intermediate_size=768,
        conv_dim=(32, 64, 128, 128, 128, 128, 128),
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
    )


class HubertForClusters(nn.Module):
    """A HuBERT encoder with the head that predicts clusters."""

    def __init__(self, config: HubertConfig, clusters: int) -> None:
        super().__init__()
        self.encoder = HubertModel._from_config(config, attn_implementation="eager")
        self.project = nn.Linear(config.hidden_size, HEAD_DIM)
        self.codewords = nn.Parameter(torch.randn(clusters, HEAD_DIM) / HEAD_DIM**0.5)

    def forward(self, waveforms: Tensor, mask: Tensor) -> Tensor:
        """Cluster logits of every frame.

        Args:
            waveforms: (B, n), zero mean and unit variance a row.
            mask: bool (B, T); True where the input is replaced.

        Returns:
            float32 (B, T, clusters).
        """
        hidden = self.encoder(waveforms, mask_time_indices=mask).last_hidden_state
        projected = functional.normalize(self.project(hidden).float(), dim=-1)
        return projected @ functional.normalize(self.codewords.float(), dim=-1).T / TEMPERATURE


class HubertRecipe:
    """The objective of ``hubert-nano``.

    Args:
        data: Speech with its split.
        settings: ``seed`` and ``clusters``.
        cache: Folder for the targets.
        progress: Told how preparation goes.
    """

    name = "hubert-nano"
    objective = (
        "masked prediction of k-means clusters of 39-d MFCC (HuBERT iteration 1); at the start "
        "unmasked frames count too, with a weight that falls linearly to 0"
    )

    def __init__(
        self, data: SpeechData, settings: Any, cache: Path, progress: ProgressHook
    ) -> None:
        self.data, self.seed, self.clusters = data, settings.seed, settings.clusters
        self.unmasked_updates = settings.unmasked_updates
        self.labels, self.centroids = mfcc_targets(data, self.clusters, self.seed, cache, progress)
        counts = np.zeros(self.clusters, np.int64)
        for labels, outside in zip(self.labels, data.held_out, strict=True):
            if not outside:
                counts += np.bincount(labels, minlength=self.clusters)
        self.majority = int(counts.argmax())

    def build(self) -> HubertForClusters:
        """A freshly initialised model; the same for the same seed."""
        torch.manual_seed(self.seed)
        return HubertForClusters(nano_config(), self.clusters)

    def loss(
        self,
        model: HubertForClusters,
        batch: tuple[NDArray, NDArray, NDArray],
        update: int,
        device: str,
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy in nats, and masked loss and accuracy as metrics."""
        waveforms, indices, starts = batch
        rng = np.random.default_rng(stable_seed("mask", self.seed, update))
        logits, labels, mask = self._predict(model, waveforms, indices, starts, rng, device)
        masked = loss = functional.cross_entropy(logits[mask], labels[mask])
        weight = max(0.0, 1.0 - update / self.unmasked_updates) if self.unmasked_updates else 0.0
        if weight > 0:
            loss = masked + weight * functional.cross_entropy(logits[~mask], labels[~mask])
        accuracy = (logits.detach()[mask].argmax(-1) == labels[mask]).float().mean()
        return loss, {"masked_loss": masked.item(), "masked_accuracy": float(accuracy)}

    def evaluate(
        self, model: HubertForClusters, device: str, max_crop_s: float, limit: int | None
    ) -> dict[str, float]:
        """Held-out speakers, whole utterances up to `max_crop_s`, one fixed mask each.

        Args:
            model: From `build`.
            device: Where it is.
            max_crop_s: Longest stretch of an utterance.
            limit: Utterances to use (a fixed, seeded choice); None for all.

        Returns:
            ``masked_loss`` (nats), ``masked_accuracy``, ``majority_rate`` (accuracy of always
            answering the training data's most common cluster), ``frames``, ``utterances``.
        """
        chosen = np.flatnonzero(self.data.held_out)
        chosen = np.random.default_rng(self.seed).permutation(chosen)[:limit]
        total = np.zeros(4)
        model.eval()
        with torch.no_grad():
            for index in chosen:
                wave = self.data.waveform(int(index), 0, int(max_crop_s * SAMPLE_RATE))
                wave = wave[: self.data.lengths()[index]]
                rng = np.random.default_rng(
                    stable_seed("held-out", self.seed, self.data.ids[index])
                )
                logits, labels, mask = self._predict(
                    model, wave[None], np.array([index]), np.array([0]), rng, device
                )
                logits, labels = logits[mask], labels[mask]
                right = (logits.argmax(-1) == labels).sum()
                loss = functional.cross_entropy(logits, labels, reduction="sum")
                majority = (labels == self.majority).sum()
                total += [float(loss), float(right), float(majority), len(labels)]
        model.train()
        loss_sum, hits, common, frames = total.tolist()
        return {
            "masked_loss": loss_sum / frames,
            "masked_accuracy": hits / frames,
            "majority_rate": common / frames,
            "frames": int(frames),
            "utterances": len(chosen),
        }

    def _predict(
        self,
        model: HubertForClusters,
        waveforms: NDArray,
        indices: NDArray,
        starts: NDArray,
        rng: np.random.Generator,
        device: str,
    ) -> tuple[Tensor, Tensor, Tensor]:
        frames = (waveforms.shape[1] - 400) // HOP + 1
        mask = torch.from_numpy(span_mask(len(waveforms), frames, rng)).to(device)
        labels = np.stack(
            [self.labels[i][s : s + frames] for i, s in zip(indices, starts, strict=True)]
        )
        waves = torch.from_numpy(waveforms).to(device)
        waves = (waves - waves.mean(-1, keepdim=True)) / torch.sqrt(
            waves.var(-1, keepdim=True, correction=0) + 1e-7
        )
        return model(waves, mask), torch.from_numpy(labels).to(device), mask

    def export(self, model: HubertForClusters, folder: Path) -> None:
        """Write what `transformers.HubertModel.from_pretrained` reads, and the head beside it.

        Weights are float16 safetensors; ``head.safetensors`` holds the projection, the cluster
        embeddings and the k-means centroids.
        """
        from safetensors.torch import save_file

        encoder = model.encoder
        half = {k: v.detach().half().cpu() for k, v in encoder.state_dict().items()}
        encoder.config.dtype = torch.float16
        encoder.save_pretrained(folder, state_dict=half)
        head = {
            "project.weight": model.project.weight.detach().cpu(),
            "project.bias": model.project.bias.detach().cpu(),
            "codewords": model.codewords.detach().cpu(),
            "centroids": torch.from_numpy(self.centroids),
        }
        save_file(head, folder / "head.safetensors")
        (folder / "preprocessor_config.json").write_text(
            '{"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, '
            f'"sampling_rate": {SAMPLE_RATE}, "padding_value": 0.0, "do_normalize": true}}\n'
        )
