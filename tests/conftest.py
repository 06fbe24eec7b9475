"""What every test may use: an installation of its own, and a little speech."""

from __future__ import annotations

import os
from pathlib import Path

# Read when NumPy and torch are first imported: tests run side by side, one core each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
import soundfile


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty INSIDESSL_HOME, so that no test sees this machine's own results."""
    from insidessl_dash.core.settings import settings

    folder = tmp_path / "home"
    monkeypatch.setenv("INSIDESSL_HOME", str(folder))
    monkeypatch.delenv("INSIDESSL_SCHEDULER", raising=False)
    settings.cache_clear()
    yield folder
    settings.cache_clear()


@pytest.fixture(scope="session")
def demo_files() -> list[Path]:
    """The audio files of the demo corpus."""
    from insidessl_dash.core.settings import Settings

    return sorted((Settings().precomputed / "demo" / "audio").glob("*.flac"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six short files of seeded noise and tones, with a manifest that names three speakers."""
    rng = np.random.default_rng(0)
    target = tmp_path / "corpus"
    target.mkdir()
    rows = []
    for index in range(6):
        time = np.arange(12_000 + 1600 * index) / 16_000
        tone = sum(np.sin(2 * np.pi * 120 * (index + 1) * k * time) / k for k in range(1, 6))
        samples = 0.1 * tone + 0.02 * rng.standard_normal(len(time))
        soundfile.write(target / f"u{index}.wav", samples, 16_000, subtype="PCM_16")
        rows.append(
            f'{{"id": "u{index}", "path": "u{index}.wav", "speaker": "s{index % 3}", '
            f'"seconds": {len(time) / 16_000}}}'
        )
    (target / "manifest.jsonl").write_text("\n".join(rows) + "\n")
    return target
