"""Model cards: what a model is, where its weights come from, and under which licence."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Size = Literal["nano", "base", "large", "baseline"]
Kind = Literal["transformers", "whisper", "melspec", "mfcc", "random", "mr-hubert", "ecapa"]


class ModelCard(BaseModel):
    """One entry of the registry.

    Attributes:
        name: The only thing a request may name a model by, e.g. ``hubert-base``.
        title: As shown, e.g. ``HuBERT Base``.
        family: Keeps its hue everywhere: wav2vec2, hubert, wavlm, data2vec, unispeech-sat,
            whisper, melspec, mfcc.
        kind: Which loader reads it.
        source: Hub repository id, folder, ``shipped:<folder>`` (below precomputed/models), or "".
        revision: Hub revision (branch, tag or commit).
        objective: What it was trained to do.
        data: What it was trained on.
        layers: Number of Transformer blocks (curves have one point more); None until loaded.
        supervised: Trained with labels: a contrast, drawn as such.
        licence: SPDX identifier of the weights.
        paper: Reference, e.g. an arXiv number.
        not_for: What it is not good for, in a sentence.
        base: For ``kind="random"``: the card whose architecture is initialised at random.
        seed: For ``kind="random"``: the seed of the initialisation.
        local: A local copy to read in place of `source`; where it is stays out of results.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    title: str
    family: str
    size: Size
    kind: Kind
    source: str = ""
    revision: str = "main"
    objective: str = ""
    data: str = ""
    layers: int | None = None
    supervised: bool = False
    licence: str = ""
    paper: str = ""
    not_for: str = ""
    base: str | None = None
    seed: int | None = None
    local: str | None = None


def weights_do_not_ship(name: str) -> str:
    """What to do about a member of which results and card ship alone."""
    return (
        f"{name} ships its results and its card, not its weights: train it again with "
        f"`insidessl-dash models rebuild {name} --data ... --out FOLDER`, then register it under a "
        "name of your own with `insidessl-dash models add NAME FOLDER/final`."
    )
