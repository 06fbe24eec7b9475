"""WavLM: HuBERT's task, heard through other speakers and noise (Chen et al., 2110.13900)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede transformers
from insidessl_dash.pretraining.clusters import ClusterPredictor
from insidessl_dash.pretraining.hubert import SecondIteration, SecondSettings
from insidessl_dash.pretraining.recipe import NANO

from transformers import WavLMConfig, WavLMModel  # isort: skip


class WavLMSettings(SecondSettings):
    """How often and how loud something is mixed in.

    Attributes:
        mix_probability: Of an utterance to have anything mixed in.
        noise_probability: Of that being noise rather than another utterance.
        speech_db, noise_db: Range of the energy ratio, mixed in over own, in dB.
    """

    mix_probability: float = Field(0.2, ge=0, le=1)
    noise_probability: float = Field(0.1, ge=0, le=1)
    speech_db: tuple[float, float] = (-5.0, 5.0)
    noise_db: tuple[float, float] = (-5.0, 20.0)


def mix(
    waveforms: NDArray[np.float32], rng: np.random.Generator, settings: WavLMSettings
) -> NDArray[np.float32]:
    """Mix a stretch of another row, or noise, into some rows.

    A stretch is at most half as long as the row, so that the row's own speaker is the main one,
    and starts anywhere in both. Noise is Gaussian with a spectrum between white and 1/f (WavLM
    takes recorded noise, which the corpora here lack), mixed in at minus the drawn ratio.

    Args:
        waveforms: float32, shape (B, n).
        rng: Source of randomness.
        settings: How often and how loud.

    Returns:
        float32, shape (B, n); rows that nothing was mixed into are unchanged.
    """
    mixed = waveforms.copy()
    rows, samples = waveforms.shape
    for row in range(rows):
        if rng.random() >= settings.mix_probability:
            continue
        length = int(rng.integers(1, samples // 2 + 1))
        begin = int(rng.integers(0, samples - length + 1))
        if rows == 1 or rng.random() < settings.noise_probability:
            other = _noise(length, rng)
            decibels = -rng.uniform(*settings.noise_db)
        else:
            source = (row + int(rng.integers(1, rows))) % rows
            start = int(rng.integers(0, samples - length + 1))
            other = waveforms[source, start : start + length]
            decibels = rng.uniform(*settings.speech_db)
        own, added = float(np.mean(waveforms[row] ** 2)), float(np.mean(other**2))
        if own > 0 and added > 0:
            scale = np.float32(np.sqrt(own / added * 10 ** (decibels / 10)))
            mixed[row, begin : begin + length] += scale * other
    return mixed


def _noise(length: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Gaussian noise whose power falls as 1/f to a power between 0 and 1; float32 (length,)."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.maximum(np.arange(len(spectrum)), 1)
    coloured = np.fft.irfft(spectrum * frequency ** (-rng.uniform(0, 0.5)), n=length)
    return coloured.astype(np.float32)


class WavLMRecipe(SecondIteration):
    """The objective of ``wavlm-nano``: the targets are those of the clean utterance."""

    name = "wavlm-nano"
    objective = (
        "masked prediction of k-means clusters of a middle layer of hubert-nano, with other "
        "utterances and noise mixed into the input and a gated relative position bias (WavLM); at "
        "the start unmasked frames count too, with a weight that falls linearly to 0"
    )
    Settings = WavLMSettings

    def build(self) -> ClusterPredictor:
        """See `Recipe.build`."""
        torch.manual_seed(self.seed)
        encoder = WavLMModel._from_config(WavLMConfig(**NANO), attn_implementation="eager")
        return ClusterPredictor(encoder, self.settings.clusters)

    def inputs(self, waveforms: NDArray[np.float32], update: int) -> NDArray[np.float32]:
        """With other speech and noise mixed in."""
        return mix(waveforms, self.rng("mix", update), self.settings)
