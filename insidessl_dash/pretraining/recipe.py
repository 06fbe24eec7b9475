"""What an objective supplies to the shared loop, and what all objectives share."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from safetensors.torch import save_file
from torch import Tensor, nn

from insidessl_dash.core.progress import ProgressHook
from insidessl_dash.core.types import SAMPLE_RATE, stable_seed
from insidessl_dash.pretraining.data import HOP, SpeechData
from insidessl_dash.results.training_card import Score

NANO: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "intermediate_size": 768,
    "conv_dim": (32, 64, 128, 128, 128, 128, 128),
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "layerdrop": 0.0,
}
"""Base in small: 12 layers x 192, 4 heads, feed-forward 768, for a configuration of transformers.

The convolutions keep Base's kernels and strides (400 samples seen, 320 apart) with fewer channels.
No dropout: the model sees each utterance a handful of times.
"""

Batch = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]
"""Waveforms (B, n), utterance indices (B,), start frames (B,)."""


class RunSettings(BaseModel, extra="forbid"):
    """What determines a run, whatever the objective. A resumed run must have the same."""

    seed: int = Field(0, ge=0)
    updates: int = Field(9000, ge=1)
    batch_seconds: float = Field(14.0, ge=1.0)
    max_crop_s: float = Field(8.0, ge=0.5)
    learning_rate: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(0.01, ge=0)
    warmup: int = Field(500, ge=1, description="At most a tenth of the updates is used.")
    clip_norm: float = Field(1.0, gt=0)
    held_out_fraction: float = Field(0.1, gt=0, lt=1)
    precision: Literal["float32", "bfloat16"] = "bfloat16"


class Group(NamedTuple):
    """Weights that are stepped alike, their gradients clipped by one norm.

    Attributes:
        module: Whose weights.
        rate: Their learning rate as a multiple of the settings'.
    """

    module: nn.Module
    rate: float = 1.0


class Recipe(ABC):
    """One objective.

    Args:
        data: Speech with its split.
        settings: Of the class `Settings`.
        cache: Folder for what is worth computing once, e.g. targets.
        progress: Told how preparation goes.
    """

    name: ClassVar[str]
    objective: ClassVar[str]
    Settings: ClassVar[type[RunSettings]] = RunSettings
    least_batch: ClassVar[int] = 1
    """Utterances in a batch, at least."""

    metric: ClassVar[str] = "masked_accuracy"
    metric_title: ClassVar[str] = "accuracy on masked frames"
    chance: ClassVar[str] = "majority_rate"
    chance_is: ClassVar[str] = "always answering the most common cluster"
    higher_is_better: ClassVar[bool] = True
    note: ClassVar[str] = ""
    not_for: ClassVar[str] = (
        "Not for recognition, verification or any other task: it is a small model of a few hours "
        "of speech, made to show how layers differ."
    )

    def __init__(
        self, data: SpeechData, settings: Any, cache: Path, progress: ProgressHook
    ) -> None:
        self.data, self.settings, self.seed = data, settings, settings.seed

    @abstractmethod
    def build(self) -> nn.Module:
        """A freshly initialised model; the same for the same seed."""

    @abstractmethod
    def loss(
        self, model: Any, batch: Batch, update: int, device: str
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, and what to log beside it.

        Everything random follows from (seed, update); torch's generator is seeded by the loop.
        """

    @abstractmethod
    def export(self, model: Any, folder: Path) -> None:
        """Write the weights in the form that ships."""

    def depends_on(self) -> dict[str, str]:
        """What else the run is of, e.g. the weights of a teacher; a resumed run has the same."""
        return {}

    def groups(self, model: Any) -> tuple[Group, ...]:
        """What is stepped alike: all of the model, unless an objective has players of its own."""
        return (Group(model),)

    def after_step(self, model: Any, update: int) -> None:  # noqa: B027  most need nothing
        """What follows the optimiser, e.g. moving a teacher along."""

    @abstractmethod
    def evaluate(
        self, model: Any, device: str, max_crop_s: float, limit: int | None
    ) -> dict[str, float]:
        """Scores on held-out speakers, among them `metric`, `chance` and ``utterances``.

        Args:
            model: From `build`.
            device: Where it is.
            max_crop_s: Longest stretch of an utterance.
            limit: Utterances to use (a fixed, seeded choice); None for all.
        """

    def score(self, held_out: dict[str, float], first: dict[str, float]) -> Score:
        """The score of the last evaluation beside that of the first."""
        return Score(
            metric=self.metric,
            title=self.metric_title,
            value=held_out[self.metric],
            chance=held_out[self.chance],
            chance_is=self.chance_is,
            higher_is_better=self.higher_is_better,
            at_initialisation=first[self.metric],
            note=self.note,
        )

    def rng(self, purpose: str, update: int) -> np.random.Generator:
        """Randomness of one update."""
        return np.random.default_rng(stable_seed(purpose, self.seed, update))


class FrameRecipe(Recipe):
    """An objective whose score is a mean over frames of held-out utterances."""

    @abstractmethod
    def measure(
        self, model: Any, waveforms: Tensor, index: int, rng: np.random.Generator, device: str
    ) -> dict[str, float]:
        """Sums over one held-out utterance, among them ``frames``.

        Args:
            model: In eval mode.
            waveforms: float32 (1, n), zero mean and unit variance.
            index: Which utterance.
            rng: The same for this utterance at every evaluation.
            device: Where the model is.
        """

    def evaluate(
        self, model: Any, device: str, max_crop_s: float, limit: int | None
    ) -> dict[str, float]:
        """Scores on held-out speakers: whole utterances up to `max_crop_s`, one fixed mask each.

        Args:
            model: From `build`.
            device: Where it is.
            max_crop_s: Longest stretch of an utterance.
            limit: Utterances to use (a fixed, seeded choice); None for all.

        Returns:
            Means over frames of what `measure` sums, then ``frames`` and ``utterances``.
        """
        sums: dict[str, float] = {}
        used = 0
        model.eval()
        with torch.no_grad():
            for index, waveform in self._held_out(limit, max_crop_s):
                rng = np.random.default_rng(
                    stable_seed("held-out", self.seed, self.data.ids[index])
                )
                waves = normalised(torch.from_numpy(waveform)[None].to(device))
                found = self.measure(model, waves, index, rng, device)
                sums = {key: sums.get(key, 0.0) + value for key, value in found.items()}
                used += 1
        model.train()
        frames = sums.pop("frames")
        means = {key: value / frames for key, value in sums.items()}
        return {**means, "frames": int(frames), "utterances": used}

    def _held_out(
        self, limit: int | None, max_crop_s: float
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        chosen = np.flatnonzero(self.data.held_out)
        for index in np.random.default_rng(self.seed).permutation(chosen)[:limit].tolist():
            waveform = self.data.waveform(index, 0, int(max_crop_s * SAMPLE_RATE))
            yield index, waveform[: self.data.lengths()[index]]


def frames_of(samples: int) -> int:
    """Frames that the convolutions make of so many samples."""
    return (samples - 400) // HOP + 1


def normalised(waveforms: Tensor) -> Tensor:
    """Zero mean and unit variance in each row of (B, n)."""
    mean = waveforms.mean(-1, keepdim=True)
    variance = waveforms.var(-1, keepdim=True, correction=0)
    return (waveforms - mean) / torch.sqrt(variance + 1e-7)


def export_encoder(encoder: Any, head: dict[str, Tensor], folder: Path) -> None:
    """Write what ``from_pretrained`` of the encoder's class reads, and the head beside it.

    Args:
        encoder: A base model of transformers; its weights are stored in float16.
        head: What was trained on top of it, into ``head.safetensors``.
        folder: Exists.
    """
    half = {k: v.detach().half().cpu() for k, v in encoder.state_dict().items()}
    encoder.config.dtype = torch.float16
    encoder.save_pretrained(folder, state_dict=half)
    save_head(head, folder)
    write_preprocessor(folder)


def save_head(head: dict[str, Tensor], folder: Path) -> None:
    """Write what was trained on top of an encoder as ``head.safetensors``, in half precision."""
    kept = {k: v.detach().half().cpu().contiguous() for k, v in head.items()}
    save_file(kept, folder / "head.safetensors")


def write_preprocessor(folder: Path) -> None:
    """Say in the words of transformers that the input was normalised."""
    says = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": SAMPLE_RATE,
        "padding_value": 0.0,
        "do_normalize": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(says) + "\n")
