"""Training runs are found, read whole or refused, and exported."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from made_services import make_services, make_settings
from made_trajectories import UPDATES, make_checkpoint, value, write_run

from insidessl_dash.core.errors import ConflictError, NotFoundError
from insidessl_dash.core.settings import Settings
from insidessl_dash.dashboard.routes.server import create_server
from insidessl_dash.results import trajectories as module
from insidessl_dash.results.training_card import TrainingCard
from insidessl_dash.results.trajectories import Trajectories
from insidessl_dash.results.trajectory_export import to_csv, to_document


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    write_run(tmp_path / "precomputed")
    return tmp_path / "precomputed"


@pytest.fixture
def known(shipped: Path, home: Path) -> Trajectories:
    return Trajectories(home, shipped)


def rewrite(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps(content))


def test_a_run_is_an_array_over_updates_and_layers(known: Trajectories) -> None:
    found = known.get("demo", "hubert-nano", "curvature")
    expected = [[value(row, layer) for layer in range(13)] for row in range(len(UPDATES))]
    assert found.updates == list(UPDATES)
    assert set(found.measures) == {"signed", "folded"}
    for surface in found.measures.values():
        np.testing.assert_allclose(surface.mean, expected)
        np.testing.assert_allclose(surface.high - surface.low, 0.02)
    assert set(known.get("demo", "hubert-nano", "invariance").measures) >= {"infonce", "cosine"}


def test_runs_are_discovered_and_ones_own_kept_apart(
    known: Trajectories, shipped: Path, home: Path
) -> None:
    assert [run.id for run in known.runs("demo")] == ["hubert-nano"]
    write_run(shipped, "wavlm-nano")
    write_run(home, "hubert-nano", updates=(0, 5))
    assert [run.id for run in known.runs("demo")] == ["hubert-nano", "wavlm-nano", "~hubert-nano"]
    assert known.get("demo", "~hubert-nano", "entropy").updates == [0, 5]
    assert known.get("demo", "hubert-nano", "entropy").updates == list(UPDATES)


def test_the_demo_corpus_comes_first(known: Trajectories, shipped: Path) -> None:
    write_run(shipped, corpus="a-corpus")
    assert known.corpora() == ["demo", "a-corpus"]


def test_an_empty_installation_has_no_runs(tmp_path: Path) -> None:
    known = Trajectories(tmp_path / "home", tmp_path / "precomputed")
    assert known.corpora() == []
    assert known.runs("demo") == []
    with pytest.raises(NotFoundError, match="insidessl-dash dynamics"):
        known.get("demo", "hubert-nano", "entropy")


@pytest.mark.parametrize("corpus", ["..", "demo/../demo", "/", "other"])
def test_a_corpus_is_one_of_the_folders(known: Trajectories, corpus: str) -> None:
    with pytest.raises(NotFoundError):
        known.get(corpus, "hubert-nano", "entropy")


def test_files_are_read_once_until_one_changes(
    known: Trajectories, shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = known.get("demo", "hubert-nano", "curvature")
    assert known.get("demo", "hubert-nano", "curvature") is first
    path = shipped / "dynamics" / "demo" / "hubert-nano.update-64__curvature.json"
    changed = make_checkpoint("hubert-nano", 64, "curvature", [0.5] * 13)
    path.write_text(changed.model_dump_json())
    os.utime(path, ns=(1, 1))
    again = known.get("demo", "hubert-nano", "curvature")
    assert set(again.measures["folded"].mean[UPDATES.index(64)]) == {0.5}


def test_utterances_are_not_kept(known: Trajectories, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plain = module._agree
    monkeypatch.setattr(
        module, "_agree", lambda run, found: seen.append(found) or plain(run, found)
    )
    known.get("demo", "hubert-nano", "entropy")
    assert all(result.utterances == [] for result in seen[0].values())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"layers": [f"x{i}" for i in range(13)]}, "another layers"),
        ({"config": {"alpha": 2.0}}, "another options"),
    ],
)
def test_checkpoints_that_do_not_belong_together_are_refused(
    known: Trajectories, shipped: Path, changes: dict, says: str
) -> None:
    rewrite(shipped / "dynamics" / "demo" / "hubert-nano.update-8__entropy.json", **changes)
    with pytest.raises(ConflictError, match=f"update 8 was measured with {says}"):
        known.get("demo", "hubert-nano", "entropy")


def test_a_checkpoint_on_other_audio_is_refused(known: Trajectories, shipped: Path) -> None:
    path = shipped / "dynamics" / "demo" / "hubert-nano.update-8__entropy.json"
    corpus = {**json.loads(path.read_text())["corpus"], "digest": "e" * 64}
    rewrite(path, corpus=corpus)
    with pytest.raises(ConflictError, match="another audio"):
        known.get("demo", "hubert-nano", "entropy")


def test_what_is_damaged_or_empty_is_left_out_and_said(known: Trajectories, shipped: Path) -> None:
    folder = shipped / "dynamics" / "demo"
    (folder / "hubert-nano.update-8__entropy.json").write_text('{"half')
    path = folder / "hubert-nano.update-16__entropy.json"
    measures = json.loads(path.read_text())["measures"]
    for curve in measures.values():
        curve["mean"] = [None] * 13
    rewrite(path, measures=measures)
    found = known.get("demo", "hubert-nano", "entropy")
    assert found.updates == [u for u in UPDATES if u not in (8, 16)]
    assert [text.split(" is ")[0] for text in found.left_out] == ["Update 8", "Update 16"]


def test_a_run_that_is_all_damaged_says_so(known: Trajectories, shipped: Path) -> None:
    for path in (shipped / "dynamics" / "demo").glob("*__entropy.json"):
        path.write_text("")
    with pytest.raises(ConflictError, match="none of its 9 entropy files can be read"):
        known.get("demo", "hubert-nano", "entropy")


def test_other_perturbations_are_not_mixed_in(known: Trajectories, shipped: Path) -> None:
    folder = shipped / "dynamics" / "demo"
    (folder / "hubert-nano.update-8__invariance__chain.json").rename(
        folder / "hubert-nano.update-8__invariance__gain.json"
    )
    assert 8 not in known.get("demo", "hubert-nano", "invariance").updates


def test_the_card_tells_of_the_training(known: Trajectories, shipped: Path, home: Path) -> None:
    run = known.runs("demo")[0]
    assert known.training(run) is None
    card = shipped / "models" / "hubert-nano" / "card.json"
    card.parent.mkdir(parents=True)
    said = {"name": "hubert-nano", "seconds_of_audio_seen": 120.5, "device": "a device"}
    card.write_text(json.dumps(said))
    found = known.training(run)
    assert found is not None
    assert (found.seconds_of_audio_seen, found.device) == (120.5, "a device")
    card.write_text("[]")
    assert known.training(run) is None
    write_run(home)
    own = known.runs("demo")[1]
    card.write_text(json.dumps(said))
    assert known.training(own) is None, "a card is of what ships, not of a run of that name"


def test_the_exports_hold_every_number(known: Trajectories) -> None:
    found = known.get("demo", "hubert-nano", "curvature")
    document = to_document(found, TrainingCard(name="x", seconds_of_audio_seen=5.0))
    assert document["measures"]["folded"]["mean"][2][3] == value(2, 3)
    assert document["training"]["seconds_of_audio_seen"] == 5.0
    json.dumps(document, allow_nan=False)
    assert set(to_document(found, None)["training"].values()) == {None}
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert len(rows) == 2 * len(UPDATES) * 13
    row = next(r for r in rows if (r["measure"], r["update"], r["layer"]) == ("folded", "64", "12"))
    assert float(row["mean"]) == value(UPDATES.index(64), 12)
    assert row["key"] == "hubert-nano-curvature-64"


def test_what_ships_reads() -> None:
    known = Trajectories(Path("nowhere"), Settings().precomputed)
    runs = known.runs("demo")
    assert "hubert-nano" in {run.id for run in runs}
    for run in runs:
        for lens, updates in run.updates.items():
            found = known.get("demo", run.id, lens)
            assert found.updates == list(updates), found.left_out
            assert len(updates) >= 14


# -- over HTTP ------------------------------------------------------------------------------------


@pytest.fixture
def client(tmp_path: Path):
    settings = make_settings(tmp_path, [])
    write_run(settings.precomputed)
    write_run(settings.home, "mine", updates=(0, 3))
    services = make_services(settings)
    server = create_server(
        services.store, services.service, services.uploads, settings, services.registry
    )
    yield server.test_client()
    services.close()


def test_the_api_lists_runs_and_leads_to_them(client) -> None:
    runs = client.get("/api/v1/trajectories?corpus=demo").get_json()["runs"]
    assert [run["run"] for run in runs] == ["hubert-nano", "~mine"]
    assert runs[1]["updates"]["entropy"] == [0, 3]
    body = client.get(runs[1]["urls"]["invariance"]).get_json()
    assert (body["run"], body["lens"], body["updates"]) == ("~mine", "invariance", [0, 3])
    assert client.get("/api/v1/trajectories?corpus=other").get_json() == {"runs": []}


def test_the_api_gives_csv_and_refuses_what_is_not_there(client) -> None:
    answer = client.get("/api/v1/trajectories/demo/hubert-nano/entropy.csv")
    assert answer.status_code == 200
    assert answer.get_data(as_text=True).startswith("run,corpus,lens,measure")
    assert client.get("/api/v1/trajectories/demo/nobody/entropy.csv").status_code == 404
    assert client.get("/api/v1/trajectories/demo/..%2f..%2fx/entropy.json").status_code in (
        404,
        422,
    )
    error = client.get("/api/v1/trajectories/demo/nobody/entropy.json").get_json()["error"]
    assert "insidessl-dash dynamics" in error["message"]
