"""Purity and mutual information of clusters and phones, against tables worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from insidessl_dash.analyses.clusters import contingency, layer_purity, purity
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import CorpusError
from insidessl_dash.core.types import Utterance
from insidessl_dash.corpora.alignment import Segment


def test_a_table_worked_by_hand() -> None:
    # Ten frames. Phone 0: 4 in cluster 0, 1 in cluster 1. Phone 1: 1 in 0, 2 in 1, 2 in 2.
    found = purity(np.array([[4, 1, 0], [1, 2, 2]]))
    assert found.phone == pytest.approx((4 + 2 + 2) / 10)
    assert found.cluster == pytest.approx((4 + 2) / 10)
    information = (
        0.4 * np.log(0.4 / (0.5 * 0.5))
        + 0.1 * np.log(0.1 / (0.5 * 0.3))
        + 0.1 * np.log(0.1 / (0.5 * 0.5))
        + 0.2 * np.log(0.2 / (0.5 * 0.3))
        + 0.2 * np.log(0.2 / (0.5 * 0.2))
    )
    assert found.pnmi == pytest.approx(information / np.log(2))
    assert found.frames == 10


def test_perfect_and_useless_clusters() -> None:
    assert purity(np.diag([3, 5, 2]))[:3] == (1.0, 1.0, pytest.approx(1.0))
    useless = purity(np.outer([3, 5, 2], [1, 4]))
    assert useless.pnmi == pytest.approx(0.0, abs=1e-12)
    assert (useless.phone, useless.cluster) == (pytest.approx(0.5), pytest.approx(0.8))


def test_an_absent_phone_changes_nothing_and_one_phone_has_no_pnmi() -> None:
    table = np.array([[4, 1], [1, 2]])
    assert purity(np.vstack([table, [0, 0]])) == purity(table)
    assert np.isnan(purity(np.array([[2, 1]])).pnmi)
    with pytest.raises(ValueError, match="No frame"):
        purity(np.zeros((2, 2), int))


def test_counts_of_shards_add_up() -> None:
    rng = np.random.default_rng(0)
    phones, clusters = rng.integers(4, size=200), rng.integers(7, size=200)
    whole = contingency(phones, clusters, (4, 7))
    parts = [contingency(phones[a:b], clusters[a:b], (4, 7)) for a, b in ((0, 80), (80, 200))]
    assert np.array_equal(whole, parts[0] + parts[1])
    assert whole.sum() == 200
    assert whole[2, 3] == ((phones == 2) & (clusters == 3)).sum()
    with pytest.raises(ValueError, match="invalid entry"):
        contingency(np.array([4]), np.array([0]), (4, 7))


class SignAndNoise:
    """Layer "sign" separates the loud from the soft half of a file; "noise" knows nothing."""

    card = ModelCard(name="made", title="", family="hubert", size="nano", kind="transformers")
    layers = ("noise", "sign")
    frame_rates_hz = (50.0, 50.0)

    def __call__(self, waveforms):
        frames = waveforms.unfold(-1, 400, 320)
        loud = frames.abs().mean(dim=-1, keepdim=True) > 0.05
        torch.manual_seed(int(frames.sum() * 1000) % 1000)
        return [torch.randn(*frames.shape[:2], 4), loud.float() + 0.01 * torch.randn(loud.shape)]


@pytest.fixture
def speech(tmp_path):
    utterances, phones = [], {}
    for index in range(6):
        rng = np.random.default_rng(index)
        samples = np.concatenate([0.02 * np.ones(16_000), 0.2 * np.ones(16_000)])
        samples *= rng.uniform(0.9, 1.1, len(samples))
        path = tmp_path / f"u{index}.wav"
        soundfile.write(path, samples, 16_000)
        utterances.append(Utterance(f"u{index}", path))
        phones[f"u{index}"] = [Segment("AA", 0.0, 1.0), Segment("T", 1.0, 2.0)]
    return utterances, phones


def test_the_layer_that_knows_has_the_highest_pnmi(speech) -> None:
    utterances, phones = speech
    rows = layer_purity(SignAndNoise(), utterances, phones, layers=["noise", "sign"], clusters=2,
                        frames=1000, seed=0)  # fmt: skip
    noise, sign = rows
    assert (noise["layer"], sign["layer"]) == ("noise", "sign")
    assert sign["pnmi"] > 0.9
    assert noise["pnmi"] < 0.1
    assert sign["frames"] == 2 * 99  # a third of six utterances, every frame
    with pytest.raises(CorpusError, match="too few"):
        layer_purity(SignAndNoise(), utterances, phones, layers=["sign"], clusters=900,
                     frames=1000, seed=0)  # fmt: skip
