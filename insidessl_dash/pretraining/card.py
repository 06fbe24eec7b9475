"""A trained member's card: what it saw, what it learned, and what it is not good for."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from insidessl_dash.core.errors import TrainingError
from insidessl_dash.core.files import write_json
from insidessl_dash.core.types import file_sha256
from insidessl_dash.corpora.manifest import Corpus
from insidessl_dash.pretraining.loop import Run, warmup
from insidessl_dash.results.provenance import now, versions

_COUNTS = {"frames", "trials"}
_BOOKKEEPING = {"update", "learning_rate", "seconds_seen", "wall_s"}


def training_card(run: Run, corpus: Corpus, device: str, licence: str | None) -> dict[str, Any]:
    """Everything that a reader of the weights should know, from the run's own log.

    Args:
        run: A run at its last update, or stopped before.
        corpus: What it was given.
        device: What it was trained on, in words.
        licence: Licence of the training audio, where the corpus does not say.
    """
    log = run.log()
    held_out = [entry for entry in log if "held_out" in entry]
    if not held_out:
        raise TrainingError(f"{run.folder}: no held-out evaluation in its log.")
    first, last = (_most(held_out, held_out[end]["update"]) for end in (0, -1))
    data, settings = run.data, run.settings
    return {
        "name": run.recipe.name,
        "objective": run.recipe.objective,
        "not_for": run.recipe.not_for,
        "data": {
            "corpora": _by_corpus(corpus),
            "licence": corpus.licence or licence or "not stated",
            "digest": data.digest,
            "train_seconds": round(data.seconds(held_out=False), 1),
            "held_out_seconds": round(data.seconds(held_out=True), 1),
            "train_speakers": len(
                {s for s, out in zip(data.speakers, data.held_out, strict=True) if not out}
            ),
            "held_out_speakers": sorted(
                {s for s, out in zip(data.speakers, data.held_out, strict=True) if out}
            ),
            "skipped": len(data.skipped),
        },
        **run.recipe.depends_on(),
        "settings": settings.model_dump(mode="json") | {"warmup": warmup(settings)},
        "updates": run.update,
        "schedule": run.stretches,
        "finished": run.update == settings.updates,
        "seconds_of_audio_seen": round(run.seconds_seen, 1),
        "wall_s": round(run.wall_s, 1),
        "device": device,
        "held_out": last,
        "score": run.recipe.score(last, first).model_dump(),
        "held_out_curve": [
            {"update": e["update"], **{k: v for k, v in e["held_out"].items() if k not in _COUNTS}}
            for e in held_out
        ],
        "training_curve": _thin([e for e in log if "loss" in e]),
        "versions": versions(),
        "created": now(),
    }


def ship(run: Run, target: Path, card: dict[str, Any]) -> None:
    """Export the weights, and write the card beside them, with their digest.

    The card goes first and comes last: where the two do not belong together, there is none.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as name:
        run.recipe.export(run.model, Path(name))
        (target / "card.json").unlink(missing_ok=True)
        for file in Path(name).iterdir():
            os.replace(file, target / file.name)
    write_json(
        target / "card.json", card | {"weights_sha256": file_sha256(target / "model.safetensors")}
    )


def _most(evaluations: list[dict[str, Any]], update: int) -> dict[str, Any]:
    """Of the evaluations at an update, the one on the most utterances."""
    found = [e["held_out"] for e in evaluations if e["update"] == update]
    return max(found, key=lambda scores: scores["utterances"])


def _by_corpus(corpus: Corpus) -> dict[str, int]:
    """Utterances of each source corpus and split."""
    return dict(Counter(f"{u.corpus or corpus.name} {u.split}".strip() for u in corpus.utterances))


def _thin(entries: list[dict[str, Any]], points: int = 120) -> list[dict[str, Any]]:
    """Means of equal stretches of the log, so that the curve is small and not cherry-picked."""
    size = max(1, len(entries) // points)
    thinned = []
    for start in range(0, len(entries), size):
        part = entries[start : start + size]
        kept = [key for key in part[0] if key not in _BOOKKEEPING]
        thinned.append(
            {"update": part[-1]["update"]}
            | {key: round(sum(e[key] for e in part) / len(part), 5) for key in kept}
        )
    return thinned
