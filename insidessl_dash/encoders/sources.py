"""Where a checkpoint is: a folder, a folder that ships, or the model hub. Reads JSON only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from insidessl_dash.core.cards import weights_do_not_ship
from insidessl_dash.core.errors import ModelError

SAFETENSORS = "model.safetensors"
PICKLED = "pytorch_model.bin"
WEIGHT_FILES = (SAFETENSORS, f"{SAFETENSORS}.index.json", PICKLED, f"{PICKLED}.index.json")
"""Files that say where the weights are, most wanted first."""

_CONFIG = "config.json"
_PREPROCESSOR = "preprocessor_config.json"
_DESCRIPTION = [_CONFIG, _PREPROCESSOR]
_WANTED_SAFETENSORS = [SAFETENSORS, f"{SAFETENSORS}.index.json", "model-*-of-*.safetensors"]
_WANTED_PICKLED = [PICKLED, f"{PICKLED}.index.json", "pytorch_model-*-of-*.bin"]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_SHIPPED_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine, its weights not read yet.

    Attributes:
        source: As it was named: hub id, folder, or ``shipped:NAME``.
        folder: Where its files are.
        revision: Commit on the hub; "" for a folder.
        config: Its ``config.json``.
        preprocessor: Its ``preprocessor_config.json``; None where there is none.
    """

    source: str
    folder: Path
    revision: str
    config: dict[str, Any]
    preprocessor: dict[str, Any] | None

    @property
    def model_type(self) -> str:
        """The architecture's name in transformers, e.g. ``hubert``; "" where it is not given."""
        return str(self.config.get("model_type", ""))


def find_checkpoint(
    source: str, *, revision: str = "main", precomputed: Path, weights: bool = True
) -> Checkpoint:
    """Find a checkpoint, downloading from the hub what is not on this machine yet.

    Of a hub repository only config.json, preprocessor_config.json and the weights are fetched:
    safetensors where they exist, else ``pytorch_model.bin``.

    Args:
        source: Folder, ``shipped:NAME`` or hub id; a folder if one of that name is here.
        revision: Branch, tag or commit on the hub; without meaning for folders.
        precomputed: Folder of what ships.
        weights: False to fetch the description alone.

    Raises:
        ModelError: No such folder or repository, the hub does not answer, or no usable config.
    """
    folder, commit = _find(
        source, precomputed, lambda: _from_hub(source, revision=revision, weights=weights), weights
    )
    config = _read_json(folder / _CONFIG)
    if config is None:
        raise ModelError(
            f"{folder} has no {_CONFIG}: name the folder that `save_pretrained` wrote, with "
            f"{_CONFIG} and {SAFETENSORS} in it."
        )
    return Checkpoint(source, folder, commit, config, _read_json(folder / _PREPROCESSOR))


def find_folder(
    source: str, *, revision: str = "main", precomputed: Path, wanted: Sequence[str]
) -> tuple[Path, str]:
    """Folder and commit ("" for a folder) of weights that no config.json describes.

    Args:
        source: As in `find_checkpoint`.
        revision: Branch, tag or commit on the hub.
        precomputed: Folder of what ships.
        wanted: Names of the weights file, most wanted first; of a hub repository only the first
            one that exists is fetched.

    Raises:
        ModelError: No such folder or repository, or the hub does not answer.
    """

    def from_hub() -> tuple[Path, str]:
        asked = revision
        for name in wanted:
            folder = _snapshot(source, asked, [name])
            # The commit, not the branch: what follows must come from the same state.
            asked = _commit(folder) or revision
            if (folder / name).exists():
                break
        return folder, _commit(folder)

    return _find(source, precomputed, from_hub)


def _find(
    source: str,
    precomputed: Path,
    from_hub: Callable[[], tuple[Path, str]],
    weights: bool = True,
) -> tuple[Path, str]:
    """Folder and hub commit of a source."""
    if source.startswith("shipped:"):
        return _shipped(source.removeprefix("shipped:"), precomputed, weights), ""
    if source and Path(source).expanduser().is_dir():
        return Path(source).expanduser(), ""
    if _HUB_ID.fullmatch(source):
        return from_hub()
    raise ModelError(
        f"{source!r} is neither a folder on this machine nor a hub id like "
        "facebook/hubert-base-ls960: correct the source of the model."
    )


def _shipped(name: str, precomputed: Path, weights: bool) -> Path:
    if not _SHIPPED_NAME.fullmatch(name):
        raise ModelError(f"shipped:{name} is not the name of a model that ships.")
    folder = precomputed / "models" / name
    if not folder.is_dir():
        raise ModelError(
            f"The weights of {name} are not in this installation ({folder} does not exist): "
            "reinstall it, or set INSIDESSL_PRECOMPUTED to the folder that holds them."
        )
    if (
        weights
        and (folder / "card.json").is_file()
        and not any((folder / w).exists() for w in WEIGHT_FILES)
    ):
        raise ModelError(weights_do_not_ship(name))
    return folder


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not readable JSON ({error}): fetch it again.") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} does not hold a JSON object: fetch it again.")
    return value


def _from_hub(repository: str, *, revision: str, weights: bool) -> tuple[Path, str]:
    """Folder and commit of a hub repository in the local cache of the hub."""
    wanted = _DESCRIPTION + (_WANTED_SAFETENSORS if weights else [])
    folder = _snapshot(repository, revision, wanted)
    commit = _commit(folder)
    if weights and not any((folder / name).exists() for name in WEIGHT_FILES):
        # The commit, not the branch: both halves must come from the same state.
        folder = _snapshot(repository, commit or revision, _DESCRIPTION + _WANTED_PICKLED)
    return folder, commit


def _commit(snapshot: Path) -> str:
    return snapshot.name if _COMMIT.fullmatch(snapshot.name) else ""


def _snapshot(repository: str, revision: str, wanted: list[str]) -> Path:
    import huggingface_hub
    from huggingface_hub import constants, errors

    bring = (
        f"run `hf download {repository} --revision {revision} --local-dir FOLDER` where there is "
        "a network, then bring that folder here and use it as the source "
        "(`insidessl-dash models add NAME FOLDER`, or load_encoder(..., source=FOLDER))."
    )
    try:
        return Path(
            huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=wanted)
        )
    except errors.RevisionNotFoundError as error:
        raise ModelError(
            f"{repository} has no revision {revision!r} on the model hub: "
            "name an existing branch, tag or commit, or leave it at main."
        ) from error
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{repository} asks for consent: accept its terms on the hub, then `hf auth login`."
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ModelError(
            f"The model hub has no repository {repository} that can be read from here: "
            "check the spelling, or `hf auth login` if it is private."
        ) from error
    except Exception as error:  # the hub's client raises its HTTP library's errors as they come
        if isinstance(error, OSError) and error.errno is not None and error.filename:
            raise ModelError(
                f"Cannot store {repository} in the hub cache ({error}): "
                "free some space, or set HF_HOME to another folder."
            ) from error
        if constants.HF_HUB_OFFLINE:
            raise ModelError(
                f"{repository} (revision {revision}) is not complete in the local cache of the "
                "model hub, and HF_HUB_OFFLINE forbids to ask the hub: set it to 0, or " + bring
            ) from error
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"Cannot fetch {repository} (revision {revision}): the model hub does not answer, or "
            f"its answer broke off ({reason[:100]}). Try again (files that arrived whole are "
            "kept), or " + bring
        ) from error
