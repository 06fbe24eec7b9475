"""Who judges cells: every metric of a generated waveform against its original."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from insidessl_dash.analyses.parallel import each
from insidessl_dash.core.errors import AudioError, ModelError
from insidessl_dash.encoders.base import Encoder
from insidessl_dash.generation import metrics
from insidessl_dash.generation.content import Content, Identity
from insidessl_dash.generation.mel import HOP
from insidessl_dash.generation.metrics import Measured
from insidessl_dash.results.matrix import Group

_F0_HOP = 2 * HOP
_NOT_FINITE = Measured(None, "the generated waveform is not finite")


@dataclass(frozen=True)
class MetricInfo:
    """A metric as it is shown."""

    name: str
    title: str
    unit: str
    group: Group
    higher_is_better: bool


METRICS: tuple[MetricInfo, ...] = (
    MetricInfo("content", "SpeechBERTScore (precision)", "", "content", True),
    MetricInfo("content_recall", "SpeechBERTScore (recall)", "", "content", True),
    MetricInfo("content_f1", "SpeechBERTScore (F1)", "", "content", True),
    MetricInfo("speaker", "Speaker similarity (cosine)", "", "identity", True),
    MetricInfo("f0_rmse_cents", "F0 error", "cents", "prosody", False),
    MetricInfo("energy_correlation", "Correlation of log energy", "", "prosody", True),
    MetricInfo("stoi", "STOI", "", "function", True),
    MetricInfo("mel_l1", "Log10-mel distance", "", "function", False),
)
"""The main metric of each of the four groups first."""


class Judge:
    """Scores waveforms against their original with every metric in `METRICS` that it can.

    Args:
        content, identity: Networks that are not the one under study.

    Attributes:
        scored_by: Metric -> what scores it, in words.
        identity: What identifies the networks, as JSON: part of a matrix's key.
    """

    def __init__(self, content: Content, identity: Identity) -> None:
        self._content, self._identity = content, identity
        self.scored_by = {
            **dict.fromkeys(("content", "content_recall", "content_f1"), content.title),
            "speaker": identity.title,
            "f0_rmse_cents": "pYIN every 32 ms, frames voiced in both",
            "energy_correlation": "log energy of 64 ms every 16 ms",
            "stoi": "pystoi",
            "mel_l1": "80 log-mel bands every 16 ms",
        }
        self.identity = [content.identity, identity.identity]

    def check_other_than(self, studied: Encoder) -> None:
        """Refuse to let a model judge itself.

        Raises:
            ConfigError: One of the networks is the encoder under study.
        """
        self._content.check_other_than(studied, "--content")
        self._identity.check_other_than(studied, "--speaker")

    def against(self, original: Tensor) -> Against:
        """Get ready to compare many waveforms with one original, float32 (n,)."""
        return Against(original, self._content, self._identity)


class Against:
    """Everything about the original that its cells are compared with, computed once."""

    def __init__(self, original: Tensor, content: Content, identity: Identity) -> None:
        self._original = original.numpy()
        self._f0 = metrics.f0_hz(self._original, _F0_HOP)
        self._content, self._identity = content, identity
        self._states = _or_why(lambda: content.states(original[None])[0])
        self._voice = _or_why(lambda: identity.embeddings(original[None])[0])

    def scores(self, waveforms: Tensor) -> list[dict[str, Measured]]:
        """Every metric of each waveform, float32 (C, n): one dictionary a waveform."""
        finite = torch.isfinite(waveforms).all(dim=1)
        found = [dict.fromkeys((info.name for info in METRICS), _NOT_FINITE) for _ in finite]
        places = finite.nonzero()[:, 0].tolist()
        if not places:
            return found
        heard = waveforms[finite]
        plain = each(self._without_network, heard.numpy())
        for place, of_content, voice, of_signal in zip(
            places, self._of_content(heard), self._of_voice(heard), plain, strict=True
        ):
            precision, recall, f1 = of_content
            found[place] = {
                "content": precision,
                "content_recall": recall,
                "content_f1": f1,
                "speaker": voice,
                **of_signal,
            }
        return found

    def _without_network(self, waveform: NDArray[np.float32]) -> dict[str, Measured]:
        return {
            "f0_rmse_cents": metrics.f0_rmse_cents(self._f0, metrics.f0_hz(waveform, _F0_HOP)),
            "energy_correlation": metrics.energy_correlation(self._original, waveform),
            "stoi": metrics.stoi(self._original, waveform),
            "mel_l1": metrics.mel_l1(self._original, waveform),
        }

    def _of_content(self, heard: Tensor) -> list[tuple[Measured, Measured, Measured]]:
        states = self._states
        if isinstance(states, Measured):
            return [(states,) * 3] * len(heard)
        scores = self._content.scores(states, heard)
        return [(Measured(p), Measured(r), Measured(f)) for p, r, f in scores.tolist()]

    def _of_voice(self, heard: Tensor) -> list[Measured]:
        voice = self._voice
        if isinstance(voice, Measured):
            return [voice] * len(heard)
        cosines = self._identity.scores(voice, heard).tolist()
        silent = Measured(None, "no embedding: nothing of a voice in one of the two")
        return [Measured(x) if np.isfinite(x) else silent for x in cosines]


def _or_why(compute: Callable[[], Any]) -> Any:
    """What is computed, or why a network cannot hear the original."""
    try:
        return compute()
    except (ModelError, AudioError) as error:
        return Measured(None, str(error))
