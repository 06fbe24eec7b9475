"""Write `precomputed/MANIFEST.json`: every shipped file with its digest, licence and origin.

    python tools/write_manifest.py

Run after anything in `precomputed/` has changed; a test compares the digests.
"""

from __future__ import annotations

from pathlib import Path

from insidessl_dash.core.files import write_json
from insidessl_dash.core.types import file_sha256

ROOT = Path(__file__).resolve().parents[1] / "precomputed"
_SO = "speechocean762 (OpenSLR 101), CC BY 4.0"
_LS = "LibriSpeech train-clean-100 (OpenSLR 12), CC BY 4.0"
RULES = (
    ("demo/", "Apache-2.0", "synthetic speech; see demo/LICENCES.md"),
    ("gcm/examples/", "Apache-2.0", "decoded by this project from its demo corpus"),
    ("gcm/decoders/", "Apache-2.0", f"trained by this project on {_SO}, and {_LS}"),
    ("gcm/", "Apache-2.0", f"computed by this project from {_SO}"),
    ("models/", "Apache-2.0", f"trained by this project on {_SO}, and {_LS}"),
    ("results/demo/", "Apache-2.0", "computed by this project from the demo corpus"),
    ("results/librispeech", "Apache-2.0", f"computed by this project from {_LS}"),
    ("results/speechocean762", "Apache-2.0", f"computed by this project from {_SO}"),
    ("dynamics/", "Apache-2.0", "computed by this project; each result names its audio"),
)  # fmt: skip


def entry(path: Path) -> dict[str, object]:
    """One row of the manifest.

    Raises:
        SystemExit: No rule says under which licence the file ships.
    """
    name = path.relative_to(ROOT).as_posix()
    for prefix, licence, origin in RULES:
        if name.startswith(prefix):
            return {
                "path": name,
                "bytes": path.stat().st_size,
                "sha256": file_sha256(path),
                "licence": licence,
                "origin": origin,
            }
    raise SystemExit(f"{name}: no rule in {Path(__file__).name} gives its licence.")


def main() -> None:
    """Write the manifest and say how much ships."""
    files = sorted(p for p in ROOT.rglob("*") if p.is_file() and p.name != "MANIFEST.json")
    rows = [entry(path) for path in files]
    write_json(ROOT / "MANIFEST.json", rows)
    print(f"{len(rows)} files, {sum(p.stat().st_size for p in files) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
