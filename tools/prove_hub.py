"""Prove `insidessl-dash precompute --size base|large` against a hub on this machine.

    python tools/prove_hub.py base large

For every registered model of a size a checkpoint of its true configuration is made with random
weights and served as the model hub serves it, LibriSpeech test-clean is three short made-up
utterances, and the documented command runs in a process of its own with an empty cache. The first
download is cut off half-way once; at the end the command runs again with HF_HUB_OFFLINE=1. Base
takes 7 GB of disk and Large 13 GB while they run (the hub's copy and the client's), and 6 GB of
memory. What is proved is the path: names, sizes, loading, layers and results, not any number.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from made_archives import LIBRISPEECH, Mirror
from made_checkpoints import config_of, model_class, random_model, save
from made_hub import LocalHub

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.catalogue import BUILT_IN
from insidessl_dash.corpora import downloads
from insidessl_dash.encoders.ecapa_network import EcapaConfig, initialise

CORPUS = "librispeech-test-clean"
LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
# The large models normalise layers in front of their blocks and convolutions; data2vec has its own.
PRE_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def checkpoint(card: ModelCard, folder: Path) -> Path:
    """A checkpoint as a card's repository holds it, but for the values of its weights."""
    if card.kind == "ecapa":
        folder.mkdir(parents=True)
        torch.save(initialise(EcapaConfig(), 0).state_dict(), folder / "embedding_model.ckpt")
        return folder
    if card.kind == "whisper":
        # openai/whisper-base: the defaults of the class are those of whisper-tiny.
        sizes = {"d_model": 512, "encoder_layers": 6, "decoder_layers": 6,
                 "encoder_attention_heads": 8, "decoder_attention_heads": 8,
                 "encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048}  # fmt: skip
        config = transformers.WhisperConfig(**sizes)
        return save(random_model(transformers.WhisperModel, config, "sdpa"), folder)
    changes = dict(LARGE) if card.size == "large" else {}
    if card.size == "large" and card.family != "data2vec":
        changes |= PRE_NORM
    model = random_model(model_class(card.family), config_of(card.family, **changes))
    normalised = card.size == "large" or card.family == "data2vec"
    return save(model, folder, {"do_normalize": normalised, "sampling_rate": 16_000})


def corpus(home: Path) -> None:
    """Fetch the made-up archive as `insidessl-dash data get` fetches the real one."""
    digests = {kind: hashlib.new(kind, LIBRISPEECH).hexdigest() for kind in ("md5", "sha256")}
    real = downloads.DOWNLOADS[CORPUS]
    downloads.DOWNLOADS[CORPUS] = replace(real, bytes=len(LIBRISPEECH), **digests)
    with Mirror() as mirror:
        threading.Thread(target=mirror.serve_forever, args=(0.02,), daemon=True).start()
        downloads.fetch(CORPUS, home, base_url=mirror.url)
        mirror.shutdown()


def precompute(size: str, folder: Path, environment: dict[str, str]) -> tuple[float, str]:
    """Run the command; returns seconds and what it said.

    Raises:
        SystemExit: It failed.
    """
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "insidessl_dash", "precompute", "--size", size, "--corpus", CORPUS,
         "--out", str(folder / "out")],
        env={**os.environ, **environment, "INSIDESSL_HOME": str(folder / "home")},
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"precompute --size {size} ended with {done.returncode}")
    return time.monotonic() - began, done.stdout


def prove(size: str) -> None:
    """One size, from an empty cache and then offline."""
    cards = [card for card in BUILT_IN if card.size == size]
    with tempfile.TemporaryDirectory() as scratch, LocalHub() as hub:
        folder = Path(scratch)
        for card in cards:
            hub.repositories[card.source] = checkpoint(card, folder / "hub" / card.name)
            weights = sum(f.stat().st_size for f in (folder / "hub" / card.name).iterdir())
            print(f"made {card.name}: {weights / 1e6:.0f} MB", flush=True)
        corpus(folder / "home")
        hub.start()
        first = cards[0].source
        whole = max(file.stat().st_size for file in hub.repositories[first].iterdir())
        hub.break_after[first] = [whole // 2]
        environment = hub.environment(folder / "cache")
        seconds, said = precompute(size, folder, environment)
        print(said, end="")
        resumed = [asked for path, asked in hub.sent if path.startswith(first) and asked]
        assert len(resumed) == 1, f"the download that was cut off was resumed: {resumed}"
        for card in cards:
            check(card, folder / "out", hub)
        hub.sent.clear()
        again, _said = precompute(size, folder, {**environment, "HF_HUB_OFFLINE": "1"})
        assert not hub.sent, "offline, the hub is not asked"
        hub.shutdown()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{size}: {len(cards)} models in {seconds:.0f} s; again, offline, in {again:.0f} s; "
          f"at most {peak:.1f} GiB resident; resumed with {resumed[0]}")  # fmt: skip


def check(card: ModelCard, folder: Path, hub: LocalHub) -> None:
    """That each lens has a result with the layers, revision and finite values it must have."""
    for lens in ("entropy", "curvature", "invariance"):
        [path] = folder.rglob(f"{card.name}__{lens}*.json")
        result = json.loads(path.read_text())
        assert result["model"]["revision"] == hub.commit(card.source), card.name
        assert len(result["layers"]) == (card.layers or 0) + 1, (card.name, result["layers"])
        assert result["corpus"]["utterances"] == 3, card.name
        known = [v for curve in result["measures"].values() for v in curve["mean"] if v is not None]
        assert known, (card.name, lens)


if __name__ == "__main__":
    for each in sys.argv[1:] or ["base"]:
        prove(each)
