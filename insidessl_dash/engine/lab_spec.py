"""What the Signal Lab is asked, what goes to a worker, and what comes back."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from insidessl_dash.core.lab import MOST_MODELS
from insidessl_dash.results.schema import Result

State = Literal["queued", "running", "done", "failed", "superseded"]
Sound = Literal["original", "perturbed"]


class LabQuestion(BaseModel):
    """One position of the dial.

    Attributes:
        utterance: Id of an utterance of the demo corpus; or
        upload: id of one of the visitor's uploads.
        models: Names in the registry; their weights must be on this machine.
        perturbation: Name of a dial.
        strength: Within the range of the dial; taken at its nearest step.
        seed: Of what is random in the perturbation; the same for every strength.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    utterance: str | None = Field(None, min_length=1, max_length=200)
    upload: str | None = Field(None, min_length=1, max_length=64)
    models: tuple[str, ...] = Field(min_length=1, max_length=MOST_MODELS)
    perturbation: str = Field(min_length=1, max_length=64)
    strength: float = Field(allow_inf_nan=False)
    seed: int = Field(0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _one_clip(self) -> LabQuestion:
        if (self.utterance is None) == (self.upload is None):
            raise ValueError(
                "name one clip: an utterance of the demo corpus, or an upload of yours"
            )
        return self


class LabTask(BaseModel):
    """What a worker is given.

    Attributes:
        run: Names the task in events.
        cards: Models to compare the layers of; none where only the sounds are wanted.
        clip: What the clip is called in results.
        name: What to call the file in errors.
        sha256: Of the file.
        command: What to type to get the same, but for the model.
    """

    run: str
    cards: list[dict[str, Any]]
    path: str
    clip: str
    name: str
    sha256: str
    corpus: str
    licence: str | None
    perturbation: str
    strength: float
    seed: int
    command: str


class LabSounds(BaseModel):
    """The two sounds as one hears them: 16-bit WAV, 16 kHz, under one gain.

    Attributes:
        gain_db: Of both, so that neither clips; 0 where neither would.
        seconds: Of the original and of the perturbed sound.
        whole_s: Of the file, which may be longer than what is taken.
        notes: What was done on reading that a listener should know.
    """

    original: bytes
    perturbed: bytes
    gain_db: float
    seconds: tuple[float, float]
    whole_s: float
    notes: list[str]


class LabOutcome(BaseModel):
    """What a worker hands back: one result a card, in order."""

    results: list[Result]
    sounds: LabSounds


class LabAnswer(BaseModel):
    """What there is to see and hear of a question.

    Attributes:
        results: One a model, of lens ``similarity``, as every other result is kept.
        gain_db, seconds, whole_s, notes: As `LabSounds`.
        versions: Of each sound, for its address: the same bytes have the same one.
    """

    results: list[Result]
    gain_db: float
    seconds: tuple[float, float]
    whole_s: float
    notes: list[str]
    versions: dict[Sound, str]


class LabTicket(BaseModel):
    """A question that was accepted, and how far it is.

    Attributes:
        state: ``superseded``: a newer question of the same visitor came before this one had begun,
            so it was not computed.
        error: Why it failed, and what to do.
    """

    id: str
    question: LabQuestion
    state: State = "queued"
    error: str | None = None
    answer: LabAnswer | None = None
