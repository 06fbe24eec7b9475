"""What it saves to do all decoders at once: ``python benchmarks/decoders.py``.

Training: an update of all decoders of an encoder on one forward pass and one mel, against one
decoder after the other, each with a pass and a mel of its own; the same batches, in turn.
Decoding: all cells (i, j) of one clip in batches, against one cell after the other: from states
that are there, and with a pass of the encoder for each cell; in turn. Weights are random and the
speech is noise: no time depends on them.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training import speech

from insidessl_dash.core.progress import silent
from insidessl_dash.core.types import SAMPLE_RATE
from insidessl_dash.generation.decoders import STEPS, DecoderBank
from insidessl_dash.generation.mel import frames_of
from insidessl_dash.pretraining.data import prepare
from insidessl_dash.pretraining.decoders import DecoderRecipe, DecoderSettings
from insidessl_dash.pretraining.loop import Run

_CELLS = 26
"""In a batch, of 4 s: two rows, what `generation.matrix` decodes at once."""


def timed(work: Callable[[], object]) -> float:
    """Wall seconds."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def runs(model: str, preset: str, folder: Path, device: str) -> list[Run]:
    """One of all decoders, then one of each."""
    data = prepare(speech(folder), folder / "cache", fraction=0.1, seed=0, progress=silent)
    settings = DecoderSettings(model=model, preset=preset, updates=10_000)
    recipe = DecoderRecipe(data, settings, folder / "cache", silent)
    made = []
    for place, layers in enumerate([None, *((name,) for name in recipe.layers)]):
        own = settings.model_copy(update={"layers": layers})
        recipe = DecoderRecipe(data, own, folder / "cache", silent)
        made.append(Run(recipe, data, own, folder / f"run{place}", device, resume=False))
    return made


def training(made: list[Run], updates: int) -> tuple[float, float, float]:
    """Median seconds an update of all at once and of one after the other, and their ratio."""
    for run in made:
        run._step()
    rows = []
    for _ in range(updates):
        together = timed(made[0]._step)
        rows.append((together, sum(timed(run._step) for run in made[1:])))
    return (*(median(x) for x in zip(*rows, strict=True)), median(b / a for a, b in rows))


def decoding(
    recipe: DecoderRecipe, bank: DecoderBank, samples: int, steps: int, rounds: int
) -> tuple[float, float, float]:
    """Median seconds of all cells: in batches, one by one, and one by one with a pass each."""
    waves = 0.03 * torch.randn(1, samples, device=recipe.encoder.device)
    count = len(bank.layers)
    cells = [(i, j) for i in range(count) for j in range(count)]

    def encode() -> torch.Tensor:
        layers = recipe.encoder(waves)
        return torch.cat([layers[place] for place in recipe.places])

    def decode(size: int, again: bool = False) -> None:
        states = encode()
        for start in range(0, len(cells), size):
            states = encode() if again else states
            part = cells[start : start + size]
            of = states[[j for _, j in part]]
            bank.decode(of, [i for i, _ in part], frames_of(samples), seed=0, steps=steps)

    with torch.inference_mode():
        decode(_CELLS)
        rows = [
            (
                timed(lambda: decode(_CELLS)),
                timed(lambda: decode(1)),
                timed(lambda: decode(1, True)),
            )
            for _ in range(rounds)
        ]
    batched, single, whole = (median(x) for x in zip(*rows, strict=True))
    return batched, single, whole


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="wav2vec2-nano")
    parser.add_argument("--preset", default="flow", choices=("flow", "regression"))
    parser.add_argument("--updates", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seconds", type=float, default=4.0, help="of the clip")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
          f"{options.threads} threads, {device}, torch {torch.__version__}, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        made = runs(options.model, options.preset, Path(folder), device)
        together, apart, ratio = training(made, options.updates)
        print(f"training {len(made) - 1} decoders, {options.preset}: {together:.2f} s an update at "
              f"once, {apart:.2f} s one after the other: {ratio:.2f} times")  # fmt: skip
        bank, count = made[0].model.eval(), len(made) - 1
        samples = int(options.seconds * SAMPLE_RATE)
        batched, single, whole = decoding(
            made[0].recipe, bank, samples, options.steps, options.rounds
        )
        print(f"decoding {count} x {count} cells of {options.seconds:g} s, {options.steps} steps: "
              f"{batched:.2f} s in batches (real-time factor {batched / options.seconds:.2f} of "
              f"the clip, {batched / options.seconds / count**2:.4f} a cell); one by one "
              f"{single:.2f} s, {single / batched:.2f} times; each with its own pass of the "
              f"encoder {whole:.2f} s, {whole / batched:.2f} times")  # fmt: skip


if __name__ == "__main__":
    main()
