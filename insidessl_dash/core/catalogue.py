"""The models that are known without being added.

Licences are those that the hub pages of the checkpoints state. The pages of WavLM and UniSpeech-SAT
state none themselves and link to the LICENSE of microsoft/UniSpeech, which is CC BY-SA 3.0.

Where InsideSSL says "UniSpeech", base and large, UniSpeech-SAT is meant here: it is the one of the
two that exists on the hub in both sizes. "Large" wav2vec 2.0 is the one trained on Libri-Light
(``lv60``), like the large models it is compared with.
"""

from __future__ import annotations

from typing import Any

from insidessl_dash.core.cards import ModelCard

_ENGLISH_ONLY = "Trained on English read speech: weak evidence about other languages and styles."
_ENGLISH_MIXED = "Trained on English speech, mostly read: weak evidence about other languages."
_MIX_94K = "94,000 h: Libri-Light 60,000, GigaSpeech 10,000, VoxPopuli 24,000"
_FEW_HOURS = "a few hours of English speech: speechocean762 and a LibriSpeech excerpt"
_NANO_NOT_FOR = "12 x 192, trained on a few hours: shows dynamics, not the quality of Base models."
_ABLATION = f"An ablation: results and card ship, its weights do not. {_NANO_NOT_FOR}"
_LIBRISPEECH = "LibriSpeech, 960 h"
_LIBRILIGHT = "Libri-Light, 60,000 h"
_UNISPEECH_LICENCE = "CC-BY-SA-3.0"


def _base(**fields: Any) -> ModelCard:
    return ModelCard(**{"kind": "transformers", "size": "base", "layers": 12, **fields})


def _large(**fields: Any) -> ModelCard:
    return ModelCard(**{"kind": "transformers", "size": "large", "layers": 24, **fields})


def _nano(name: str, family: str, title: str, objective: str, paper: str) -> ModelCard:
    """A shipped member of the Nano family."""
    return ModelCard(
        name=name,
        title=title,
        kind="transformers",
        family=family,
        size="nano",
        layers=12,
        source=f"shipped:{name}",
        objective=objective,
        data=_FEW_HOURS,
        licence="Apache-2.0",
        paper=paper,
        not_for=_NANO_NOT_FOR,
    )


def _mr_hubert(name: str, title: str, how: str, not_for: str) -> ModelCard:
    """MR-HuBERT Nano, or one of its ablations."""
    objective = (
        f"masked prediction of k-means clusters of layer 8 of hubert-nano, {how}; at the start "
        "unmasked frames count too"
    )
    card = _nano(name, "mr-hubert", title, objective, "arXiv:2310.02720")
    return card.model_copy(update={"kind": "mr-hubert", "not_for": not_for})


def _with_untrained(card: ModelCard) -> tuple[ModelCard, ModelCard]:
    """A member, and the same before its first update."""
    untrained = ModelCard(
        name=f"{card.name}-init",
        title=f"{card.title}, untrained",
        kind="random",
        base=card.name,
        seed=0,
        family=card.family,
        size=card.size,
        layers=card.layers,
        objective="none: as initialised",
        data="none",
        licence=card.licence,
        paper=card.paper,
        not_for="A baseline: what the architecture does before it has learned anything.",
    )
    return card, untrained


_WAV2VEC2 = {
    "family": "wav2vec2",
    "objective": "contrastive prediction of quantised latents of masked frames",
    "licence": "Apache-2.0",
    "paper": "arXiv:2006.11477",
    "not_for": _ENGLISH_ONLY,
}
_HUBERT = {
    "family": "hubert",
    "objective": "masked prediction of k-means clusters of an earlier model's features",
    "licence": "Apache-2.0",
    "paper": "arXiv:2106.07447",
    "not_for": _ENGLISH_ONLY,
}
_WAVLM = {
    "family": "wavlm",
    "objective": "masked prediction of k-means clusters under mixed-in speech and noise",
    "licence": _UNISPEECH_LICENCE,
    "paper": "arXiv:2110.13900",
}
_DATA2VEC = {
    "family": "data2vec",
    "objective": "masked regression of the layer average of its own moving-average teacher",
    "licence": "Apache-2.0",
    "paper": "arXiv:2202.03555",
    "not_for": _ENGLISH_ONLY,
}
_UNISPEECH_SAT = {
    "family": "unispeech-sat",
    "objective": "masked cluster prediction and an utterance-wise contrastive loss on mixed speech",
    "licence": _UNISPEECH_LICENCE,
    "paper": "arXiv:2110.05752",
}


def _fine_tuned(labels: str, hub: str) -> ModelCard:
    return _base(
        **{
            **_DATA2VEC,
            "name": f"data2vec-base-{hub}",
            "title": f"data2vec Base, fine-tuned on {labels}",
            "source": f"facebook/data2vec-audio-base-{hub}",
            "objective": "CTC on transcripts, after self-supervised pre-training",
            "data": f"{_LIBRISPEECH}, then {labels} of it with transcripts",
            "supervised": True,
            "not_for": "Fine-tuned for recognition: not evidence about self-supervision alone.",
        }
    )


BUILT_IN: tuple[ModelCard, ...] = (
    _base(
        **_WAV2VEC2,
        name="wav2vec2-base",
        title="wav2vec 2.0 Base",
        source="facebook/wav2vec2-base",
        data=_LIBRISPEECH,
    ),
    _large(
        **_WAV2VEC2,
        name="wav2vec2-large",
        title="wav2vec 2.0 Large (LV-60k)",
        source="facebook/wav2vec2-large-lv60",
        data=_LIBRILIGHT,
    ),
    _base(
        **_HUBERT,
        name="hubert-base",
        title="HuBERT Base",
        source="facebook/hubert-base-ls960",
        data=_LIBRISPEECH,
    ),
    _large(
        **_HUBERT,
        name="hubert-large",
        title="HuBERT Large",
        source="facebook/hubert-large-ll60k",
        data=_LIBRILIGHT,
    ),
    _base(
        **_WAVLM,
        name="wavlm-base",
        title="WavLM Base",
        source="microsoft/wavlm-base",
        data=_LIBRISPEECH,
        not_for=_ENGLISH_ONLY,
    ),
    _base(
        **_WAVLM,
        name="wavlm-base-plus",
        title="WavLM Base+",
        source="microsoft/wavlm-base-plus",
        data=_MIX_94K,
        not_for=_ENGLISH_MIXED,
    ),
    _large(
        **_WAVLM,
        name="wavlm-large",
        title="WavLM Large",
        source="microsoft/wavlm-large",
        data=_MIX_94K,
        not_for=_ENGLISH_MIXED,
    ),
    _base(
        **_DATA2VEC,
        name="data2vec-base",
        title="data2vec Base",
        source="facebook/data2vec-audio-base",
        data=_LIBRISPEECH,
    ),
    _large(
        **_DATA2VEC,
        name="data2vec-large",
        title="data2vec Large",
        source="facebook/data2vec-audio-large",
        data=_LIBRILIGHT,
    ),
    _fine_tuned("10 min", "10m"),
    _fine_tuned("100 h", "100h"),
    _fine_tuned("960 h", "960h"),
    _base(
        **_UNISPEECH_SAT,
        name="unispeech-sat-base",
        title="UniSpeech-SAT Base",
        source="microsoft/unispeech-sat-base",
        data=_LIBRISPEECH,
        not_for=_ENGLISH_ONLY,
    ),
    _large(
        **_UNISPEECH_SAT,
        name="unispeech-sat-large",
        title="UniSpeech-SAT Large",
        source="microsoft/unispeech-sat-large",
        data=_MIX_94K,
        not_for=_ENGLISH_MIXED,
    ),
    ModelCard(
        name="whisper-base",
        title="Whisper Base (encoder)",
        family="whisper",
        size="base",
        kind="whisper",
        source="openai/whisper-base",
        objective="transcription and translation from weak labels (the encoder of the two parts)",
        data="680,000 h of multilingual web audio with transcripts",
        layers=6,
        supervised=True,
        licence="MIT",
        paper="arXiv:2212.04356",
        not_for="Supervised: a contrast to the self-supervised families, not one of them.",
    ),
    ModelCard(
        name="ecapa-voxceleb",
        title="ECAPA-TDNN (VoxCeleb)",
        family="ecapa",
        size="base",
        kind="ecapa",
        source="speechbrain/spkrec-ecapa-voxceleb",
        objective="classification of speakers with an additive angular margin",
        data="VoxCeleb 1 and 2, training parts: interviews of 7,205 speakers",
        layers=6,
        supervised=True,
        licence="Apache-2.0",
        paper="arXiv:2005.07143",
        not_for="Trained to tell speakers apart: a contrast to self-supervision, not evidence of "
        "it. Its last layer is one vector an utterance, so no path and no spread there.",
    ),
    ModelCard(
        name="melspec",
        title="MelSpec (log-mel)",
        family="melspec",
        size="baseline",
        kind="melspec",
        objective="none: 80 log-mel bands",
        data="none",
        not_for="A baseline with nothing learned: one layer, so no curve over depth.",
    ),
    *_with_untrained(
        _nano(
            "hubert-nano",
            "hubert",
            "HuBERT Nano",
            "masked prediction of k-means clusters of 39-d MFCC (HuBERT iteration 1); at the start "
            "unmasked frames count too",
            "arXiv:2106.07447",
        )
    ),
    _nano(
        "hubert-nano-it2",
        "hubert",
        "HuBERT Nano, iteration 2",
        "masked prediction of k-means clusters of layer 8 of hubert-nano (HuBERT iteration 2); at "
        "the start unmasked frames count too. Its initialisation is that of hubert-nano",
        "arXiv:2106.07447",
    ),
    *_with_untrained(
        _nano(
            "wav2vec2-nano",
            "wav2vec2",
            "wav2vec 2.0 Nano",
            "contrastive: find the quantised latent of a masked frame among 100 others",
            "arXiv:2006.11477",
        )
    ),
    *_with_untrained(
        _nano(
            "wavlm-nano",
            "wavlm",
            "WavLM Nano",
            "masked prediction of k-means clusters of layer 8 of hubert-nano while other speech "
            "and noise are mixed in; at the start unmasked frames count too",
            "arXiv:2110.13900",
        )
    ),
    *_with_untrained(
        _nano(
            "data2vec-nano",
            "data2vec",
            "data2vec Nano",
            "regression at masked frames of the mean of the top eight layers of a moving-average "
            "teacher that hears the whole utterance",
            "arXiv:2202.03555",
        )
    ),
    *_with_untrained(
        _mr_hubert(
            "mr-hubert-nano",
            "MR-HuBERT Nano",
            "at 20 ms and, from the four middle blocks, at 40 ms",
            _NANO_NOT_FOR,
        )
    ),
    _mr_hubert(
        "mr-hubert-nano-b4a",
        "MR-HuBERT Nano, B4-a",
        "at 20 ms alone, the four middle blocks at 40 ms without a loss of their own (ablation "
        "B4-a)",
        _ABLATION,
    ),
    *_with_untrained(  # of the other two the initialisation is alike; this one has other blocks
        _mr_hubert(
            "mr-hubert-nano-b5a",
            "MR-HuBERT Nano, B5-a",
            "twice at 20 ms: nothing is ever at a lower rate (ablation B5-a)",
            _ABLATION,
        )
    ),
    *_with_untrained(
        ModelCard(
            name="ecapa-nano",
            title="ECAPA-TDNN Nano",
            family="ecapa",
            size="nano",
            kind="ecapa",
            source="shipped:ecapa-nano",
            objective="classification of 451 speakers with an additive angular margin",
            data=_FEW_HOURS,
            layers=6,
            supervised=True,
            licence="Apache-2.0",
            paper="arXiv:2005.07143",
            not_for="192 channels, trained on a few hours of 451 speakers: a contrast to "
            "self-supervision at the same scale, no speaker model to rely on. Its last layer is "
            "one vector an utterance, so no path and no spread there.",
        )
    ),
    ModelCard(
        name="dino-ecapa-nano",
        title="DINO ECAPA-TDNN Nano",
        family="ecapa",
        size="nano",
        kind="ecapa",
        source="shipped:dino-ecapa-nano",
        objective="self-supervised: agree with a moving-average teacher on crops of one utterance "
        "(DINO), no speaker labels. Its initialisation is that of ecapa-nano",
        data=_FEW_HOURS,
        layers=6,
        licence="Apache-2.0",
        paper="arXiv:2104.14294",
        not_for="192 channels, trained on a few hours: a contrast at the same scale, no speaker "
        "model to rely on. Its last layer is one vector an utterance, so no path and no spread "
        "there.",
    ),
)
"""Every built-in card; names are unique, and cannot be taken by added models."""
