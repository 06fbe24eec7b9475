"""What a result records of how it came about."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib import metadata

from insidessl_dash import __version__
from insidessl_dash.core.types import stable_hash

_LIBRARIES = (
    "torch",
    "transformers",
    "torchaudio",
    "numpy",
    "scipy",
    "soundfile",
    "audiomentations",
)


def versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries that numbers depend on."""
    found = {"insidessl_dash": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def result_key(
    audio_digests: list[str],
    model: dict,
    lens: str,
    version: int,
    config: dict,
    seed: int,
) -> str:
    """The identity of a result: same inputs, same key.

    Args:
        audio_digests: SHA-256 of every file that was asked for, any order.
        model: ``weights_sha256``, ``layer_policy`` and, where there are no weights, the name.
        lens: Name of the analysis.
        version: Of the analysis.
        config: Its full configuration, defaults filled in.
        seed: Of the run.

    Returns:
        32 hexadecimal digits.
    """
    return stable_hash([sorted(audio_digests), model, lens, version, config, seed])[:32]
