"""What is asked for, and how far it is: the only shapes that cross a process boundary."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")


class LensRequest(BaseModel):
    """A lens with its options; what is left out takes the default."""

    model_config = ConfigDict(extra="forbid")

    name: str
    config: dict[str, Any] = Field(default_factory=dict)


class JobSpec(BaseModel):
    """What to compute, on either a corpus known by name or the owner's uploads."""

    model_config = ConfigDict(extra="forbid")

    models: list[str] = Field(min_length=1, max_length=20)
    lenses: list[LensRequest] = Field(min_length=1, max_length=20)
    corpus: str | None = None
    uploads: list[str] = Field(default_factory=list, max_length=1000)
    seed: int = Field(0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _one_source(self) -> JobSpec:
        if (self.corpus is None) == (not self.uploads):
            raise ValueError("name either a corpus or at least one upload, not both")
        return self


class MatrixSpec(BaseModel):
    """A compatibility matrix to decode: every layer of one recording by every decoder."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(max_length=64)
    upload: str = Field(max_length=64)

    @property
    def uploads(self) -> list[str]:
        """As `JobSpec.uploads`."""
        return [self.upload]


class Job(BaseModel):
    """A job as its owner sees it.

    Attributes:
        spec: Lenses to measure, or a matrix to decode.
        step: What is being done, in words.
        completed, total: Utterances, over all models; of a matrix, cells.
        remaining_s: Estimated seconds left; None until a rate is known.
        error: Why it failed, and what to do.
        results: Keys, in the order of models and lenses; those that exist so far. Of a matrix, its
            own key, once there is something to hear.
        skipped: Utterance -> why it is in no curve.
        names: Utterance id -> the name its owner gave the file.
        warning: Something that did not stop it, e.g. a cache that cannot be written.
    """

    id: str
    spec: JobSpec | MatrixSpec
    state: JobState = "queued"
    step: str = "waiting"
    completed: int = 0
    total: int = 0
    remaining_s: float | None = None
    error: str | None = None
    results: list[str] = Field(default_factory=list)
    skipped: dict[str, str] = Field(default_factory=dict)
    names: dict[str, str] = Field(default_factory=dict)
    warning: str | None = None
    created: str = ""
    finished: str | None = None


class EncoderInfo(BaseModel):
    """What the planning side needs to know of a loaded encoder, without torch."""

    layers: list[str]
    frame_rates_hz: list[float]
    weights_sha256: str
    source: str
    revision: str
    layer_policy: dict[str, Any]
    device: str


class LensPlan(BaseModel):
    """A lens as the worker will run it: configuration complete, version known."""

    name: str
    version: int
    config: dict[str, Any]


class ShardTask(BaseModel):
    """One shard: some utterances through one model for some lenses.

    Attributes:
        run: Identity of the run it belongs to; what cancel names.
        card: The model card, as JSON; the worker loads from it.
        utterances: Manifest rows with absolute paths.
        groups: Utterance id -> comparison group, "ID/SIZE".
        limits: Whether the limits for uploads hold.
    """

    run: str
    index: int
    card: dict[str, Any]
    utterances: list[dict[str, Any]]
    groups: dict[str, str]
    lenses: list[LensPlan]
    seed: int
    limits: bool = True


class ShardOutcome(BaseModel):
    """What a shard leaves behind.

    Attributes:
        states: One packed `State` a lens.
        utterances: `UtteranceInfo` fields of each utterance.
        wall_s: Seconds it took.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    states: list[bytes]
    utterances: list[dict[str, Any]]
    wall_s: float
