"""A trained member's card (``card.json`` beside its weights), as `pretraining.card` wrote it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

log = logging.getLogger(__name__)
FILE = "card.json"


class _Card(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Score(_Card):
    """The one number that says whether a member learned.

    Attributes:
        metric: Key of the held-out scores.
        title: In words.
        value: At the end, on the held-out speakers.
        chance: What a model that learned nothing reaches, and `chance_is` in words; None where
            the objective has no such level.
        higher_is_better: Whether more is better.
        at_initialisation: The same before the first update; None where it was not measured.
        note: What a reader of its curve has to know; "" where nothing.
    """

    metric: str
    title: str
    value: float
    chance: float | None = None
    chance_is: str = ""
    higher_is_better: bool = True
    at_initialisation: float | None = None
    note: str = ""


class Data(_Card):
    """What a member heard; `corpora` counts utterances by corpus and split."""

    corpora: dict[str, int] = Field(default_factory=dict)
    licence: str = ""
    digest: str = ""
    train_seconds: float | None = None
    held_out_seconds: float | None = None
    train_speakers: int | None = None
    held_out_speakers: list[str] = Field(default_factory=list)
    skipped: int = 0


class TrainingCard(_Card):
    """How a member was trained and what came of it.

    Attributes:
        updates: Made; `settings` has those that were planned.
        schedule: Stretches: from which update, planned to how many.
        held_out: Scores at the end; `held_out_curve` the same at every evaluation.
        training_curve: Loss and scores on the batches, means of equal stretches.
    """

    name: str
    objective: str = ""
    not_for: str = ""
    data: Data = Field(default_factory=Data)
    settings: dict[str, Any] = Field(default_factory=dict)
    updates: int = 0
    schedule: list[dict[str, int]] = Field(default_factory=list)
    finished: bool = False
    seconds_of_audio_seen: float | None = None
    wall_s: float | None = None
    device: str = ""
    held_out: dict[str, Any] = Field(default_factory=dict)
    score: Score | None = None
    held_out_curve: list[dict[str, Any]] = Field(default_factory=list)
    training_curve: list[dict[str, Any]] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)
    created: str = ""
    weights_sha256: str = ""

    def scored(self) -> Score | None:
        """Its score; of a card from before scores were written, the masked accuracy it has."""
        if self.score is not None or "masked_accuracy" not in self.held_out:
            return self.score
        return Score(
            metric="masked_accuracy",
            title="Masked accuracy",
            value=self.held_out["masked_accuracy"],
            chance=self.held_out.get("majority_rate"),
            chance_is="always the most common cluster",
            at_initialisation=next(
                (e["masked_accuracy"] for e in self.held_out_curve if e.get("update") == 0), None
            ),
        )

    def utterances(self) -> set[int]:
        """Of how many held-out utterances its evaluations are; empty where it does not say."""
        return {
            e["utterances"] for e in self.held_out_curve if isinstance(e.get("utterances"), int)
        }

    def curve(self, metric: str) -> list[tuple[int, float]]:
        """Update and held-out value of a metric, all on the same utterances: the fewest."""
        least = min(self.utterances(), default=None)
        return _points([e for e in self.held_out_curve if e.get("utterances") == least], metric)

    def on_all(self, metric: str) -> list[tuple[int, float]]:
        """Update and value where the metric was measured on more than at every update."""
        counts = self.utterances()
        most = [e for e in self.held_out_curve if e.get("utterances") == max(counts, default=None)]
        return _points(most, metric) if len(counts) > 1 else []

    def loss(self) -> list[tuple[int, float]]:
        """Update and training loss."""
        return _points(self.training_curve, "loss")


def read_training_card(folder: Path) -> TrainingCard | None:
    """The card in a folder of weights; None where there is none, or (logged) it is not one."""
    try:
        return TrainingCard.model_validate_json((folder / FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("%s is not a training card: %s", folder / FILE, error)
        return None


def _points(entries: list[dict[str, Any]], key: str) -> list[tuple[int, float]]:
    return [
        (int(entry["update"]), float(entry[key]))
        for entry in entries
        if isinstance(entry.get("update"), int) and isinstance(entry.get(key), int | float)
    ]
