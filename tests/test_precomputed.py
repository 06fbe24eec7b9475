"""What ships: whole, licensed, what it says it is, and learned."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede transformers
from insidessl_dash.cli import gcm_parts
from insidessl_dash.core.registry import registry as default_registry
from insidessl_dash.core.settings import Settings
from insidessl_dash.core.types import file_sha256
from insidessl_dash.corpora.manifest import open_corpus
from insidessl_dash.encoders.loading import family_and_kind, model_type
from insidessl_dash.results.copy_synthesis import read_copy_synthesis
from insidessl_dash.results.decoder_banks import DecoderBanks
from insidessl_dash.results.explorer import Examples, cell_file
from insidessl_dash.results.matrix_files import (
    FOLDER,
    VOCODERS,
    read_matrix,
    read_matrix_values,
)
from insidessl_dash.results.schema import Result
from insidessl_dash.results.store import Store

SHIPPED = Settings().precomputed
NANO = SHIPPED / "models" / "hubert-nano"
MODELS = {
    "melspec", "whisper-base", "ecapa-voxceleb", "ecapa-nano", "ecapa-nano-init",
    "hubert-nano", "hubert-nano-init",
    "hubert-nano-it2", "wav2vec2-nano", "wav2vec2-nano-init", "wavlm-nano", "wavlm-nano-init",
    "mr-hubert-nano", "mr-hubert-nano-init", "mr-hubert-nano-b4a", "mr-hubert-nano-b5a",
    "data2vec-nano", "data2vec-nano-init", "dino-ecapa-nano",
}  # fmt: skip
ABLATIONS = {"mr-hubert-nano-b4a", "mr-hubert-nano-b5a"}
VOCODER = SHIPPED / "models" / "fourier-vocoder"
MEMBERS = sorted(
    path.parent.name for path in SHIPPED.glob("models/*/card.json") if path.parent != VOCODER
)


def test_the_manifest_lists_every_file_with_digest_and_licence() -> None:
    rows = {row["path"]: row for row in json.loads((SHIPPED / "MANIFEST.json").read_text())}
    files = {
        p.relative_to(SHIPPED).as_posix(): p
        for p in SHIPPED.rglob("*")
        if p.is_file() and p.name != "MANIFEST.json"
    }
    assert set(rows) == set(files)
    for name, path in files.items():
        assert rows[name]["sha256"] == file_sha256(path), name
        assert rows[name]["licence"], name


def test_the_demo_corpus_is_forty_sentences_in_several_voices() -> None:
    corpus = open_corpus(SHIPPED / "demo")
    assert len(corpus.utterances) == 40
    assert 270 <= corpus.seconds <= 330
    assert len({u.speaker for u in corpus.utterances}) >= 6
    assert {u.gender for u in corpus.utterances} == {"f", "m"}
    assert len({u.text for u in corpus.utterances}) == 40
    assert all(u.licence for u in corpus.utterances)


def test_the_nano_weights_are_small_half_precision_and_load_in_transformers() -> None:
    from safetensors import safe_open
    from transformers import HubertModel

    weights = NANO / "model.safetensors"
    assert weights.stat().st_size <= 15_000_000
    with safe_open(weights, "pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118
    model, loading = HubertModel.from_pretrained(NANO, output_loading_info=True)
    assert not loading["missing_keys"]
    config = model.config
    assert (config.num_hidden_layers, config.hidden_size) == (12, 192)
    assert (config.num_attention_heads, config.intermediate_size) == (4, 768)
    assert int(np.prod(config.conv_stride)) == 320


def test_the_card_says_what_was_learned() -> None:
    card = json.loads((NANO / "card.json").read_text())
    assert card["weights_sha256"] == file_sha256(NANO / "model.safetensors")
    assert card["seconds_of_audio_seen"] >= 100_000
    assert card["held_out"]["masked_accuracy"] >= 3 * card["held_out"]["majority_rate"]
    curve = [point["masked_accuracy"] for point in card["held_out_curve"]]
    assert len(curve) >= 14
    assert curve[-1] == max(curve)
    assert card["device"]
    assert card["not_for"]


def test_the_weights_of_the_family_are_small() -> None:
    files = [f for name in MEMBERS for f in (SHIPPED / "models" / name).glob("*.safetensors")]
    assert sum(file.stat().st_size for file in files) <= 80_000_000


@pytest.mark.parametrize("corpus", ["demo"])
def test_every_lens_of_every_model_ships(corpus: str) -> None:
    results = Store(Path("nowhere"), SHIPPED).find(corpus=corpus)
    pairs = {(r.model.name, r.lens) for r in results}
    assert pairs >= {(m, lens) for m in MODELS for lens in ("entropy", "curvature", "invariance")}


def test_every_shipped_number_has_its_provenance() -> None:
    store = Store(Path("nowhere"), SHIPPED)
    for result in store.results():
        assert result.provenance.command.startswith("insidessl-dash ")
        assert result.provenance.versions["torch"]
        assert result.model.weights_sha256 or result.model.size == "baseline"
        assert "/" not in result.model.source or result.model.source.count("/") == 1
        values = store.values(result.key)
        assert values is not None
        for name, own in values.measures.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # layers where nothing is defined
                mean = np.nanmean(own, axis=0)
            stated = np.array(result.measures[name].mean, float)
            np.testing.assert_allclose(mean, stated, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_beats_chance_and_its_initialisation(name: str) -> None:
    folder = SHIPPED / "models" / name
    card = json.loads((folder / "card.json").read_text())
    if name in ABLATIONS:
        assert not list(folder.glob("*.safetensors")), "its results ship, its weights do not"
        shown = Store(Path("nowhere"), SHIPPED).find(model=name)
        assert {result.model.weights_sha256 for result in shown} == {card["weights_sha256"]}
    else:
        assert card["weights_sha256"] == file_sha256(folder / "model.safetensors")
    assert card["seconds_of_audio_seen"] >= 80_000
    assert card["finished"]
    score = card["score"]
    sign = 1 if score["higher_is_better"] else -1
    assert sign * score["value"] > sign * score["chance"]
    assert sign * score["value"] > sign * score["at_initialisation"]
    assert card["held_out"][score["metric"]] == score["value"]


@pytest.mark.parametrize("name", [name for name in MEMBERS if name not in ABLATIONS])
def test_a_copy_of_a_member_says_what_it_is(name: str) -> None:
    """So that one trained again can be added under a name of its own, and its run looked at."""
    folder = SHIPPED / "models" / name
    card = default_registry().get(name)
    copy = card.model_copy(update={"name": "copy", "source": str(folder), "kind": "transformers"})
    assert family_and_kind(model_type(copy)) == (card.family, card.kind)


def test_the_vocoder_that_is_heard_by_default_is_the_best_of_those_measured() -> None:
    card = json.loads((VOCODER / "card.json").read_text())
    assert card["weights_sha256"] == file_sha256(VOCODER / "model.safetensors")
    assert (VOCODER / "model.safetensors").stat().st_size <= 12_000_000
    measured = read_copy_synthesis(SHIPPED / FOLDER / VOCODERS)
    assert measured is not None
    assert f"shipped:{VOCODER.name}" == gcm_parts.VOCODER
    for measure in ("stoi", "mel_l1"):
        best = measured.best(measure)
        assert best is not None
        assert best.weights_sha256 == card["weights_sha256"]
    spoken_by = set(card["data"]["held_out_speakers"])
    assert {u.speaker for u in measured.utterances} <= spoken_by


def test_the_decoders_of_wav2vec2_are_small_and_those_of_the_shipped_weights() -> None:
    (bank,) = DecoderBanks(Path("nowhere"), SHIPPED).models()
    assert bank.model == "wav2vec2-nano"
    assert bank.missing == ()
    assert (bank.folder / "model.safetensors").stat().st_size <= 25_000_000
    wav2vec2 = json.loads((SHIPPED / "models" / "wav2vec2-nano" / "card.json").read_text())
    assert bank.trained_on["weights_sha256"] == wav2vec2["weights_sha256"]
    card = json.loads((bank.folder / "card.json").read_text())
    assert card["weights_sha256"] == bank.weights_sha256
    assert card["data"]["held_out_speakers"] == wav2vec2["data"]["held_out_speakers"]
    found = card["held_out"]
    assert all(found[f"mel_l1_{layer}"] < found["mean_mel_l1"] for layer in bank.layers)


@pytest.mark.parametrize("model", ["wav2vec2-nano", "wavlm-nano"])
def test_a_matrix_ships_and_is_the_mean_of_what_it_says_it_is_of(model: str) -> None:
    folder = SHIPPED / FOLDER / "speechocean762-held-out" / model
    matrix, values = read_matrix(folder), read_matrix_values(folder)
    assert values is not None
    used = [u for u in matrix.utterances if u.id in set(values.ids)]
    assert len(used) >= 40
    speakers = {u.speaker for u in used}
    assert len(speakers) >= 20
    card = json.loads((SHIPPED / "models" / model / "card.json").read_text())
    assert matrix.model.weights_sha256 == card["weights_sha256"]
    assert speakers <= set(card["data"]["held_out_speakers"])
    assert matrix.decoder_layers == matrix.layers == [str(k) for k in range(13)]
    for name, measure in matrix.metrics.items():
        measured = np.isfinite(values.measures[name])
        np.testing.assert_array_equal(measured.sum(0), measure.n)
        np.testing.assert_allclose(
            np.nanmean(values.measures[name], 0), np.array(measure.mean, float), rtol=1e-5
        )
    assert matrix.provenance.command.startswith("insidessl-dash gcm evaluate ")


@pytest.mark.parametrize("model", ["wav2vec2-nano", "wavlm-nano"])
def test_what_a_decoder_learned_is_better_than_what_it_did_not_and_no_better_than_the_vocoder(
    model: str,
) -> None:
    matrix = read_matrix(SHIPPED / FOLDER / "speechocean762-held-out" / model)
    for name, measure in matrix.metrics.items():
        sign = 1 if measure.higher_is_better else -1
        ceiling, diagonal, other = (
            sign * (spread.mean or 0.0)
            for spread in (measure.ceiling, measure.diagonal, measure.off_diagonal)
        )
        assert ceiling > diagonal > other, name


def test_four_voices_can_be_heard_in_every_cell_of_both_models() -> None:
    examples = Examples(Path("nowhere"), SHIPPED).headers()
    for model in ("wav2vec2-nano", "wavlm-nano"):
        own = [header.example for header in examples if header.model == model]
        assert len(own) >= 4
        for gender in ("female", "male"):
            assert len({e.voice for e in own if e.gender == gender}) >= 2
        matrix = read_matrix(SHIPPED / FOLDER / "speechocean762-held-out" / model)
        for example in own:
            assert example.decoders.weights_sha256 == matrix.decoders.weights_sha256
            assert example.vocoder == matrix.vocoder
    for header in examples:
        folder = SHIPPED / FOLDER / "examples" / header.model / header.name
        sounds = {path.name for path in folder.glob("cell-*.opus")}
        assert sounds == {cell_file(i, j) for i in range(13) for j in range(13)}
    sizes = (p.stat().st_size for p in (SHIPPED / FOLDER / "examples").rglob("*"))
    assert sum(sizes) <= 40_000_000


def test_dynamics_ship_at_log_spaced_updates() -> None:
    files = sorted((SHIPPED / "dynamics").rglob("*.json"))
    found: dict[tuple[str, str], set[int]] = {}
    for path in files:
        result = Result.model_validate_json(path.read_bytes())
        run, _, update = result.model.name.partition(".update-")
        found.setdefault((run, result.lens), set()).add(int(update))
    runs = {run for run, _lens in found}
    assert runs == set(MEMBERS)
    for run in runs:
        for lens in ("entropy", "curvature", "invariance"):
            assert {0, 1, 2, 4, 8, 1024} <= found[run, lens], run
            assert len(found[run, lens]) >= 14, run
