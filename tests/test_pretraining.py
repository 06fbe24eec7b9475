"""Pre-training: labels line up with frames; a killed run ends like one that was not."""

from __future__ import annotations

import io
import json
import shutil
import signal
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from insidessl_dash.cli import training as cli
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import Cancelled, ConfigError, StorageError, TrainingError
from insidessl_dash.core.progress import silent
from insidessl_dash.core.types import Utterance
from insidessl_dash.corpora.manifest import Corpus, open_corpus
from insidessl_dash.encoders import load_encoder
from insidessl_dash.encoders.mfcc import mfcc39
from insidessl_dash.pretraining import data as data_module
from insidessl_dash.pretraining import hubert as hubert_module
from insidessl_dash.pretraining import loop
from insidessl_dash.pretraining import targets as targets_module
from insidessl_dash.pretraining.card import training_card
from insidessl_dash.pretraining.clusters import ClusterSettings
from insidessl_dash.pretraining.data import Batches, SpeechData, held_out_speakers, prepare
from insidessl_dash.pretraining.data2vec import teacher_targets
from insidessl_dash.pretraining.loop import Run, learning_rate, log_spaced
from insidessl_dash.pretraining.masking import span_mask
from insidessl_dash.pretraining.mr_hubert import (
    MRHubertRecipe,
    NoLowLossRecipe,
    OneRateRecipe,
)
from insidessl_dash.pretraining.recipe import NANO, RunSettings
from insidessl_dash.pretraining.recipes import RECIPES, recipe_class
from insidessl_dash.pretraining.wav2vec2 import contrastive_logits, negative_positions
from insidessl_dash.pretraining.wavlm import WavLMSettings, mix

BASICS = {
    "updates": 6, "batch_seconds": 4, "max_crop_s": 2, "warmup": 2, "held_out_fraction": 0.3,
    "precision": "float32",
}  # fmt: skip
SETTINGS = ClusterSettings(**BASICS, clusters=8, unmasked_updates=3)
TEACHER = "tiny-teacher"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two minutes of seeded coloured noise by four 'speakers'."""
    target = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(1)
    rows = []
    for index in range(44):
        samples = np.convolve(rng.standard_normal(48_000), np.hanning(3 + index % 7), "same")
        envelope = np.repeat(rng.random(48), 1000)
        soundfile.write(target / f"u{index}.wav", 0.05 * samples * envelope, 16_000)
        rows.append(Utterance(f"u{index}", target / f"u{index}.wav", speaker=f"s{index % 4}"))
    return Corpus("noise", tuple(rows))


@pytest.fixture(scope="module")
def data(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> SpeechData:
    cache = tmp_path_factory.mktemp("cache")

    return prepare(corpus, cache, fraction=0.5, seed=0, progress=silent)


class _Teacher:
    """Stands in for a trained encoder: two layers that are functions of the waveform."""

    card = SimpleNamespace(name=TEACHER)
    layers, frame_rates_hz = ("0", "1"), (50.0, 50.0)
    weights_sha256, layer_policy = "made", {}

    def __call__(self, waveforms: torch.Tensor) -> list[torch.Tensor]:
        frames = waveforms.unfold(-1, 400, 320)
        return [frames[..., :12], torch.stack([frames.mean(-1), frames.std(-1)], dim=-1)]


@pytest.fixture
def start(data: SpeechData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Start or resume a run of a tiny model."""
    tiny = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48}
    tiny |= {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16}
    for key, value in tiny.items():
        monkeypatch.setitem(NANO, key, value)
    monkeypatch.setattr(hubert_module, "load_encoder", lambda name: _Teacher())
    for kind in (MRHubertRecipe, NoLowLossRecipe, OneRateRecipe):
        monkeypatch.setitem(kind.shape, "blocks", (1, 1, 1))

    def make(
        folder: str,
        settings: RunSettings = SETTINGS,
        resume: bool = False,
        extend: bool = False,
        name: str = "hubert-nano",
        device: str = "cpu",
    ) -> Run:
        recipe = recipe_class(name)(data, settings, tmp_path, silent)
        return Run(recipe, data, settings, tmp_path / folder, device, resume, extend)

    return make


def _settings(name: str) -> RunSettings:
    """Small settings of any recipe."""
    kind = recipe_class(name).Settings
    more = {
        "clusters": 8,
        "unmasked_updates": 3,
        "teacher": TEACHER,
        "teacher_layer": 1,
        "prototypes": 16,
    }
    return kind(**BASICS, **{k: v for k, v in more.items() if k in kind.model_fields})


def _losses(run: Run) -> list[float]:
    log = [json.loads(x) for x in (run.folder / "log.jsonl").read_text().splitlines()]
    return [entry["loss"] for entry in log if "loss" in entry]


@pytest.mark.parametrize("name", RECIPES)
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(
    start: Callable[..., Run], corpus: Corpus, name: str
) -> None:
    settings = _settings(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    whole = start("whole", settings, name=name, device=device)
    whole.train(silent)

    def stop_at_4(_step: str, completed: float, _total: float) -> None:
        if completed == 4:
            raise Cancelled("stop")

    broken = start("broken", settings, name=name, device=device)
    with pytest.raises(Cancelled):
        broken.train(stop_at_4)
    resumed = start("broken", settings, resume=True, name=name, device=device)
    assert resumed.update == 4
    resumed.train(silent)
    assert _losses(resumed) == pytest.approx(_losses(whole), rel=1e-6)
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)

    card = training_card(resumed, corpus, "one CPU", "CC0-1.0")
    score = card["score"]
    assert score["value"] == card["held_out_curve"][-1][score["metric"]]
    assert score["at_initialisation"] == card["held_out_curve"][0][score["metric"]]
    assert card["finished"]
    assert card["settings"] == settings.model_dump(mode="json") | {"warmup": 1}, "what was used"


@pytest.mark.parametrize("name", RECIPES)
def test_checkpoints_are_log_spaced_and_load_as_encoders(
    start: Callable[..., Run], name: str
) -> None:
    run = start("ckpt", _settings(name), name=name)
    run.train(silent)
    names = sorted(p.name for p in (run.folder / "checkpoints").iterdir())
    assert names == [f"update-{u:06d}" for u in (0, 1, 2, 4, 6)]
    last = run.folder / "checkpoints" / "update-000006"
    family = name.partition("-nano")[0]
    kind = {"mr-hubert": "mr-hubert", "ecapa": "ecapa", "dino-ecapa": "ecapa"}.get(family)
    card = ModelCard(
        name="last", title="last", family=family, size="nano", source=str(last),
        kind=kind or "transformers",
    )  # fmt: skip
    states = load_encoder(card, device="cpu")(torch.randn(1, 16_000))
    if kind == "ecapa":
        assert [state.shape[1] for state in states] == [101] * 6 + [1]
        return
    frames = [49, 49, 49]
    if kind == "mr-hubert":
        low = 49 if name.endswith("b5a") else 25
        frames = [49, 49, low, low, 49, 49]
    assert [tuple(state.shape) for state in states] == [(1, count, 32) for count in frames]
    assert (last / "head.safetensors").stat().st_size > 0


def test_the_low_rate_has_a_loss_where_it_should(start: Callable[..., Run]) -> None:
    losses = {}
    for name in ("mr-hubert-nano", "mr-hubert-nano-b4a", "mr-hubert-nano-b5a"):
        settings = _settings(name).model_copy(update={"unmasked_updates": 0})
        run = start(name, settings, name=name)
        loss, metrics = run.recipe.loss(run.model, run.batches(0), 1, "cpu")
        losses[name] = loss.item() / metrics["masked_loss"]
        rates = run.model.encoder.config.rates_ms
        assert tuple(rates) == ((20, 20, 20) if name.endswith("b5a") else (20, 40, 20))
    assert losses["mr-hubert-nano-b4a"] == pytest.approx(1)
    assert losses["mr-hubert-nano"] > 1.5
    assert losses["mr-hubert-nano-b5a"] > 1.5


def test_wav2vec2_scores_candidates_as_transformers_does() -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

    torch.manual_seed(0)
    predicted, quantised = torch.randn(30, 16), torch.randn(30, 16)
    quantised[7] = quantised[3]  # a negative that is the target itself
    negatives = torch.from_numpy(negative_positions(30, 12, np.random.default_rng(0)))
    negatives[3, 0] = 7
    assert not (negatives == torch.arange(30)[:, None]).any()
    ours = contrastive_logits(predicted, quantised, negatives, 0.1)
    theirs = Wav2Vec2ForPreTraining.compute_contrastive_logits(
        quantised[None], quantised[negatives].permute(1, 0, 2), predicted, 0.1
    ).T
    assert ours[3, 1] == float("-inf")
    finite = torch.isfinite(ours)
    assert finite.sum() == ours.numel() - (negatives[3] == 7).sum() - (negatives[7] == 3).sum()
    torch.testing.assert_close(ours[finite], theirs[finite], rtol=1e-5, atol=1e-5)
    assert Wav2Vec2Config().contrastive_logits_temperature == 0.1


def test_wav2vec2_loss_is_that_of_transformers(start: Callable[..., Run]) -> None:
    name = "wav2vec2-nano"
    run = start("parity", _settings(name), name=name)
    model = run.model.eval()  # no Gumbel noise, so both see the same codes
    waves = torch.randn(2, 32_000)
    seen: list[torch.Tensor] = []
    honest = model.forward
    model.forward = lambda w, mask_time_indices: (
        seen.append(mask_time_indices) or honest(w, mask_time_indices=mask_time_indices)
    )
    logits, perplexity, entries = run.recipe._predict(model, waves, np.random.default_rng(4))
    rng = np.random.default_rng(4)
    span_mask(2, 99, rng, start=0.065)
    negatives = torch.zeros(2, 99, 100, dtype=torch.long)
    for row, masked in enumerate(seen[0]):
        positions = torch.nonzero(masked)[:, 0]
        drawn = negative_positions(len(positions), 100, rng)
        negatives[row, positions] = positions[torch.from_numpy(drawn)] + row * 99
    theirs = honest(waves, mask_time_indices=seen[0], sampled_negative_indices=negatives)
    target = torch.zeros(len(logits), dtype=torch.long)
    ours = torch.nn.functional.cross_entropy(logits, target, reduction="sum")
    torch.testing.assert_close(ours, theirs.contrastive_loss, rtol=1e-5, atol=1e-4)
    diversity = (entries - perplexity) / entries * len(logits)
    torch.testing.assert_close(diversity, theirs.diversity_loss, rtol=1e-5, atol=1e-4)


def test_mixing_has_the_energy_that_was_drawn_and_leaves_the_rest() -> None:
    rng = np.random.default_rng(0)
    waves = rng.standard_normal((4, 8000)).astype(np.float32)
    never = mix(waves, np.random.default_rng(1), WavLMSettings(mix_probability=0))
    np.testing.assert_array_equal(never, waves)
    for noise in (0.0, 1.0):
        settings = WavLMSettings(
            mix_probability=1, noise_probability=noise, speech_db=(3, 3), noise_db=(10, 10)
        )
        mixed = mix(waves, np.random.default_rng(1), settings)
        for row in range(4):
            added = mixed[row] - waves[row]
            where = np.flatnonzero(added)
            assert len(where) <= 4000
            stretch = added[where[0] : where[-1] + 1]
            ratio = 10 * np.log10(np.mean(stretch**2) / np.mean(waves[row] ** 2))
            assert ratio == pytest.approx(-10 if noise else 3, abs=0.01)


def test_the_data2vec_teacher_is_a_moving_average_and_sees_everything(
    start: Callable[..., Run],
) -> None:
    name = "data2vec-nano"
    settings = _settings(name).model_copy(
        update={"updates": 2, "top_layers": 1, "momentum_start": 0.5, "momentum_end": 0.5}
    )
    run = start("ema", settings, name=name)
    key = "feature_projection.projection.weight"
    first = run.model.encoder.state_dict()[key].clone()
    run._step()
    second = run.model.encoder.state_dict()[key].clone()
    assert not torch.equal(first, second)
    teacher = run.model.teacher.state_dict()[key]
    torch.testing.assert_close(teacher, (first + second) / 2)

    waves = torch.randn(1, 16_000)
    targets = teacher_targets(run.model.teacher, waves, 1)
    torch.testing.assert_close(targets.mean(1), torch.zeros(1, 32), atol=1e-5, rtol=0)
    torch.testing.assert_close(targets.var(1, correction=0), torch.ones(1, 32), atol=1e-2, rtol=0)
    assert all(not p.requires_grad for p in run.model.teacher.parameters())


def test_targets_of_a_layer_are_its_nearest_centroids(
    start: Callable[..., Run], data: SpeechData
) -> None:
    recipe = start("it2", _settings("hubert-nano-it2"), name="hubert-nano-it2").recipe
    for index in (0, 11):
        states = _Teacher()(torch.from_numpy(data.waveform(index))[None])[1][0].numpy()
        distances = ((states[:, None] - recipe.centroids[None]) ** 2).sum(-1)
        np.testing.assert_array_equal(recipe.labels[index], distances.argmin(-1))
    with pytest.raises(TrainingError, match="layer 5 is not one"):
        targets_module.layer_targets(data, _Teacher(), 5, 8, 0, Path("unused"), silent)


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="wavlm-nano"):
        recipe_class("gpt")


def test_other_settings_do_not_resume(start: Callable[..., Run]) -> None:
    start("run").train(silent)
    with pytest.raises(TrainingError, match=r"learning_rate: 0\.001 -> 0\.002"):
        start("run", SETTINGS.model_copy(update={"learning_rate": 0.002}), resume=True)
    with pytest.raises(TrainingError, match="--resume"):
        start("run")


def test_a_run_can_be_extended_and_remembers_it(start: Callable[..., Run]) -> None:
    start("run").train(silent)
    more = SETTINGS.model_copy(update={"updates": 8})
    with pytest.raises(TrainingError, match="updates: 6 -> 8"):
        start("run", more, resume=True)
    longer = start("run", more, resume=True, extend=True)
    longer.train(silent)
    assert longer.update == 8
    again = start("run", more, resume=True)
    assert again.stretches == [{"from_update": 0, "updates": 6}, {"from_update": 6, "updates": 8}]


def test_nothing_saved_yet_is_nothing_to_extend(start: Callable[..., Run]) -> None:
    start("run")
    more = SETTINGS.model_copy(update={"updates": 8})
    with pytest.raises(TrainingError, match=r"no saved state to extend.*--updates 6"):
        start("run", more, resume=True, extend=True)
    assert start("run", resume=True).update == 0


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_state(
    start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("nan")
    honest = run.recipe.loss

    def break_at_3(model, batch, update, device):
        loss, metrics = honest(model, batch, update, device)
        return (loss * float("nan") if update == 3 else loss), metrics

    monkeypatch.setattr(run.recipe, "loss", break_at_3)
    with pytest.raises(TrainingError, match="at update 3"):
        run.train(silent)
    assert start("nan", resume=True).update == 2


def test_a_gradient_that_is_not_finite_leaves_the_run_as_before_it(
    start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = start("whole", _settings("dino-ecapa-nano"), name="dino-ecapa-nano")
    whole.train(silent)
    run = start("nan", _settings("dino-ecapa-nano"), name="dino-ecapa-nano")
    honest = run.recipe.loss

    def break_at_3(model, batch, update, device):
        loss, metrics = honest(model, batch, update, device)
        if update == 3:
            loss.register_hook(lambda gradient: gradient * float("nan"))
        return loss, metrics

    monkeypatch.setattr(run.recipe, "loss", break_at_3)
    with pytest.raises(TrainingError, match="gradient became nan at update 3"):
        run.train(silent)
    again = start("nan", _settings("dino-ecapa-nano"), resume=True, name="dino-ecapa-nano")
    assert again.update == 2
    again.train(silent)
    assert _losses(again) == _losses(whole)


def test_another_recipe_with_the_same_settings_does_not_take_over_a_run(
    start: Callable[..., Run],
) -> None:
    first, other = "mr-hubert-nano", "mr-hubert-nano-b5a"
    start("run", _settings(first), name=first).train(silent)
    more = _settings(first).model_copy(update={"updates": 8})
    with pytest.raises(TrainingError, match=f"recipe: {first} -> {other}"):
        start("run", more, resume=True, extend=True, name=other)


def test_a_state_of_another_model_says_so(start: Callable[..., Run]) -> None:
    start("run").train(silent)
    other = start("other", _settings("wav2vec2-nano"), name="wav2vec2-nano")
    other.train(silent)
    shutil.copy(other.folder / "state.safetensors", other.folder.parent / "run")
    with pytest.raises(TrainingError, match="not one of this model"):
        start("run", resume=True)


def test_a_line_of_the_log_that_was_cut_is_forgotten(start: Callable[..., Run]) -> None:
    run = start("run")
    run.train(silent)
    whole = _losses(run)
    with (run.folder / "log.jsonl").open("a") as file:
        file.write('{"update": 7, "lo')
    assert [entry["loss"] for entry in run.log() if "loss" in entry] == whole
    more = SETTINGS.model_copy(update={"updates": 8})
    longer = start("run", more, resume=True, extend=True)
    longer.train(silent)
    assert len(_losses(longer)) == 8


def test_a_run_that_stops_early_leaves_a_card_that_says_so(
    start: Callable[..., Run], corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("insidessl_dash.notebook.open_audio", lambda _audio: corpus)

    def stop_at_4(run: Run, progress, until=None) -> None:
        honest(run, lambda _what, done, _total: hit() if done == 4 else None)

    def hit() -> None:
        raise KeyboardInterrupt

    honest = Run.train
    monkeypatch.setattr(Run, "train", stop_at_4)
    folder, given = tmp_path / "run", {**BASICS, "clusters": 8}
    with pytest.raises(KeyboardInterrupt):
        cli.train("hubert-nano", given, ["x"], None, folder, tmp_path, resume=False)
    card = json.loads((folder / "card.json").read_text())
    assert (card["finished"], card["updates"], card["stopped"]) == (False, 4, "stopped by hand")
    assert not (folder / "final").exists()
    monkeypatch.setattr(Run, "train", honest)
    cli.train("hubert-nano", given, ["x"], None, folder, tmp_path, resume=True)
    assert json.loads((folder / "final" / "card.json").read_text())["finished"]
    assert not (folder / "card.json").exists(), "it has not stopped any more"


def test_a_member_whose_run_was_extended_is_rebuilt_in_the_same_stretches(
    start: Callable[..., Run],
    corpus: Corpus,
    data: SpeechData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start("old").train(silent, until=4)
    more = SETTINGS.model_copy(update={"updates": 8})
    longer = start("old", more, resume=True, extend=True)
    longer.train(silent)
    card = training_card(longer, corpus, "one CPU", "CC0-1.0")
    assert [s["from_update"] for s in card["schedule"]] == [0, 4]
    place = tmp_path / "shipped" / "models" / "hubert-nano"
    place.mkdir(parents=True)
    (place / "card.json").write_text(json.dumps(card))
    monkeypatch.setattr(cli, "settings", lambda: SimpleNamespace(precomputed=tmp_path / "shipped"))
    monkeypatch.setattr("insidessl_dash.notebook.open_audio", lambda _audio: corpus)
    monkeypatch.setattr("insidessl_dash.pretraining.data.prepare", lambda *_args, **_more: data)
    cli.rebuild("hubert-nano", ["x"], tmp_path / "new")
    again = json.loads((tmp_path / "new" / "final" / "card.json").read_text())
    assert again["schedule"] == card["schedule"]
    assert again["training_curve"] == card["training_curve"]
    cli.rebuild("hubert-nano", ["x"], tmp_path / "new", resume=True)


def test_a_member_is_not_rebuilt_from_another_teacher(
    start: Callable[..., Run], corpus: Corpus, data: SpeechData, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    name = "hubert-nano-it2"
    run = start("old", _settings(name), name=name)
    run.train(silent, until=1)
    card = training_card(run, corpus, "one CPU", "CC0-1.0") | {"teacher_weights_sha256": "0" * 64}
    place = tmp_path / "shipped" / "models" / name
    place.mkdir(parents=True)
    (place / "card.json").write_text(json.dumps(card))
    monkeypatch.setattr(cli, "settings", lambda: SimpleNamespace(precomputed=tmp_path / "shipped"))
    monkeypatch.setattr("insidessl_dash.notebook.open_audio", lambda _audio: corpus)
    monkeypatch.setattr("insidessl_dash.pretraining.data.prepare", lambda *_args, **_more: data)
    with pytest.raises(TrainingError, match="ships another teacher"):
        cli.rebuild(name, ["x"], tmp_path / "new")
    assert not (tmp_path / "new" / "run.json").exists()


@pytest.mark.parametrize("at", [4, 6])
@pytest.mark.parametrize("what", ["evaluate", "export"])
def test_a_checkpoint_that_was_interrupted_is_made_when_the_run_goes_on(
    start: Callable[..., Run], corpus: Corpus, at: int, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = start("whole")
    whole.train(silent)
    run = start("run")
    honest = getattr(run.recipe, what)

    def interrupted(*given):
        if run.update == at:
            raise KeyboardInterrupt
        return honest(*given)

    monkeypatch.setattr(run.recipe, what, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.train(silent)
    resumed = start("run", resume=True)
    assert resumed.update == at
    resumed.train(silent)
    folders = [sorted(p.name for p in (r.folder / "checkpoints").iterdir()) for r in (whole, run)]
    assert folders[0] == folders[1]
    held_out = [[e for e in r.log() if "held_out" in e] for r in (whole, resumed)]
    assert held_out[0] == held_out[1]
    card = training_card(resumed, corpus, "one CPU", "CC0-1.0")
    assert card["held_out_curve"][-1]["update"] == card["updates"] == 6


def test_an_interrupt_waits_for_the_end_of_the_update(
    start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("run")
    honest = run.recipe.loss

    def hit_in_update_5(model, batch, update, device):
        if update == 5:
            signal.raise_signal(signal.SIGINT)
        return honest(model, batch, update, device)

    monkeypatch.setattr(run.recipe, "loss", hit_in_update_5)
    with pytest.raises(KeyboardInterrupt):
        run.train(silent)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert start("run", resume=True).update == 5


def test_an_update_that_fails_loses_no_other(
    start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("run")
    honest = run.recipe.loss

    def no_memory(model, batch, update, device):
        if update == 5:
            raise RuntimeError("out of memory")
        return honest(model, batch, update, device)

    monkeypatch.setattr(run.recipe, "loss", no_memory)
    with pytest.raises(RuntimeError, match="out of memory"):
        run.train(silent)
    assert start("run", resume=True).update == 4


def test_a_full_disk_says_so_and_the_state_before_is_kept(
    start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, honest = start("run"), loop.save_file

    def full(*_given, **_more):
        raise SafetensorError("Error while serializing: I/O error: No space left (os error 28)")

    def fill(_what: str, done: float, _total: float) -> None:
        if done == 4:
            monkeypatch.setattr(loop, "save_file", full)

    with pytest.raises(StorageError, match=r"state\.safetensors: the disk is full"):
        run.train(fill, save_every=2)
    monkeypatch.setattr(loop, "save_file", honest)
    assert start("run", resume=True).update == 4


def test_files_that_were_damaged_are_named(start: Callable[..., Run], data: SpeechData) -> None:
    run = start("run")
    run.train(silent)
    save_file({"weight": torch.ones(1)}, run.folder / "state.safetensors")
    with pytest.raises(TrainingError, match="not one of this model"):
        start("run", resume=True)
    record = run.folder / "run.json"
    record.write_text(record.read_text()[:40])
    with pytest.raises(TrainingError, match=r"run\.json is not the record of a run"):
        start("run", resume=True)


def test_too_few_frames_for_the_clusters_are_refused(start: Callable[..., Run]) -> None:
    with pytest.raises(TrainingError, match="too few for 5000 clusters"):
        start("run", SETTINGS.model_copy(update={"clusters": 5000}))


def test_the_cache_is_a_plain_array_that_is_whole_or_absent(corpus: Corpus, tmp_path: Path) -> None:
    data = prepare(corpus, tmp_path, fraction=0.1, seed=0, progress=silent)
    assert isinstance(data.samples, np.memmap)
    decoded = [soundfile.read(u.path, dtype="int16")[0] for u in corpus.utterances]
    plain = io.BytesIO()
    np.save(plain, np.concatenate(decoded))
    assert (tmp_path / "speech.npy").read_bytes() == plain.getvalue()

    def stop(_step: str, completed: float, _total: float) -> None:
        if completed == 3:
            raise Cancelled("stop")

    other = corpus.select(lambda u: u.speaker != "s0")
    with pytest.raises(Cancelled):
        prepare(other, tmp_path, fraction=0.1, seed=0, progress=stop)
    assert [p.name for p in tmp_path.glob("speech*")] == ["speech.npy"]
    again = prepare(corpus, tmp_path, fraction=0.1, seed=0, progress=silent)
    assert again.digest == data.digest
    (tmp_path / "speech.npy").unlink()
    assert prepare(corpus, tmp_path, fraction=0.1, seed=0, progress=silent).digest == data.digest
    index = tmp_path / "speech.json"
    index.write_text(index.read_text()[:100])
    assert prepare(corpus, tmp_path, fraction=0.1, seed=0, progress=silent).digest == data.digest


def test_one_utterance_is_in_memory_at_a_time(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[weakref.ref] = []
    honest = data_module.load

    def watched(path: Path, **options):
        assert sum(ref() is not None for ref in alive) <= 1
        audio = honest(path, **options)
        alive.append(weakref.ref(audio.samples))
        return audio

    monkeypatch.setattr(data_module, "load", watched)
    prepare(corpus, tmp_path, fraction=0.1, seed=0, progress=silent)
    assert len(alive) == len(corpus.utterances)


def test_too_little_data_and_one_speaker_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    one = corpus.select(lambda u: u.speaker == "s0")
    with pytest.raises(TrainingError, match="one speaker"):
        prepare(one, tmp_path / "a", fraction=0.1, seed=0, progress=silent)
    few = Corpus("few", corpus.utterances[:8])
    with pytest.raises(TrainingError, match="60 s"):
        prepare(few, tmp_path / "b", fraction=0.1, seed=0, progress=silent)


def test_a_corpus_without_speakers_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "manifest.jsonl").unlink()
    with pytest.raises(TrainingError, match="name no speaker"):
        prepare(open_corpus(folder), tmp_path / "c", fraction=0.1, seed=0, progress=silent)


def test_held_out_speakers_are_never_in_a_batch(data: SpeechData) -> None:
    batches = Batches(data, 6.0, 2.0, seed=0)
    seen = {int(i) for update in range(40) for i in batches(update)[1]}
    assert seen
    assert not any(data.held_out[i] for i in seen)
    assert held_out_speakers(set(data.speakers), 0.5, 0) == {
        s for s, out in zip(data.speakers, data.held_out, strict=True) if out
    }


def test_a_batch_is_the_same_whenever_it_is_asked_for(data: SpeechData) -> None:
    first, second = Batches(data, 6.0, 2.0, seed=3), Batches(data, 6.0, 2.0, seed=3)
    late = first(25)
    for update in range(25):
        second(update)
    for a, b in zip(late, second(25), strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_utterance_is_left_alone_where_an_objective_compares_them(data: SpeechData) -> None:
    batches = Batches(data, 6.5, 2.0, seed=0, least=2)
    train = np.flatnonzero(~data.held_out)
    alone = Batches(data, 6.5, 2.0, seed=0)
    assert min(len(alone(update)[1]) for update in range(alone.per_epoch)) == 1, "there is one here"
    for epoch in range(2):
        seen = [batches(epoch * batches.per_epoch + k)[1] for k in range(batches.per_epoch)]
        assert min(map(len, seen)) >= 2
        assert sorted(np.concatenate(seen)) == sorted(train), "each once"


@pytest.mark.parametrize("samples", [16_000, 23_457, 48_000])
def test_one_label_a_frame(samples: int) -> None:
    frames = (samples - 400) // 320 + 1
    wave = torch.randn(1, samples)
    assert mfcc39(wave)[:, ::2].shape == (1, frames, 39)


def test_masks_cover_about_what_they_should() -> None:
    mask = span_mask(200, 200, np.random.default_rng(0))
    # 16 of 191 starts without replacement: a frame in the middle stays if none of 10 is drawn.
    expected = 1 - np.prod([(191 - 10 - i) / (191 - i) for i in range(16)])
    assert mask[:, 20:180].mean() == pytest.approx(expected, abs=0.02)
    assert span_mask(1, 5, np.random.default_rng(0)).any()


def test_the_schedule_rises_and_falls() -> None:
    settings = RunSettings(updates=1000, warmup=100)
    rates = [learning_rate(settings, u) for u in range(1, 1001)]
    assert max(rates) == pytest.approx(1e-3)
    assert rates.index(max(rates)) in (99, 100)
    assert 0 < rates[-1] < 2e-6
    assert log_spaced(100) == [0, 1, 2, 4, 8, 16, 32, 64, 100]
