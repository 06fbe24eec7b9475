"""DINO on an ECAPA-TDNN: speaker embeddings without speaker labels.

Caron et al. (2104.14294), with the crops and temperatures of the public speaker recipe (wespeaker,
v3/dino): of each utterance two long and four short crops. A student sees all six, a teacher, the
moving average of the student, the long ones. The student learns to answer each crop as the teacher
answers another one of the same utterance. What keeps both from answering everything alike: the
teacher's answers are centred by their running mean, and sharpened by a low temperature.

One utterance has one speaker, so the answer that crops share is mostly who speaks. White noise at
a drawn level is added to each crop, lest it be the recording's background.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from insidessl_dash.core.types import SAMPLE_RATE, stable_seed
from insidessl_dash.encoders.ecapa_network import EcapaTdnn
from insidessl_dash.pretraining.ecapa import NANO, SpeakerRecipe, SpeakerSettings
from insidessl_dash.pretraining.recipe import Batch, save_head


class DinoSettings(SpeakerSettings):
    """Crops, head and schedules; `momentum` rises to 1 as a cosine over the run.

    The public recipe has 65,536 prototypes for two million utterances; here are thousands.
    A running mean over few answers is noise, so batches are four times those of `ecapa-nano`.
    """

    updates: int = Field(2500, ge=1)
    batch_seconds: float = Field(240.0, ge=1.0)
    max_crop_s: float = Field(8.0, ge=0.5)
    long_s: float = Field(3.0, gt=0)
    short_s: float = Field(2.0, gt=0)
    long_crops: int = Field(2, ge=2)
    short_crops: int = Field(4, ge=0)
    prototypes: int = Field(2048, ge=2)
    student_temperature: float = Field(0.1, gt=0)
    teacher_temperature_start: float = Field(0.04, gt=0)
    teacher_temperature_end: float = Field(0.07, gt=0)
    temperature_updates: int = Field(600, ge=1)
    momentum: float = Field(0.996, ge=0, lt=1)
    centre_momentum: float = Field(0.9, ge=0, lt=1)
    noise_snr_db: tuple[float, float] = (10.0, 40.0)


class DinoHead(nn.Module):
    """Three layers to a short unit vector, and its cosine to one unit vector a prototype."""

    def __init__(self, inputs: int, prototypes: int, hidden: int = 512, short: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, short),
        )
        self.prototypes = nn.Parameter(torch.randn(prototypes, short))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Of (B, D), float32 (B, prototypes) from -1 to 1."""
        short = functional.normalize(self.layers(embeddings).float())
        return functional.linear(short, functional.normalize(self.prototypes.float()))


class Branch(nn.Module):
    """An encoder with its head."""

    def __init__(self, prototypes: int) -> None:
        super().__init__()
        self.encoder = EcapaTdnn(NANO)
        self.head = DinoHead(NANO.embedding, prototypes)

    def forward(self, mel: Tensor) -> Tensor:
        """Of (B, T, 80), float32 (B, prototypes)."""
        return self.head(self.encoder(mel)[-1][:, 0])


class StudentAndTeacher(nn.Module):
    """Both branches, and the running mean of the teacher's answers.

    What is measured and exported is the teacher, as in the paper.
    """

    centre: Tensor

    def __init__(self, prototypes: int) -> None:
        super().__init__()
        self.student = Branch(prototypes)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.register_buffer("centre", torch.zeros(prototypes))

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the teacher: ``momentum`` of itself, the rest of the student.

        Its batch normalisations keep statistics of their own, of what the teacher sees.
        """
        own: list[Tensor] = list(self.teacher.parameters())
        towards: list[Tensor] = list(self.student.parameters())
        torch._foreach_lerp_(own, towards, 1 - momentum)


def dino_loss(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    centre: Tensor,
    student_temperature: float,
    teacher_temperature: float,
) -> Tensor:
    """Cross-entropy of the student's answers under the teacher's, over all pairs of other crops.

    Args:
        student: One (B, K) a crop, the long crops first.
        teacher: One (B, K) a long crop, of the same crops; no gradient flows into it.
        centre: (K,).
        student_temperature, teacher_temperature: Divide the answers.

    Returns:
        The mean over B and over the pairs of a teacher's and a student's crop that are not the
        same one.
    """
    wanted = [torch.softmax((x - centre) / teacher_temperature, dim=-1).detach() for x in teacher]
    given = [torch.log_softmax(x / student_temperature, dim=-1) for x in student]
    terms = [
        -(t * s).sum(dim=-1).mean()
        for place, t in enumerate(wanted)
        for other, s in enumerate(given)
        if place != other
    ]
    return torch.stack(terms).mean()


def crop_lengths(samples: int, long_s: float, short_s: float) -> tuple[int, int]:
    """Samples of a long and of a short crop, both in proportion where the audio is shorter.

    >>> crop_lengths(80_000, 3.0, 2.0), crop_lengths(24_000, 3.0, 2.0)
    ((48000, 32000), (24000, 16000))
    """
    whole = int(long_s * SAMPLE_RATE)
    scale = min(1.0, samples / whole)
    return int(whole * scale), int(short_s * SAMPLE_RATE * scale)


class DinoRecipe(SpeakerRecipe):
    """The objective of ``dino-ecapa-nano``."""

    name = "dino-ecapa-nano"
    objective = (
        "self-supervised: agree with a moving-average teacher on crops of one utterance (DINO: 2 x "
        "3 s and 4 x 2 s), no speaker labels"
    )
    Settings = DinoSettings

    def build(self) -> StudentAndTeacher:
        """See `Recipe.build`."""
        torch.manual_seed(self.seed)
        return StudentAndTeacher(self.settings.prototypes)

    def embedder(self, model: StudentAndTeacher) -> EcapaTdnn:
        """The teacher's encoder."""
        return model.teacher.encoder

    def loss(
        self, model: StudentAndTeacher, batch: Batch, update: int, device: str
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of the paper, after which the centre moves; see `dino_loss`."""
        settings = self.settings
        mels = [
            self.features(crops.flatten(0, 1))
            for crops in self._crops(batch[0], update, device)
            if len(crops)
        ]
        utterances = len(batch[0])
        student = [x for mel in mels for x in model.student(mel).split(utterances)]
        with torch.no_grad():
            teacher = model.teacher(mels[0]).split(utterances)
        progress = min(1.0, update / settings.temperature_updates)
        start, end = settings.teacher_temperature_start, settings.teacher_temperature_end
        temperature = start + progress * (end - start)
        loss = dino_loss(student, teacher, model.centre, settings.student_temperature, temperature)
        with torch.no_grad():
            seen = torch.cat(teacher)
            answers = torch.softmax((seen - model.centre) / temperature, dim=-1)
            model.centre.lerp_(seen.mean(dim=0), 1 - settings.centre_momentum)
            sharpness = _entropy(answers).mean()
            spread = _entropy(answers.mean(dim=0))
        # Collapse shows: all answers alike (no gap between the two), or all even (both ln K).
        return loss, {"answer_entropy": float(sharpness), "mean_answer_entropy": float(spread)}

    def after_step(self, model: StudentAndTeacher, update: int) -> None:
        """The teacher follows."""
        way = (1 + math.cos(math.pi * update / self.settings.updates)) / 2
        model.follow(1 - (1 - self.settings.momentum) * way)

    def export(self, model: Any, folder: Path) -> None:
        """The teacher; its head and the centre as ``head.safetensors``."""
        super().export(model, folder)
        save_head({**model.teacher.head.state_dict(), "centre": model.centre}, folder)

    def _crops(self, waveforms: np.ndarray, update: int, device: str) -> tuple[Tensor, Tensor]:
        """Long and short crops of (B, n), float32 (crops, B, length) each, with noise.

        Where they start and how loud the noise is follows from the update alone; the noise itself
        is drawn on the device, where it costs nothing beside the rest.
        """
        settings, rng = self.settings, self.rng("crops", update)
        low, high = settings.noise_snr_db
        whole = torch.from_numpy(waveforms).to(device)
        rows = torch.arange(len(whole), device=device)
        noise = torch.Generator(device).manual_seed(stable_seed("noise", self.seed, update))
        made = []
        for count, length in zip(
            (settings.long_crops, settings.short_crops),
            crop_lengths(waveforms.shape[1], settings.long_s, settings.short_s),
            strict=True,
        ):
            shape = (count, len(whole))
            starts = torch.from_numpy(rng.integers(0, waveforms.shape[1] - length + 1, shape))
            levels = torch.from_numpy(rng.uniform(low, high, (*shape, 1))).float()
            crops = whole.unfold(1, length, 1)[rows, starts.to(device)]
            size = crops.square().mean(dim=2, keepdim=True).sqrt() * 10 ** (-levels / 20).to(device)
            hiss = torch.randn(crops.shape, generator=noise, device=device)
            made.append(crops.add_(hiss.mul_(size)))
        return made[0], made[1]


def _entropy(shares: Tensor) -> Tensor:
    """In nats, over the last dimension."""
    return -(shares * shares.clamp(min=1e-12).log()).sum(dim=-1)
