"""What goes into an encoder: checked, and normalised where the model wants it."""

from __future__ import annotations

import torch
from torch import Tensor

from insidessl_dash.core.errors import ModelError
from insidessl_dash.core.types import SAMPLE_RATE


def check_waveforms(waveforms: Tensor, shortest: int, name: str) -> None:
    """Refuse what gives no frame.

    Args:
        waveforms: Should be (B, n).
        shortest: Fewest samples that give one frame.
        name: Of the model, for the message.

    Raises:
        ModelError: Not two-dimensional, or too short.
    """
    if waveforms.dim() != 2:
        raise ModelError(
            f"{name} takes waveforms of shape (batch, samples), not {tuple(waveforms.shape)}: "
            "use waveform[None] for a single one."
        )
    samples = waveforms.shape[-1]
    if samples < shortest:
        raise ModelError(
            f"{samples} samples are too short for {name}: it needs at least {shortest} "
            f"({1000 * shortest / SAMPLE_RATE:g} ms at 16 kHz)."
        )


def zero_mean_unit_variance(waveforms: Tensor) -> Tensor:
    """(x - mean) / sqrt(var + 1e-7) a row, var with n in the denominator.

    The formula of `Wav2Vec2FeatureExtractor`. Rows are true audio throughout, so no mask.

    >>> zero_mean_unit_variance(torch.tensor([[1.0, 3.0], [5.0, 5.0]])).round(decimals=3)
    tensor([[-1.,  1.],
            [ 0.,  0.]])
    """
    mean = waveforms.mean(dim=-1, keepdim=True)
    variance = waveforms.var(dim=-1, keepdim=True, correction=0)
    return (waveforms - mean) / torch.sqrt(variance + 1e-7)
