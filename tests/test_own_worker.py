"""What a worker decodes of a visitor's recording, with real decoders of a tiny model."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from test_uploads import wav

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import Cancelled, NotFoundError
from insidessl_dash.core.registry import Registry
from insidessl_dash.core.settings import settings
from insidessl_dash.core.types import PLAYED_DB
from insidessl_dash.engine import own_worker, worker
from insidessl_dash.engine.cluster import DaskExecutor
from insidessl_dash.engine.inline import InlineExecutor
from insidessl_dash.engine.own import ears, plan_matrix
from insidessl_dash.engine.service import JobService
from insidessl_dash.engine.spec import Job, MatrixSpec
from insidessl_dash.engine.uploads import Uploads
from insidessl_dash.results.decoder_banks import FOLDER as BANKS
from insidessl_dash.results.decoder_banks import DecoderBanks
from insidessl_dash.results.store import Store

ME, YOU = "a" * 32, "b" * 32


def wait_for(condition, seconds: float = 60.0):
    """Poll until the condition gives something; fail loudly if it never does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.005)
    raise AssertionError("timed out")


def ended(service: JobService, job: Job, owner: str = ME) -> Job:
    return wait_for(
        lambda: (j := service.get(job.id, owner)).state in ("done", "failed", "cancelled") and j
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny HuBERT of three layers, in a folder."""
    import torch
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(0)
    target = tmp_path_factory.mktemp("tiny")
    config = HubertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        conv_dim=(4,) * 7, num_conv_pos_embeddings=16,
    )  # fmt: skip
    HubertModel(config).save_pretrained(target)
    return target


@pytest.fixture
def spoken(tiny: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> SimpleNamespace:
    """The tiny model with real decoders of two of its layers, and a service that decodes here."""
    return real(tiny, InlineExecutor(), monkeypatch)


def real(tiny: Path, executor, monkeypatch: pytest.MonkeyPatch | None = None) -> SimpleNamespace:
    import torch

    from insidessl_dash.encoders.loading import load_encoder
    from insidessl_dash.generation.decoder_networks import DecoderSize
    from insidessl_dash.generation.decoders import DecoderBank

    found = settings()
    registry = Registry(found.home, found.precomputed)
    card = registry.add(
        ModelCard(
            name="tiny", title="Tiny", family="hubert", size="nano", kind="transformers",
            source=str(tiny),
        )
    )  # fmt: skip
    encoder = load_encoder(card, device="cpu")
    said = {
        "name": "tiny", "weights_sha256": encoder.weights_sha256,
        "layer_policy": dict(encoder.layer_policy), "layers": list(encoder.layers),
        "frame_rates_hz": list(encoder.frame_rates_hz), "first_frame_s": 0.0125,
    }  # fmt: skip
    torch.manual_seed(0)
    size = DecoderSize(width=8, blocks=1, heads=1, hidden=8, patch=1)
    bank = DecoderBank(("0", "2"), 16, size, "regression", said)
    for parameter in bank.parameters():  # those of a new bank are alike
        parameter.data = 0.2 * torch.randn(parameter.shape)
    bank.mel_mean.fill_(-2.0)
    folder = found.home / BANKS / "tiny"
    folder.mkdir(parents=True)
    bank.save(folder)
    uploads = Uploads(found)
    store = Store(found.home, found.precomputed)
    if monkeypatch is not None:  # pYIN compiles for seconds, and is tested elsewhere
        monkeypatch.setattr(
            "insidessl_dash.generation.metrics.f0_hz",
            lambda x, hop=256: np.full(1 + len(x) // hop, np.nan),
        )
    service = JobService(store, executor, registry, uploads, lambda name: None)
    return SimpleNamespace(
        service=service, uploads=uploads, folder=folder, matrices=service.matrices
    )


def decoded(spoken: SimpleNamespace, seconds: float, seed: int = 0) -> Job:
    upload = spoken.uploads.add(ME, "my voice.wav", io.BytesIO(wav(seconds, seed)))
    spec = MatrixSpec(model="tiny", upload=upload.id)
    return ended(spoken.service, spoken.service.submit(spec, ME))


def test_a_recording_becomes_sounds_and_scores(spoken: SimpleNamespace) -> None:
    job = decoded(spoken, 1.0)
    assert (job.state, job.error, job.completed, job.total) == ("done", None, 6, 6)
    matrix = spoken.matrices.get(ME, job.results[0])
    example = matrix.example
    assert (example.layers, example.decoder_layers) == (["0", "1", "2"], ["0", "2"])
    assert example.missing == {"1": "no decoder was trained for this layer"}
    assert matrix.done == ["0", "2"]
    assert (example.model.name, example.seconds) == ("tiny", 1.0)
    bank = DecoderBanks(settings().home, settings().precomputed).get("tiny")
    assert example.vocoder.name == ears(bank, spoken.service.registry).vocoder_title
    assert example.metrics["content"].scored_by == "HuBERT Nano, iteration 2, layer 12"
    assert example.metrics["speaker"].scored_by.startswith("ECAPA")
    assert np.isfinite(np.array(example.metrics["mel_l1"].cells, dtype=float)).all()
    f0 = example.metrics["f0_rmse_cents"]
    assert f0.cells == [[None] * 3] * 2, "nothing is voiced"
    assert "voiced" in f0.why[0][0]
    for path in (
        spoken.matrices.cell(ME, matrix.key, 2, 1),
        spoken.matrices.reference(ME, matrix.key, "original"),
        spoken.matrices.reference(ME, matrix.key, "vocoder"),
    ):
        info = soundfile.info(path)
        assert (info.samplerate, info.frames) == (16_000, 16_000)
    with pytest.raises(NotFoundError, match="no cell"):
        spoken.matrices.cell(ME, matrix.key, 1, 0)
    first, second = example.metrics["mel_l1"].cells
    assert first != second, "each row by its own decoder"
    original, _ = soundfile.read(spoken.matrices.reference(ME, matrix.key, "original"))
    level = 10 * np.log10(np.mean(original**2)) - PLAYED_DB
    assert -30 < level < -25, "at one level; Opus takes from noise"


def test_only_the_first_seconds_of_a_long_recording_are_decoded(
    spoken: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_worker, "LONGEST_S", 0.75)
    matrix = spoken.matrices.get(ME, decoded(spoken, 1.5).results[0])
    assert matrix.example.seconds == 0.75
    assert "the first 0.75 s of 1.5 s are decoded" in matrix.head.notes


def test_a_clip_too_short_for_stoi_has_the_rest(spoken: SimpleNamespace) -> None:
    metrics = spoken.matrices.get(ME, decoded(spoken, 0.3).results[0]).example.metrics
    assert metrics["stoi"].cells == [[None] * 3] * 2
    assert metrics["stoi"].vocoder is None
    assert "STOI needs 0.5 s" in metrics["stoi"].why[0][0]
    assert all(value is not None for row in metrics["content"].cells for value in row)


def test_decoders_of_another_encoder_fail_and_say_so(spoken: SimpleNamespace) -> None:
    config = json.loads((spoken.folder / "config.json").read_text())
    config["encoder"]["weights_sha256"] = "f" * 64
    (spoken.folder / "config.json").write_text(json.dumps(config))
    job = decoded(spoken, 1.0)
    assert job.state == "failed"
    assert "not on the tiny that is loaded" in (job.error or "")
    assert "gcm train" in (job.error or "")
    assert job.results == []


def test_a_cancel_is_heard_between_batches(
    spoken: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_worker, "_BATCH_SECONDS", 0.5)
    upload = spoken.uploads.add(ME, "x.wav", io.BytesIO(wav(1.0, 5)))
    registry = spoken.service.registry
    plan = plan_matrix(MatrixSpec(model="tiny", upload=upload.id), ME, registry, spoken.uploads)
    task = plan.task.model_copy(update={"run": "run-own", "index": 0})
    told: list[int] = []

    def done(cells: int) -> None:
        told.append(cells)
        worker.cancel("run-own")

    own_worker._made.cache_clear()
    with pytest.raises(Cancelled):
        own_worker.run(task, done)
    own_worker._made.cache_clear()
    assert told == [1]


def test_the_cluster_goes_on_after_its_worker_is_killed(tiny: Path) -> None:
    executor = DaskExecutor()
    spoken = real(tiny, executor)
    upload = spoken.uploads.add(ME, "my voice.wav", io.BytesIO(wav(0.6)))
    job = spoken.service.submit(MatrixSpec(model="tiny", upload=upload.id), ME)
    try:
        wait_for(lambda: spoken.service.get(job.id, ME).results, 120)
        (killed,) = executor.client().run(os.getpid).values()
        os.kill(killed, signal.SIGKILL)
        job = wait_for(
            lambda: (j := spoken.service.get(job.id, ME)).state in ("done", "failed") and j, 120
        )
        assert (job.state, job.error, job.completed) == ("done", None, 6)
        assert spoken.matrices.get(ME, job.results[0]).finished
    finally:
        spoken.service.close()
        executor.close()
