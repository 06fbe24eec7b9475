"""MR-HuBERT: HuBERT's task at two frame rates (Shi et al., 2310.02720), and its two ablations."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from insidessl_dash.encoders.mr_hubert import MRHubertConfig, MRHubertModel
from insidessl_dash.pretraining.clusters import ClusterHead, ClusterPredictor
from insidessl_dash.pretraining.hubert import SecondIteration, SecondSettings
from insidessl_dash.pretraining.recipe import NANO


class MultiResolutionPredictor(ClusterPredictor):
    """An MR-HuBERT with a head for each rate that has a loss."""

    def __init__(self, encoder: MRHubertModel, clusters: int) -> None:
        super().__init__(encoder, clusters)
        width = encoder.config.hidden_size
        self.low_heads = nn.ModuleList(
            [ClusterHead(width, clusters) for _ in encoder.config.low_steps]
        )

    def forward(self, waveforms: Tensor, mask: Tensor) -> Tensor:
        """Cluster logits at the high rate; see `ClusterPredictor.forward`."""
        return self.head(self.encoder(waveforms, mask).high)

    def every_rate(self, waveforms: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits at the high rate, and at each lower one."""
        output = self.encoder(waveforms, mask)
        low = [head(hidden) for head, hidden in zip(self.low_heads, output.low, strict=True)]
        return self.head(output.high), low


class MRHubertSettings(SecondSettings):
    """A gentler start than HuBERT's.

    At HuBERT's rate of 1e-3 the middle stage collapses: what it adds to its own input becomes the
    same for every frame, the loss at 40 ms reads past it, and nothing brings it back.
    """

    learning_rate: float = Field(4e-4, gt=0)
    warmup: int = Field(800, ge=1, description="At most a tenth of the updates is used.")


class MRHubertRecipe(SecondIteration):
    """The objective of ``mr-hubert-nano``: 4-4-4 blocks at 20, 40 and 20 ms.

    At the low rate, targets and mask are every second of the high rate's; both losses weigh the
    same, as in the released recipe. Accuracy is that of the high rate.
    """

    Settings = MRHubertSettings
    name = "mr-hubert-nano"
    objective = (
        "masked prediction of k-means clusters of a middle layer of hubert-nano, at 20 ms and, "
        "from the middle blocks, at 40 ms (MR-HuBERT); at the start unmasked frames count too, "
        "with a weight that falls linearly to 0"
    )
    shape: ClassVar[dict[str, Any]] = {"blocks": (4, 4, 4), "rates_ms": (20, 40, 20)}

    def build(self) -> MultiResolutionPredictor:
        """See `Recipe.build`."""
        torch.manual_seed(self.seed)
        config = MRHubertConfig(**{**NANO, **self.shape})
        encoder = MRHubertModel._from_config(config, attn_implementation="eager")
        return MultiResolutionPredictor(encoder, self.settings.clusters)

    def losses(
        self, model: Any, waves: Tensor, mask: Tensor, labels: Tensor, update: int
    ) -> tuple[Tensor, dict[str, float]]:
        """The sum over rates, and the metrics of the high one."""
        high, low = model.every_rate(waves, mask)
        loss, masked = self.cross_entropy(high, labels, mask, update)
        for logits, step in zip(low, model.encoder.config.low_steps, strict=True):
            loss = loss + self.cross_entropy(logits, labels[:, ::step], mask[:, ::step], update)[0]
        accuracy = (high.detach()[mask].argmax(-1) == labels[mask]).float().mean()
        return loss, {"masked_loss": masked.item(), "masked_accuracy": float(accuracy)}


class NoLowLossRecipe(MRHubertRecipe):
    """Ablation B4-a: no loss at the low rate."""

    name = "mr-hubert-nano-b4a"
    objective = "as mr-hubert-nano, without the loss at 40 ms (ablation B4-a)"
    shape: ClassVar[dict[str, Any]] = {**MRHubertRecipe.shape, "low_resolution_loss": False}


class OneRateRecipe(MRHubertRecipe):
    """Ablation B5-a: every stage at 20 ms, the samplers kept, both losses kept."""

    name = "mr-hubert-nano-b5a"
    objective = "as mr-hubert-nano, with every stage at 20 ms (ablation B5-a)"
    shape: ClassVar[dict[str, Any]] = {**MRHubertRecipe.shape, "rates_ms": (20, 20, 20)}
