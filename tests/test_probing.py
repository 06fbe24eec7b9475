"""The linear phone probe: which frames it takes, that its fit is right, and the result it gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sklearn.linear_model import LogisticRegression

from insidessl_dash.analyses.probing import (
    CLASSES,
    DECAYS,
    ProbeConfig,
    choose_probe,
    collect_frames,
    draw_frames,
    fit_probe,
)
from insidessl_dash.cli import main
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import CorpusError
from insidessl_dash.core.lenses import PHONE_PROBE
from insidessl_dash.core.registry import registry
from insidessl_dash.core.types import Utterance
from insidessl_dash.corpora.alignment import Alignment, Segment, align_corpus
from insidessl_dash.corpora.manifest import Corpus, open_corpus
from insidessl_dash.encoders.loading import load_encoder
from insidessl_dash.encoders.mfcc import CARD as MFCC
from insidessl_dash.engine.probing import probe_phones
from insidessl_dash.notebook import load_result

from torchaudio.compliance import kaldi  # isort: skip

PHONES = {"AA": 300.0, "IY": 1200.0, "S": 5000.0}  # here a phone is a tone of so many hertz


def segments(*parts: tuple[str, float]) -> list[Segment]:
    ends = np.cumsum([length for _, length in parts])
    return [Segment(phone, round(end - length, 4), round(end, 4))
            for (phone, length), end in zip(parts, ends, strict=True)]  # fmt: skip


# Which frames


def test_moments_lie_on_the_grid_in_their_phone_and_never_in_a_pause() -> None:
    phones = {"u": segments(("SIL", 0.2), ("AA", 0.1), ("SIL", 0.1), ("T", 0.107))}
    drawn = draw_frames(phones, 100, seed=0)["u"]
    steps = (drawn.times_s - 0.0125) / 0.02
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
    named = [CLASSES[label] for label in drawn.labels]
    for name, moment in zip(named, drawn.times_s, strict=True):
        assert (0.2 <= moment < 0.3) if name == "AA" else (0.4 <= moment < 0.507)
    assert (named.count("AA"), named.count("T")) == (5, 5)
    assert drawn.times_s[-1] + 0.0125 <= 0.507
    with_pauses = draw_frames(phones, 100, seed=0, silence=True)["u"]
    assert len(with_pauses.times_s) == 25 == (8112 - 400) // 320 + 1


def test_the_draw_follows_from_ids_and_seed_alone() -> None:
    phones = {f"u{i}": segments(("AA", 1.0), ("T", 1.0)) for i in range(20)}
    drawn = draw_frames(phones, 100, seed=0, per_utterance=8)
    sizes = [len(each.labels) for each in drawn.values()]
    assert sum(sizes) == 100
    assert sorted(sizes)[1:] == [8] * 12
    backwards = draw_frames(dict(reversed(phones.items())), 100, seed=0, per_utterance=8)
    assert list(backwards) == list(drawn)
    for id, each in drawn.items():
        assert np.array_equal(each.times_s, backwards[id].times_s)
    other = draw_frames(phones, 100, seed=1, per_utterance=8)
    assert list(other) != list(drawn)
    assert len(draw_frames({}, 100, seed=0)) == 0


class Clock:
    """Every layer says where the centre of its frame is, in seconds."""

    layers = ("10 ms", "20 ms", "40 ms")
    frame_rates_hz = (100.0, 50.0, 25.0)
    device = "cpu"

    def __init__(self, kind: str = "transformers") -> None:
        self.card = ModelCard(name="clock", title="", family="hubert", size="nano", kind=kind)
        self.first_s = 0.0 if kind == "whisper" else 0.0125

    def __call__(self, waveforms):
        frames = (waveforms.shape[1] - 400) // 320 + 1
        frames += 2 if self.first_s == 0 else 0  # they pad
        fine = self.first_s + 0.02 * torch.arange(frames)
        finer = self.first_s + 0.01 * torch.arange(2 * frames - 1)
        coarse = fine[::2]
        return [each[None, :, None].expand(len(waveforms), -1, 1) for each in (finer, fine, coarse)]


@pytest.mark.parametrize("kind", ["transformers", "whisper"])
def test_every_layer_gives_the_frame_nearest_to_the_moment(tmp_path, kind) -> None:
    phones, utterances = {}, []
    for index, length in enumerate((16_000, 16_000, 23_456)):
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, 0.1 * np.ones(length), 16_000)
        utterances.append(Utterance(str(index), path))
        phones[str(index)] = segments(("AA", length / 16_000))
    drawn = draw_frames(phones, 1000, seed=0, per_utterance=30)
    frames = collect_frames(Clock(kind), utterances[::-1], drawn)
    assert frames.ids == ("0", "1", "2")
    assert list(np.bincount(frames.owner)) == [30, 30, 30]
    moments = np.concatenate([drawn[id].times_s for id in frames.ids])
    for layer, half_step in zip(frames.layers, (0.005, 0.01, 0.02), strict=True):
        away = np.abs(layer[:, 0] - moments)
        # the last 20 ms frame may have no 40 ms frame after it
        assert np.mean(away <= half_step + 1e-6) > (0.999 if half_step < 0.02 else 0.95)
    if kind == "transformers":
        np.testing.assert_allclose(frames.layers[0][:, 0], moments, atol=1e-6)
        np.testing.assert_allclose(frames.layers[1][:, 0], moments, atol=1e-6)
    only = collect_frames(Clock(kind), utterances, drawn, layers=["20 ms"])
    assert np.array_equal(only.layers[0], frames.layers[1])


# The fit


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((6, 12))
    labels = rng.integers(6, size=3000)
    frames = centres[labels] + 1.3 * rng.standard_normal((3000, 12))
    frames = frames * np.geomspace(0.01, 100, 12) + 7.0
    return frames.astype(np.float32), labels


def test_the_fit_agrees_with_another_implementation(made) -> None:
    frames, labels = made
    train, test = slice(0, 2000), slice(2000, 3000)
    probe = fit_probe(frames[train], labels[train], 6, l2=1e-3, steps=300)
    mean, scale = frames[train].mean(axis=0), frames[train].std(axis=0)
    other = LogisticRegression(C=1 / (2000 * 1e-3), max_iter=1000, tol=1e-8)
    other.fit((frames[train] - mean) / scale, labels[train])
    theirs = other.predict((frames[test] - mean) / scale)
    mine = probe.predict(frames[test])
    assert np.mean(mine == theirs) > 0.99
    assert 0.6 < np.mean(mine == labels[test]) < 0.95
    np.testing.assert_allclose(probe.weight.numpy().T, other.coef_, atol=0.02)


def test_the_fit_is_deterministic_and_takes_constant_inputs(made) -> None:
    frames, labels = made
    frames = np.concatenate([frames, np.full((len(frames), 1), 3.0, np.float32)], axis=1)
    first, second = (fit_probe(frames, labels, 6, l2=1e-2) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert torch.isfinite(first.weight).all()
    assert np.array_equal(first.predict(frames), second.predict(frames))


def test_weight_decay_is_chosen_on_the_frames_set_aside(made) -> None:
    frames, labels = made
    aside = np.arange(len(labels)) % 5 == 0
    clear, decay = choose_probe(frames, labels, aside, 6)
    assert decay in DECAYS
    alone = fit_probe(frames[~aside], labels[~aside], 6, l2=decay, steps=300)
    same = clear.predict(frames[aside]) == alone.predict(frames[aside])
    assert np.mean(same) > 0.99
    # Few frames of many dimensions: the decays differ, and the best of them is taken.
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((400, 200)) + 0.15 * (
        np.eye(6)[labels[:400]] @ rng.standard_normal((6, 200))
    )
    few, said, apart = noise.astype(np.float32), labels[:400], aside[:400]
    chosen, _ = choose_probe(few, said, apart, 6)
    fits = [fit_probe(few[~apart], said[~apart], 6, l2=decay, steps=300) for decay in DECAYS]
    rights = [np.mean(fit.predict(few[apart]) == said[apart]) for fit in fits]
    assert max(rights) > min(rights)
    right = np.mean(chosen.predict(few[apart]) == said[apart])
    assert right == pytest.approx(max(rights), abs=0.015)


# The MFCC baseline


def test_the_mfcc_baseline_is_kaldis_with_regression_differences() -> None:
    waves = 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    encoder = load_encoder(MFCC, device="cpu")
    (found,) = encoder(waves)
    assert found.shape == (2, (8000 - 400) // 160 + 1, 39)
    for row, wave in zip(found.double().numpy(), waves, strict=True):
        cepstra = kaldi.mfcc(wave[None], sample_frequency=16_000, use_energy=False)
        np.testing.assert_array_equal(row[:, :13], cepstra.numpy())
        for order in (0, 13):  # a least-squares slope over five frames, the edges repeated
            padded = np.pad(row[:, order : order + 13], ((2, 2), (0, 0)), mode="edge")
            slope = sum(k * padded[2 + k : len(padded) - 2 + k] for k in (-2, -1, 1, 2)) / 10
            np.testing.assert_allclose(row[:, order + 13 : order + 26], slope, atol=1e-4)


# The result


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """Three speakers who say their phones as tones, and what an aligner would find."""
    folder = tmp_path / "tones"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for index in range(12):
        parts = [("SIL", 0.1), *((str(p), 0.15) for p in rng.permutation([*PHONES] * 2)),
                 ("SIL", 0.1)]  # fmt: skip
        samples = np.concatenate(
            [
                0.2 * np.sin(2 * np.pi * PHONES.get(p, 0.0) * np.arange(round(s * 16_000)) / 16_000)
                for p, s in parts
            ]
        )
        samples += 0.01 * rng.standard_normal(len(samples))
        soundfile.write(folder / f"t{index}.wav", samples, 16_000)
        row = {"id": f"t{index}", "path": f"t{index}.wav", "speaker": f"s{index % 3}",
               "text": json.dumps(parts)}  # fmt: skip
        rows.append(json.dumps(row))
    (folder / "manifest.jsonl").write_text("\n".join(rows))
    return folder


class Knows:
    """An aligner that was told."""

    name, settings = "told 1.0", {}

    def align(self, samples, utterance):
        return segments(*[tuple(part) for part in json.loads(utterance.text)])


@pytest.fixture
def corpus(tones: Path) -> Corpus:
    return open_corpus(tones)


@pytest.fixture
def alignment(corpus: Corpus, tones: Path) -> Alignment:
    return align_corpus(corpus, tones / "alignment.jsonl", aligner=Knows())


MELSPEC = registry().get("melspec")


def test_tones_are_read_from_melspec_on_a_speaker_never_heard(corpus, alignment) -> None:
    test = corpus.select(lambda u: u.speaker == "s0", "tones-s0")
    result, values = probe_phones(MELSPEC, corpus, test, alignment, command="insidessl-dash ...")
    assert result.layers == ["mel"]
    assert result.lens == PHONE_PROBE.name
    assert result.curve().mean[0] > 0.95
    assert result.curve("majority").mean[0] == pytest.approx(1 / 3, abs=0.05)
    assert result.config["speakers_measured"] == ["s0"]
    assert result.config["speakers_fitted"] == 2
    assert result.config["utterances_fitted"] == 8
    assert 0 < result.config["frames_aside"] < result.config["frames_fitted"]
    assert result.config["weight_decay"][0] in DECAYS
    assert (result.corpus.name, result.corpus.utterances) == ("tones-s0", 4)
    assert values.ids == ["t0", "t3", "t6", "t9"] == [u.id for u in result.utterances]
    np.testing.assert_allclose(values.measures["accuracy"].mean(axis=0), result.curve().mean)
    assert PHONE_PROBE.matches(result.config, {})


def test_labels_that_say_nothing_give_chance(corpus, alignment) -> None:
    rng = np.random.default_rng(0)
    mixed = {
        id: [s._replace(phone=str(rng.choice([*PHONES])) if s.phone != "SIL" else "SIL")
             for s in found]
        for id, found in alignment.phones.items()
    }  # fmt: skip
    test = corpus.select(lambda u: u.speaker == "s0")
    result, _ = probe_phones(MELSPEC, corpus, test, Alignment(alignment.header, mixed))
    assert result.curve().mean[0] < 0.6


def test_the_key_tells_apart_what_the_numbers_depend_on(corpus, alignment) -> None:
    test = corpus.select(lambda u: u.speaker == "s0")

    def key(card=MELSPEC, aligned=alignment, train=corpus, **options) -> str:
        return probe_phones(card, train, test, aligned, **options)[0].key

    base = key()
    assert key() == base
    moved = {id: [s._replace(end=s.end) for s in found] for id, found in alignment.phones.items()}
    moved["t0"] = segments(("AA", 1.1))
    fewer = corpus.select(lambda u: u.id != "t1")
    others = [
        key(MFCC),
        key(aligned=Alignment(alignment.header, moved)),
        key(train=fewer),
        key(config=ProbeConfig(train_frames=300)),
        key(seed=1),
    ]
    assert len({base, *others}) == 6


def test_what_was_not_aligned_is_listed_and_counted_nowhere(corpus, alignment) -> None:
    phones = {id: found for id, found in alignment.phones.items() if id != "t3"}
    aligned = Alignment(alignment.header, phones, {"t3": "the audio does not fit the transcript"})
    test = corpus.select(lambda u: u.speaker == "s0")
    result, values = probe_phones(MELSPEC, corpus, test, aligned)
    assert values.ids == ["t0", "t6", "t9"]
    errors = {u.id: u.error for u in result.utterances if u.error}
    assert errors == {"t3": "not aligned: the audio does not fit the transcript"}
    assert (result.corpus.utterances, result.curve().n) == (3, 3)


def test_a_row_without_a_speaker_is_refused(corpus, alignment) -> None:
    bare = replace(corpus, utterances=(replace(corpus.utterances[0], speaker=None),))
    for train, test in ((corpus, bare), (bare, corpus)):
        with pytest.raises(CorpusError, match="'t0' has no speaker"):
            probe_phones(MELSPEC, train, test, alignment)


def test_one_side_without_speech_is_refused(corpus, alignment) -> None:
    with pytest.raises(CorpusError, match=r"no aligned speech to take training frames"):
        probe_phones(MELSPEC, corpus, corpus, alignment)  # every speaker is on the test side
    test = corpus.select(lambda u: u.speaker == "s0")
    two = corpus.select(lambda u: u.speaker != "s2")
    with pytest.raises(CorpusError, match="one speaker to fit on"):
        probe_phones(MELSPEC, two, corpus.select(lambda u: u.speaker == "s1"), alignment)
    with pytest.raises(CorpusError, match=r"no aligned speech .*data align"):
        probe_phones(MELSPEC, corpus, test, Alignment({}, {}))


def test_the_command_writes_results_that_can_be_loaded(
    tones, alignment, tmp_path, monkeypatch, capsys
) -> None:
    # a tenth of a second of test side, from a manifest of its own
    rows = [row for row in (tones / "manifest.jsonl").read_text().splitlines() if '"s0"' in row]
    (tones / "s0.jsonl").write_text("\n".join(rows))
    words = ["probe", "phones", "--train", tones, "--test", tones / "s0.jsonl", "--model", "mfcc",
             "--model", "melspec", "--alignment", tones / "alignment.jsonl", "--out",
             tmp_path / "out"]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["insidessl-dash", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "Frame phone accuracy" in printed
    assert "frames of 2 speakers fitted" in printed
    results = load_result(tmp_path / "out" / "s0" / "mfcc__phone_probe.json")
    assert results[0].curve().mean[0] > 0.8
    assert results[0].provenance.command.startswith("insidessl-dash probe phones --train")
    assert load_result(results[0].key)[0].key == results[0].key


def test_the_held_out_speakers_of_a_model_are_the_default_test_side(
    tones, alignment, tmp_path, monkeypatch, capsys
) -> None:
    from insidessl_dash.cli.probing import _held_out, _held_out_speakers

    assert "so0005" in _held_out_speakers("hubert-nano")
    corpus = open_corpus(tones)
    renamed = {"s0": "so0005", "s1": "x", "s2": "y"}
    corpus = replace(
        corpus,
        utterances=tuple(replace(u, speaker=renamed[str(u.speaker)]) for u in corpus.utterances),
    )
    held = _held_out(corpus, "hubert-nano")
    assert held.name == "tones-held-out"
    assert {u.speaker for u in held.utterances} == {"so0005"}
    words = ["probe", "phones", "--train", tones, "--model", "mfcc", "--alignment",
             tones / "alignment.jsonl"]  # fmt: skip
    for extra, why in ((["--held-out-of", "nothing"], "no shipped card"), ([], "none of the")):
        monkeypatch.setattr("sys.argv", ["insidessl-dash", *map(str, words), *extra])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        assert why in capsys.readouterr().err
