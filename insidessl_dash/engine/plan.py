"""From a corpus to shards: which utterances are compared with which, and computed together.

Groups and shards follow from the audio and the seed alone, never from order or machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from insidessl_dash.core.types import Utterance, file_sha256, stable_hash, stable_seed
from insidessl_dash.engine.spec import EncoderInfo, LensPlan, ShardTask
from insidessl_dash.results.provenance import result_key

GROUP = 64
"""Utterances in a comparison group: InfoNCE depends on how many there are, so it is fixed."""


def fingerprint(card: dict[str, Any], precomputed: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of a local model's files: changes when its weights are replaced.

    Args:
        card: The model card, as JSON.
        precomputed: Where shipped models are.

    Returns:
        Empty for a model that is not on this machine's disk.
    """
    source = card.get("local") or card.get("source") or ""
    if card.get("base"):
        source = f"shipped:{card['base']}"
    shipped = source.removeprefix("shipped:")
    folder = precomputed / "models" / shipped if shipped != source else Path(source).expanduser()
    if not source or not folder.is_dir():
        return ()
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    return tuple((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files)


def digests(utterances: Sequence[Utterance]) -> dict[str, str]:
    """SHA-256 of each utterance's file; an unreadable one hashes as such."""
    found = {}
    for utterance in utterances:
        try:
            found[utterance.id] = file_sha256(utterance.path)
        except (OSError, ValueError):
            found[utterance.id] = "unreadable"
    return found


def groups(audio: dict[str, str], size: int, seed: int) -> list[list[str]]:
    """Cut utterances into comparison groups of `size`, in order of a seeded hash.

    A corpus smaller than `size` is one group. The ragged rest of a larger one is compared with
    nobody: each of its members is a group of one, so means over utterances still see them where
    a measure needs no comparison.

    Args:
        audio: Utterance id -> digest of its audio.
        size: Utterances in a group.
        seed: Of the run.
    """
    order = sorted(audio, key=lambda id: (stable_seed("group", seed, audio[id]), id))
    if len(order) <= size:
        return [order]
    whole = len(order) - len(order) % size
    return [order[i : i + size] for i in range(0, whole, size)] + [[id] for id in order[whole:]]


def make_shards(
    run: str,
    card: dict,
    utterances: Sequence[Utterance],
    audio: dict[str, str],
    lenses: list[LensPlan],
    seed: int,
    *,
    limits: bool,
) -> list[ShardTask]:
    """Shards of whole groups, about `GROUP` utterances each, in the order of the groups.

    The lenses that compare utterances must do so in groups of one size.
    """
    size = next(
        (lens.config["batch_size"] for lens in lenses if "batch_size" in lens.config), GROUP
    )
    cut = groups(audio, size, seed)
    by_id = {utterance.id: utterance for utterance in utterances}
    shards: list[list[list[str]]] = [[]]
    for group in cut:
        if shards[-1] and sum(map(len, shards[-1])) + len(group) > GROUP:
            shards.append([])
        shards[-1].append(group)
    tasks = []
    for index, members in enumerate(shards):
        named = {
            id: f"{stable_hash(sorted(group))[:12]}/{len(group)}"
            for group in members
            for id in group
        }
        tasks.append(
            ShardTask(
                run=run,
                index=index,
                card=card,
                utterances=[by_id[id].row() for id in sorted(named)],
                groups=named,
                lenses=lenses,
                seed=seed,
                limits=limits,
            )
        )
    return tasks


def corpus_digest(audio: dict[str, str]) -> str:
    """Identity of a set of audio files: hash of their digests, whatever their names."""
    return stable_hash(sorted(audio.values()))


def key_of(info: EncoderInfo, name: str, lens: LensPlan, audio: dict[str, str], seed: int) -> str:
    """The result key of one lens on one model and these files."""
    model = {"weights": info.weights_sha256 or name, "layer_policy": info.layer_policy}
    return result_key(list(audio.values()), model, lens.name, lens.version, lens.config, seed)


def shard_key(task: ShardTask, info: EncoderInfo, audio: dict[str, str]) -> str:
    """Where a finished shard is kept until its run is done; the same in every attempt."""
    identity = [
        info.weights_sha256 or task.card["name"],
        info.layer_policy,
        [[id, audio[id], group] for id, group in sorted(task.groups.items())],
        [lens.model_dump() for lens in task.lenses],
        task.seed,
        task.limits,
    ]
    return f"shard:{stable_hash(identity)}"
