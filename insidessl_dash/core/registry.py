"""Which models there are: the built-in ones, and those this installation has added."""

from __future__ import annotations

import difflib
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.catalogue import BUILT_IN
from insidessl_dash.core.errors import ConfigError, ConflictError, ModelError, UnknownModelError
from insidessl_dash.core.files import write_json
from insidessl_dash.core.settings import settings

_CARDS = TypeAdapter(list[ModelCard])
_HAVE_WEIGHTS = ("transformers", "whisper", "mr-hubert", "ecapa")
_BUILT_IN = {card.name: card for card in BUILT_IN}


class Registry:
    """Built-in cards, then those in ``home/models.json``, which is read again at every call.

    So a model added on the command line is known to a running dashboard and its workers.

    Args:
        home: Folder of this installation.
        precomputed: Folder of what ships; ``shipped:NAME`` means ``precomputed/models/NAME``.
    """

    def __init__(self, home: Path, precomputed: Path) -> None:
        self.home = Path(home)
        self.precomputed = Path(precomputed)

    @property
    def path(self) -> Path:
        """Where added models are kept."""
        return self.home / "models.json"

    def cards(self) -> list[ModelCard]:
        """Every known model: built-in ones in catalogue order, then added ones by name.

        Raises:
            ModelError: ``models.json`` cannot be read.
        """
        return [*BUILT_IN, *sorted(self._added(), key=lambda card: card.name)]

    def get(self, name: str) -> ModelCard:
        """The card of a model.

        Raises:
            UnknownModelError: No such model; the message names the nearest known ones.
        """
        if name in _BUILT_IN:
            return _BUILT_IN[name]
        cards = {card.name: card for card in self.cards()}
        if name in cards:
            return cards[name]
        raise UnknownModelError(_unknown(name, list(cards)))

    def add(self, card: ModelCard) -> ModelCard:
        """Remember a model; returns the card as stored, where a folder has its absolute path.

        Raises:
            ConflictError: The name is taken.
            ConfigError: The card says too little to load it.
        """
        if card.name in _BUILT_IN:
            raise ConflictError(f"{card.name} is a built-in model: choose another name.")
        added = self._added()
        if any(known.name == card.name for known in added):
            raise ConflictError(
                f"{card.name} is already a model here: remove it first "
                f"(insidessl-dash models remove {card.name}), or choose another name."
            )
        self._check(card)
        folder = Path(card.source).expanduser()
        if card.source and folder.is_dir():
            card = card.model_copy(update={"source": str(folder.resolve())})
        self._write([*added, card])
        return card

    def remove(self, name: str) -> None:
        """Forget an added model; its files and its results stay.

        Raises:
            ConflictError: It is built in.
            UnknownModelError: It is not known.
        """
        if name in _BUILT_IN:
            raise ConflictError(f"{name} is a built-in model and cannot be removed.")
        added = self._added()
        kept = [card for card in added if card.name != name]
        if len(kept) == len(added):
            raise UnknownModelError(_unknown(name, [card.name for card in added]))
        self._write(kept)

    def _check(self, card: ModelCard) -> None:
        if card.kind in _HAVE_WEIGHTS and not card.source:
            raise ConfigError(f"The card of {card.name} has no source: give a folder or a hub id.")
        if card.kind == "random":
            if card.base is None or card.seed is None:
                raise ConfigError(
                    f"The card of {card.name} is of kind random: give base (a known model whose "
                    "architecture is initialised) and seed (a whole number)."
                )
            if self.get(card.base).kind not in _HAVE_WEIGHTS:
                raise ConfigError(
                    f"The base of {card.name} is {card.base}, which has no weights of its own: "
                    f"choose a model of kind {', '.join(_HAVE_WEIGHTS)}."
                )

    def _added(self) -> list[ModelCard]:
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"Cannot read {self.path}: {error}.") from error
        try:
            return [card for card in _CARDS.validate_json(text) if card.name not in _BUILT_IN]
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise ModelError(
                f"{self.path} is not a list of model cards ({where}: {first['msg']}): "
                "correct it, or move it away and add the models again."
            ) from error

    def _write(self, cards: list[ModelCard]) -> None:
        write_json(self.path, _CARDS.dump_python(cards, mode="json"))


def _unknown(name: str, known: list[str]) -> str:
    shown = name if len(name) <= 64 else name[:61] + "..."
    near = difflib.get_close_matches(name[:64].lower(), known, n=3, cutoff=0.5)
    hint = (
        f"Did you mean {', '.join(near)}?"
        if near
        else "`insidessl-dash models list` shows them all."
    )
    return f"There is no model {shown!r}. {hint}"


def registry() -> Registry:
    """The registry that the settings of this process name."""
    current = settings()
    return Registry(current.home, current.precomputed)
