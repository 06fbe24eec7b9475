"""Copy synthesis: speech to mel and back, which is the most that any decoded mel can sound like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from insidessl_dash.audio.decode import load
from insidessl_dash.core.errors import AudioError
from insidessl_dash.core.progress import ProgressHook
from insidessl_dash.core.types import Utterance, stable_seed
from insidessl_dash.generation import metrics
from insidessl_dash.generation.mel import HOP, WINDOW, log_mel, mel_filters
from insidessl_dash.generation.metrics import Measured
from insidessl_dash.generation.vocoder import Vocoder
from insidessl_dash.results.copy_synthesis import Measure, Scores, VocoderScores
from insidessl_dash.results.schema import UtteranceInfo

MEASURES = {
    "stoi": Measure(title="STOI", unit="", higher_is_better=True),
    "mel_l1": Measure(title="Log10-mel distance", unit="", higher_is_better=False),
    "f0_rmse_cents": Measure(title="F0 error", unit="cents", higher_is_better=False),
    "energy_correlation": Measure(
        title="Correlation of log energy", unit="", higher_is_better=True
    ),
}


class Measurements(NamedTuple):
    """What `CopySynthesis` says of vocoders and utterances, see there."""

    vocoders: list[VocoderScores]
    own_phases: dict[str, Scores]
    ids: list[str]
    utterances: list[UtteranceInfo]


def copy_synthesis(
    vocoders: Sequence[tuple[str, Vocoder]],
    utterances: Sequence[Utterance],
    progress: ProgressHook,
) -> Measurements:
    """Measure what vocoders make of the mels of the same utterances.

    Whole utterances, one by one. What cannot be read is left out, with its error.

    Args:
        vocoders: Source and vocoder; of one that learned nothing the source is not kept.
        utterances: Measured against themselves.
        progress: Told after each.

    Raises:
        AudioError: No utterance could be read.
    """
    found: list[list[dict[str, Measured]]] = [[] for _ in range(len(vocoders) + 1)]
    ids, infos = [], []
    for number, utterance in enumerate(utterances):
        progress("copy synthesis", number, len(utterances))
        try:
            audio = load(utterance.path)
        except AudioError as error:
            infos.append(
                UtteranceInfo(id=utterance.id, speaker=utterance.speaker, error=str(error))
            )
            continue
        infos.append(
            UtteranceInfo(
                id=utterance.id,
                seconds=round(audio.seconds, 3),
                speaker=utterance.speaker,
                sha256=audio.sha256,
                notes=list(audio.notes),
            )
        )
        ids.append(utterance.id)
        made = _made([vocoder for _, vocoder in vocoders], audio.samples)
        for rows, measured in zip(found, _measure_all(made, audio.samples), strict=True):
            rows.append(measured)
    if not ids:
        raise AudioError(
            f"None of {len(infos)} utterances could be measured (first: {infos[0].error}): give "
            "other speech."
            if infos
            else "No utterance was given: name speech to measure."
        )
    progress("copy synthesis", len(utterances), len(utterances))
    scores = [
        VocoderScores(
            name=vocoder.name,
            source=source if vocoder.weights_sha256 else "",
            weights_sha256=vocoder.weights_sha256,
            measures=_spreads(rows, ids),
        )
        for (source, vocoder), rows in zip(vocoders, found, strict=False)
    ]
    return Measurements(scores, _spreads(found[-1], ids), ids, infos)


def with_own_phases(waveform: Tensor) -> Tensor:
    """Float (n,) from its own mel, inverted as `GriffinLim` does, and its own phases."""
    window = torch.hann_window(WINDOW, dtype=torch.float64)
    spectrum = torch.stft(waveform.double(), WINDOW, HOP, window=window, return_complex=True)
    inverse = torch.linalg.pinv(mel_filters(torch.device("cpu")))
    mel = 10.0 ** log_mel(waveform[None])[0].double()
    magnitudes = (mel @ inverse).clamp(min=0).T
    made = torch.istft(
        torch.polar(magnitudes, spectrum.angle()), WINDOW, HOP, window=window, length=len(waveform)
    )
    return made.float()


def spread_over_speakers(
    utterances: Sequence[Utterance], count: int, seed: int = 0
) -> list[Utterance]:
    """At most `count` of them: the first of every speaker, then the second of each, and so on.

    Which are first follows from the seed and the ids, not from the order.
    """
    by_speaker: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        by_speaker.setdefault(utterance.speaker or "", []).append(utterance)

    def place(utterance: Utterance) -> int:
        return stable_seed("copy synthesis", seed, utterance.id)

    ranked = [
        (rank, place(utterance), utterance.id, utterance)
        for spoken in by_speaker.values()
        for rank, utterance in enumerate(sorted(spoken, key=place))
    ]
    return [utterance for *_, utterance in sorted(ranked, key=lambda row: row[:3])][:count]


def _made(vocoders: Sequence[Vocoder], original: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What each makes of the mel, then the mel with the recording's own phases."""
    waveform = torch.from_numpy(original)
    with torch.no_grad():
        mel = log_mel(waveform[None])
        made = [*(vocoder(mel)[0].cpu() for vocoder in vocoders), with_own_phases(waveform)]
    return [one[: len(original)].numpy() for one in made]


def _measure_all(
    made: Sequence[NDArray[np.float32]], original: NDArray[np.float32]
) -> list[dict[str, Measured]]:
    f0 = metrics.f0_hz(original)
    return [
        {
            "stoi": metrics.stoi(original, generated),
            "mel_l1": metrics.mel_l1(original, generated),
            "f0_rmse_cents": metrics.f0_rmse_cents(f0, metrics.f0_hz(generated)),
            "energy_correlation": metrics.energy_correlation(original, generated),
        }
        for generated in made
    ]


def _spreads(rows: Sequence[Mapping[str, Measured]], ids: Sequence[str]) -> dict[str, Scores]:
    spreads = {}
    for name in MEASURES:
        values = [row[name].value for row in rows]
        known = [value for value in values if value is not None]
        spreads[name] = Scores(
            mean=float(np.mean(known)) if known else None,
            std=float(np.std(known, ddof=1)) if len(known) > 1 else None,
            n=len(known),
            values=values,
            reasons={
                id: row[name].reason
                for id, row in zip(ids, rows, strict=True)
                if row[name].value is None
            },
        )
    return spreads
