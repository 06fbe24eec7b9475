"""What the lenses cost on top of the model: ``python benchmarks/overhead.py --model base``.

On 60 s of speech (utterances of 5 to 8 s, one a batch) it times, in turn and in this process,

- the bare model: waveforms in, last state out, no layer kept;
- entropy and curvature over all layers that an encoder gave of the same batches;
- with ``--views V``: everything of invariance under V perturbations, from the files on (decoding,
  perturbing, 1 + V forward passes, losses).

Printed are medians over the rounds and the ratios: analysis / bare, and invariance / (1 + V) bare.
Weights are random, of the true configuration; no time here depends on their values.
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
from typing import Any

import numpy as np
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from insidessl_dash.analyses import ANALYSES
from insidessl_dash.analyses.base import LayerBatch, State
from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede transformers
from insidessl_dash.audio.decode import load
from insidessl_dash.audio.perturb import PERTURBATIONS
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.settings import settings
from insidessl_dash.core.types import SAMPLE_RATE, Utterance
from insidessl_dash.corpora.manifest import open_corpus
from insidessl_dash.encoders.transformers_encoder import (
    TransformersEncoder,
    zero_mean_unit_variance,
)
from insidessl_dash.features.batches import layer_batches
from insidessl_dash.pretraining.hubert import nano_config

from transformers import HubertConfig, HubertModel  # isort: skip

SECONDS = 60.0
CONFIGS: dict[str, Callable[[], Any]] = {
    "nano": nano_config,
    "base": HubertConfig,
    "large": lambda: HubertConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        feat_extract_norm="layer",
        conv_bias=True,
        do_stable_layer_norm=True,
    ),
}


def speech(folder: Path) -> list[Utterance]:
    """Utterances of 5 to 8 s, 60 s in all: of the demo corpus, or shaped noise without it."""
    demo = settings().precomputed / "demo"
    chosen: list[Utterance] = []
    if demo.is_dir():
        lengths = {u.id: soundfile.info(u.path).duration for u in open_corpus(demo).utterances}
        for utterance in open_corpus(demo).utterances:
            total = sum(lengths[u.id] for u in chosen)
            if 5 <= lengths[utterance.id] <= 8 and total < SECONDS:
                chosen.append(utterance)
        if sum(lengths[u.id] for u in chosen) >= SECONDS:
            return chosen
    rng = np.random.default_rng(0)
    for index, seconds in enumerate(np.linspace(5.0, 7.0, 10)):
        size = int(seconds * SAMPLE_RATE)
        noise = np.convolve(rng.standard_normal(size), np.hanning(9), mode="same")
        syllables = 1 + np.sin(2 * np.pi * 4 * np.arange(size) / SAMPLE_RATE)
        path = folder / f"noise-{index}.wav"
        soundfile.write(path, 0.03 * noise * syllables, SAMPLE_RATE)
        chosen.append(Utterance(path.stem, path))
    return chosen


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=CONFIGS, default="base")
    parser.add_argument("--views", type=int, default=0, help="perturbations for invariance")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--cpu-time", action="store_true", help="CPU time of this process instead of wall time"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.cpu_time else time.perf_counter

    torch.manual_seed(0)
    model = HubertModel(CONFIGS[options.model]()).eval()
    card = ModelCard(
        name=options.model, title=options.model, family="hubert", size=options.model, kind="random"
    )
    encoder = TransformersEncoder(
        model, card, normalize=True, policy={}, weights_sha256="", revision="",
        device=options.device,
    )  # fmt: skip

    def now() -> float:
        if options.device.startswith("cuda"):
            torch.cuda.synchronize()
        return clock()

    with tempfile.TemporaryDirectory() as folder:
        utterances = speech(Path(folder))
        waveforms = [torch.from_numpy(load(u.path).samples)[None] for u in utterances]
        seconds = sum(w.shape[1] for w in waveforms) / SAMPLE_RATE
        views = tuple(PERTURBATIONS)[: options.views]
        rounds = []
        for number in range(options.rounds + 1):
            times = one_round(encoder, model, utterances, waveforms, views, now)
            if number:  # the first warms up
                rounds.append(times)
    bare, lenses, total = (median(t[i] for t in rounds) for i in range(3))
    print(
        f"{options.model}, {seconds:.1f} s of speech in {len(utterances)} utterances, "
        f"{options.threads} threads, {options.device}, "
        f"{'CPU' if options.cpu_time else 'wall'} time, median of {options.rounds}"
    )
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
          f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    print(f"bare forward passes            {bare:8.3f} s")
    print(f"entropy + curvature            {lenses:8.3f} s   ratio {lenses / bare:.3f}")
    if views:
        share = total / bare / (1 + len(views))
        print(
            f"invariance, {len(views)} views, in all   {total:8.3f} s   ratio to (1+V) {share:.3f}"
        )


def one_round(
    encoder: TransformersEncoder,
    model: Any,
    utterances: list[Utterance],
    waveforms: list[torch.Tensor],
    views: tuple[str, ...],
    now: Callable[[], float],
) -> tuple[float, float, float]:
    """Seconds of the bare model, of entropy and curvature, and of invariance."""
    bare = lenses = total = 0.0
    analyses = [ANALYSES[name]() for name in ("entropy", "curvature")]
    states = [State() for _ in analyses]
    for utterance, waveform in zip(utterances, waveforms, strict=True):
        start = now()
        with torch.no_grad():
            model(zero_mean_unit_variance(waveform.to(encoder.device)))
        bare += now() - start
        batch = LayerBatch([utterance.id], [f"{utterance.id}/1"], encoder(waveform))
        start = now()
        for analysis, state in zip(analyses, states, strict=True):
            analysis.update(state, batch)
        lenses += now() - start
    if views:
        start = now()
        kind = ANALYSES["invariance"]
        compared = [(kind(kind.Config.model_validate({"perturbation": v})), State()) for v in views]
        groups = {u.id: f"all/{len(utterances)}" for u in utterances}
        for batch in layer_batches(encoder, utterances, groups=groups, views=views):
            for analysis, state in compared:
                analysis.update(state, batch)
        for analysis, state in compared:
            analysis.compute(state)
        total = now() - start
    return bare, lenses, total


if __name__ == "__main__":
    main()
