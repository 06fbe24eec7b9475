"""The model hub, against a server of this machine that speaks like one: true repositories, true
client, and what goes wrong between them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub import constants, file_download
from made_archives import LIBRISPEECH, Mirror
from made_checkpoints import CLASSES, card, config_of, model_class, random_model, save, tiny_config
from made_hub import LocalHub

from insidessl_dash.core.catalogue import BUILT_IN
from insidessl_dash.core.errors import ModelError
from insidessl_dash.core.types import file_sha256
from insidessl_dash.corpora import downloads
from insidessl_dash.encoders import load_encoder
from insidessl_dash.encoders.ecapa_network import EcapaConfig, initialise
from insidessl_dash.results.schema import Result

REPOSITORY = "some/hubert"
TRUE_BASE = "hubert-base"


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as server:
        yield server.start()
        server.shutdown()


@pytest.fixture
def cache(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache of a client in this process, whose hub is the local one."""
    cache = tmp_path / "cache" / "hub"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    impatient = SimpleNamespace(**{**vars(time), "sleep": lambda _seconds: None})
    monkeypatch.setattr(file_download, "time", impatient)
    return cache


@pytest.fixture
def repository(hub: LocalHub, tmp_path: Path) -> Path:
    """A small HuBERT on the hub."""
    model = random_model(model_class("hubert"), tiny_config("hubert"))
    hub.repositories[REPOSITORY] = save(model, tmp_path / "repository", {"do_normalize": True})
    return hub.repositories[REPOSITORY]


def load(**fields: Any) -> Any:
    return load_encoder(card(**{"source": REPOSITORY, **fields}), device="cpu")


def said(error: pytest.ExceptionInfo[ModelError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def left_behind(cache: Path) -> list[str]:
    """Files of a download that did not end."""
    return [path.name for path in cache.rglob("*.incomplete")]


def test_a_repository_is_fetched_once(hub: LocalHub, cache: Path, repository: Path) -> None:
    (repository / "README.md").write_text("not wanted")
    (repository / "pytorch_model.bin").write_bytes(b"not wanted")
    encoder = load()
    assert encoder.revision == hub.commit(REPOSITORY)
    names = {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert {path.rsplit("/", 1)[1] for path, _ in hub.sent} == names
    hub.sent.clear()
    assert load().weights_sha256 == encoder.weights_sha256
    assert not hub.sent


def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    hub: LocalHub, cache: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.break_after[REPOSITORY] = [30_500, 30_500]
    encoder = load()
    ranges = [asked for path, asked in hub.sent if path.endswith(".safetensors")]
    assert ranges == ["", "bytes=30000-", "bytes=60000-"]
    assert encoder.weights_sha256 == load(source=str(repository)).weights_sha256


def test_a_download_that_does_not_end_leaves_nothing_half_written(
    hub: LocalHub, cache: Path, repository: Path
) -> None:
    hub.broken = True
    with pytest.raises(ModelError) as caught:
        load()
    assert "broke off" in said(caught)
    assert "Try again" in said(caught)
    assert not left_behind(cache)
    assert not list(cache.rglob("snapshots/*/model.safetensors"))
    hub.broken = False
    hub.sent.clear()
    assert load().card.layers == 3
    assert [path.rsplit("/", 1)[1] for path, _ in hub.sent] == ["model.safetensors"]


def test_a_hub_that_stalls_is_not_waited_for_forever(
    hub: LocalHub, cache: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.05)
    hub.stall_s = 1.0
    with pytest.raises(ModelError, match="broke off"):
        load()
    assert not left_behind(cache)


def test_what_the_hub_does_not_have_is_named(hub: LocalHub, cache: Path, repository: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load(revision="v9")
    assert f"{REPOSITORY} has no revision 'v9'" in said(caught)
    with pytest.raises(ModelError) as caught:
        load(source="some/absent")
    assert "no repository some/absent" in said(caught)
    (repository / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights"):
        load()


def test_offline_what_is_here_loads_and_what_is_not_says_so(
    hub: LocalHub, cache: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as caught:
        load()
    assert "HF_HUB_OFFLINE" in said(caught)
    assert f"hf download {REPOSITORY}" in said(caught)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    encoder = load()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.sent.clear()
    assert load().revision == encoder.revision
    assert not hub.sent


def test_offline_half_a_repository_is_not_taken_for_a_whole_one(
    hub: LocalHub, cache: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.broken = True
    with pytest.raises(ModelError):
        load()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as caught:
        load()
    assert "HF_HUB_OFFLINE" in said(caught)


def checkpoint(name: str, folder: Path, whole: bool) -> Path:
    """A checkpoint for a built-in card: of its true size, or as deep and no wider than needed."""
    known = next(item for item in BUILT_IN if item.name == name)
    if known.kind == "ecapa":
        folder.mkdir(parents=True)
        narrow = EcapaConfig(16, 48, attention_channels=8, se_channels=8, embedding=12)
        torch.save(initialise(narrow, 0).state_dict(), folder / "embedding_model.ckpt")
        return folder
    if known.kind == "whisper":
        sizes = {"encoder_layers": 6, "decoder_layers": 1, "d_model": 16, "encoder_ffn_dim": 16,
                 "decoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
                 "vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
                 "decoder_start_token_id": 1}  # fmt: skip
        network = transformers.WhisperModel
        return save(random_model(network, transformers.WhisperConfig(**sizes), "sdpa"), folder)
    config = config_of(known.family) if whole else tiny_config(known.family, num_hidden_layers=12)
    return save(random_model(model_class(known.family), config), folder, {"do_normalize": False})


def precompute(
    hub: LocalHub, folder: Path, *options: str
) -> tuple[subprocess.CompletedProcess[str], set[tuple[str, str]]]:
    """The command as a person gives it, and which models and lenses it has written."""
    done = subprocess.run(
        [sys.executable, "-m", "insidessl_dash", "precompute", *options,
         "--corpus", "librispeech-test-clean", "--out", str(folder / "out")],
        capture_output=True, text=True, timeout=580,
        env={**os.environ, **hub.environment(folder / "cache"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    written = [Result.model_validate_json(path.read_text()) for path in out_of(folder)]
    return done, {(result.model.name, result.lens) for result in written}


def out_of(folder: Path) -> list[Path]:
    return sorted((folder / "out").rglob("*.json"))


@pytest.mark.timeout(600)
def test_precompute_size_base_is_one_command(
    hub: LocalHub, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hub and corpus are local, one model has its true size; tools/prove_hub.py takes all."""
    cards = [item for item in BUILT_IN if item.size == "base"]
    assert {item.family for item in cards} >= {*CLASSES, "whisper"}
    for item in cards:
        folder = tmp_path / "hub" / item.name
        hub.repositories[item.source] = checkpoint(item.name, folder, item.name == TRUE_BASE)
    with Mirror() as mirror:
        threading.Thread(target=mirror.serve_forever, args=(0.02,), daemon=True).start()
        name = "librispeech-test-clean"
        digests = {kind: hashlib.new(kind, LIBRISPEECH).hexdigest() for kind in ("md5", "sha256")}
        served = replace(downloads.DOWNLOADS[name], bytes=len(LIBRISPEECH), **digests)
        monkeypatch.setitem(downloads.DOWNLOADS, name, served)
        downloads.fetch(name, home, base_url=mirror.url)
        mirror.shutdown()
    late = next(item for item in cards if item.name == "wavlm-base-plus")
    repository = hub.repositories.pop(late.source)
    true_size = next(item.source for item in cards if item.name == TRUE_BASE)
    hub.break_after[true_size] = [25 * 2**20]

    done, found = precompute(hub, tmp_path, "--size", "base")
    said = " ".join(done.stderr.split())
    assert done.returncode == 2, said
    assert f"The model hub has no repository {late.source}" in said
    assert f"1 not computed: {late.name} on librispeech-test-clean. The rest is kept." in said
    names = {*(item.name for item in cards), "melspec"} - {late.name}
    lenses = ("entropy", "curvature", "invariance")
    assert found == {(name, lens) for name in names for lens in lenses}
    ranges = [asked for path, asked in hub.sent if path == f"{true_size}/model.safetensors"]
    assert ranges == ["", f"bytes={20 * 2**20}-"], "the client keeps whole pieces of 10 MiB"
    [file] = [path for path in out_of(tmp_path) if path.name == f"{TRUE_BASE}__entropy.json"]
    result = Result.model_validate_json(file.read_text())
    assert result.model.revision == hub.commit(true_size)
    assert result.model.weights_sha256 == file_sha256(
        hub.repositories[true_size] / "model.safetensors"
    )
    assert result.layers == [str(i) for i in range(13)]
    assert result.corpus.utterances == 3

    hub.repositories[late.source] = repository
    done, found = precompute(hub, tmp_path, "--model", late.name)
    assert done.returncode == 0, done.stderr
    assert (late.name, "entropy") in found
