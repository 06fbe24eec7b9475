"""The matrix: its statistics in closed form, its scores, its cells, its files, and resuming."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from pydantic import ValidationError
from scipy.stats import wilcoxon
from typer.testing import CliRunner

from insidessl_dash.analyses.summary import summarise
from insidessl_dash.cli.main import app
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import (
    AudioError,
    Cancelled,
    ConfigError,
    CorpusError,
    ModelError,
    NotFoundError,
    StorageError,
)
from insidessl_dash.core.types import Utterance
from insidessl_dash.corpora.manifest import Corpus, open_corpus
from insidessl_dash.encoders.loading import load_encoder
from insidessl_dash.engine.examples import choose_examples, make_example
from insidessl_dash.engine.matrix import choose_utterances, evaluate_matrix, forget
from insidessl_dash.generation.content import Content, Identity, speech_bert_score
from insidessl_dash.generation.decoder_networks import SIZES, DecoderSize
from insidessl_dash.generation.decoders import STEPS, DecoderBank
from insidessl_dash.generation.judge import METRICS, Judge
from insidessl_dash.generation.matrix import (
    CellMaker,
    MatrixState,
    UtteranceCells,
    compute,
    merge,
    score_utterance,
    update,
)
from insidessl_dash.generation.matrix_summary import summarise_metric, triangles
from insidessl_dash.results.explorer import FOLDER as FOLDER_OF_EXAMPLES
from insidessl_dash.results.explorer import Examples, cell_file, read_example, reference_file
from insidessl_dash.results.matrix import MatrixConfig, MatrixResult, matrix_name
from insidessl_dash.results.matrix_files import (
    FOLDER,
    Matrices,
    list_matrices,
    pack_matrix_values,
    read_matrix,
    read_matrix_values,
    write_matrix,
)
from insidessl_dash.results.schema import CorpusInfo, ModelInfo, Provenance
from insidessl_dash.results.store import Blobs, Store

LAYERS = ("0", "1", "2")
"""Of the encoder of these tests; layer j says j."""


def card(name: str) -> ModelCard:
    return ModelCard(name=name, title=name.title(), family="made", size="nano", kind="melspec")


class MadeEncoder:
    """Layer j is the utterance's log-mel, 0.3 j louder (in log10)."""

    def __init__(self, name: str = "made", digest: str = "e" * 64) -> None:
        self.card, self.weights_sha256, self.revision = card(name), digest, ""
        self.layers, self.dims, self.frame_rates_hz = LAYERS, (80,) * 3, (62.5,) * 3
        self.layer_policy, self.device = {"made": True}, "cpu"

    def __call__(self, waveforms: torch.Tensor) -> list[torch.Tensor]:
        from insidessl_dash.generation.mel import log_mel

        mel = log_mel(waveforms)
        return [mel + 0.3 * j for j in range(3)]


class MadeBank:
    """Decoder i expects what layer i is: it takes 0.3 i away. So the diagonal is exact."""

    preset, tokens = "flow", None
    size = SIZES["nano"]

    def __init__(self, layers: Sequence[str] = LAYERS, digest: str = "d" * 64) -> None:
        self.layers, self.dims, self.weights_sha256 = tuple(layers), (80,) * len(layers), digest
        policy = {"made": True}
        self.encoder = {"name": "made", "weights_sha256": "e" * 64, "layer_policy": policy}
        self.calls: list[dict] = []

    def decode(self, states, decoders, frames, *, seed, steps, sources):
        self.calls.append({"cells": len(states), "seed": seed, "steps": steps})
        assert states.shape[1] == frames
        louder = torch.tensor([0.3 * LAYERS.index(source) for source in sources])
        assert states.mean(dim=(1, 2)) - louder == pytest.approx(
            (states[0].mean() - louder[0]).expand(len(states)), abs=1e-4
        ), "sources are the layers that the states are of"
        taken = torch.tensor([0.3 * LAYERS.index(self.layers[i]) for i in decoders])
        return states - taken[:, None, None]


class Loudness:
    """Of a vocoder only what tells cells apart: the mean log-mel of each, 256 times a frame."""

    name, weights_sha256 = "loudness", "v" * 64

    def __call__(self, mel: torch.Tensor) -> torch.Tensor:
        return mel.mean(dim=(1, 2))[:, None].expand(-1, mel.shape[1] * 256).clone()


class Tones:
    """Noise shaped by the mel's loudness over time: cheap, deterministic, every sample audible."""

    name, weights_sha256 = "tones", "t" * 64

    def __call__(self, mel: torch.Tensor) -> torch.Tensor:
        level = 10.0 ** mel.mean(dim=2).repeat_interleave(256, dim=1)
        noise = torch.randn(level.shape[1], generator=torch.Generator().manual_seed(0))
        return level * noise


@pytest.fixture(autouse=True)
def quick_f0(monkeypatch: pytest.MonkeyPatch) -> None:
    """F0 of anything that sounds is 100 Hz, higher the louder: pYIN is tested elsewhere."""

    def made(waveform: np.ndarray, hop: int = 256) -> np.ndarray:
        level = float(np.sqrt(np.mean(waveform.astype(np.float64) ** 2)))
        value = 100.0 * (1 + level) if level else np.nan
        return np.full(1 + len(waveform) // hop, value)

    monkeypatch.setattr("insidessl_dash.generation.metrics.f0_hz", made)


def judge(layer: str | None = None) -> Judge:
    ear = load_encoder("melspec", device="cpu")
    return Judge(Content(ear, layer), Identity(load_encoder("melspec", device="cpu")))


def sound(samples: int = 16_000, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    envelope = 0.05 + torch.linspace(0, 30, samples).sin().square()
    return 0.1 * envelope * torch.randn(samples, generator=generator)


# -- statistics -------------------------------------------------------------------------------


def summary(cells: np.ndarray, rows: Sequence[int] = (0, 1, 2), **changes):
    given = {
        "title": "t", "unit": "", "group": "content", "higher_is_better": True, "scored_by": "x",
        "why": [[["" for _ in row] for row in of] for of in cells.tolist()],
    }  # fmt: skip
    speakers = changes.pop("speakers", np.arange(len(cells)))
    return summarise_metric(cells, cells[:, 0, 0] + 1, rows, speakers, **{**given, **changes})


def test_means_and_deviations_of_cells() -> None:
    cells = np.random.default_rng(0).standard_normal((7, 3, 3))
    cells[2:, 1, 2], cells[:, 2, 0] = np.nan, np.nan
    cells[1:, 0, 1] = np.nan
    found = summary(cells)
    assert found.n == [[7, 1, 7], [7, 7, 2], [0, 7, 7]]
    assert found.mean[2][0] is None
    assert found.std[2][0] is None
    assert found.std[0][1] is None, "one utterance has no deviation"
    assert found.mean[0][1] == pytest.approx(cells[0, 0, 1])
    assert found.mean[1][2] == pytest.approx(cells[:2, 1, 2].mean())
    assert found.std[0][0] == pytest.approx(cells[:, 0, 0].std(ddof=1))
    assert found.ceiling.mean == pytest.approx(cells[:, 0, 0].mean() + 1)
    assert found.ceiling.n == 7


def test_diagonal_and_triangles_are_means_within_an_utterance() -> None:
    # Values say where they are: 10 i + j, and 100 more for each utterance.
    cells = np.array([[[100 * u + 10 * i + j for j in range(3)] for i in range(3)] for u in (0, 1)])
    found = summary(cells.astype(float))
    assert found.diagonal.mean == pytest.approx(np.mean([0, 11, 22]) + 50)
    assert found.off_diagonal.mean == pytest.approx(np.mean([1, 2, 10, 12, 20, 21]) + 50)
    lower, upper = triangles(cells.astype(float), [0, 1, 2])
    assert lower.tolist() == [np.mean([10, 20, 21]), 100 + np.mean([10, 20, 21])]
    assert upper.tolist() == [np.mean([1, 2, 12]), 100 + np.mean([1, 2, 12])]
    assert found.asymmetry.difference.mean == pytest.approx(9 * 4 / 3)
    assert found.asymmetry.better == "lower"
    # A mirrored pair is left out as soon as one of the two is missing.
    some = cells.astype(float)
    some[0, 2, 1] = np.nan
    lower, upper = triangles(some, [0, 1, 2])
    assert (lower[0], upper[0]) == (15, 1.5)
    some[0, 1, 0] = some[0, 0, 2] = np.nan
    assert np.isnan(triangles(some, [0, 1, 2])[0][0])


def test_rows_that_are_missing_have_no_pairs() -> None:
    cells = np.array([[[10 * i + j for j in range(4)] for i in (1, 3)]], dtype=float)
    lower, upper = triangles(cells, [1, 3])
    assert (lower[0], upper[0]) == (31, 13)
    found = summary(cells, rows=[1, 3])
    assert found.diagonal.mean == pytest.approx((11 + 33) / 2)
    assert found.off_diagonal.mean == pytest.approx(np.mean([10, 12, 13, 30, 31, 32]))


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_asymmetry_test_is_scipys_and_its_interval_the_projects(higher_is_better) -> None:
    rng = np.random.default_rng(1)
    cells = rng.standard_normal((45, 3, 3))
    cells[:, [1, 2, 2], [0, 0, 1]] += 2.0
    cells[4, 2, 1] = np.nan
    lower = np.nanmean(
        np.stack(
            [cells[:, 1, 0], cells[:, 2, 0], np.where(np.arange(45) == 4, np.nan, cells[:, 2, 1])]
        ),
        axis=0,
    )
    mirrored = np.where(np.arange(45) == 4, np.nan, cells[:, 1, 2])
    upper = np.nanmean(np.stack([cells[:, 0, 1], cells[:, 0, 2], mirrored]), axis=0)
    found = summary(cells, higher_is_better=higher_is_better, seed=3).asymmetry
    assert found.p == pytest.approx(wilcoxon(lower, upper).pvalue)
    expected = summarise((lower - upper)[:, None], seed=3)
    assert found.difference.mean == pytest.approx(expected.mean[0])
    assert found.difference.ci95 == pytest.approx(expected.ci95[0])
    assert found.lower.mean == pytest.approx(lower.mean())
    assert found.upper.std == pytest.approx(upper.std(ddof=1))
    assert found.better == ("lower" if higher_is_better else "upper")


def test_utterances_of_one_speaker_count_once_in_test_and_interval() -> None:
    rng = np.random.default_rng(5)
    once = rng.standard_normal((12, 3, 3))
    speakers = np.arange(12)
    twice, doubled = np.repeat(once, 2, axis=0), np.repeat(speakers, 2)
    one, two = summary(once), summary(twice, speakers=doubled)
    assert two.asymmetry.p == one.asymmetry.p
    assert two.asymmetry.speakers == one.asymmetry.speakers == 12
    assert two.diagonal.ci95 == pytest.approx(one.diagonal.ci95)
    assert two.asymmetry.difference.ci95 == pytest.approx(one.asymmetry.difference.ci95)
    assert two.diagonal.n == 24
    # Speakers with unlike numbers of utterances: the test is scipy's on a mean a speaker.
    speakers = np.repeat([7, 3, 9, 4], [5, 2, 1, 4])
    found = summary(once, speakers=speakers).asymmetry
    lower, upper = triangles(once, [0, 1, 2])
    means = [np.mean((lower - upper)[speakers == one]) for one in (3, 4, 7, 9)]
    assert found.p == pytest.approx(wilcoxon(means).pvalue)
    assert found.difference.mean == pytest.approx(np.mean(lower - upper))
    assert summary(once, speakers=np.zeros(12, int)).diagonal.ci95 is None


def test_triangles_that_cannot_be_told_apart() -> None:
    equal = summary(np.ones((5, 3, 3))).asymmetry
    assert (equal.p, equal.better, equal.difference.mean) == (None, None, 0.0)
    noise = np.random.default_rng(2).standard_normal((40, 3, 3))
    assert summary(noise).asymmetry.better is None
    alone = summary(np.ones((4, 1, 3)), rows=[1]).asymmetry
    assert (alone.lower.mean, alone.lower.n, alone.p) == (None, 0, None)


def test_the_most_frequent_reason_is_told() -> None:
    why = [[["", "short"]], [["", "silent"]], [["", "short"]], [["", ""]]]
    cells = np.array([[[1.0, np.nan]]] * 3 + [[[1.0, 2.0]]])
    assert summary(cells, rows=[0], why=why).why == [["", "short"]]


# -- what is read off a matrix ------------------------------------------------------------------


def matrix(content: list, layers: Sequence[str] = LAYERS, rows: Sequence[str] = LAYERS, **changes):
    cells = np.array([content], dtype=np.float64)
    places = [list(layers).index(row) for row in rows]
    return MatrixResult(
        key="k",
        model=ModelInfo(name="made", title="Made", family="made", size="nano"),
        corpus=CorpusInfo(name="c", digest="", utterances=1, seconds=1.0),
        layers=list(layers),
        decoder_layers=list(rows),
        missing={name: "none" for name in layers if name not in rows},
        decoders={"preset": "flow", "weights_sha256": "d"},
        vocoder={"name": "v", "weights_sha256": ""},
        config=MatrixConfig(),
        metrics={"content": summary(cells, rows=places, **changes)},
        utterances=[],
        provenance=Provenance(
            created="", versions={}, device="cpu", seed=0, command="", wall_s=0, analysis_version=1
        ),
    )


def test_the_rupture_is_the_largest_drop_between_columns() -> None:
    found = matrix([[0.9, 0.8, 0.5], [0.7, 0.9, 0.3], [0.8, 0.4, 0.6]])
    # Column means 0.8, 0.7, 1.4/3; diagonal 0.9, 0.9, 0.6.
    assert found.by_token("content") == pytest.approx([0.8, 0.7, 1.4 / 3])
    assert found.by_decoder("content") == pytest.approx([2.2 / 3, 1.9 / 3, 0.6])
    rupture = found.rupture()
    assert (rupture.before, rupture.after) == ("1", "2")
    assert rupture.drop == pytest.approx(0.7 - 1.4 / 3)
    assert rupture.drops == pytest.approx([0.1, 0.7 - 1.4 / 3])
    along = found.rupture(along="diagonal")
    assert (along.after, along.drop) == ("2", pytest.approx(0.3))
    assert found.drops()[1][0] is None
    assert found.drops()[1][1:] == pytest.approx([-0.2, 0.6])
    assert matrix([[0.1, 0.2, 0.3]] * 3).rupture() is None
    worse = matrix([[0.1, 0.4, 0.5]] * 3, higher_is_better=False).rupture()
    assert (worse.before, worse.after, worse.drop) == ("0", "1", pytest.approx(0.3))
    with pytest.raises(NotFoundError, match="content"):
        found.rupture("words")


def test_missing_rows_say_so_and_stay_empty() -> None:
    found = matrix([[1, 2, 3], [4, 5, 6]], rows=("0", "2"))
    assert found.full(found.metrics["content"].mean) == [[1, 2, 3], [None] * 3, [4, 5, 6]]
    assert found.diagonal("content") == [1, None, 6]
    assert found.by_decoder("content") == [2, None, 5]
    assert found.place("2", "1") == (1, 1)
    assert found.place("1", "0") == (None, 0)
    assert list(found.missing) == ["1"]
    assert found.rupture("content", "diagonal") is None, "no neighbours that both exist"
    with pytest.raises(NotFoundError, match="no layer '7'"):
        found.place("7", "0")
    raw = found.model_dump()
    with pytest.raises(ValidationError, match="not one row a decoder"):
        MatrixResult.model_validate({**raw, "decoder_layers": LAYERS, "missing": {}})
    with pytest.raises(ValidationError, match="the reasons for it differ"):
        MatrixResult.model_validate({**raw, "missing": {}})


# -- scores -----------------------------------------------------------------------------------


def test_speech_bert_score_against_numpy() -> None:
    rng = np.random.default_rng(0)
    reference, generated = rng.standard_normal((9, 5)), rng.standard_normal((3, 7, 5))
    generated[2, 3] = 0.0
    found = speech_bert_score(torch.from_numpy(reference), torch.from_numpy(generated)).numpy()
    for c in range(3):
        cosine = np.zeros((7, 9))
        for g in range(7):
            for r in range(9):
                lengths = np.linalg.norm(generated[c, g]) * np.linalg.norm(reference[r])
                cosine[g, r] = generated[c, g] @ reference[r] / lengths if lengths else 0.0
        precision, recall = cosine.max(axis=1).mean(), cosine.max(axis=0).mean()
        f1 = 2 * precision * recall / (precision + recall)
        assert found[c] == pytest.approx([precision, recall, f1], abs=1e-6)
    same = speech_bert_score(torch.from_numpy(reference), torch.from_numpy(reference[None]))
    assert same[0].tolist() == pytest.approx([1, 1, 1])
    opposite = speech_bert_score(torch.ones(1, 2), -torch.ones(1, 1, 2))
    assert opposite[0].tolist() == pytest.approx([-1, -1, 0])
    with pytest.raises(AudioError, match="one width"):
        speech_bert_score(torch.ones(2, 3), torch.ones(1, 2, 4))
    with pytest.raises(AudioError, match="at least one frame"):
        speech_bert_score(torch.ones(0, 3), torch.ones(1, 2, 3))


def test_a_model_does_not_judge_itself() -> None:
    content = Content(MadeEncoder("ear"))
    assert content.layer == "2"
    content.check_other_than(MadeEncoder("made", "a" * 64), "--content")
    for studied in (MadeEncoder("other"), MadeEncoder("ear", "a" * 64)):
        with pytest.raises(ConfigError, match="--content"):
            content.check_other_than(studied, "--content")
    with pytest.raises(ConfigError, match="no layer '9': 0, 1, 2"):
        Content(MadeEncoder(), "9")


def test_whisper_listens_through_a_shorter_window() -> None:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    from insidessl_dash.encoders.whisper import WhisperEncoderAdapter
    from insidessl_dash.encoders.whisper_window import with_window

    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=16,
        num_mel_bins=80, max_source_positions=400,
    )  # fmt: skip
    network = WhisperEncoder(config).eval()
    whole = WhisperEncoderAdapter(
        network, card("ear"), policy={}, weights_sha256="w", revision="", device="cpu"
    )
    judge = Content(whole)
    assert judge.encoder.layer_policy == {**whole.layer_policy, "window_s": 6}
    assert "window of 6 s" in judge.title
    waveforms = sound(32_000)[None]
    assert [len(x[0]) for x in judge.encoder(waveforms)] == [100] * 3
    # What enters block 1 does not depend on the window (but near the clip's end, on the padding).
    same = judge.encoder(waveforms)[0][0, :95]
    assert same == pytest.approx(whole(waveforms)[0][0, :95], abs=1e-4)
    for mine, theirs in zip(with_window(whole, 8)(waveforms), whole(waveforms), strict=True):
        assert mine.numpy() == pytest.approx(theirs.numpy(), abs=1e-6), "its own window: the same"
    with pytest.raises(ConfigError, match="takes 1 to 8 s"):
        with_window(whole, 9)
    assert whole._model.config.max_source_positions == 400, "the encoder itself is as it was"


def test_the_identity_score_is_the_cosine_of_means_over_time() -> None:
    identity = Identity(MadeEncoder("ear"), "1")
    a, b = sound(seed=1), sound(seed=2)
    layers = [
        x[1].double().mean(dim=0)
        for x in (MadeEncoder()(w[None])[1].repeat(2, 1, 1) for w in (a, b))
    ]
    expected = torch.nn.functional.cosine_similarity(layers[0], layers[1], dim=0)
    found = identity.scores(identity.embeddings(a[None])[0], torch.stack([b, a]))
    assert found == pytest.approx([float(expected), 1.0], abs=1e-6)


# -- cells ------------------------------------------------------------------------------------


def test_rows_are_decoders_and_columns_are_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, original = MadeBank(("0", "2")), sound(10_000)
    maker = CellMaker(MadeEncoder(), bank, Loudness(), MatrixConfig(seed=5, steps=3, gain_db=20))
    exact = float(maker.vocoded(original)[0])
    monkeypatch.setattr("insidessl_dash.generation.matrix._BATCH_SECONDS", 5 * 10_240 / 16_000)
    found: dict[tuple[int, int], float] = {}
    for places, waveforms in maker.cells(original):
        assert waveforms.shape == (len(places), 10_000)
        found |= dict(zip(places, waveforms[:, -1].tolist(), strict=True))
    assert list(found) == [(i, j) for i in (0, 1) for j in (0, 1, 2)], "row by row"
    for (i, j), loudness in found.items():
        # Layer j is 0.3 j louder, and decoder i takes 0.3 of its own layer away; 20 dB are x 10.
        assert loudness - exact == pytest.approx(10 * 0.3 * (j - (0, 2)[i]), abs=1e-3)
    assert bank.calls == [{"cells": n, "seed": 5, "steps": 3} for n in (3, 3)], "whole rows"
    assert maker.missing == ["1"]
    ((only, _),) = maker.cells(original, rows=[1])
    assert only == [(1, 0), (1, 1), (1, 2)]


def test_decoders_of_another_encoder_are_refused() -> None:
    with pytest.raises(ModelError, match="not on the made that is loaded"):
        CellMaker(MadeEncoder(digest="f" * 64), MadeBank(), Tones(), MatrixConfig())
    other_way = MadeEncoder()
    other_way.layer_policy = {"made": False}
    with pytest.raises(ModelError, match="read in another way"):
        CellMaker(other_way, MadeBank(), Tones(), MatrixConfig())
    narrow = MadeBank()
    narrow.dims = (80, 80, 64)
    with pytest.raises(ModelError, match="no layer '2' of the width"):
        CellMaker(MadeEncoder(), narrow, Tones(), MatrixConfig())


def test_the_exact_diagonal_scores_as_the_vocoder_alone() -> None:
    maker = CellMaker(MadeEncoder(), MadeBank(), Tones(), MatrixConfig())
    cells = score_utterance(maker, judge(), "u", sound(12_000).numpy())
    assert set(cells.cells) == {info.name for info in METRICS}
    for name, grid in cells.cells.items():
        assert [grid[i][i] for i in range(3)] == pytest.approx([cells.ceiling[name]] * 3, abs=1e-5)
    mel = cells.cells["mel_l1"]
    assert min(mel[0][2], mel[2][0]) > mel[0][0]
    # Lower triangle: decoder 2 takes more away than layer 0 has, so it is quieter; here F0 tells.
    assert cells.cells["f0_rmse_cents"][0][2] != pytest.approx(cells.cells["f0_rmse_cents"][2][0])


def test_what_cannot_be_measured_has_a_reason_and_the_rest_stands() -> None:
    class Broken(MadeBank):
        def decode(self, states, decoders, frames, **noise):
            mel = super().decode(states, decoders, frames, **noise)
            mel[[i for i, d in enumerate(decoders) if d == 1]] = float("nan")
            return mel

    maker = CellMaker(MadeEncoder(), Broken(), Tones(), MatrixConfig())
    cells = score_utterance(maker, judge(), "u", sound(6400).numpy())
    assert cells.cells["stoi"] == [[None] * 3] * 3
    assert "STOI needs 0.5 s" in cells.why["stoi"][0][0]
    for name in ("content", "speaker", "mel_l1", "f0_rmse_cents", "energy_correlation"):
        assert cells.cells[name][1] == [None] * 3
        assert cells.why[name][1] == ["the generated waveform is not finite"] * 3
        assert None not in cells.cells[name][0] + cells.cells[name][2]
        assert cells.why[name][0] == [""] * 3
    state = MatrixState()
    update(state, cells)
    measures, _ = compute(state, [0, 1, 2], judge().scored_by)
    assert measures["stoi"].why[2][2] == cells.why["stoi"][2][2]
    assert measures["stoi"].ceiling.mean is None
    json.dumps(measures["content"].model_dump(), allow_nan=False)


def test_silence_has_no_f0_and_no_stoi() -> None:
    maker = CellMaker(MadeEncoder(), MadeBank(), Tones(), MatrixConfig())
    cells = score_utterance(maker, judge(), "u", np.zeros(16_000, dtype=np.float32))
    assert cells.why["stoi"][0][0] == "the original is silent"
    assert "voiced in both" in cells.why["f0_rmse_cents"][1][2]
    assert cells.cells["mel_l1"][0][0] is not None


# -- a corpus -----------------------------------------------------------------------------------


def evaluated(corpus: Corpus, **changes):
    given = {"encoder": MadeEncoder(), "bank": MadeBank(), "vocoder": Tones(), "judge": judge()}
    return evaluate_matrix(**{**given, "corpus": corpus, **changes})


def test_shards_merged_in_any_order_are_the_whole() -> None:
    maker, ears = CellMaker(MadeEncoder(), MadeBank(), Tones(), MatrixConfig()), judge()
    all_cells = [
        score_utterance(maker, ears, f"u{k}", sound(9000 + 300 * k, seed=k).numpy())
        for k in range(4)
    ]
    whole = MatrixState()
    for cells in all_cells:
        update(whole, cells)
    parts = [MatrixState(), MatrixState()]
    for k in (3, 1):
        update(parts[0], all_cells[k])
    for k in (2, 0):  # as a worker leaves it behind
        update(parts[1], UtteranceCells.model_validate_json(all_cells[k].model_dump_json()))
    merge(parts[0], parts[1])
    one, other = (compute(state, [0, 1, 2], ears.scored_by) for state in (whole, parts[0]))
    assert one[0] == other[0]
    assert pack_matrix_values(one[1]) == pack_matrix_values(other[1])
    assert one[1].ids == ["u0", "u1", "u2", "u3"]
    with pytest.raises(ValueError, match="'u2' was added twice"):
        merge(parts[0], parts[1])


def test_a_result_from_end_to_end(folder: Path) -> None:
    (folder / "u4.wav").write_bytes(b"RIFF")
    reports: list[tuple[float, float]] = []
    result, values = evaluated(
        open_corpus(folder),
        bank=MadeBank(("0", "2")),
        progress=lambda step, completed, total: reports.append((completed, total)),
        command="again",
    )
    assert result.decoder_layers == ["0", "2"]
    assert list(result.missing) == ["1"]
    assert [u.id for u in result.utterances if u.error] == ["u4"]
    assert (result.corpus.utterances, result.corpus.speakers) == (5, 3)
    assert values.ids == ["u0", "u1", "u2", "u3", "u5"]
    assert values.measures["stoi"].shape == (5, 2, 3)
    assert values.ceiling["stoi"].shape == (5,)
    stoi = result.metric("stoi")
    assert np.array(stoi.mean) == pytest.approx(values.measures["stoi"].mean(axis=0))
    assert stoi.n == [[5] * 3] * 2
    assert stoi.diagonal.mean == pytest.approx(stoi.ceiling.mean)
    assert list(result.in_group("prosody")) == ["f0_rmse_cents", "energy_correlation"]
    assert all(measure.scored_by for measure in result.metrics.values())
    assert reports[-1] == (36, 36)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert result.provenance.command == "again"
    assert result.config.steps == STEPS, "what the decoders take by default is written down"


def test_what_was_finished_is_not_done_again(folder: Path, tmp_path: Path) -> None:
    corpus = open_corpus(folder)
    uninterrupted, expected = evaluated(corpus)

    def stop(step: str, completed: float, total: float) -> None:
        if completed > 3 * 9:
            raise Cancelled("stopped")

    kept = Blobs(tmp_path / "kept")
    with pytest.raises(Cancelled):
        evaluated(corpus, kept=kept, progress=stop)
    kept.close()
    bank, kept = MadeBank(), Blobs(tmp_path / "kept")
    assert len(kept.keys("gcm-cells:")) == 3
    damaged = kept.keys("gcm-cells:")[0]
    kept._cache.set(damaged, b"x" * 64)
    result, values = evaluated(corpus, bank=bank, kept=kept)
    assert len(bank.calls) == 3 + 1, "the fourth was not finished, the damaged one is done again"
    assert result.metrics == uninterrupted.metrics
    assert pack_matrix_values(values) == pack_matrix_values(expected)
    assert result.key == uninterrupted.key
    assert len(kept.keys("gcm-cells:")) == 6
    forget(kept, result.key)
    assert kept.keys("gcm-cells:") == []
    with pytest.raises(Cancelled):
        evaluated(corpus, check=lambda: (_ for _ in ()).throw(Cancelled("now")))


def test_the_key_follows_what_goes_in(folder: Path) -> None:
    corpus = open_corpus(folder).select(lambda u: u.id == "u0")
    other = open_corpus(folder).select(lambda u: u.id == "u1")
    vocoder, encoder = Tones(), MadeEncoder()
    vocoder.weights_sha256 = "z" * 64
    bank = MadeBank()
    bank.encoder["layer_policy"] = encoder.layer_policy = {"made": False}
    keys = [
        evaluated(corpus, **changes)[0].key
        for changes in (
            {},
            {"vocoder": vocoder},
            {"bank": MadeBank(digest="c" * 64)},
            {"encoder": encoder, "bank": bank},
            {"config": MatrixConfig(steps=7)},
            {
                "judge": Judge(
                    Content(MadeEncoder("ear", "a" * 64), "0"), Identity(MadeEncoder("v", "b" * 64))
                )
            },
            {
                "judge": Judge(
                    Content(MadeEncoder("ear", "a" * 64), "1"), Identity(MadeEncoder("v", "b" * 64))
                )
            },
            {"config": MatrixConfig(seed=1)},
            {"config": MatrixConfig(gain_db=-3.0)},
        )
    ]
    keys.append(evaluated(other)[0].key)
    assert len(set(keys)) == len(keys)
    assert evaluated(corpus)[0].key == keys[0]


def test_nothing_that_can_be_scored(folder: Path) -> None:
    for file in folder.glob("*.wav"):
        file.write_bytes(b"RIFF")
    with pytest.raises(AudioError, match="None of 6 utterances"):
        evaluated(open_corpus(folder))
    ears = Judge(Content(MadeEncoder("ear", "a" * 64)), Identity(MadeEncoder()))
    with pytest.raises(ConfigError, match="--speaker"):
        evaluated(open_corpus(folder), judge=ears)


def test_utterances_are_spread_over_speakers() -> None:
    def made(speaker: str, k: int, seconds: float | None) -> Utterance:
        return Utterance(id=f"{speaker}{k}", path=Path("x"), speaker=speaker, seconds=seconds)

    everything = [made("a", k, 3.0) for k in range(30)] + [made("a", 99, 9.0), made("b", 99, 1.0)]
    everything += [made(who, k, 2.0 + k) for who in "bcd" for k in range(3)]
    corpus = Corpus("c", tuple(everything))
    chosen = choose_utterances(corpus, 8, 4)
    counts = {who: sum(u.speaker == who for u in chosen.utterances) for who in "abcd"}
    assert counts == {"a": 2, "b": 2, "c": 2, "d": 2}
    backwards = choose_utterances(Corpus("c", tuple(everything[::-1])), 8, 4)
    assert {u.id for u in backwards.utterances} == {u.id for u in chosen.utterances}
    everyone = {u.id for u in choose_utterances(corpus, 39, 4).utterances}
    assert not everyone & {"a99", "b99"}, "too long, too short"
    for count, speakers in ((40, 4), (8, 5)):
        with pytest.raises(CorpusError, match="--utterances"):
            choose_utterances(corpus, count, speakers)
    for lacking, what in ((made("", 0, 3.0), "speaker"), (made("a", 100, None), "duration")):
        with pytest.raises(CorpusError, match=what):
            choose_utterances(Corpus("c", (*everything, lacking)), 8, 4)


# -- files ------------------------------------------------------------------------------------


def test_a_matrix_on_disk_comes_back_as_it_was(folder: Path, tmp_path: Path) -> None:
    result, values = evaluated(open_corpus(folder).select(lambda u: u.id < "u3"))
    home, shipped = tmp_path / "home", tmp_path / "shipped"
    name = matrix_name("made", "regression")
    target = home / FOLDER / "corpus" / name
    write_matrix(target, result, values)
    assert read_matrix(target) == result
    again = read_matrix_values(target)
    assert again.ids == values.ids
    for kind in ("measures", "ceiling"):
        mine, theirs = getattr(values, kind), getattr(again, kind)
        assert mine.keys() == theirs.keys()
        for metric in mine:
            assert theirs[metric] == pytest.approx(mine[metric], rel=1e-6, nan_ok=True)
    matrices = Matrices(home, shipped)
    (header,) = matrices.headers()
    assert (header.corpus, header.name, header.own) == ("corpus", "made.regression", True)
    assert (header.key, header.model, header.utterances) == (result.key, "made", 3)
    assert list_matrices(shipped / FOLDER) == []
    assert matrices.get("corpus", name) == result
    assert matrices.values("corpus", name).ids == values.ids
    # It comes before what ships under the same name; a file that changed is read again.
    changed = result.model_copy(update={"key": "other"})
    write_matrix(shipped / FOLDER / "corpus" / name, changed, values)
    assert [(h.key, h.own) for h in matrices.headers()] == [(result.key, True)]
    assert matrices.get("corpus", name).key == result.key
    write_matrix(target, changed, values)
    assert matrices.get("corpus", name).key == "other"
    for corpus, named in (
        ("corpus", "absent"),
        ("..", name),
        ("corpus", "../corpus/" + name),
        ("é" * 200, name),
    ):
        with pytest.raises(NotFoundError, match="gcm evaluate"):
            matrices.get(corpus, named)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    found = tmp_path / "gcm" / "c" / "made"
    with pytest.raises(NotFoundError, match="no matrix here"):
        read_matrix(found)
    found.mkdir(parents=True)
    (found / "matrix.json").write_text(
        matrix([[1, 2, 3]] * 3).model_copy(update={"schema_version": 2}).model_dump_json()
    )
    assert list_matrices(tmp_path / "gcm") == []
    with pytest.raises(NotFoundError, match="another release"):
        read_matrix(found)
    assert read_matrix_values(found) is None
    (found / "values.npz").write_bytes(b"no")
    with pytest.raises(StorageError, match="cannot be read"):
        read_matrix_values(found)


# -- the command ------------------------------------------------------------------------------


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """Two speakers with two clips of 2 s each, and the speaker s1 held out of a training."""
    target = tmp_path / "spoken"
    target.mkdir()
    rows = []
    for index in range(4):
        soundfile.write(target / f"u{index}.wav", sound(32_000, seed=index).numpy(), 16_000)
        row = {"id": f"u{index}", "path": f"u{index}.wav", "speaker": f"s{index % 2}"}
        rows.append({**row, "seconds": 2.0})
    (target / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return target


@pytest.fixture
def decoders(tmp_path: Path) -> Path:
    """A folder with a tiny decoder of the log-mel baseline, and the card of its training."""
    encoder = load_encoder("melspec", device="cpu")
    said = {
        "name": "melspec",
        "weights_sha256": "",
        "layer_policy": encoder.layer_policy,
        "layers": list(encoder.layers),
        "frame_rates_hz": list(encoder.frame_rates_hz),
        "first_frame_s": 0.0125,
    }
    size = DecoderSize(width=8, blocks=1, heads=1, hidden=8, patch=1)
    bank = DecoderBank(encoder.layers, 80, size, "regression", said)
    bank.mel_mean.fill_(-3.0)
    target = tmp_path / "decoders"
    target.mkdir()
    bank.save(target)
    card = {"name": "decoders", "updates": 7, "data": {"held_out_speakers": ["s1"]}}
    (target / "card.json").write_text(json.dumps(card))
    return target


def run(spoken: Path, decoders: Path, *more: str):
    words = ["gcm", "evaluate", "--model", "melspec", "--decoders", str(decoders)]
    words += ["--content", "hubert-nano:6", "--speaker", "wav2vec2-nano"]
    words += [] if "--vocoder" in more else ["--vocoder", "griffin-lim"]
    return CliRunner().invoke(app, [*words, "--corpus", str(spoken), *more])


def test_the_command_writes_a_matrix(spoken: Path, decoders: Path, tmp_path: Path) -> None:
    done = run(spoken, decoders, "--out", str(tmp_path / "out"), "--utterances", "2")
    assert done.exit_code == 0, (done.output, done.exception)
    target = tmp_path / "out" / "spoken-held-out" / "melspec.regression"
    result = read_matrix(target)
    assert read_matrix_values(target).ids == ["u1", "u3"], "of the held-out speaker"
    assert (result.decoders.preset, result.decoders.updates) == ("regression", 7)
    assert (result.decoders.size["width"], result.config.steps) == (8, None)
    assert result.metric("content").scored_by == "HuBERT Nano, layer 6"
    assert result.metric("speaker").scored_by == "wav2vec 2.0 Nano, layer 12"
    assert "Griffin-Lim" in result.title
    assert str(tmp_path) not in result.provenance.command.replace(str(spoken), "")
    assert "2 cells" in done.output
    assert Store(tmp_path / "home", tmp_path).live().keys("gcm-cells:") == []


def test_the_command_refuses_speakers_that_may_have_been_heard(
    spoken: Path, decoders: Path
) -> None:
    few = run(spoken, decoders, "--utterances", "3")
    assert "2 utterances of 2 to 6 s by 1 speakers can be had" in str(few.exception)
    (decoders / "card.json").write_text('{"name": "d", "data": {"held_out_speakers": ["x"]}}')
    assert "held out: name the corpus" in str(run(spoken, decoders).exception)
    (decoders / "card.json").unlink()
    assert "Give --all-speakers" in str(run(spoken, decoders).exception)
    itself = run(spoken, decoders, "--all-speakers", "--utterances", "4", "--content", "melspec")
    assert "cannot judge" in str(itself.exception)


# -- examples for the audio explorer ----------------------------------------------------------


def test_an_example_is_every_cell_as_sound(spoken: Path, tmp_path: Path) -> None:
    corpus = open_corpus(spoken)
    folder = tmp_path / "examples"
    seen: list[float] = []
    example = make_example(
        MadeEncoder(), MadeBank(["1", "2"]), Tones(), judge(), corpus.utterances[0], corpus,
        folder, MatrixConfig(gain_db=-6.0), progress=lambda step, done, total: seen.append(done),
    )  # fmt: skip
    assert read_example(folder / "u0") == example
    sounds = {path.name for path in (folder / "u0").glob("*.opus")}
    cells = {cell_file(i, j) for i in (1, 2) for j in range(3)}
    assert sounds == cells | {reference_file("original"), reference_file("vocoder")}
    for name in sounds:
        info = soundfile.info(folder / "u0" / name)
        assert (info.samplerate, info.frames, info.channels) == (16_000, 32_000, 1)
    assert seen[-1] == 6
    assert (example.voice, example.seconds, example.config.gain_db) == ("s0", 2.0, -6.0)
    assert list(example.missing) == ["0"]
    # Rows follow the decoders there are; a decoder reads its own layer as the vocoder its own mel.
    distance = example.metrics["mel_l1"]
    assert distance.cells[0][1] == pytest.approx(distance.vocoder, abs=1e-3)
    assert np.argmin(distance.cells[1]) == 2
    heard, _ = soundfile.read(folder / "u0" / cell_file(1, 0))
    own, _ = soundfile.read(folder / "u0" / cell_file(1, 1))
    assert np.std(heard) < np.std(own), "a layer 0.3 quieter, heard by the decoder of the next"


def test_what_is_interrupted_is_no_example(spoken: Path, tmp_path: Path) -> None:
    corpus = open_corpus(spoken)

    def cancel() -> None:
        raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        make_example(
            MadeEncoder(), MadeBank(), Tones(), judge(), corpus.utterances[0], corpus,
            tmp_path / FOLDER_OF_EXAMPLES, check=cancel,
        )  # fmt: skip
    assert Examples(tmp_path, tmp_path / "none").headers() == []


def test_examples_are_of_several_voices_of_both_sexes() -> None:
    rows = [
        Utterance(f"{voice}-{k}", Path("x"), speaker=voice, gender=voice[0], seconds=4.0 + k)
        for voice in ("f1", "f2", "m1", "m2", "m3")
        for k in (2, 1)
    ]
    chosen = choose_examples(Corpus("c", tuple(rows)), 4)
    assert [u.id for u in chosen] == ["f1-1", "m1-1", "f2-1", "m2-1"]
    with pytest.raises(CorpusError, match="5 voices"):
        choose_examples(Corpus("c", tuple(rows)), 6)


def test_the_command_renders_examples(spoken: Path, decoders: Path, tmp_path: Path) -> None:
    words = ["gcm", "render", "--model", "melspec", "--decoders", str(decoders)]
    words += ["--content", "hubert-nano:6", "--speaker", "wav2vec2-nano", "--corpus", str(spoken)]
    done = CliRunner().invoke(app, [*words, "--utterance", "u2"])
    assert done.exit_code == 0, (done.output, done.exception)
    [header] = Examples(tmp_path / "home", tmp_path / "none").headers()
    assert (header.model, header.name) == ("melspec.regression", "u2")
    assert header.example.decoders.updates == 7
    wrong = CliRunner().invoke(app, [*words, "--utterance", "nobody"])
    assert "has no utterance 'nobody'" in str(wrong.exception)
