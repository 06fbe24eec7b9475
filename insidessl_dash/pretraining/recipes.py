"""Every recipe by name; importing one imports what its objective needs, so it is done on use."""

from __future__ import annotations

from importlib import import_module

from insidessl_dash.core.errors import ConfigError
from insidessl_dash.pretraining.recipe import Recipe

RECIPES = {
    "wav2vec2-nano": "wav2vec2:Wav2Vec2Recipe",
    "hubert-nano": "hubert:HubertRecipe",
    "hubert-nano-it2": "hubert:HubertIteration2Recipe",
    "wavlm-nano": "wavlm:WavLMRecipe",
    "data2vec-nano": "data2vec:Data2VecRecipe",
    "mr-hubert-nano": "mr_hubert:MRHubertRecipe",
    "mr-hubert-nano-b4a": "mr_hubert:NoLowLossRecipe",
    "mr-hubert-nano-b5a": "mr_hubert:OneRateRecipe",
    "ecapa-nano": "ecapa:EcapaRecipe",
    "dino-ecapa-nano": "dino:DinoRecipe",
}
"""Those of the Nano family: what they export loads as an encoder."""

GENERATION = {
    "decoders": "decoders:DecoderRecipe",
    "fourier-vocoder": "vocoder:VocoderRecipe",
}
"""Those of what turns layers back into sound."""


def recipe_class(name: str) -> type[Recipe]:
    """The class of a recipe.

    Raises:
        ConfigError: No such recipe.
    """
    known = RECIPES | GENERATION
    if name not in known:
        raise ConfigError(f"No recipe named {name!r}. There are: {', '.join(known)}.")
    module, _, attribute = known[name].partition(":")
    return getattr(import_module(f"insidessl_dash.pretraining.{module}"), attribute)
