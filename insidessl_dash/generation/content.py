"""What a generated waveform keeps of the original, as another network hears it: words and voice.

Both take an encoder that is not the one whose layers are decoded: a model would otherwise judge
itself. The original comes first; its side is computed once for many waveforms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from insidessl_dash.analyses.per_utterance import as_array
from insidessl_dash.analyses.verification import unit_mean
from insidessl_dash.core.errors import AudioError, ConfigError
from insidessl_dash.core.types import SAMPLE_RATE
from insidessl_dash.encoders.base import Encoder
from insidessl_dash.encoders.whisper import WhisperEncoderAdapter
from insidessl_dash.encoders.whisper_window import with_window

WHISPER_WINDOW_S = 6
"""Window of Whisper as a judge of content: longer audio is cut into such pieces."""

BEST_LAYER = {"wavlm-large": "14"}
"""Layer that the authors of SpeechBERTScore recommend, where it is not the last one."""

_BATCH_SECONDS = 60.0


def speech_bert_score(reference: Tensor, generated: Tensor) -> Tensor:
    """SpeechBERTScore (Saeki et al., 2401.16812): precision, recall and F1, float32 (C, 3).

    With c(g, r) the cosine of a generated and a reference frame, precision is the mean over g of
    max over r of c(g, r), the paper's score; recall is the mean over r of the max over g; F1
    their harmonic mean, 0 where precision or recall is not positive. A frame of zeros has the
    cosine 0 with everything.

    Args:
        reference: float (T, D), one layer of the original.
        generated: float (C, T', D), the same layer of C waveforms.

    Raises:
        AudioError: No frame, or widths differ.

    Example:
        >>> frames = torch.eye(3)
        >>> speech_bert_score(frames, torch.stack([frames, frames[[0, 0, 0]]])).tolist()[1][:2]
        [1.0, 0.3333333432674408]
    """
    if reference.dim() != 2 or generated.dim() != 3 or reference.shape[-1] != generated.shape[-1]:
        raise AudioError(
            f"SpeechBERTScore takes frames (T, D) and (C, T, D) of one width, not "
            f"{tuple(reference.shape)} and {tuple(generated.shape)}."
        )
    if 0 in (*reference.shape, *generated.shape[1:]):
        raise AudioError("SpeechBERTScore needs at least one frame on either side.")
    cosines = normalize(generated.float(), dim=-1) @ normalize(reference.float(), dim=-1).T
    precision, recall = cosines.amax(dim=2).mean(dim=1), cosines.amax(dim=1).mean(dim=1)
    f1 = 2 * precision * recall / (precision + recall)
    f1 = torch.where((precision > 0) & (recall > 0), f1, torch.zeros_like(f1))
    return torch.stack([precision, recall, f1], dim=1)


class _Judge:
    """One layer of an encoder.

    Args:
        encoder: Not the one under study. Whisper is given a window of `WHISPER_WINDOW_S`.
        layer: Name; by default that in `BEST_LAYER`, or its last one.

    Attributes:
        identity: What it is, as JSON: part of a matrix's key.
        title: What it is, for people.

    Raises:
        ConfigError: It has no such layer.
    """

    def __init__(self, encoder: Encoder, layer: str | None = None) -> None:
        window = ""
        if isinstance(encoder, WhisperEncoderAdapter):
            encoder = with_window(encoder, WHISPER_WINDOW_S)
            window = f", window of {WHISPER_WINDOW_S} s"
        self.encoder = encoder
        self.layer = layer or BEST_LAYER.get(encoder.card.name, encoder.layers[-1])
        if self.layer not in encoder.layers:
            raise ConfigError(
                f"{encoder.card.name} has no layer {self.layer!r}: {', '.join(encoder.layers)}."
            )
        self._place = encoder.layers.index(self.layer)
        self.title = f"{encoder.card.title}, layer {self.layer}{window}"
        self.identity: dict[str, Any] = {
            "weights": encoder.weights_sha256 or encoder.card.name,
            "layer_policy": dict(encoder.layer_policy),
            "layer": self.layer,
        }

    def check_other_than(self, studied: Encoder, option: str) -> None:
        """Refuse to let a model judge itself.

        Raises:
            ConfigError: It is the encoder under study; `option` names another one.
        """
        mine, theirs = self.encoder, studied
        same = mine.weights_sha256 and mine.weights_sha256 == theirs.weights_sha256
        if same or mine.card.name == theirs.card.name:
            raise ConfigError(
                f"{mine.card.name} is the encoder under study, so it cannot judge what its "
                f"layers keep: name another one with {option}."
            )

    def states(self, waveforms: Tensor) -> Tensor:
        """Its layer, float32 (C, T, D) on the CPU, of float32 (C, n).

        Raises:
            ModelError: Too short for one frame.
        """
        most = max(1, int(_BATCH_SECONDS * SAMPLE_RATE) // waveforms.shape[-1])
        return torch.cat([self.encoder(part)[self._place].cpu() for part in waveforms.split(most)])


class Content(_Judge):
    """SpeechBERTScore by a layer of another encoder."""

    def scores(self, reference: Tensor, waveforms: Tensor) -> NDArray[np.float64]:
        """Precision, recall and F1 of waveforms (C, n), float64 (C, 3).

        Args:
            reference: `states` of the original, (T, D).
            waveforms: float32 (C, n).

        Raises:
            ModelError: Too short for one frame.
        """
        return speech_bert_score(reference, self.states(waveforms)).double().numpy()


class Identity(_Judge):
    """Cosine of speaker embeddings: the mean over time of a layer (ECAPA's last is one frame)."""

    def embeddings(self, waveforms: Tensor) -> NDArray[np.float64]:
        """Of float32 (C, n), float64 (C, D), length 1; NaN where there is no direction.

        Raises:
            ModelError: Too short for one frame.
        """
        return np.stack([unit_mean(as_array(row)) for row in self.states(waveforms)])

    def scores(self, reference: NDArray[np.float64], waveforms: Tensor) -> NDArray[np.float64]:
        """Cosine of each waveform's embedding with that of the original, float64 (C,).

        Args:
            reference: `embeddings` of the original, (D,).
            waveforms: float32 (C, n).

        Raises:
            ModelError: Too short for one frame.
        """
        return self.embeddings(waveforms) @ reference
