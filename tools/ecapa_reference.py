"""Compare `insidessl_dash.encoders.ecapa` with speechbrain's own ECAPA-TDNN, and keep its numbers.

speechbrain is no dependency of the project. Beside an installation of the project::

    pip install --no-deps speechbrain==1.1.2 hyperpyyaml ruamel.yaml joblib sentencepiece tqdm

    python tools/ecapa_reference.py golden
        A small network with random weights and a loud-and-quiet waveform through speechbrain's
        front end and network; weights, waveform and every output go to
        tests/golden/ecapa_reference.npz, which the tests read.

    python tools/ecapa_reference.py compare FOLDER MANIFEST --count 32
        The weights of FOLDER in both implementations, on utterances of a corpus: the largest
        absolute difference of every layer, and the smallest cosine of two embeddings.

The front end is as in the recipe's hyperparams.yaml: Fbank with 80 mels and nothing else set, then
InputNormalization by sentence without the deviation.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede speechbrain
from insidessl_dash.audio.decode import load
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.corpora.manifest import open_corpus
from insidessl_dash.encoders.ecapa import WEIGHT_FILES, load_ecapa
from insidessl_dash.encoders.ecapa_network import EcapaConfig
from insidessl_dash.encoders.weights import read_tensors

from speechbrain.lobes.features import Fbank  # isort: skip
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN  # isort: skip
from speechbrain.processing.features import InputNormalization  # isort: skip

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "ecapa_reference.npz"
SMALL = EcapaConfig(
    channels=16, mfa_channels=24, attention_channels=6, se_channels=4, embedding=10, scale=8
)


def network(config: EcapaConfig) -> ECAPA_TDNN:
    """speechbrain's network of these widths."""
    return ECAPA_TDNN(
        80,
        channels=[config.channels] * 4 + [config.mfa_channels],
        kernel_sizes=[5, 3, 3, 3, 1],
        dilations=[1, 2, 3, 4, 1],
        attention_channels=config.attention_channels,
        se_channels=config.se_channels,
        res2net_scale=config.scale,
        lin_neurons=config.embedding,
    ).eval()


def front_end(waveform: Tensor) -> Tensor:
    """The features of the recipe, (1, T, 80)."""
    whole = torch.ones(1)
    return InputNormalization(norm_type="sentence", std_norm=False)(
        Fbank(n_mels=80)(waveform), whole
    )


def layers(model: ECAPA_TDNN, mel: Tensor) -> list[Tensor]:
    """E1 to E6, each (1, T, D)."""
    seen: list[Tensor] = []
    parts = [*model.blocks, model.mfa]
    handles = [
        part.register_forward_hook(lambda _m, _x, y: seen.append(y.transpose(1, 2)))
        for part in parts
    ]
    embedding = model(mel, torch.ones(1))
    for handle in handles:
        handle.remove()
    return [*seen, embedding]


def golden() -> None:
    """Write the reference that the tests read."""
    rng = np.random.default_rng(20061107)
    model = network(SMALL)
    weights = {}
    for name, like in model.state_dict().items():
        if not like.is_floating_point():
            continue
        values = rng.standard_normal(tuple(like.shape)) * 0.3
        if name.endswith(("running_var", "norm.weight")):
            values = 1.0 + 0.5 * np.tanh(values)
        weights[name] = values.astype(np.float16)
    model.load_state_dict({k: torch.from_numpy(v).float() for k, v in weights.items()}, False)
    samples = 6000
    envelope = np.where(np.arange(samples) // 1000 % 2, 0.3, 1e-6)  # over 100 dB apart
    waveform = (envelope * rng.standard_normal(samples)).astype(np.float32)
    mel = front_end(torch.from_numpy(waveform)[None])
    states = [mel, *layers(model, mel)]
    GOLDEN.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        GOLDEN,
        waveform=waveform,
        names=np.array(json.dumps({name: value.shape for name, value in weights.items()})),
        weights=np.concatenate([value.ravel() for value in weights.values()]),
        **{f"E{index}": state[0].numpy() for index, state in enumerate(states)},
    )
    print(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes")


def compare(folder: Path, manifest: Path, count: int) -> None:
    """Print how far the two implementations are apart."""
    file = next(folder / name for name in WEIGHT_FILES if (folder / name).is_file())
    tensors = {k: v.float() for k, v in read_tensors([file]).items()}
    theirs = network(EcapaConfig.of(tensors, folder))
    theirs.load_state_dict(tensors)
    card = ModelCard(
        name="compared", title="", family="ecapa", size="base", kind="ecapa", source=str(folder)
    )
    mine = load_ecapa(card, precomputed=folder, device="cpu")
    utterances = open_corpus(manifest).utterances
    chosen = utterances[:: max(1, len(utterances) // count)][:count]
    largest = [0.0] * len(mine.layers)
    magnitudes = [0.0] * len(mine.layers)
    cosines = []
    for utterance in chosen:
        waveform = torch.from_numpy(load(utterance.path).samples)[None]
        mel = front_end(waveform)
        expected, found = [mel, *layers(theirs, mel)], mine(waveform)
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert one.shape == other.shape
            largest[index] = max(largest[index], float((one - other).abs().max()))
            magnitudes[index] += float(other.abs().mean()) / len(chosen)
        cosines.append(
            float(torch.cosine_similarity(found[-1].double(), expected[-1].double(), dim=-1))
        )
    print(f"{len(chosen)} utterances of {manifest}")
    for name, difference, magnitude in zip(mine.layers, largest, magnitudes, strict=True):
        print(f"{name}: largest difference {difference:.3g}, mean magnitude {magnitude:.3g}")
    print(f"embeddings: smallest cosine {min(cosines):.9f}")


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    modes = parser.add_subparsers(dest="mode", required=True)
    modes.add_parser("golden")
    against = modes.add_parser("compare")
    against.add_argument("folder", type=Path)
    against.add_argument("manifest", type=Path)
    against.add_argument("--count", type=int, default=32)
    arguments = parser.parse_args()
    with torch.no_grad():
        if arguments.mode == "golden":
            golden()
        else:
            compare(arguments.folder, arguments.manifest, arguments.count)


if __name__ == "__main__":
    main()
