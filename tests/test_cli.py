"""The command line as a person meets it: run for real, in a process of its own."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from insidessl_dash.cli import main
from insidessl_dash.cli.output import check_target
from insidessl_dash.cli.serving import _in_url
from insidessl_dash.core.errors import ConfigError


def cli(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "insidessl_dash", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=150,
        env={**os.environ, **environment},
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error; checks that it is one."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    errors = [
        line for line in done.stderr.splitlines() if line.startswith("insidessl-dash: error:")
    ]
    assert len(errors) == 1, done.stderr
    return errors[0]


def test_analyze_writes_the_document(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    done = cli("analyze", folder, "--model", "melspec", "--lens", "entropy", "--lens", "curvature",
               "--lens", "invariance", "--json", target)  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(target.read_text())
    assert document["model"] == "melspec"
    assert document["layers"] == ["mel"]
    assert set(document["lenses"]) == {"entropy", "curvature", "invariance"}
    curvature = document["lenses"]["curvature"]
    assert curvature["unit"] == "rad"
    assert curvature["n"] == 6
    assert len(curvature["mean"]) == len(curvature["std"]) == len(curvature["ci95"]) == 1
    low, high = curvature["ci95"][0]
    assert low <= curvature["mean"][0] <= high
    assert [u["id"] for u in document["utterances"]] == [f"u{i}" for i in range(6)]
    assert document["provenance"]["versions"]["torch"]


def test_a_dash_is_standard_output_with_nothing_else(folder: Path) -> None:
    done = cli("analyze", folder / "u0.wav", folder / "u1.wav", "--model", "melspec", "--lens",
               "entropy", "--json", "-")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lenses"]["entropy"]["n"] == 2


def test_several_models_give_a_list(folder: Path) -> None:
    done = cli("analyze", folder / "u0.wav", "--model", "melspec", "--model", "hubert-nano",
               "--lens", "curvature", "--json", "-")  # fmt: skip
    assert done.returncode == 0, done.stderr
    mel, nano = json.loads(done.stdout)
    assert (mel["model"], nano["model"]) == ("melspec", "hubert-nano")
    assert nano["layers"] == [str(i) for i in range(13)]


def test_a_bad_file_is_a_warning_beside_the_good(folder: Path, tmp_path: Path) -> None:
    (folder / "manifest.jsonl").unlink()
    (folder / "zz.wav").write_text("not audio")
    done = cli("analyze", folder, "--model", "melspec", "--lens", "curvature", "--json", "-")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert document["lenses"]["curvature"]["n"] == 6
    assert "zz.wav" in done.stderr
    assert [u["id"] for u in document["utterances"] if u.get("error")] == ["zz"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("analyze", "nowhere.wav"), "no such file"),
        (("analyze", "{folder}", "--model", "hubert-nanoo"), "hubert-nano"),
        (("analyze", "{folder}", "--model", "melspec", "--lens", "entropyy"), "entropy"),
        (("analyze", "{folder}", "--model", "melspec", "--lens", "invariance",
          "--perturbation", "rain"), "rain"),
        (("analyze", "{folder}", "--model", "melspec", "--json",
          "{folder}/u0.wav/x.json"), "x.json"),
        (("models", "show", "nobody"), "nobody"),
        (("models", "add", "mine", "{folder}"), "config.json"),
        (("models", "add", "hubert-base", "{folder}"), "hubert-base"),
        (("data", "get", "timit"), "timit"),
        (("data", "add", "Bad Name", "{folder}"), "Bad Name"),
        (("pretrain", "gpt", "--data", "{folder}", "--out", "{folder}/run"), "hubert-nano"),
        (("pretrain", "hubert-nano", "--data", "{folder}", "--out", "{folder}/run"), "60 s"),
        (("pretrain", "wavlm-nano", "--data", "{folder}", "--out", "{folder}/run",
          "--set", "mix_probability=2"), "mix_probability"),
        (("pretrain", "wavlm-nano", "--data", "{folder}", "--out", "{folder}/run",
          "--set", "loudness=2"), "speech_db"),
        (("models", "rebuild", "melspec", "--data", "{folder}", "--out", "{folder}/run"),
         "hubert-nano"),
        (("models", "rebuild", "hubert-nano", "--data", "demo", "--out", "{folder}/run"),
         "the card says 1d4c2509cac0"),
        (("precompute", "--source", "whisper-base=/nowhere"), "NAME=FOLDER"),
        (("analyze", "{folder}", "--model", "melspec", "--source", "mlspec={folder}"), "mlspec"),
        (("analyze", "librispeech-test-clean"), "insidessl-dash data get librispeech-test-clean"),
        (("precompute", "--corpus", "nothing"), "nothing"),
        (("dynamics", "--checkpoints", "{folder}", "--out", "{folder}/d"), "update-NNNNNN"),
        (("jobs", "cancel", "0000"), "0000"),
        (("analyze", "", "--model", "melspec"), "empty path"),
        (("models", "add", "mine", ""), "source is empty"),
        (("models", "show", "melspec", "--json", ""), "--json"),
        (("models", "show", "melspec", "--json", "{folder}"), "folder"),
        (("data", "add", "mine", ""), "path is empty"),
        (("data", "remove", "nobody"), "nobody"),
        (("serve", "--host", "no.such.host.invalid", "--port", "0"), "no.such.host"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(
    folder: Path, words: tuple[str, ...], says: str, monkeypatch, capsys
) -> None:
    """In this process, as fifteen starts of Python would take a minute."""
    monkeypatch.setattr(sys, "argv", ["insidessl-dash", *(w.format(folder=folder) for w in words)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("insidessl-dash: error:")]
    assert len(errors) == 1
    assert says in errors[0]


def in_process(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run a command here; its exit code."""
    monkeypatch.setattr(sys, "argv", ["insidessl-dash", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code or 0


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PORT", "abc", "from 0 to 65535"),
        ("PORT", "70000", "from 0 to 65535"),
        ("UPLOAD_HOURS", "0", "above 0"),
        ("UPLOAD_FILES", "1.5", "whole number from 1"),
        ("UPLOAD_MB", "-1", "megabytes from 1"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: str, says: str, monkeypatch, capsys) -> None:
    monkeypatch.setenv(f"INSIDESSL_{name}", value)
    assert in_process(monkeypatch, "models", "show", "melspec") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"INSIDESSL_{name} is {value!r}" in line
    assert says in line


def test_an_empty_setting_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    from insidessl_dash.core.settings import settings

    monkeypatch.setenv("INSIDESSL_PORT", "")
    monkeypatch.setenv("INSIDESSL_HOME", "")
    settings.cache_clear()
    assert settings().port == 8050
    assert settings().home.is_absolute()


def test_what_looks_like_markup_is_text() -> None:
    from insidessl_dash.cli import output

    for place in (output.out, output.errors):
        with place.capture() as caught:
            place.print("[/b].wav [red]x[/red] :smile:")
        assert caught.get() == "[/b].wav [red]x[/red] :smile:\n"


def test_a_step_that_looks_like_markup_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from insidessl_dash.cli import output

    terminal = Console(file=io.StringIO(), force_terminal=True, markup=False, width=100)
    monkeypatch.setattr(output, "errors", terminal)
    with output.progress_bar() as report:
        report("[/b].wav", 1, 2)
    assert "[/b].wav" in terminal.file.getvalue()


def test_where_json_cannot_go_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for target in ("", " ", str(tmp_path), str(tmp_path / "file" / "x.json")):
        with pytest.raises(ConfigError, match="--json"):
            check_target(target)
    for target in ("-", str(tmp_path / "file"), str(tmp_path / "new" / "folder" / "x.json")):
        check_target(target)
    assert not (tmp_path / "new").exists()


def test_an_address_of_version_6_stands_in_brackets() -> None:
    assert (_in_url("::1"), _in_url("127.0.0.1")) == ("[::1]", "127.0.0.1")


def test_a_corpus_is_added_and_removed(folder: Path, monkeypatch, capsys) -> None:
    assert in_process(monkeypatch, "data", "add", "mine", str(folder)) == 0
    assert in_process(monkeypatch, "data", "remove", "mine") == 0
    assert "mine: removed" in capsys.readouterr().out
    assert folder.is_dir()
    assert in_process(monkeypatch, "data", "remove", "mine") == 2


@pytest.mark.parametrize(
    ("state", "says", "asked"),
    [("running", "asked to stop", True), ("done", "it has ended already (done)", False)],
)
def test_only_a_job_under_way_is_asked_to_stop(
    home: Path, state: str, says: str, asked: bool, monkeypatch, capsys
) -> None:
    from insidessl_dash.engine.records import JobRecords
    from insidessl_dash.engine.spec import Job, JobSpec

    spec = JobSpec(models=["melspec"], lenses=[{"name": "entropy"}], corpus="demo")
    job = Job(id="a" * 16, spec=spec, state=state)
    records = JobRecords(home)
    records.save("0" * 32, job)
    assert in_process(monkeypatch, "jobs", "cancel", job.id) == 0
    assert says in capsys.readouterr().out
    assert records.cancel_asked(job.id) is asked
    if asked:
        records.ask_to_cancel(job.id)
        records.save("0" * 32, job.model_copy(update={"state": "done"}))
        assert not records.cancel_asked(job.id)


def test_silence_names_the_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "quiet.wav", np.zeros(32_000), 16_000)
    line = refused(cli("analyze", tmp_path / "quiet.wav", "--model", "melspec"))
    assert "quiet.wav" in line
    assert "silent" in line


def test_a_port_in_use_is_said_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        line = refused(cli("serve", "--port", taken.getsockname()[1], "--no-browser"))
    assert "in use" in line
    assert "--port" in line


def test_a_read_only_home_warns_and_gives_the_result(folder: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the home should be")
    done = cli("analyze", folder, "--model", "melspec", "--lens", "entropy", "--json", "-",
               INSIDESSL_HOME=str(blocked))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lenses"]["entropy"]["n"] == 6
    assert "INSIDESSL_HOME" in done.stderr


def test_models_and_corpora_are_listed() -> None:
    models = cli("models", "list", COLUMNS="80").stdout
    for name in (
        "wav2vec2-base",
        "hubert-large",
        "wavlm-base-plus",
        "whisper-base",
        "wav2vec2-nano-init",
    ):
        assert name in models
    card = json.loads(cli("models", "show", "hubert-nano", "--json", "-").stdout)
    assert card["size"] == "nano"
    corpora = cli("data", "list").stdout
    assert "demo" in corpora
    assert "insidessl-dash data get librispeech-test-clean" in corpora
    assert cli("--version").stdout.strip()


def test_results_can_be_loaded_and_drawn_in_a_notebook() -> None:
    from insidessl_dash import analyze, load_result

    results = analyze("demo", models="melspec", lenses="curvature")
    assert results.to_frame()["mean"].notna().all()
    assert results.figure().data
    assert results.provenance["melspec/curvature"].seed == 0
    assert load_result(results[0].key)[0] == results[0]


def test_lab_types_what_the_page_says(folder: Path, tmp_path: Path) -> None:
    """The command that a result of the lab names gives the same again."""
    target, sounds = tmp_path / "out.json", tmp_path / "sounds"
    done = cli("lab", folder / "u0.wav", "--perturbation", "gain", "--strength", "-6.2", "--model",
               "melspec", "--json", target, "--out", sounds)  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(target.read_text())
    command = document["lenses"]["similarity"]["provenance"]["command"]
    assert command == (
        f"insidessl-dash lab {folder / 'u0.wav'} --perturbation gain --strength -6 --model melspec"
    )
    assert document["lenses"]["similarity"]["key"]
    original, perturbed = (
        soundfile.read(sounds / f"{name}.wav")[0] for name in ("original", "perturbed")
    )
    ratio = np.sqrt(np.mean(perturbed**2) / np.mean(original**2))
    assert ratio == pytest.approx(10 ** (-6 / 20), rel=1e-3)
    assert "neither a file nor an utterance" in refused(
        cli("lab", "u9", "--perturbation", "gain", "--strength", 0)
    )
