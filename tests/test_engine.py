"""The engine: the same number whole, sharded, interrupted, or after a worker was killed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import diskcache
import numpy as np
import pytest
import soundfile

from insidessl_dash import analyze
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import AudioError, Cancelled, NotFoundError, UnknownModelError
from insidessl_dash.core.progress import Rate, silent
from insidessl_dash.core.registry import Registry
from insidessl_dash.core.settings import settings
from insidessl_dash.corpora.manifest import Corpus, open_corpus
from insidessl_dash.engine import plan, worker
from insidessl_dash.engine.cluster import DaskExecutor
from insidessl_dash.engine.inline import InlineExecutor
from insidessl_dash.engine.run import Outcome, analyse
from insidessl_dash.engine.service import JobService
from insidessl_dash.engine.spec import Job, JobSpec, LensRequest
from insidessl_dash.engine.uploads import Uploads
from insidessl_dash.results.schema import Result
from insidessl_dash.results.store import Store

LENSES = [
    LensRequest(name="entropy"),
    LensRequest(name="curvature"),
    LensRequest(name="invariance"),
]
MEL = ModelCard(name="melspec", title="MelSpec", family="melspec", size="baseline", kind="melspec")


def run(corpus: Corpus, store: Store, executor=None, lenses=LENSES, check=lambda: None) -> Outcome:
    return analyse(
        MEL, corpus, lenses, store, executor or InlineExecutor(),
        seed=0, progress=silent, check=check, limits=False,
    )  # fmt: skip


def new_store(folder: Path) -> Store:
    return Store(folder, folder / "none")


def numbers(results: list[Result]) -> dict:
    return {
        r.lens: {n: (c.mean, c.std, c.ci95, c.n) for n, c in r.measures.items()} for r in results
    }


def wait_for(condition, seconds: float = 60.0):
    """Poll until the condition gives something; fail loudly if it never does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("timed out")


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of two utterances, so that a few files make several."""
    monkeypatch.setattr(plan, "GROUP", 2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[DaskExecutor]:
    executor = DaskExecutor()
    executor.client()
    yield executor
    executor.close()


def test_groups_do_not_depend_on_order_or_names() -> None:
    audio = {f"u{i}": f"digest{i}" for i in range(10)}
    shuffled = {f"u{i}": audio[f"u{i}"] for i in np.random.default_rng(0).permutation(10)}
    first = plan.groups(audio, 4, seed=0)
    assert first == plan.groups(shuffled, 4, seed=0)
    assert [len(g) for g in first] == [4, 4, 1, 1]
    assert first != plan.groups(audio, 4, seed=1)
    assert [len(g) for g in plan.groups(audio, 64, seed=0)] == [10]


def test_sharded_equals_whole(folder: Path, tmp_path: Path, monkeypatch) -> None:
    corpus = open_corpus(folder)
    pairs = [LensRequest(name="entropy"), LensRequest(name="curvature"),
             LensRequest(name="invariance", config={"batch_size": 2})]  # fmt: skip
    whole = run(corpus, new_store(tmp_path / "a"), lenses=pairs)
    monkeypatch.setattr(plan, "GROUP", 2)
    sharded = run(corpus, new_store(tmp_path / "b"), lenses=pairs)
    assert numbers(whole.results) == numbers(sharded.results)
    assert [r.key for r in whole.results] == [r.key for r in sharded.results]


def test_a_result_is_looked_up_the_second_time(folder: Path, tmp_path: Path, monkeypatch) -> None:
    corpus, store = open_corpus(folder), new_store(tmp_path / "a")
    first = run(corpus, store)
    monkeypatch.setattr(worker, "run_shard", lambda *_: pytest.fail("computed again"))
    again = run(corpus, store)
    assert again.results == first.results


def test_two_group_sizes_in_one_call_are_two_comparisons(folder: Path, tmp_path: Path) -> None:
    corpus = open_corpus(folder)
    pair = [LensRequest(name="invariance", config={"batch_size": size}) for size in (2, 6)]
    both = run(corpus, new_store(tmp_path / "a"), lenses=pair)
    alone = [run(corpus, new_store(tmp_path / f"b{i}"), lenses=[x]) for i, x in enumerate(pair)]
    for together, single in zip(both.results, alone, strict=True):
        assert together.key == single.results[0].key
        assert together.measures == single.results[0].measures
    assert both.results[0].curve().mean != both.results[1].curve().mean


def test_the_same_weights_and_audio_under_other_names(folder: Path, tmp_path: Path) -> None:
    store, corpus = new_store(tmp_path / "a"), open_corpus(folder)
    first = run(corpus, store).results[0]
    named = replace(corpus, name="my-corpus")
    assert run(named, store).results[0].corpus.name == "my-corpus"
    assert [r.key for r in store.find(corpus="my-corpus", lens="entropy")] != [first.key]
    assert len(store.find(corpus="my-corpus", lens="entropy")) == 1
    again = run(named, store).results[0]
    assert again == store.get(again.key)


def test_what_was_private_is_listed_once_it_is_asked_in_public(
    folder: Path, tmp_path: Path
) -> None:
    store, corpus = new_store(tmp_path / "a"), open_corpus(folder)

    def ask(private: bool) -> Result:
        return analyse(
            MEL, corpus, LENSES[:1], store, InlineExecutor(), seed=0, progress=silent,
            check=lambda: None, limits=False, private=private,
        ).results[0]  # fmt: skip

    assert store.is_private(ask(True).key)
    assert store.results() == []
    assert [r.key for r in (ask(False), *store.results())] == [ask(True).key] * 2


def test_only_a_known_corpus_is_listed(folder: Path) -> None:
    ask = partial(analyze, models="melspec", lenses=[("entropy", {"alpha": 2.0})])
    ask(folder)
    ask("demo", seed=3)
    ask("demo", listed=False)
    store = Store(settings().home, settings().home / "none")
    assert store.results() == []
    ask("demo")
    assert [r.corpus.name for r in store.results()] == ["demo"]


def test_replaced_weights_are_read_again(tmp_path: Path) -> None:
    from transformers import HubertConfig, HubertModel

    config = HubertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(4,) * 7, num_conv_pos_embeddings=16,
    )  # fmt: skip
    card = ModelCard(
        name="mine", title="Mine", family="hubert", size="nano", kind="transformers",
        source=str(tmp_path),
    ).model_dump(mode="json")  # fmt: skip
    digests = []
    for _ in range(2):
        HubertModel(config).save_pretrained(tmp_path)
        digests.append(worker.describe(card, LENSES[:1])[0].weights_sha256)
    assert digests[0] != digests[1]


def test_the_same_audio_under_another_name_keeps_its_own_name(folder: Path, tmp_path: Path) -> None:
    store = new_store(tmp_path / "a")
    run(open_corpus(folder), store)
    other = tmp_path / "other"
    other.mkdir()
    for path in folder.glob("*.wav"):
        shutil.copy(path, other / f"mine-{path.name}")
    again = run(open_corpus(other), store).results[0]
    assert [u.id for u in again.utterances] == [f"mine-u{i}" for i in range(6)]
    assert again.corpus.name == "other"
    values = store.values(again.key)
    assert values is not None
    assert values.ids == [u.id for u in again.utterances]


def test_the_same_weights_from_elsewhere_say_where_they_came_from(
    folder: Path, tmp_path: Path
) -> None:
    nano = settings().precomputed / "models" / "hubert-nano"
    store, corpus = new_store(tmp_path / "a"), open_corpus(folder)
    found = {}
    for name in ("one", "two"):
        shutil.copytree(nano, tmp_path / name)
        card = ModelCard(
            name=name, title=name, family="hubert", size="nano", kind="transformers",
            source=str(tmp_path / name),
        )  # fmt: skip
        outcome = analyse(
            card, corpus, LENSES[1:2], store, InlineExecutor(),
            seed=0, progress=silent, check=lambda: None, limits=False,
        )  # fmt: skip
        found[name] = outcome.results[0]
    assert numbers([found["one"]]) == numbers([found["two"]])
    assert [result.model.source for result in found.values()] == ["one", "two"]
    assert found["one"].provenance == found["two"].provenance


@pytest.mark.usefixtures("small_groups")
def test_finished_shards_are_not_computed_again(folder: Path, tmp_path: Path, monkeypatch) -> None:
    corpus, store = open_corpus(folder), new_store(tmp_path / "a")
    lenses = LENSES[:2]
    honest, calls = worker.run_shard, []

    def lost_at_third(task, done):
        calls.append(task.index)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return honest(task, done)

    monkeypatch.setattr(worker, "run_shard", lost_at_third)
    with pytest.raises(KeyboardInterrupt):
        run(corpus, store, lenses=lenses)
    resumed = run(corpus, store, lenses=lenses)
    assert calls == [0, 1, 2, 2]
    monkeypatch.setattr(worker, "run_shard", honest)
    assert numbers(resumed.results) == numbers(
        run(corpus, new_store(tmp_path / "b"), lenses=lenses).results
    )
    assert store.live().keys("shard:") == []


def test_a_bad_file_costs_only_itself(folder: Path, tmp_path: Path) -> None:
    good = run(open_corpus(folder), new_store(tmp_path / "a"))
    (folder / "manifest.jsonl").unlink()
    (folder / "broken.wav").write_bytes(b"RIFF not really")
    (folder / "silent.wav").unlink(missing_ok=True)
    soundfile.write(folder / "silent.wav", np.zeros(16_000), 16_000)
    mixed = run(open_corpus(folder), new_store(tmp_path / "b"), lenses=LENSES[:2])
    errors = {u.id: u.error for u in mixed.results[0].utterances if u.error}
    assert set(errors) == {"broken", "silent"}
    assert "silent" in errors["silent"]
    assert mixed.results[0].corpus.utterances == 6
    for name in ("entropy", "curvature"):
        assert numbers(mixed.results)[name] == numbers(good.results)[name]


def test_nothing_readable_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_text("hello")
    with pytest.raises(AudioError, match="None of the 1 files"):
        run(open_corpus(tmp_path / "x.wav"), new_store(tmp_path / "a"))


def test_a_single_file_has_no_infonce_and_says_so(folder: Path, tmp_path: Path) -> None:
    invariance = run(open_corpus(folder / "u0.wav"), new_store(tmp_path / "a")).results[2]
    curve = invariance.curve("infonce")
    assert curve.mean == [None]
    assert "at least two" in curve.note
    assert invariance.curve("cosine").mean[0] is not None


def test_a_read_only_home_costs_the_caching_not_the_result(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    outcome = run(open_corpus(folder), new_store(tmp_path / "home"))
    assert len(outcome.results) == 3
    assert outcome.warning
    assert "INSIDESSL_HOME" in outcome.warning


def test_a_full_disk_costs_the_caching_not_the_result(
    folder: Path, tmp_path: Path, monkeypatch
) -> None:
    store = new_store(tmp_path / "home")
    store.live()
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(diskcache.Cache, "set", lambda *_a, **_k: (_ for _ in ()).throw(full))
    outcome = run(open_corpus(folder), store)
    assert "disk is full" in (outcome.warning or "")
    assert store.get(outcome.results[0].key) == outcome.results[0]


def test_a_damaged_cache_entry_is_computed_again(folder: Path, tmp_path: Path) -> None:
    corpus, store = open_corpus(folder), new_store(tmp_path / "a")
    first = run(corpus, store)
    store.close()
    with sqlite3.connect(tmp_path / "a" / "cache" / "cache.db") as database:
        database.execute("UPDATE Cache SET value = substr(value, 1, 40)")
    again = run(corpus, new_store(tmp_path / "a"))
    assert numbers(again.results) == numbers(first.results)


def test_another_process_can_be_the_worker(folder: Path, tmp_path: Path, monkeypatch) -> None:
    """As on a cluster: a scheduler, `insidessl-dash worker`, and INSIDESSL_SCHEDULER."""
    environment = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING": "True"}
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port",
         "0", "--no-dashboard", "--scheduler-file", str(tmp_path / "scheduler.json")],
        env=environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    processes = [scheduler]
    try:
        record = wait_for(lambda: (p := tmp_path / "scheduler.json").exists() and p.read_text())
        address = json.loads(record)["address"]
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "insidessl_dash", "worker", address],
                env=environment,
                stderr=subprocess.DEVNULL,
            )
        )
        monkeypatch.setenv("INSIDESSL_SCHEDULER", address)
        settings.cache_clear()
        there = analyze(
            folder, models="melspec", lenses="curvature", store=new_store(tmp_path / "a")
        )
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(20)
    expected = run(open_corpus(folder), new_store(tmp_path / "b"), lenses=LENSES[1:2])
    assert numbers(list(there)) == numbers(expected.results)


@pytest.mark.usefixtures("small_groups")
def test_dask_gives_the_same_after_its_worker_is_killed(
    folder: Path, tmp_path: Path, cluster: DaskExecutor
) -> None:
    corpus = open_corpus(folder)
    expected = run(corpus, new_store(tmp_path / "a"), lenses=LENSES[:2])
    killed = []

    def kill_once(_step: str, completed: float, _total: float) -> None:
        if completed >= 1 and not killed:
            killed.append(next(iter(cluster.client().run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    outcome = analyse(
        MEL, corpus, LENSES[:2], new_store(tmp_path / "b"), cluster,
        seed=0, progress=kill_once, check=lambda: None, limits=False,
    )  # fmt: skip
    assert killed
    assert next(iter(cluster.client().run(os.getpid).values())) != killed[0]
    assert numbers(outcome.results) == numbers(expected.results)


@pytest.fixture
def service(cluster: DaskExecutor, folder: Path) -> Iterator[JobService]:
    def corpora(name: str) -> Corpus:
        if name != "folder":
            raise NotFoundError(f"No corpus {name!r}.")
        return open_corpus(folder, "folder")

    store = Store(settings().home, settings().precomputed)
    registry = Registry(settings().home, settings().precomputed)
    service = JobService(store, cluster, registry, Uploads(settings()), corpora)
    yield service
    service.close()


def ended(service: JobService, job: Job, owner: str = "me") -> Job:
    return wait_for(
        lambda: (j := service.get(job.id, owner)).state in ("done", "failed", "cancelled") and j
    )


def test_a_job_on_an_upload_is_private_and_done(service: JobService, demo_files) -> None:
    with demo_files[0].open("rb") as stream:
        upload = service.uploads.add("me", "my voice.flac", stream)
    spec = JobSpec(models=["melspec"], lenses=LENSES, uploads=[upload.id])
    job = ended(service, service.submit(spec, "me"))
    assert (job.state, job.error) == ("done", None)
    assert (job.completed, job.total) == (1, 1)
    assert list(job.names.values()) == ["my voice.flac"]
    assert len(job.results) == 3
    assert service.owns("me", job.results[0])
    assert not service.owns("you", job.results[0])
    assert service.store.is_private(job.results[0])
    with pytest.raises(NotFoundError):
        service.get(job.id, "you")


def test_what_is_not_there_is_refused_at_once(service: JobService) -> None:
    with pytest.raises(UnknownModelError, match="hubert-nano"):
        service.submit(JobSpec(models=["hubert-nan"], lenses=LENSES, corpus="folder"), "me")
    with pytest.raises(NotFoundError):
        service.submit(JobSpec(models=["melspec"], lenses=LENSES, corpus="../x"), "me")
    with pytest.raises(NotFoundError):
        service.submit(JobSpec(models=["melspec"], lenses=LENSES, uploads=["nope"]), "me")
    bad = JobSpec(models=["melspec"], lenses=[LensRequest(name="entropyy")], corpus="folder")
    job = ended(service, service.submit(bad, "me"))
    assert job.state == "failed"
    assert "entropyy" in (job.error or "")


class SlowExecutor(InlineExecutor):
    """Holds at the first shard until told; counts what it computes."""

    def __init__(self) -> None:
        self.reached, self.go, self.runs = threading.Event(), threading.Event(), 0

    def shards(self, tasks, advance, check):
        self.runs += 1
        for task, outcome in super().shards(tasks, advance, check):
            self.reached.set()
            while not self.go.wait(0.01):
                check()
            yield task, outcome


@pytest.fixture
def slow(service: JobService) -> SlowExecutor:
    service.executor = SlowExecutor()
    return service.executor


def test_the_same_job_asked_by_two_runs_once(service: JobService, slow: SlowExecutor) -> None:
    spec = JobSpec(models=["melspec"], lenses=LENSES[:1], corpus="folder")
    first = service.submit(spec, "me")
    assert service.submit(spec, "me").id == first.id
    slow.reached.wait(30)
    other = service.submit(spec, "you")
    assert other.id != first.id
    wait_for(lambda: service.get(other.id, "you").state == "running")
    slow.go.set()
    assert ended(service, first).results == ended(service, other, "you").results
    assert slow.runs == 1


def test_cancel_stops_the_work_for_the_last_who_waits(
    service: JobService, slow: SlowExecutor
) -> None:
    spec = JobSpec(models=["melspec"], lenses=LENSES[:1], corpus="folder")
    job = service.submit(spec, "me")
    slow.reached.wait(30)
    started = time.monotonic()
    service.cancel(job.id, "me")
    assert ended(service, job).state == "cancelled"
    wait_for(lambda: not service._flights, 2.0)
    assert time.monotonic() - started < 2.0


def test_jobs_are_found_again_after_a_restart(service: JobService, slow: SlowExecutor) -> None:
    spec = JobSpec(models=["melspec"], lenses=LENSES[:1], corpus="folder")
    job = service.submit(spec, "me")
    slow.reached.wait(30)
    # A second service on the same home stands for the process that comes after a crash.
    again = JobService(
        Store(settings().home, settings().precomputed), InlineExecutor(), service.registry,
        service.uploads, service.corpora,
    )  # fmt: skip
    assert ended(again, job).state == "done"
    again.close()
    slow.go.set()
    third = JobService(
        Store(settings().home, settings().precomputed), InlineExecutor(), service.registry,
        service.uploads, service.corpora,
    )  # fmt: skip
    assert third.get(job.id, "me").state == "done"
    third.close()


def test_stopping_the_server_leaves_jobs_to_be_resumed(
    service: JobService, slow: SlowExecutor
) -> None:
    job = service.submit(JobSpec(models=["melspec"], lenses=LENSES[:1], corpus="folder"), "me")
    slow.reached.wait(30)
    service.close()
    wait_for(lambda: not service._flights, 5.0)
    again = JobService(
        Store(settings().home, settings().precomputed), InlineExecutor(), service.registry,
        service.uploads, service.corpora,
    )  # fmt: skip
    assert ended(again, job).state == "done"
    again.close()


def test_cancelled_in_mid_shard(folder: Path, tmp_path: Path) -> None:
    task = plan.make_shards(
        "run-x", MEL.model_dump(mode="json"), open_corpus(folder).utterances,
        plan.digests(open_corpus(folder).utterances),
        worker.describe(MEL.model_dump(mode="json"), LENSES[:1])[1], 0, limits=False,
    )[0]  # fmt: skip
    seen = []

    def done() -> None:
        seen.append(1)
        worker.cancel("run-x")

    with pytest.raises(Cancelled):
        worker.run_shard(task, done)
    assert len(seen) == 1


def test_remaining_time_follows_the_rate_since_the_first_report() -> None:
    times = iter([0.0, 10.0])
    rate = Rate(clock=lambda: next(times))
    assert rate.remaining_s(50, 100) is None
    assert rate.remaining_s(75, 100) == pytest.approx(10.0)
