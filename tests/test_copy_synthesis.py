"""Copy synthesis: what is measured, what is left out, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from insidessl_dash.cli.main import app
from insidessl_dash.core.errors import AudioError, ConfigError
from insidessl_dash.core.progress import silent
from insidessl_dash.core.types import Utterance
from insidessl_dash.corpora.manifest import open_corpus
from insidessl_dash.generation.copy_synthesis import (
    MEASURES,
    copy_synthesis,
    spread_over_speakers,
    with_own_phases,
)
from insidessl_dash.generation.fourier import FourierSize, FourierVocoder
from insidessl_dash.generation.mel import log_mel
from insidessl_dash.generation.vocoder import GriffinLim
from insidessl_dash.results.copy_synthesis import (
    CopySynthesis,
    Scores,
    VocoderScores,
    read_copy_synthesis,
    write_copy_synthesis,
)
from insidessl_dash.results.schema import CorpusInfo, Provenance


class _Perfect:
    """Knows the recordings by their mels."""

    name, weights_sha256 = "Perfect", "abc"

    def __init__(self, waveforms: list[np.ndarray]) -> None:
        self.pairs = [(log_mel(torch.from_numpy(w)[None]), torch.from_numpy(w)) for w in waveforms]

    def __call__(self, mel: torch.Tensor) -> torch.Tensor:
        (found,) = [w for m, w in self.pairs if m.shape == mel.shape and torch.equal(m, mel)]
        return torch.nn.functional.pad(found, (0, mel.shape[1] * 256 - len(found)))[None]


@pytest.fixture(scope="module")
def speech(demo_files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """Speech, too little of it for STOI, and a file that is none."""
    target = tmp_path_factory.mktemp("speech")
    samples = soundfile.read(demo_files[0], dtype="float32")[0][:24_100]
    soundfile.write(target / "speech.wav", samples, 16_000)
    soundfile.write(target / "short.wav", samples[8000:12_800], 16_000)
    (target / "broken.wav").write_bytes(b"RIFFnothing")
    return [
        Utterance(name, target / f"{name}.wav", speaker="s1")
        for name in ("speech", "short", "broken")
    ]


def test_a_perfect_vocoder_has_perfect_scores_and_griffin_lim_has_not(
    speech: list[Utterance],
) -> None:
    waveforms = [soundfile.read(u.path, dtype="float32")[0] for u in speech[:2]]
    found = copy_synthesis([("folder", _Perfect(waveforms)), ("", GriffinLim(8))], speech, silent)
    perfect, floor = found.vocoders
    assert (perfect.name, perfect.source, perfect.weights_sha256) == ("Perfect", "folder", "abc")
    assert (floor.name, floor.source, floor.weights_sha256) == ("Griffin-Lim", "", "")
    assert perfect.measures.keys() == MEASURES.keys() == found.own_phases.keys()
    stoi = perfect.measures["stoi"]
    assert stoi.values == [pytest.approx(1, abs=1e-6), None]
    assert (stoi.mean, stoi.std, stoi.n) == (stoi.values[0], None, 1)
    assert stoi.reasons == {"short": "0.30 s: STOI needs 0.5 s"}
    assert perfect.measures["mel_l1"].values == [0, 0]
    assert perfect.measures["mel_l1"].std == 0
    assert perfect.measures["f0_rmse_cents"].mean == pytest.approx(0, abs=1e-6)
    assert perfect.measures["energy_correlation"].mean == pytest.approx(1)
    for name, measure in MEASURES.items():
        best, own, worst = (
            scores[name].values[0]
            for scores in (perfect.measures, found.own_phases, floor.measures)
        )
        assert best is not None
        assert own is not None
        assert worst is not None
        assert (best > own > worst) if measure.higher_is_better else (best < own < worst), name

    assert found.ids == ["speech", "short"]
    assert [u.error is None for u in found.utterances] == [True, True, False]
    assert all(len(u.sha256 or "") == 64 for u in found.utterances[:2])


def test_speech_that_cannot_be_read_is_no_result(speech: list[Utterance]) -> None:
    with pytest.raises(AudioError, match="None of 1 utterances"):
        copy_synthesis([("", GriffinLim(2))], speech[2:], silent)
    with pytest.raises(AudioError, match="No utterance was given"):
        copy_synthesis([("", GriffinLim(2))], [], silent)


def test_own_phases_leave_only_what_the_mel_loses(speech: list[Utterance]) -> None:
    waveform = torch.from_numpy(soundfile.read(speech[0].path, dtype="float32")[0])
    made = with_own_phases(waveform)
    assert made.shape == waveform.shape
    correlation = torch.corrcoef(torch.stack([made, waveform]))[0, 1]
    assert correlation > 0.9
    assert not torch.allclose(made, waveform, atol=1e-3)


def test_every_speaker_is_heard_before_any_is_heard_twice() -> None:
    spoken = [Utterance(f"u{i}", Path(), speaker=f"s{min(i, 3)}") for i in range(12)]
    chosen = spread_over_speakers(spoken, 5)
    assert sorted(u.speaker or "" for u in chosen) == ["s0", "s1", "s2", "s3", "s3"]
    assert spread_over_speakers(spoken[::-1], 5) == chosen
    assert spread_over_speakers(spoken, 5, seed=1) != chosen
    assert len(spread_over_speakers(spoken, 99)) == 12


# -- the file -----------------------------------------------------------------------------------


def _scores(mean: float | None) -> Scores:
    return Scores(mean=mean, std=None, n=int(mean is not None), values=[mean], reasons={})


def _result() -> CopySynthesis:
    vocoders = [
        VocoderScores(
            name=name, source="", weights_sha256="", measures={k: _scores(mean) for k in MEASURES}
        )
        for name, mean in (("a", 0.5), ("b", 0.7), ("c", None))
    ]
    return CopySynthesis(
        corpus=CorpusInfo(name="made", digest="d", utterances=1, seconds=1.0),
        speakers="all speakers of the corpus",
        ids=["u0"],
        measures=MEASURES,
        vocoders=vocoders,
        own_phases={k: _scores(0.9) for k in MEASURES},
        utterances=[],
        provenance=Provenance(
            created="", versions={}, device="cpu", seed=0, command="", wall_s=0, analysis_version=1
        ),
    )


def test_the_best_is_what_the_measure_calls_best() -> None:
    best = {name: _result().best(name) for name in MEASURES}
    assert {name: v.name for name, v in best.items() if v} == {
        "stoi": "b", "mel_l1": "a", "f0_rmse_cents": "a", "energy_correlation": "b",
    }  # fmt: skip
    nobody = _result().model_copy(update={"vocoders": _result().vocoders[2:]})
    assert nobody.best("stoi") is None


def test_a_result_is_read_as_it_was_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "new" / "result.json"
    assert read_copy_synthesis(path) is None
    write_copy_synthesis(_result(), path)
    assert read_copy_synthesis(path) == _result()
    assert not caplog.records
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2}))
    assert read_copy_synthesis(path) is None
    assert "made by another release" in caplog.text


# -- the command --------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A tiny vocoder whose card says that one speaker was held out."""
    torch.manual_seed(0)
    target = tmp_path / "tiny-vocoder"
    FourierVocoder(FourierSize(width=8, hidden=8, blocks=1)).save(target)
    card = {"name": "tiny-vocoder", "data": {"held_out_speakers": ["s1", "s9"]}}
    (target / "card.json").write_text(json.dumps(card))
    return target


def test_the_command_measures_held_out_speakers(folder: Path, stored: Path, tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    words = ["gcm", "vocoders", "--corpus", str(folder), "--vocoder", str(stored)]
    done = CliRunner().invoke(app, [*words, "--out", str(target)], catch_exceptions=False)
    assert done.exit_code == 0
    result = read_copy_synthesis(target)
    assert result is not None
    by_one = {u.id for u in open_corpus(folder).utterances if u.speaker == "s1"}
    assert set(result.ids) == by_one
    assert result.corpus.speakers == 1
    assert result.speakers == "speakers held out of the training of tiny-vocoder"
    assert [v.name for v in result.vocoders] == [
        "Fourier vocoder, then Griffin-Lim", "Fourier vocoder", "Griffin-Lim",
    ]  # fmt: skip
    assert result.vocoders[0].source == "tiny-vocoder"
    assert len(result.vocoders[0].weights_sha256) == 64
    assert str(tmp_path) not in result.vocoders[0].source
    assert "Griffin-Lim" in done.output


def test_the_command_refuses_what_would_flatter(
    folder: Path, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["gcm", "vocoders", "--corpus", str(folder), "--out", str(tmp_path / "r.json")]
    with pytest.raises(ConfigError, match="--all-speakers"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    card = {"name": "v", "data": {"held_out_speakers": ["s9"]}}
    (stored / "card.json").write_text(json.dumps(card))
    with pytest.raises(ConfigError, match="no speaker that v held out"):
        CliRunner().invoke(app, [*words, "--vocoder", str(stored)], catch_exceptions=False)
    done = CliRunner().invoke(app, [*words, "--all-speakers", "--utterances", "1"])
    assert done.exit_code == 0
    result = read_copy_synthesis(tmp_path / "r.json")
    assert result is not None
    assert (len(result.ids), result.speakers) == (1, "all speakers of the corpus")
