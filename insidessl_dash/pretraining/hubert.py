"""HuBERT: masked prediction of clusters of MFCC, then of the model's own layers (2106.07447)."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import Field

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede transformers
from insidessl_dash.core.progress import ProgressHook
from insidessl_dash.encoders.loading import load_encoder
from insidessl_dash.pretraining.clusters import ClusterPredictor, ClusterRecipe, ClusterSettings
from insidessl_dash.pretraining.recipe import NANO
from insidessl_dash.pretraining.targets import Targets, layer_targets, mfcc_targets

from transformers import HubertConfig, HubertModel  # isort: skip


def nano_config() -> HubertConfig:
    """Nano, post-LN, group norm in the first convolution."""
    return HubertConfig(**NANO)


class HubertRecipe(ClusterRecipe):
    """The objective of ``hubert-nano``: iteration 1, clusters of MFCC."""

    name = "hubert-nano"
    objective = (
        "masked prediction of k-means clusters of 39-d MFCC (HuBERT iteration 1); at the start "
        "unmasked frames count too, with a weight that falls linearly to 0"
    )

    def targets(self, cache: Path, progress: ProgressHook) -> Targets:
        """Clusters of MFCC."""
        return mfcc_targets(self.data, self.settings.clusters, self.seed, cache, progress)

    def build(self) -> ClusterPredictor:
        """See `Recipe.build`."""
        torch.manual_seed(self.seed)
        encoder = HubertModel._from_config(nano_config(), attn_implementation="eager")
        return ClusterPredictor(encoder, self.settings.clusters)


class SecondSettings(ClusterSettings):
    """Which layer of which earlier model the targets are clusters of.

    Layer 8 of ``hubert-nano`` has the highest phone-normalised mutual information of its layers 4
    to 9 (0.3667 with pauses, k = 200, training speakers; the others 0.3646 to 0.3658), as
    ``insidessl-dash probe clusters`` computes it.
    """

    clusters: int = Field(200, ge=2, le=65_000)
    teacher: str = "hubert-nano"
    teacher_layer: int = Field(8, ge=0)


class SecondIteration(ClusterRecipe):
    """Clusters of a layer of an earlier model: what iteration 2, WavLM and MR-HuBERT predict."""

    Settings = SecondSettings

    def depends_on(self) -> dict[str, str]:
        """See `Recipe.depends_on`."""
        return {"teacher_weights_sha256": self.teacher.weights_sha256}

    def targets(self, cache: Path, progress: ProgressHook) -> Targets:
        """Clusters of the teacher's layer."""
        given = self.settings
        self.teacher = load_encoder(given.teacher)
        return layer_targets(
            self.data,
            self.teacher,
            given.teacher_layer,
            given.clusters,
            self.seed,
            cache,
            progress,
        )


class HubertIteration2Recipe(SecondIteration):
    """The objective of ``hubert-nano-it2``."""

    name = "hubert-nano-it2"
    objective = (
        "masked prediction of k-means clusters of a middle layer of hubert-nano (HuBERT iteration "
        "2); at the start unmasked frames count too, with a weight that falls linearly to 0"
    )
    build = HubertRecipe.build
