"""What the training loop costs beside its arithmetic: ``python benchmarks/training.py``.

For each recipe, on synthetic speech and the true Nano shapes, it takes the same updates twice in
turn: as the loop does (batch from the memory map, loss, backward, clipping, optimiser, log, and the
share of an update in saving the state, which is every 250) and bare (loss and backward alone, on
batches made beforehand). Checkpoints, which are few, are not in it. Printed is seconds of audio a
second of the loop, and its ratio to the bare passes (1: nothing is lost).
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from insidessl_dash.core.progress import silent
from insidessl_dash.core.types import SAMPLE_RATE, Utterance
from insidessl_dash.corpora.manifest import Corpus
from insidessl_dash.pretraining.data import prepare
from insidessl_dash.pretraining.loop import Run
from insidessl_dash.pretraining.recipes import RECIPES, recipe_class

SAVED_EVERY = 250


def speech(folder: Path) -> Corpus:
    """Four minutes by twenty 'speakers': shaped noise; no time here depends on what it says."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(60):
        noise = np.convolve(rng.standard_normal(4 * SAMPLE_RATE), np.hanning(9), "same")
        path = folder / f"u{index}.wav"
        soundfile.write(path, 0.03 * noise, SAMPLE_RATE)
        rows.append(Utterance(path.stem, path, speaker=f"s{index % 20}"))
    return Corpus("noise", tuple(rows))


def measure(
    name: str, corpus: Corpus, folder: Path, updates: int, device: str
) -> tuple[float, float]:
    """Audio a second of the loop, and loop throughput / bare throughput."""
    kind = recipe_class(name)
    settings = kind.Settings(updates=10_000)
    data = prepare(corpus, folder / "cache", fraction=0.1, seed=0, progress=silent)
    recipe = kind(data, settings, folder / "cache", silent)
    run = Run(recipe, data, settings, folder / name, device, resume=False)

    def bare(batch: tuple) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            loss, _ = recipe.loss(run.model, batch, run.update + 1, device)
        loss.backward()
        run.optimizer.zero_grad(set_to_none=True)

    def now() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    run._step()
    start = now()
    run._save_state()
    saving = (now() - start) / SAVED_EVERY
    loop, plain, seconds = [], [], []
    for _ in range(updates):
        batch = run.batches(run.update)
        bare(batch)  # the shape is new: its kernels are made here
        start = now()
        bare(batch)
        middle = now()
        run._append(run._step())
        loop.append(now() - middle + saving)
        plain.append(middle - start)
        seconds.append(batch[0].size / SAMPLE_RATE)
    rate = sum(seconds) / sum(loop)
    return rate, median(p / q for p, q in zip(plain, loop, strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=list(RECIPES), help="by default all")
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
          f"{options.threads} threads, {device}, torch {torch.__version__}, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        corpus = speech(Path(folder))
        for name in options.recipes:
            rate, ratio = measure(name, corpus, Path(folder), options.updates, device)
            print(f"{name:22} {rate:7.1f} s of audio a second   loop / bare {ratio:.3f}")


if __name__ == "__main__":
    main()
