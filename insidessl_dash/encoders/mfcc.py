"""The MFCC baseline: the features that HuBERT's first targets are clusters of."""

from __future__ import annotations

import torch
from torch import Tensor

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede torchaudio
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.types import SAMPLE_RATE
from insidessl_dash.encoders.inputs import check_waveforms

from torchaudio.compliance import kaldi  # isort: skip
from torchaudio.functional import compute_deltas  # isort: skip

WINDOW = 400
HOP = 160
COEFFICIENTS = 13

CARD = ModelCard(
    name="mfcc",
    title="MFCC (39-d)",
    family="mfcc",
    size="baseline",
    kind="mfcc",
    objective="none: 13 cepstra with first and second differences",
    data="none",
    not_for="A baseline with nothing learned: one layer, so no curve over depth.",
)
"""Not in the registry: a baseline of probes, not a curve of the dashboard."""


class MfccEncoder:
    """13 MFCC with first and second differences, 100 frames a second.

    Kaldi's definition: 25 ms windows every 10 ms without padding, so frame j covers samples 160 j
    to 160 j + 400, as those of the log-mel baseline do; 23 mel bands; no energy coefficient.
    Differences are regressions over five frames, with the edges repeated.
    """

    def __init__(self, card: ModelCard, device: str) -> None:
        self.card = card
        self.device = device
        self.layers: tuple[str, ...] = ("mfcc",)
        self.dims: tuple[int, ...] = (3 * COEFFICIENTS,)
        self.frame_rates_hz: tuple[float, ...] = (SAMPLE_RATE / HOP,)
        self.weights_sha256 = ""
        self.revision = ""
        self.layer_policy: dict[str, str | bool | int | float] = {
            "coefficients": COEFFICIENTS,
            "differences": 2,
            "window": WINDOW,
            "hop": HOP,
            "padding": "none",
        }

    def __call__(self, waveforms: Tensor) -> list[Tensor]:
        """Cepstra and their differences, [float32 (B, (n - 400) // 160 + 1, 39)].

        Args:
            waveforms: float32 (B, n), 16 kHz.

        Raises:
            ModelError: Shorter than one window.
        """
        check_waveforms(waveforms, WINDOW, self.card.name)
        with torch.no_grad():
            return [mfcc39(waveforms.to(self.device, torch.float32))]


def mfcc39(waveforms: Tensor) -> Tensor:
    """The features of `MfccEncoder`: float32 (B, n) to (B, (n - 400) // 160 + 1, 39)."""
    cepstra = torch.stack(
        [
            kaldi.mfcc(wave[None], sample_frequency=SAMPLE_RATE, use_energy=False)
            for wave in waveforms
        ]
    ).mT
    first = compute_deltas(cepstra)
    return torch.cat([cepstra, first, compute_deltas(first)], dim=1).mT.contiguous()
