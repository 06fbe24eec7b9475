"""What features hand to analyses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class LayerBatch:
    """Layers of equal-length utterances, and of their perturbed views.

    Attributes:
        ids: Utterance ids, length B.
        groups: For each utterance the comparison group the plan put it in, as "GROUP/SIZE": all
            SIZE utterances with this string are compared with each other, e.g. "3/64".
        layers: One tensor (B, T_l, D_l) a layer, clean audio.
        views: Perturbation name -> the same for the perturbed audio (T_l may differ).
    """

    ids: Sequence[str]
    groups: Sequence[str]
    layers: Sequence[Tensor]
    views: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)
