"""Checkpoints with random weights, made quickly: no training, no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede transformers
from insidessl_dash.core.cards import ModelCard

import transformers  # isort: skip
from transformers.utils import logging  # isort: skip

logging.disable_progress_bar()

CLASSES = {
    "wav2vec2": "Wav2Vec2",
    "hubert": "Hubert",
    "wavlm": "WavLM",
    "data2vec": "Data2VecAudio",
    "unispeech-sat": "UniSpeechSat",
}

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (8, 8, 8, 8, 8, 8, 8),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 12,
}
TINY_OF = {
    "data2vec": {**TINY, "num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 7},
    "unispeech-sat": {**TINY, "codevector_dim": 16, "proj_codevector_dim": 16},
    "wav2vec2": {**TINY, "codevector_dim": 16, "proj_codevector_dim": 16},
}


def card(family: str = "hubert", **fields: Any) -> ModelCard:
    kind = "whisper" if family == "whisper" else "transformers"
    values = {"name": f"test-{family}", "title": "Test", "size": "base", "kind": kind}
    return ModelCard(**{**values, "family": family, **fields})


def config_of(family: str, **changes: Any) -> Any:
    return getattr(transformers, f"{CLASSES[family]}Config")(**changes)


def tiny_config(family: str, **changes: Any) -> Any:
    return config_of(family, **{**TINY_OF.get(family, TINY), **changes})


def model_class(family: str, head: str = "Model") -> Any:
    return getattr(transformers, CLASSES[family] + head)


def random_model(cls: Any, config: Any, attention: str = "eager") -> Any:
    """A model with random weights; a repeated pool of numbers, since drawing 300 M takes long."""
    with torch.device("meta"):
        shapes = cls(config).state_dict()
    generator = torch.Generator().manual_seed(0)
    pool = torch.randn(1_000_003, generator=generator) * 0.03

    def values(name: str, like: Tensor) -> Tensor:
        start = int(torch.randint(500_000, (), generator=generator))
        turned = torch.cat([pool[start:], pool[:start]])
        flat = turned.repeat(-(-like.numel() // len(turned)))[: like.numel()]
        norm = "norm" in name and name.endswith("weight")
        return flat.view(like.shape) + (1.0 if norm else 0.0)

    state = {name: values(name, like) for name, like in shapes.items()}
    return cls.from_pretrained(
        None, config=config, state_dict=state, attn_implementation=attention
    ).eval()


def save(model: Any, folder: Path, preprocessor: dict[str, Any] | None = None, **how: Any) -> Path:
    model.save_pretrained(folder, **how)
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def speechlike(samples: int, rows: int = 1, seed: int = 0) -> Tensor:
    """Noise under a slow envelope, with an offset: float32 (rows, samples)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(rows, samples, generator=generator)
    phase = torch.arange(samples) / 16_000 * 2 * torch.pi * 3
    return noise * (0.05 + 0.04 * torch.sin(phase)) + 0.01
