"""`insidessl-dash dynamics`: a run of one's own, from its checkpoints to the page."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from made_checkpoints import model_class, random_model, save, tiny_config

from insidessl_dash.cli.main import main
from insidessl_dash.results.trajectories import Trajectories


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny models: a HuBERT and a data2vec."""
    place = tmp_path_factory.mktemp("weights")
    for family in ("hubert", "data2vec"):
        model = random_model(model_class(family), tiny_config(family))
        save(model, place / family, preprocessor={"do_normalize": True})
    return place


@pytest.fixture
def checkpoints(weights: Path, tmp_path: Path) -> Path:
    """A run whose two checkpoints happen to be alike."""
    place = tmp_path / "My Run" / "checkpoints"
    for update in (0, 4):
        shutil.copytree(weights / "hubert", place / f"update-{update:06d}")
    return place


def dynamics(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """Run the command here, with one lens; its exit code."""
    line = ["insidessl-dash", "dynamics", "--lens", "curvature", *map(str, words)]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_a_run_appears_where_the_page_looks(
    checkpoints: Path, folder: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dynamics(monkeypatch, "--checkpoints", checkpoints, "--corpus", folder) == 0
    known = Trajectories(home, tmp_path / "none")
    run = known.runs(known.corpora()[0])[0]
    assert (run.id, run.updates) == ("~my-run", {"curvature": (0, 4)})
    found = known.get(run.corpus, run.id, "curvature")
    assert found.layers == ["0", "1", "2", "3"]
    assert found.corpus.utterances == 6
    files = list((home / "dynamics").rglob("*.json"))
    assert all('"family": "hubert"' in path.read_text() for path in files)


def test_the_family_is_read_and_the_place_and_name_can_be_given(
    weights: Path, folder: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(weights / "data2vec", tmp_path / "run" / "update-1")
    words = ("--checkpoints", tmp_path / "run", "--corpus", folder, "--name", "other",
             "--out", tmp_path / "out")  # fmt: skip
    assert dynamics(monkeypatch, *words) == 0
    path = next((tmp_path / "out").rglob("*.json"))
    assert path.name == "other.update-1__curvature.json"
    assert '"family": "data2vec"' in path.read_text()
    assert not (home / "dynamics").exists()


def test_another_run_of_the_same_name_is_refused_and_nothing_lost(
    checkpoints: Path, weights: Path, folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = ("--checkpoints", checkpoints, "--corpus", folder)
    assert dynamics(monkeypatch, *words) == 0
    before = {path: path.read_bytes() for path in (home / "dynamics").rglob("*.json")}
    for update in ("update-000000", "update-000004"):
        shutil.rmtree(checkpoints / update)
        shutil.copytree(weights / "data2vec", checkpoints / update)
    assert dynamics(monkeypatch, *words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "is of other weights" in said
    assert "--name" in said
    assert {path: path.read_bytes() for path in before} == before
    assert dynamics(monkeypatch, *words, "--name", "second") == 0


def test_checkpoints_of_two_architectures_are_refused_before_anything_is_computed(
    checkpoints: Path, weights: Path, folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copytree(weights / "data2vec", checkpoints / "update-000008")
    assert dynamics(monkeypatch, "--checkpoints", checkpoints, "--corpus", folder) == 2
    assert "update 8 is a data2vec-audio and other checkpoints here are hubert" in (
        capsys.readouterr().err
    )
    assert not (home / "dynamics").exists()


def test_a_family_that_it_is_not_is_refused(
    checkpoints: Path, folder: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = ("--checkpoints", checkpoints, "--corpus", folder, "--family", "wavlm")
    assert dynamics(monkeypatch, *words) == 2
    assert "is of the family hubert" in capsys.readouterr().err


def test_a_checkpoint_that_is_none_is_refused_before_anything_is_computed(
    checkpoints: Path, folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (checkpoints / "update-000008").mkdir()
    assert dynamics(monkeypatch, "--checkpoints", checkpoints, "--corpus", folder) == 2
    assert "config.json" in capsys.readouterr().err
    assert not (home / "dynamics").exists()


def test_a_folder_that_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dynamics(monkeypatch, "--checkpoints", tmp_path / "nowhere") == 2
    assert "no such folder" in " ".join(capsys.readouterr().err.split())
