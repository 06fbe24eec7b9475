"""Batches through an encoder whose layers say exactly which samples they saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from insidessl_dash.analyses import ANALYSES
from insidessl_dash.analyses.base import State
from insidessl_dash.audio.limits import LIMITS
from insidessl_dash.audio.perturb import perturb, view_seed
from insidessl_dash.core.errors import Cancelled, ConfigError
from insidessl_dash.core.types import SAMPLE_RATE, Utterance, file_sha256
from insidessl_dash.features import batches
from insidessl_dash.features.batches import layer_batches

SECOND = SAMPLE_RATE


class FramesOfSamples:
    """Layer "0" is the waveform cut into frames of 320 samples, layer "1" its running sum."""

    layers = ("0", "1")
    device = "cpu"

    def __init__(self):
        self.passes: list[tuple[int, ...]] = []

    def __call__(self, waveforms):
        assert waveforms.dtype == torch.float32
        self.passes.append(tuple(waveforms.shape))
        frames = waveforms.unfold(-1, 320, 320)
        return [frames, frames.cumsum(dim=1)[..., :7]]


@pytest.fixture
def encoder():
    return FramesOfSamples()


@pytest.fixture
def corpus(tmp_path):
    """Utterances by length in samples; every file has its own sound."""

    def make(lengths, rate=SAMPLE_RATE, suffix="wav"):
        made = []
        for id, length in lengths.items():
            rng = np.random.default_rng(sum(map(ord, id)))
            path = tmp_path / f"{id}.{suffix}"
            soundfile.write(path, 0.1 * rng.standard_normal(length), rate)
            made.append(Utterance(id, path))
        return made

    return make


def by_id(found, view=None):
    """id -> its layers, from batches."""
    rows = {}
    for batch in found:
        layers = batch.layers if view is None else batch.views[view]
        for row, id in enumerate(batch.ids):
            rows[id] = [layer[row] for layer in layers]
    return rows


def samples_of(utterance):
    return soundfile.read(utterance.path, dtype="float32")[0]


def test_every_utterance_comes_once_with_its_own_samples(encoder, corpus):
    utterances = corpus({"a": 8_000, "b": 16_000, "c": 8_000, "d": 12_345})
    found = list(layer_batches(encoder, utterances))
    assert [batch.ids for batch in found] == [["b"], ["d"], ["a", "c"]]  # longest first
    for utterance in utterances:
        frames = by_id(found)[utterance.id][0]
        expected = samples_of(utterance)
        np.testing.assert_array_equal(frames.ravel(), expected[: frames.numel()])
        assert len(frames) == len(expected) // 320


def test_nothing_is_padded_and_batches_hold_at_most_so_many_seconds(encoder, corpus):
    utterances = corpus({f"u{i}": 2 * SECOND for i in range(7)} | {"long": 11 * SECOND})
    found = list(layer_batches(encoder, utterances, batch_seconds=6.0))
    assert encoder.passes == [(1, 11 * SECOND), (3, 2 * SECOND), (3, 2 * SECOND), (1, 2 * SECOND)]
    assert [len(batch.ids) for batch in found] == [1, 3, 3, 1]


def test_layers_do_not_depend_on_order_or_batch_size(corpus):
    utterances = corpus({"a": 8_000, "b": 8_000, "c": 8_000, "d": 9_000})
    views = ("chain", "speed_0.9")
    whole = list(layer_batches(FramesOfSamples(), utterances, views=views, seed=3))
    for others, seconds in ((utterances[::-1], 30.0), (utterances[1:3], 30.0), (utterances, 0.1)):
        found = list(
            layer_batches(FramesOfSamples(), others, views=views, seed=3, batch_seconds=seconds)
        )
        for view in (None, *views):
            for id, layers in by_id(found, view).items():
                for layer, expected in zip(layers, by_id(whole, view)[id], strict=True):
                    assert torch.equal(layer, expected)


def test_views_are_the_perturbed_audio_in_the_same_pass(encoder, corpus):
    utterances = corpus({"a": 8_000, "b": 8_000})
    views = ("gain", "noise_10db", "speed_1.1")
    (batch,) = layer_batches(encoder, utterances, views=views, seed=4)
    assert batch.ids == ["a", "b"]
    assert list(batch.views) == list(views)
    slower = len(perturb(np.zeros(8_000, "f4"), "speed_1.1", 0))
    assert encoder.passes == [(6, 8_000), (2, slower)]
    for row, utterance in enumerate(utterances):
        for view in views:
            seed = view_seed(file_sha256(utterance.path), view, 4)
            expected = perturb(samples_of(utterance), view, seed)
            frames = batch.views[view][0][row]
            np.testing.assert_array_equal(frames.ravel(), expected[: frames.numel()])


def test_views_count_towards_the_seconds_of_a_pass(encoder, corpus):
    list(
        layer_batches(encoder, corpus({"a": 8 * SECOND}), views=("gain", "chain"), batch_seconds=20)
    )
    assert encoder.passes == [(2, 8 * SECOND), (1, 8 * SECOND)]


def test_views_follow_the_seed_and_the_audio_not_the_name(corpus, tmp_path):
    (one,) = corpus({"a": 8_000})
    copy = tmp_path / "copy.wav"
    copy.write_bytes(one.path.read_bytes())

    def view(utterance, seed):
        (batch,) = layer_batches(FramesOfSamples(), [utterance], views=("chain",), seed=seed)
        return batch.views["chain"][0]

    assert torch.equal(view(one, 1), view(Utterance("other", copy), 1))
    assert not torch.equal(view(one, 1), view(one, 2))


def test_what_cannot_be_read_is_reported_and_left_out(encoder, corpus, tmp_path):
    good = corpus({"a": 8_000, "z": 16_000})
    bad = {"gone": None, "empty": b"", "text": b"no sound here", "cut": None}
    for name, content in bad.items():
        if content is not None:
            (tmp_path / f"{name}.wav").write_bytes(content)
    (tmp_path / "cut.wav").write_bytes(good[1].path.read_bytes()[:9_000])
    soundfile.write(tmp_path / "silent.wav", np.zeros(8_000), SAMPLE_RATE)
    soundfile.write(tmp_path / "short.wav", np.ones(800), SAMPLE_RATE)
    names = [*bad, "silent", "short"]
    skipped, done = {}, []
    utterances = [*(Utterance(n, tmp_path / f"{n}.wav") for n in names), *good]
    found = list(
        layer_batches(
            encoder,
            utterances,
            on_skip=lambda utterance, error: skipped.update({utterance.id: str(error)}),
            on_done=lambda utterance, seconds, notes: done.append(utterance.id),
        )
    )
    assert sorted(skipped) == sorted(names)
    assert all(f"{name}.wav" in skipped[name] for name in names)
    assert done == ["z", "a"]
    assert sorted(id for batch in found for id in batch.ids) == ["a", "z"]


def test_limits_are_held(encoder, corpus):
    skipped = []
    found = layer_batches(
        encoder,
        corpus({"a": 8_000, "long": 3 * SECOND}),
        limits=replace(LIMITS, max_seconds=2.0),
        on_skip=lambda utterance, error: skipped.append(utterance.id),
    )
    assert [batch.ids for batch in found] == [["a"]]
    assert skipped == ["long"]


def test_skipping_needs_no_listener(encoder, corpus, tmp_path):
    found = layer_batches(
        encoder, [Utterance("gone", tmp_path / "gone.wav"), *corpus({"a": 8_000})]
    )
    assert [batch.ids for batch in found] == [["a"]]


def test_other_sample_rates_are_converted_and_say_so(encoder, corpus):
    notes = {}
    rates = {"a": 48_000, "b": 16_000, "c": 8_000}
    utterances = [u for id, rate in rates.items() for u in corpus({id: rate}, rate=rate)]
    (batch,) = layer_batches(
        encoder,
        utterances,
        on_done=lambda utterance, seconds, said: notes.update({utterance.id: (seconds, said)}),
    )
    assert batch.ids == ["a", "b", "c"]  # one second each, so they share a batch
    assert notes["b"] == (1.0, ())
    assert notes["a"] == (1.0, ("resampled from 48000 Hz to 16000 Hz",))


def test_done_is_told_after_the_batch_was_used(encoder, corpus):
    told = []
    found = layer_batches(
        encoder, corpus({"a": 16_000, "b": 8_000}), on_done=lambda u, *rest: told.append(u.id)
    )
    assert next(found).ids == ["a"]
    assert told == []
    assert next(found).ids == ["b"]
    assert told == ["a"]
    assert list(found) == []
    assert told == ["a", "b"]


def test_check_stops_before_the_next_batch(encoder, corpus):
    calls = []

    def check():
        calls.append(len(encoder.passes))
        if len(calls) == 3:
            raise Cancelled("Cancelled.")

    found = layer_batches(encoder, corpus({f"u{i}": 8_000 + i for i in range(5)}), check=check)
    with pytest.raises(Cancelled):
        list(found)
    assert calls == [0, 1, 2]
    assert len(encoder.passes) == 2


def test_files_are_decoded_when_their_turn_comes(encoder, corpus, monkeypatch):
    decoded = []
    load = batches.load

    def counting(path: Path, **options):
        decoded.append(path.stem)
        return load(path, **options)

    monkeypatch.setattr(batches, "load", counting)
    found = layer_batches(encoder, corpus({f"u{i}": 9_000 - i for i in range(8)}))
    next(found)
    assert len(decoded) <= 2  # the batch, and the one that ended it
    next(found)
    assert len(decoded) <= 3


def test_groups_are_handed_on(encoder, corpus):
    utterances = corpus({"a": 8_000, "b": 8_000, "c": 9_000})
    groups = {"a": "x/2", "b": "y/1", "c": "x/2"}
    found = list(layer_batches(encoder, utterances, groups=groups))
    said = {id: group for batch in found for id, group in zip(batch.ids, batch.groups, strict=True)}
    assert said == groups
    alone = list(layer_batches(encoder, utterances))
    assert all(group == f"{id}/1" for b in alone for id, group in zip(b.ids, b.groups, strict=True))


def test_an_unknown_view_is_an_error(encoder, corpus):
    with pytest.raises(ConfigError, match="named 'echo'"):
        list(layer_batches(encoder, corpus({"a": 8_000}), views=("echo",)))


def test_no_utterance_no_batch(encoder):
    assert list(layer_batches(encoder, [])) == []


@pytest.mark.parametrize("name", ANALYSES)
def test_shards_of_a_corpus_merge_to_the_whole(name, corpus):
    """From files to numbers: any cut of the corpus gives exactly the same values."""
    utterances = corpus({f"u{i}": 8_000 + 4_000 * (i % 3) for i in range(9)})
    groups = {u.id: f"g{i % 2}/{5 - i % 2}" for i, u in enumerate(utterances)}
    analysis = ANALYSES[name]()

    def state_of(part):
        state = State()
        for batch in layer_batches(
            FramesOfSamples(), part, groups=groups, views=analysis.views, seed=1
        ):
            analysis.update(state, batch)
        return state

    ids, whole = analysis.compute(state_of(utterances))
    assert ids == [u.id for u in utterances]
    merged = State()
    for part in (utterances[6:], utterances[1:6], utterances[:1]):
        analysis.merge(merged, state_of(part))
    np.testing.assert_array_equal(analysis.compute(merged)[1], whole)
    assert np.isfinite(whole).all()
