"""Synthetic matrices and examples (test fixture): closed forms and tones, no model's numbers."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from insidessl_dash.results.explorer import (
    FOLDER,
    CellMetric,
    Example,
    cell_file,
    reference_file,
    write_example,
)
from insidessl_dash.results.matrix import (
    Asymmetry,
    DecoderInfo,
    MatrixConfig,
    MatrixMeasure,
    MatrixResult,
    MatrixValues,
    Spread,
    VocoderInfo,
)
from insidessl_dash.results.matrix_files import write_matrix
from insidessl_dash.results.schema import CorpusInfo, ModelInfo, Provenance, UtteranceInfo

LAYERS = [str(k) for k in range(13)]
WAV2VEC2 = ModelInfo(
    name="wav2vec2-nano", title="wav2vec 2.0 Nano", family="wav2vec2", size="nano",
    source="shipped:wav2vec2-nano", weights_sha256="d" * 64, licence="Apache-2.0",
)  # fmt: skip
WAVLM = ModelInfo(name="wavlm-nano", title="WavLM Nano", family="wavlm", size="nano")
NOT_MEASURABLE = (2, 3)
"""The cell of the made F0 error that has no value."""

Shape = Callable[[int, int], float]
N = 40


def content(i: int, j: int) -> float:
    """Above 0.80 for tokens 1 to 10, 0.60 at 11 and below; deep decoders read shallow layers."""
    if i == 0 or j == 0:
        return 0.7
    return 0.6 if j >= 11 else 0.9 - 0.005 * abs(i - j) - (0.02 if j > i else 0.0)


def speaker(i: int, j: int) -> float:
    """Block-like, and fading with depth."""
    return 0.85 - 0.02 * abs(i - j) - 0.02 * j


SHAPES: dict[str, tuple[str, str, str, bool, str, Shape]] = {
    "content": (
        "SpeechBERTScore (precision)", "", "content", True, "Whisper Base, layer 4", content,
    ),
    "content_recall": (
        "SpeechBERTScore (recall)", "", "content", True, "Whisper Base, layer 4",
        lambda i, j: content(i, j) - 0.01,
    ),
    "speaker": ("Speaker similarity (cosine)", "", "identity", True, "ECAPA-TDNN", speaker),
    "f0_rmse_cents": (
        "F0 error", "cents", "prosody", False, "pYIN, frames voiced in both",
        lambda i, j: 80.0 + 12 * abs(i - j) + 4 * j,
    ),
    "energy_correlation": (
        "Correlation of log energy", "", "prosody", True, "log energy",
        lambda i, j: 0.95 - 0.01 * abs(i - j),
    ),
    "stoi": ("STOI", "", "function", True, "pystoi", lambda i, j: 0.8 - 0.015 * abs(i - j)),
    "mel_l1": (
        "Log10-mel distance", "", "function", False, "80 bands",
        lambda i, j: 0.2 + 0.01 * abs(i - j),
    ),
}  # fmt: skip


def spread(mean: float | None) -> Spread:
    low_high = None if mean is None else (mean - 0.01, mean + 0.01)
    return Spread(mean=mean, std=None if mean is None else 0.03, ci95=low_high, n=N)


def make_measure(
    name: str,
    rows: Sequence[int] = range(13),
    *,
    columns: int = 13,
    shape: Shape | None = None,
    clear: bool = True,
) -> MatrixMeasure:
    """A measure from its closed form; `clear`: whether the triangles can be told apart."""
    title, unit, group, higher, scored_by, form = SHAPES[name]
    form = shape or form
    hole = name == "f0_rmse_cents"
    mean = [
        [None if hole and (i, j) == NOT_MEASURABLE else form(i, j) for j in range(columns)]
        for i in rows
    ]
    flat = {(i, j): v for i, row in zip(rows, mean, strict=True)
            for j, v in enumerate(row) if v is not None}  # fmt: skip

    def over(keep: Callable[[int, int], bool]) -> float:
        return float(np.mean([v for (i, j), v in flat.items() if keep(i, j)]))

    lower, upper = over(lambda i, j: i > j), over(lambda i, j: i < j)
    difference = lower - upper
    reach = 0.5 * abs(difference) if clear else 2 * abs(difference) + 0.01
    better = "lower" if (difference > 0) == higher else "upper"
    return MatrixMeasure(
        title=title, unit=unit, group=group, higher_is_better=higher, scored_by=scored_by,
        mean=mean,
        std=[[None if v is None else 0.03 for v in row] for row in mean],
        n=[[0 if v is None else N for v in row] for row in mean],
        why=[["no frame voiced in both" if v is None else "" for v in row] for row in mean],
        ceiling=spread(max(flat.values()) if higher else min(flat.values())),
        diagonal=spread(over(lambda i, j: i == j)),
        off_diagonal=spread(over(lambda i, j: i != j)),
        asymmetry=Asymmetry(
            lower=spread(lower), upper=spread(upper),
            difference=Spread(
                mean=difference, std=0.02, n=N, ci95=(difference - reach, difference + reach)
            ),
            p=0.001 if clear else 0.6,
            speakers=20,
            better=better if clear else None,
        ),
    )  # fmt: skip


def make_matrix(
    model: ModelInfo = WAV2VEC2,
    *,
    missing: dict[str, str] | None = None,
    shapes: dict[str, Shape] | None = None,
    clear: bool = True,
    preset: str = "flow",
    corpus: str = "made-corpus",
) -> MatrixResult:
    """A matrix of 13 layers whose every number follows a closed form."""
    missing = missing or {}
    rows = [k for k, name in enumerate(LAYERS) if name not in missing]
    return MatrixResult(
        key=f"made-matrix-of-{model.name}",
        model=model,
        corpus=CorpusInfo(
            name=corpus, digest="e" * 64, utterances=N, seconds=160.0, speakers=20,
            licence="CC0-1.0",
        ),
        layers=LAYERS,
        decoder_layers=[LAYERS[k] for k in rows],
        missing=missing,
        decoders=DecoderInfo(preset=preset, weights_sha256="f" * 64, updates=1000),
        vocoder=VocoderInfo(name="made vocoder", weights_sha256="1" * 64),
        config=MatrixConfig(seed=0, steps=8, gain_db=-1.5),
        metrics={
            name: make_measure(name, rows, shape=(shapes or {}).get(name), clear=clear)
            for name in SHAPES
        },
        utterances=[UtteranceInfo(id=f"u{k:02d}", seconds=4.0, speaker=f"s{k % 20}")
                    for k in range(N)],
        provenance=Provenance(
            created="2026-01-01T00:00:00Z", versions={"insidessl_dash": "0"}, device="test fixture",
            seed=0, command="insidessl-dash gcm evaluate --made", wall_s=1.0, analysis_version=1,
        ),
    )  # fmt: skip


def write_made_matrix(place: Path, result: MatrixResult | None = None, name: str = "") -> Path:
    """A matrix in ``place/gcm/<corpus>/<name>``, as `insidessl-dash gcm evaluate` writes it."""
    result = result or make_matrix()
    folder = place / "gcm" / result.corpus.name / (name or result.model.name)
    ids = [utterance.id for utterance in result.utterances]
    cells = {
        name: np.array(
            [[[np.nan if v is None else v for v in row] for row in measure.mean] for _ in ids]
        )
        for name, measure in result.metrics.items()
    }
    ceiling = {name: np.full(len(ids), m.ceiling.mean) for name, m in result.metrics.items()}
    write_matrix(folder, result, MatrixValues(ids=ids, measures=cells, ceiling=ceiling))
    return folder


def make_example(
    model: ModelInfo = WAV2VEC2,
    *,
    voice: str = "Voice one",
    gender: str = "female",
    seconds: float = 1.2,
    missing: dict[str, str] | None = None,
) -> Example:
    """An example over 13 layers."""
    matrix = make_matrix(model, missing=missing)
    return Example(
        model=model, id="made-utterance", text="These are tones, not speech.", voice=voice,
        gender=gender, corpus="demo", licence="CC0-1.0", seconds=seconds, config=matrix.config,
        decoders=matrix.decoders, vocoder=matrix.vocoder, layers=LAYERS,
        decoder_layers=matrix.decoder_layers, missing=matrix.missing,
        metrics={
            name: CellMetric(
                title=measure.title, unit=measure.unit, scored_by=measure.scored_by,
                higher_is_better=measure.higher_is_better, cells=measure.mean,
                vocoder=measure.ceiling.mean,
            )
            for name, measure in matrix.metrics.items()
        },
    )  # fmt: skip


def tone(seconds: float, hertz: float) -> np.ndarray:
    """A harmonic tone with a slow beat, float64 (n,)."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    wave = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 12))
    return 0.12 * wave * (0.6 + 0.4 * np.sin(2 * np.pi * 2.5 * time))


@lru_cache
def opus(seconds: float, hertz: float) -> bytes:
    """The tone as Opus; encoding one takes 0.1 s, so cells share a few."""
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(seconds, hertz), 16_000, format="OGG", subtype="OPUS")
    return buffer.getvalue()


def write_made_example(
    place: Path,
    name: str = "voice-one",
    example: Example | None = None,
    *,
    cells: Callable[[int, int], bool] = lambda i, j: True,
) -> Path:
    """An example in ``place/gcm/examples``; `cells`: which sounds to write."""
    example = example or make_example()
    folder = place / FOLDER / example.model.name / name
    folder.mkdir(parents=True, exist_ok=True)

    (folder / reference_file("original")).write_bytes(opus(example.seconds, 150.0))
    (folder / reference_file("vocoder")).write_bytes(opus(example.seconds, 230.0))
    for i, layer in enumerate(example.layers):
        for j in range(len(example.layers)):
            if layer in example.decoder_layers and cells(i, j):
                hertz = 150.0 + 80 * ((i + 2 * j) % 3)
                (folder / cell_file(i, j)).write_bytes(opus(example.seconds, hertz))
    write_example(folder, example)
    return folder
