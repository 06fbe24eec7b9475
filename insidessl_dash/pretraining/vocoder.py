"""A Fourier vocoder, trained to give back speech from its mel; adversarially once that holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from insidessl_dash.core.files import write_json
from insidessl_dash.core.progress import ProgressHook
from insidessl_dash.core.types import SAMPLE_RATE, stable_hash
from insidessl_dash.generation import metrics
from insidessl_dash.generation.discriminators import (
    Discriminators,
    DiscriminatorSize,
    discriminator_loss,
    feature_distance,
    generator_loss,
)
from insidessl_dash.generation.fourier import FourierSize, FourierVocoder
from insidessl_dash.generation.losses import mel_l1, multi_resolution_stft
from insidessl_dash.generation.mel import CONVENTION, log_mel
from insidessl_dash.generation.vocoder import GriffinLim
from insidessl_dash.pretraining.data import SpeechData
from insidessl_dash.pretraining.recipe import Batch, Group, Recipe, RunSettings

SIZE = FourierSize()
CRITICS = DiscriminatorSize()

_HELD_OUT_UTTERANCES = 60
_HELD_OUT_SECONDS = 4.0


class VocoderSettings(RunSettings):
    """Crops of a second. The weights are those of the losses named.

    Attributes:
        mel_weight: Of the mel distance in natural units: 45 in HiFi-GAN (2010.05646) and Vocos.
        stft_weight: Of both STFT terms: 2.5 in UnivNet (2106.07889).
        feature_weight: Of the relative distance of the discriminators' layers; the adversarial
            loss itself has weight 1.
        adversarial_from: Updates before the discriminators begin.
        critic_rate: Their learning rate as a multiple of the vocoder's.
        gain_db: Each crop is made louder or quieter by up to so much, within full scale.
    """

    updates: int = Field(8000, ge=1)
    batch_seconds: float = Field(8.0, ge=1.0)
    max_crop_s: float = Field(1.0, ge=0.5)
    learning_rate: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.8, 0.99)
    warmup: int = Field(200, ge=1)
    clip_norm: float = Field(100.0, gt=0)
    mel_weight: float = Field(45.0, ge=0)
    stft_weight: float = Field(2.5, ge=0)
    feature_weight: float = Field(2.0, ge=0)
    adversarial_from: int = Field(4000, ge=0)
    critic_rate: float = Field(0.5, gt=0)
    gain_db: float = Field(6.0, ge=0)
    precision: Literal["float32", "bfloat16"] = "bfloat16"


class VocoderAndCritics(nn.Module):
    """Both players."""

    def __init__(self) -> None:
        super().__init__()
        self.vocoder = FourierVocoder(SIZE)
        self.critics = Discriminators(CRITICS)


class VocoderRecipe(Recipe):
    """The objective of ``fourier-vocoder``."""

    name = "fourier-vocoder"
    objective = (
        "copy synthesis: a waveform from its log-mel, by mel and multi-resolution STFT distance, "
        "later also against discriminators of spectrograms"
    )
    not_for: ClassVar[str] = (
        "Not for high-quality synthesis: a small vocoder of a few hours of 16 kHz speech, made so "
        "that what decoders produce can be heard."
    )
    Settings = VocoderSettings

    metric: ClassVar[str] = "stoi"
    metric_title: ClassVar[str] = "STOI of copy synthesis"
    chance: ClassVar[str] = "griffin_lim_stoi"
    chance_is: ClassVar[str] = "Griffin-Lim on the same utterances"
    higher_is_better: ClassVar[bool] = True

    def __init__(
        self, data: SpeechData, settings: Any, cache: Path, progress: ProgressHook
    ) -> None:
        super().__init__(data, settings, cache, progress)
        chosen = np.random.default_rng(self.seed).permutation(np.flatnonzero(data.held_out))
        self.measured = sorted(chosen[:_HELD_OUT_UTTERANCES].tolist())
        self.cache = cache

    def build(self) -> VocoderAndCritics:
        """See `Recipe.build`."""
        torch.manual_seed(self.seed)
        return VocoderAndCritics()

    def groups(self, model: VocoderAndCritics) -> tuple[Group, ...]:
        """The two players: neither one's gradients shorten the other's step."""
        return Group(model.vocoder), Group(model.critics, self.settings.critic_rate)

    def loss(
        self, model: VocoderAndCritics, batch: Batch, update: int, device: str
    ) -> tuple[Tensor, dict[str, float]]:
        """The sum of both players' losses; each one's gradients reach its own weights only."""
        target = torch.from_numpy(self._with_gain(batch[0], update)).to(device)
        wanted = log_mel(target)
        made = model.vocoder(wanted)[:, : target.shape[1]]
        mel = mel_l1(log_mel(made), wanted)
        convergence, distance = multi_resolution_stft(made, target)
        found = {"mel_l1": mel, "spectral_convergence": convergence, "log_stft": distance}
        loss = (
            self.settings.mel_weight * log(10) * mel  # natural units
            + self.settings.stft_weight * (convergence + distance)
        )
        if update > self.settings.adversarial_from:
            recorded, answered = _halves(model.critics(torch.cat([target, made.detach()])))
            fixed = {name: p.detach() for name, p in model.critics.named_parameters()}
            judged = functional_call(model.critics, fixed, (made,))
            features = feature_distance(recorded, judged)
            fooling = generator_loss(judged)
            telling = discriminator_loss(recorded, answered)
            loss = loss + self.settings.feature_weight * features + fooling + telling
            found |= {"feature_distance": features, "fooling": fooling, "telling": telling}
        return loss, {name: float(value.detach()) for name, value in found.items()}

    def evaluate(
        self, model: VocoderAndCritics, device: str, max_crop_s: float, limit: int | None
    ) -> dict[str, float]:
        """Mean mel distance and STOI of copy synthesis, beside those of Griffin-Lim.

        Always of the same utterances, at most 60, the first 4 s of each.

        Args:
            model: From `build`.
            device: Where it is.
            max_crop_s: Not used: the crops of training are too short for STOI.
            limit: Not used.
        """
        model.eval()
        with torch.no_grad():
            found = self._copy_synthesis(lambda mel: model.vocoder(mel.to(device)).cpu())
        model.train()
        floor = self._griffin_lim()
        return {
            **found,
            **{f"griffin_lim_{name}": value for name, value in floor.items()},
            "utterances": len(self.measured),
        }

    def export(self, model: VocoderAndCritics, folder: Path) -> None:
        """Write what `load_vocoder` reads; without the discriminators."""
        model.vocoder.save(folder)

    def _with_gain(self, waveforms: np.ndarray, update: int) -> np.ndarray:
        shape, most = (len(waveforms), 1), self.settings.gain_db
        gain = 10 ** (self.rng("gain", update).uniform(-most, most, shape) / 20)
        peak = np.abs(waveforms).max(axis=1, keepdims=True)
        return waveforms * np.minimum(gain, 1 / np.maximum(peak, 1e-6)).astype(np.float32)

    def _copy_synthesis(self, vocoder: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Means over the measured utterances; without what none of them has."""
        values: dict[str, list[float]] = {"mel_l1": [], "stoi": []}
        for index in self.measured:
            longest = min(int(_HELD_OUT_SECONDS * SAMPLE_RATE), int(self.data.lengths()[index]))
            original = self.data.waveform(index, 0, longest)
            made = vocoder(log_mel(torch.from_numpy(original)[None]))[0].numpy()
            for name, measure in (("mel_l1", metrics.mel_l1), ("stoi", metrics.stoi)):
                value = measure(original, made).value
                if value is not None:
                    values[name].append(value)
        return {name: float(np.mean(found)) for name, found in values.items() if found}

    def _griffin_lim(self) -> dict[str, float]:
        """Its scores, computed once for these utterances."""
        vocoder = GriffinLim()
        what = [self.data.digest, self.measured, _HELD_OUT_SECONDS, CONVENTION]
        key = stable_hash([*what, vocoder.iterations, vocoder.seed])[:16]
        path = self.cache / f"griffin-lim-{key}.json"
        if not path.exists():
            write_json(path, self._copy_synthesis(vocoder))
        return json.loads(path.read_text())


def _halves(layers: list[list[Tensor]]) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
    """The first and the second half of the rows of each."""
    first, second = ([[x.chunk(2)[i] for x in member] for member in layers] for i in (0, 1))
    return first, second
