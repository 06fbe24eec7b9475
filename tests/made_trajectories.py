"""Synthetic training runs (test fixture): result files whose numbers follow a closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from made_results import MODELS, make_result

from insidessl_dash.core.lenses import LENSES
from insidessl_dash.results.schema import Result

UPDATES = (0, 1, 2, 4, 8, 16, 32, 64, 100)
LENS_NAMES = tuple(lens.name for lens in LENSES)
Shape = Callable[[int, int], float]


def value(row: int, layer: int) -> float:
    """A surge at the fifth checkpoint, then deep layers (5 to 12) back down: as in the paper."""
    rise = 0.3 * min(row, 4) / 4
    fall = 0.25 * max(0, row - 4) / 4 if layer > 4 else 0.0
    return 1.1 + rise - fall


def make_checkpoint(
    member: str, update: int, lens: str, mean: Sequence[float], **changes: object
) -> Result:
    """The result of one checkpoint: every measure has these means."""
    result = make_result("hubert-nano", lens)
    measures = {
        name: curve.model_copy(
            update={"mean": list(mean), "ci95": [(m - 0.01, m + 0.01) for m in mean]}
        )
        for name, curve in result.measures.items()
    }
    model = MODELS["hubert-nano"].model_copy(
        update={"name": f"{member}.update-{update}", "title": f"update {update}"}
    )
    found = result.model_copy(
        update={"key": f"{member}-{lens}-{update}", "model": model, "measures": measures}
    )
    return found.model_copy(update=changes)


def write_run(
    place: Path,
    member: str = "hubert-nano",
    updates: Sequence[int] = UPDATES,
    lenses: Sequence[str] = LENS_NAMES,
    shape: Shape = value,
    corpus: str = "demo",
) -> Path:
    """A run in ``place/dynamics/<corpus>``, named as `insidessl-dash dynamics` names its files."""
    folder = place / "dynamics" / corpus
    folder.mkdir(parents=True, exist_ok=True)
    for lens in lenses:
        option = "__chain" if lens == "invariance" else ""
        for row, update in enumerate(updates):
            result = make_checkpoint(member, update, lens, [shape(row, k) for k in range(13)])
            path = folder / f"{member}.update-{update}__{lens}{option}.json"
            path.write_text(result.model_dump_json())
    return folder
