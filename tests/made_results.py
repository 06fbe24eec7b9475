"""Synthetic results for tests of figures and pages: a test fixture, no model's numbers."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from insidessl_dash.core.lenses import LENSES
from insidessl_dash.results.schema import (
    CorpusInfo,
    Curve,
    ModelInfo,
    Provenance,
    Result,
    UtteranceInfo,
    Values,
)

MODELS = {
    "hubert-nano": ModelInfo(
        name="hubert-nano", title="HuBERT Nano", family="hubert", size="nano",
        source="shipped:hubert-nano", weights_sha256="a" * 64, licence="Apache-2.0",
        layer_policy={"final_norm": "none"},
    ),
    "hubert-nano-init": ModelInfo(
        name="hubert-nano-init", title="HuBERT Nano, untrained", family="hubert",
        size="nano", weights_sha256="b" * 64,
    ),
    "whisper-base": ModelInfo(
        name="whisper-base", title="Whisper Base (encoder)", family="whisper", size="base",
        supervised=True, source="openai/whisper-base", weights_sha256="c" * 64, licence="MIT",
    ),
    "melspec": ModelInfo(
        name="melspec", title="MelSpec (log-mel)", family="melspec", size="baseline"
    ),
    "hubert-base": ModelInfo(name="hubert-base", title="HuBERT Base", family="hubert", size="base"),
    "wav2vec2-base": ModelInfo(
        name="wav2vec2-base", title="wav2vec 2.0 Base", family="wav2vec2", size="base"
    ),
    "wavlm-base": ModelInfo(name="wavlm-base", title="WavLM Base", family="wavlm", size="base"),
    "wavlm-base-plus": ModelInfo(
        name="wavlm-base-plus", title="WavLM Base+", family="wavlm", size="base"
    ),
    "data2vec-base": ModelInfo(
        name="data2vec-base", title="data2vec Base", family="data2vec", size="base"
    ),
    "unispeech-sat-base": ModelInfo(
        name="unispeech-sat-base", title="UniSpeech-SAT Base", family="unispeech-sat", size="base"
    ),
    "wavlm-large": ModelInfo(name="wavlm-large", title="WavLM Large", family="wavlm", size="large"),
    "hubert-large": ModelInfo(
        name="hubert-large", title="HuBERT Large", family="hubert", size="large"
    ),
}  # fmt: skip
SHIPPED = ("hubert-nano", "hubert-nano-init", "whisper-base", "melspec")
_DEPTHS = {"nano": 13, "base": 13, "large": 25, "baseline": 1}
_LEVELS = {"normalised": 0.7, "nats": 3.4, "effective_rank": 30.0, "signed": 1.6, "folded": 1.1}


def make_result(
    model: str = "hubert-nano",
    lens: str = "entropy",
    *,
    corpus: str = "demo",
    n: int = 40,
    key: str = "",
    config: dict | None = None,
) -> Result:
    """A made-up result: smooth curves that differ by model and measure."""
    info = MODELS[model]
    count = 7 if info.family == "whisper" else _DEPTHS[info.size]
    seed = int(hashlib.sha256(f"{model}{lens}{corpus}".encode()).hexdigest()[:8], 16)
    rng = np.random.default_rng(seed)
    described = next(entry for entry in LENSES if entry.name == lens)
    measures = {}
    for measure in described.measures:
        level = _LEVELS.get(measure.name, 0.8) * (0.75 + 0.5 * rng.random())
        slope = 0.0 if "init" in model else rng.normal(0, 0.3)
        depth = np.linspace(0, 1, count)
        mean = level * (1 + slope * depth + 0.1 * abs(slope) * np.sin(5 * depth + rng.random() * 6))
        std = np.abs(mean) * 0.08
        half = 1.96 * std / math.sqrt(n)
        alone = n == 1 and measure.name.startswith("infonce")
        measures[measure.name] = Curve(
            title=measure.title,
            unit=measure.unit,
            mean=[None] * count if alone else mean.tolist(),
            std=[None] * count if n == 1 else std.tolist(),
            ci95=[None] * count
            if n == 1
            else list(zip((mean - half).tolist(), (mean + half).tolist(), strict=True)),
            n=0 if alone else n,
            note="One utterance has no other to be told from." if alone else "",
        )
    config = config if config is not None else described.defaults()
    return Result(
        key=key or hashlib.sha256(f"{model}{lens}{corpus}{config}{n}".encode()).hexdigest(),
        lens=lens,
        config=config,
        model=info,
        corpus=CorpusInfo(
            name=corpus, digest="d" * 64, utterances=n, seconds=7.2 * n, speakers=min(n, 8)
        ),
        layers=[str(i) for i in range(count)],
        frame_rates_hz=[50.0] * count,
        primary=described.measures[0].name,
        measures=measures,
        utterances=[
            UtteranceInfo(id=f"{corpus}-{i:03d}", seconds=7.2, speaker=f"s{i % 8}")
            for i in range(n)
        ],
        provenance=Provenance(
            created="2026-11-20T14:00:00Z",
            versions={"insidessl-dash": "test fixture"},
            device="cpu",
            seed=0,
            command="made up in tests/made_results.py",
            wall_s=1.0,
            analysis_version=1,
        ),
    )


def make_values(result: Result) -> Values:
    """Per-utterance values whose means are the result's."""
    rows = len(result.utterances)
    wobble = np.linspace(-0.05, 0.05, rows)[:, None] if rows > 1 else np.zeros((1, 1))
    return Values(
        ids=[u.id for u in result.utterances],
        measures={
            name: np.array([[np.nan if m is None else m for m in curve.mean]]) * (1 + wobble)
            for name, curve in result.measures.items()
        },
    )


def shipped_results(corpus: str = "demo") -> list[Result]:
    """What an installation ships with: four models, every lens."""
    return [make_result(m, lens.name, corpus=corpus) for m in SHIPPED for lens in LENSES]
