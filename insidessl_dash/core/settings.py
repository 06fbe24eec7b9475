"""Settings, from the environment (``INSIDESSL_...``); every default works on a laptop."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from platformdirs import user_cache_path
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from insidessl_dash.core.errors import ConfigError

_SOURCE_ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = Path(__file__).resolve().parents[1]


def _shipped(name: str) -> Path:
    """A folder that ships beside the package in a checkout and inside it in a wheel."""
    inside = _PACKAGE / "_shipped" / name
    return inside if inside.exists() else _SOURCE_ROOT / name


class Settings(BaseSettings):
    """Where things are and how much is allowed.

    Attributes:
        home: Everything this installation writes: live results, jobs, uploads, added models, data.
        precomputed: Read-only results, shipped weights and the demo corpus.
        assets: Style sheets and scripts of the dashboard.
        scheduler: Address of a Dask scheduler; None starts a local worker process.
        host, port: Where the dashboard listens; loopback unless told otherwise.
        upload_hours: Life of an upload.
        upload_files, upload_mb: Most files in one upload, and most megabytes one visitor keeps.
    """

    model_config = SettingsConfigDict(
        env_prefix="INSIDESSL_", env_ignore_empty=True, extra="ignore"
    )

    home: Path = Field(default_factory=lambda: user_cache_path("insidessl_dash"))
    precomputed: Path = Field(default_factory=lambda: _shipped("precomputed"))
    assets: Path = Field(default_factory=lambda: _shipped("assets"))
    scheduler: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(8050, ge=0, le=65_535, description="a whole number from 0 to 65535")
    upload_hours: float = Field(
        24.0, gt=0, allow_inf_nan=False, description="a number of hours above 0"
    )
    upload_files: int = Field(50, ge=1, description="a whole number from 1")
    upload_mb: int = Field(500, ge=1, description="a whole number of megabytes from 1")


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process; ``settings.cache_clear()`` reads the environment again.

    Raises:
        ConfigError: A variable has a value outside its range.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        field = Settings.model_fields.get(name)
        allowed = (field and field.description) or first["msg"]
        raise ConfigError(
            f"INSIDESSL_{name.upper()} is {str(first['input'])[:80]!r}: it must be {allowed}."
        ) from error
