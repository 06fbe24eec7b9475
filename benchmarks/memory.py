"""Peak memory of `insidessl-dash analyze` on 60 minutes of speech against 10 minutes.

    python benchmarks/memory.py [--model hubert-nano]

Both corpora repeat the demo sentences, cut to other lengths so that no two files are alike, and
hold the same longest file. Each run is a process of its own with an empty cache; the figure is the
ratio of their peak resident set sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from insidessl_dash.core.settings import Settings

_CHILD = """
import resource, sys
from insidessl_dash.cli import main
sys.argv = ["insidessl-dash", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    if stop.code:
        raise
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def make_corpus(folder: Path, minutes: float) -> int:
    """Write speech until there is enough of it; returns the number of files."""
    files = sorted((Settings().precomputed / "demo" / "audio").glob("*.flac"))
    rng = np.random.default_rng(0)
    seconds, count = 0.0, 0
    while seconds < 60 * minutes:
        samples, rate = soundfile.read(files[count % len(files)], dtype="float32")
        keep = len(samples) if count < len(files) else rng.integers(2 * rate, len(samples))
        soundfile.write(folder / f"{count:05}.flac", samples[:keep], rate)
        seconds += keep / rate
        count += 1
    return count


def peak_mib(minutes: float, model: str) -> float:
    """Peak resident set of one run, in MiB."""
    with tempfile.TemporaryDirectory() as temporary:
        corpus = Path(temporary) / "corpus"
        corpus.mkdir()
        make_corpus(corpus, minutes)
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, "analyze", str(corpus), "--model", model, "--json",
             str(Path(temporary) / "out.json")],
            env={**os.environ, "INSIDESSL_HOME": str(Path(temporary) / "home")},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(done.stdout.splitlines()[-1]) / 1024


def main() -> None:
    """Print both peaks and their ratio as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="hubert-nano")
    parser.add_argument("--short", type=float, default=10, help="minutes")
    parser.add_argument("--long", type=float, default=60, help="minutes")
    options = parser.parse_args()
    short, long = (peak_mib(minutes, options.model) for minutes in (options.short, options.long))
    print(json.dumps({
        "model": options.model,
        f"peak_mib_{options.short:g}_min": round(short, 1),
        f"peak_mib_{options.long:g}_min": round(long, 1),
        "ratio": round(long / short, 4),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
