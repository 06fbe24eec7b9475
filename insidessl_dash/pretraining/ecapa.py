"""ECAPA-TDNN in small, trained to tell the speakers of its data apart, with their labels.

The head is additive angular margin softmax (Deng et al., 1801.07698): cosine to one learned vector
a speaker, the angle to the right one enlarged by a margin, times a scale. The encoder and its
front end are those that read speechbrain's public weights (`encoders.ecapa`).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from insidessl_dash.analyses.verification import draw_trials, equal_error_rate
from insidessl_dash.core.errors import TrainingError
from insidessl_dash.core.files import write_json
from insidessl_dash.core.progress import ProgressHook
from insidessl_dash.core.types import Utterance, stable_seed
from insidessl_dash.encoders.ecapa import MODEL_TYPE
from insidessl_dash.encoders.ecapa_network import SHORTEST, EcapaConfig, EcapaTdnn, SpeakerMel
from insidessl_dash.pretraining.data import SpeechData
from insidessl_dash.pretraining.recipe import Batch, Recipe, RunSettings, save_head

NANO = EcapaConfig(
    channels=192, mfa_channels=576, attention_channels=64, se_channels=64, embedding=192
)
"""The published network with about a fifth of its channels: 1.1 M parameters."""


class SpeakerSettings(RunSettings):
    """Short crops, and many in a batch: batch normalisation and speakers both ask for it."""

    updates: int = Field(4000, ge=1)
    batch_seconds: float = Field(60.0, ge=1.0)
    max_crop_s: float = Field(3.0, ge=0.5)
    warmup: int = Field(200, ge=1)
    precision: Literal["float32", "bfloat16"] = "float32"


class EcapaSettings(SpeakerSettings):
    """Of the margin softmax."""

    margin: float = Field(0.2, ge=0, lt=math.pi)
    scale: float = Field(30.0, gt=0)


class AngularMarginHead(nn.Module):
    """Logits of additive angular margin softmax.

    For the right speaker cos(a + margin) in place of cos(a); past a = pi - margin, where that
    would rise again, cos(a) - margin sin(margin), which goes on falling.

    Args:
        inputs: Size of an embedding.
        speakers: How many there are.
        margin: In rad.
        scale: Factor of all cosines.
    """

    def __init__(self, inputs: int, speakers: int, margin: float, scale: float) -> None:
        super().__init__()
        self.margin, self.scale = margin, scale
        self.weight = nn.Parameter(torch.empty(speakers, inputs))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and plain cosines, float32 (B, speakers), of (B, D) and int64 (B,)."""
        cosines = functional.linear(
            functional.normalize(embeddings.float()), functional.normalize(self.weight.float())
        )
        right = cosines.gather(1, labels[:, None])
        sine = (1.0 - right.square()).clamp(min=1e-9).sqrt()
        moved = right * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond = right - self.margin * math.sin(self.margin)
        moved = torch.where(right > -math.cos(self.margin), moved, beyond)
        return self.scale * cosines.scatter(1, labels[:, None], moved), cosines


class EncoderWithMargin(nn.Module):
    """The encoder, and one vector a training speaker."""

    def __init__(self, speakers: int, margin: float, scale: float) -> None:
        super().__init__()
        self.encoder = EcapaTdnn(NANO)
        self.head = AngularMarginHead(NANO.embedding, speakers, margin, scale)


class SpeakerRecipe(Recipe):
    """What both speaker models share: the score on held-out speakers, and the form that ships."""

    metric: ClassVar[str] = "eer"
    metric_title: ClassVar[str] = "equal error rate of pairs of utterances of held-out speakers"
    chance: ClassVar[str] = "chance"
    chance_is: ClassVar[str] = "guessing"
    higher_is_better: ClassVar[bool] = False
    least_batch: ClassVar[int] = 2
    """Batch normalisation of embeddings has nothing to compare one with."""

    def __init__(
        self, data: SpeechData, settings: Any, cache: Path, progress: ProgressHook
    ) -> None:
        super().__init__(data, settings, cache, progress)
        self.mel = SpeakerMel()
        held_out = [s for s, out in zip(data.speakers, data.held_out, strict=True) if out]
        if sum(held_out.count(speaker) > 1 for speaker in set(held_out)) < 2:
            raise TrainingError(
                "Speaker models are measured on pairs of utterances of held-out speakers, which "
                "takes two held-out speakers with two utterances each: give more speech, or a "
                "larger held-out fraction."
            )

    @abstractmethod
    def embedder(self, model: Any) -> EcapaTdnn:
        """The encoder that is measured and ships."""

    def features(self, waveforms: Tensor) -> Tensor:
        """Log-mel bands of (B, n), float32 (B, T, 80): decibels, so never in half precision."""
        with torch.autocast(waveforms.device.type, enabled=False):
            return self.mel.to(waveforms.device)(waveforms)

    def evaluate(
        self, model: Any, device: str, max_crop_s: float, limit: int | None
    ) -> dict[str, float]:
        """The equal error rate of cosines between embeddings, on a balanced, seeded trial list.

        Args:
            model: From `build`.
            device: Where it is.
            max_crop_s: Not used: an embedding is of a whole utterance.
            limit: Utterances to use, the same number of every speaker as far as there are; None
                for all.
        """
        chosen = self._of_every_speaker(limit)
        network = self.embedder(model)
        model.eval()
        with torch.no_grad():
            found = []
            for index in chosen:
                mel = self.features(torch.from_numpy(self.data.waveform(index))[None].to(device))
                found.append(functional.normalize(network(mel)[-1][0, 0], dim=0).cpu().numpy())
        model.train()
        embeddings = np.stack(found).astype(np.float64)
        trials = draw_trials(
            [
                Utterance(id=self.data.ids[i], path=Path(), speaker=self.data.speakers[i])
                for i in chosen
            ],
            200,
            self.seed,
        )
        scores = np.einsum("td,td->t", embeddings[trials.first], embeddings[trials.second])
        return {
            "eer": equal_error_rate(scores, trials.same),
            "same": float(scores[trials.same].mean()),
            "different": float(scores[~trials.same].mean()),
            "chance": 0.5,
            "trials": len(trials.same),
            "utterances": len(chosen),
        }

    def export(self, model: Any, folder: Path) -> None:
        """Write what `load_encoder` reads: convolutions in float16, the rest in float32.

        Its config.json says only which architecture it is: the widths are those of the tensors.
        """
        tensors = {
            name: (value.half() if name.endswith("conv.weight") else value).cpu().contiguous()
            for name, value in self.embedder(model).state_dict().items()
        }
        save_file(tensors, folder / "model.safetensors")
        write_json(folder / "config.json", {"model_type": MODEL_TYPE})

    def _of_every_speaker(self, limit: int | None) -> list[int]:
        """Held-out utterances: the first of each speaker, then the second of each, and so on."""
        by_speaker: dict[str, list[int]] = {}
        for index in np.flatnonzero(
            self.data.held_out & (self.data.lengths() >= SHORTEST)
        ).tolist():
            by_speaker.setdefault(self.data.speakers[index], []).append(index)

        def place(index: int) -> int:
            return stable_seed("held-out", self.seed, self.data.ids[index])

        ranked = [
            (rank, place(index), index)
            for indices in by_speaker.values()
            if len(indices) > 1
            for rank, index in enumerate(sorted(indices, key=place))
        ]
        return [index for _, _, index in sorted(ranked)][:limit]


class EcapaRecipe(SpeakerRecipe):
    """The objective of ``ecapa-nano``."""

    name = "ecapa-nano"
    objective = (
        "supervised: classification of the training speakers with an additive angular margin "
        "(margin 0.2, scale 30)"
    )
    Settings = EcapaSettings

    def __init__(
        self, data: SpeechData, settings: Any, cache: Path, progress: ProgressHook
    ) -> None:
        super().__init__(data, settings, cache, progress)
        pairs = zip(data.speakers, data.held_out, strict=True)
        place = {s: i for i, s in enumerate(sorted({s for s, out in pairs if not out}))}
        self.count = len(place)
        self.labels = np.array([place.get(speaker, -1) for speaker in data.speakers])

    def build(self) -> EncoderWithMargin:
        """See `Recipe.build`."""
        torch.manual_seed(self.seed)
        return EncoderWithMargin(self.count, self.settings.margin, self.settings.scale)

    def embedder(self, model: EncoderWithMargin) -> EcapaTdnn:
        """See `SpeakerRecipe.embedder`."""
        return model.encoder

    def loss(
        self, model: EncoderWithMargin, batch: Batch, update: int, device: str
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of the margin softmax; the accuracy is that of the plain cosines."""
        waveforms, indices, _ = batch
        labels = torch.from_numpy(self.labels[indices]).to(device)
        embeddings = model.encoder(self.features(torch.from_numpy(waveforms).to(device)))[-1][:, 0]
        logits, cosines = model.head(embeddings, labels)
        accuracy = (cosines.detach().argmax(1) == labels).float().mean()
        return functional.cross_entropy(logits, labels), {"accuracy": float(accuracy)}

    def export(self, model: EncoderWithMargin, folder: Path) -> None:
        """And the speakers' vectors as ``head.safetensors``."""
        super().export(model, folder)
        save_head({"speakers": model.head.weight}, folder)
