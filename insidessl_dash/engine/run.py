"""One model on one corpus: look up, plan, compute what is missing, merge, keep.

The same code serves the dashboard's jobs (on Dask) and the command line (in this process).
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import AudioError, StorageError
from insidessl_dash.core.progress import ProgressHook
from insidessl_dash.core.types import stable_hash
from insidessl_dash.corpora.manifest import Corpus
from insidessl_dash.engine.lab_spec import LabOutcome, LabTask
from insidessl_dash.engine.own_spec import MatrixPart, MatrixTask
from insidessl_dash.engine.plan import digests, key_of, make_shards, shard_key
from insidessl_dash.engine.spec import EncoderInfo, LensPlan, LensRequest, ShardOutcome, ShardTask
from insidessl_dash.results.schema import Result, Values
from insidessl_dash.results.store import Store

log = logging.getLogger(__name__)
Advance = Callable[[int, int], None]
"""Called with a shard's index and how many of its utterances are done."""


class Executor(Protocol):
    """Where shards are computed."""

    def describe(
        self, card: dict[str, Any], requests: list[LensRequest]
    ) -> tuple[EncoderInfo, list[LensPlan]]:
        """Load a model, and complete the lenses' configurations."""
        ...

    def shards(
        self, tasks: list[ShardTask], advance: Advance, check: Callable[[], None]
    ) -> Iterator[tuple[ShardTask, ShardOutcome]]:
        """Yield each shard as it is done, in any order."""
        ...

    def finish(self, *args: Any) -> list[tuple[Result, Values]]:
        """Merge the shards of a run."""
        ...

    def matrix(
        self, tasks: list[MatrixTask], advance: Advance, check: Callable[[], None]
    ) -> Iterator[tuple[MatrixTask, MatrixPart]]:
        """Yield each part of a matrix as it is done, in any order; `advance` hears of cells."""
        ...

    def lab(
        self, task: LabTask, begun: Callable[[], None], check: Callable[[], None]
    ) -> LabOutcome:
        """Perturb a clip and compare layers; `check` may raise until `begun` was called."""
        ...


@dataclass
class Outcome:
    """What a run gave.

    Attributes:
        results: One a lens, in the order asked for.
        warning: Set where the results could not be kept on disk.
    """

    results: list[Result] = field(default_factory=list)
    warning: str | None = None


def analyse(
    card: ModelCard,
    corpus: Corpus,
    requests: list[LensRequest],
    store: Store,
    executor: Executor,
    *,
    seed: int,
    progress: ProgressHook,
    check: Callable[[], None],
    private: bool = False,
    limits: bool = True,
    command: str = "",
) -> Outcome:
    """Results of the lenses, computed where the store lacks them.

    Shards that an earlier attempt finished are not computed again. A store that cannot be written
    costs the caching, not the result.

    Raises:
        AudioError: No utterance could be read; the reasons are in the message.
        ModelError, ConfigError: From the worker.
        Cancelled: From `check`, or from the worker after a cancel.
    """
    raw_card = card.model_dump(mode="json")
    audio = digests(corpus.utterances)
    info, lenses = executor.describe(raw_card, requests)
    keys = [key_of(info, card.name, lens, audio, seed) for lens in lenses]
    found = {key: result for key in keys if (result := store.get(key)) is not None}
    missing = [lens for lens, key in zip(lenses, keys, strict=True) if key not in found]
    outcome = Outcome()
    total = len(corpus.utterances)
    for together in _planned_alike(missing):
        run = uuid.uuid4().hex
        tasks = make_shards(run, raw_card, corpus.utterances, audio, together, seed, limits=limits)
        outcomes = _compute(tasks, info, audio, store, executor, progress, check, total, outcome)
        fresh = executor.finish(
            raw_card, info, together, outcomes,
            {"name": corpus.name, "licence": corpus.licence}, audio, seed, command,
        )  # fmt: skip
        if fresh and fresh[0][0].corpus.utterances == 0:
            raise AudioError(_nothing_read(fresh[0][0]))
        for result, values in fresh:
            found[result.key] = result
            _put(store, result, values, private, outcome)
        if outcome.warning is None:
            for task in tasks:
                store.live().delete(shard_key(task, info, audio))
    progress("done", total, total)
    asked = partial(as_asked, store, card, info, corpus, audio, private=private, outcome=outcome)
    outcome.results = [asked(found[key]) for key in keys]
    return outcome


def _planned_alike(lenses: list[LensPlan]) -> list[list[LensPlan]]:
    """Lenses that compare groups of one size together; those that compare nothing go first."""
    by_size: dict[int, list[LensPlan]] = {}
    free = [lens for lens in lenses if "batch_size" not in lens.config]
    for lens in lenses:
        if lens not in free:
            by_size.setdefault(lens.config["batch_size"], []).append(lens)
    groups = list(by_size.values()) or [[]]
    groups[0] = free + groups[0]
    return [group for group in groups if group]


def _put(store: Store, result: Result, values: Values, private: bool, outcome: Outcome) -> None:
    """Store a result; where that cannot be done, hold it in memory and say so."""
    try:
        store.put(result, values, private=private)
    except StorageError as error:
        outcome.warning = str(error)
        store.keep(result, values)


def as_asked(
    store: Store,
    card: ModelCard,
    info: EncoderInfo,
    corpus: Corpus,
    audio: dict[str, str],
    result: Result,
    *,
    private: bool,
    outcome: Outcome,
) -> Result:
    """The result under the names of this request.

    The same weights and audio may have been computed under another model, corpus or file name;
    then the result is kept a second time under the names asked for, with a key of its own.
    """
    ids = sorted(audio)
    same = (
        result.model.name == card.name
        and result.corpus.name == corpus.name
        and sorted(u.id for u in result.utterances) == ids
    )
    if not same:
        key = stable_hash([result.key, card.name, corpus.name, ids])[:32]
        known = store.get(key)
        if known is None:
            values = store.values(result.key)
            known, values = relabel(result, values, key, card, info, corpus, audio)
            _put(store, known, values, private, outcome)
            return known
        result = known
    if not private and outcome.warning is None and store.is_private(result.key):
        store.publish(result.key)
    return result


def _compute(
    tasks: list[ShardTask],
    info: EncoderInfo,
    audio: dict[str, str],
    store: Store,
    executor: Executor,
    progress: ProgressHook,
    check: Callable[[], None],
    total: int,
    outcome: Outcome,
) -> list[ShardOutcome]:
    """Outcomes of all shards, in order; those kept from an earlier attempt are read."""
    done: dict[int, ShardOutcome] = {}
    counts: Counter[int] = Counter()
    todo = []
    for task in tasks:
        kept = _kept(store, shard_key(task, info, audio))
        if kept is None:
            todo.append(task)
        else:
            done[task.index], counts[task.index] = kept, len(task.utterances)

    def advance(shard: int, completed: int) -> None:
        counts[shard] = completed
        progress("computing layers", counts.total(), total)

    progress("computing layers", counts.total(), total)
    for task, shard in executor.shards(todo, advance, check):
        done[task.index] = shard
        advance(task.index, len(task.utterances))
        try:
            if len(tasks) > 1 and outcome.warning is None:
                store.live().set(shard_key(task, info, audio), _pack(shard))
        except StorageError as error:
            outcome.warning = str(error)
    return [done[task.index] for task in tasks]


def _pack(shard: ShardOutcome) -> bytes:
    return shard.model_dump_json().encode()


def _kept(store: Store, key: str) -> ShardOutcome | None:
    try:
        blob = store.live().get(key)
        return None if blob is None else ShardOutcome.model_validate_json(blob)
    except (StorageError, ValueError):
        return None


def _nothing_read(result: Result) -> str:
    reasons = [u.error for u in result.utterances if u.error]
    shown = " ".join(reasons[:5])
    more = f" ({len(reasons) - 5} more files like these.)" if len(reasons) > 5 else ""
    return f"None of the {len(reasons)} files could be analysed. {shown}{more}"


def relabel(
    result: Result,
    values: Values | None,
    key: str,
    card: ModelCard,
    info: EncoderInfo,
    corpus: Corpus,
    audio: dict[str, str],
) -> tuple[Result, Values]:
    """A result and its values under other names of the same weights and audio."""
    names: dict[str, list[str]] = {}
    for id in sorted(audio):
        names.setdefault(audio[id], []).append(id)
    renamed: dict[str, str] = {}
    utterances = []
    for row in result.utterances:
        id = renamed[row.id] = names[row.sha256 or ""].pop(0)
        error = row.error and row.error.replace(row.id, id)
        utterances.append(row.model_copy(update={"id": id, "error": error}))
    fields = ("name", "title", "family", "size", "supervised", "licence")
    changes = {
        "key": key,
        "utterances": sorted(utterances, key=lambda u: u.id),
        "corpus": result.corpus.model_copy(
            update={"name": corpus.name, "licence": corpus.licence or result.corpus.licence}
        ),
        "model": result.model.model_copy(
            update={
                **{name: getattr(card, name) for name in fields},
                "source": info.source,
                "revision": info.revision,
            }
        ),
    }
    if values is None:
        return result.model_copy(update=changes), Values(ids=[], measures={})
    ids = [renamed[id] for id in values.ids]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    measures = {name: array[order] for name, array in values.measures.items()}
    return result.model_copy(update=changes), Values(ids=sorted(ids), measures=measures)
