"""Training runs: the results at the checkpoints of one run, read as arrays over updates and layers.

A run is a folder of ordinary result files, one a checkpoint and lens, named
``<corpus>/<member>.update-<N>__<lens>[__<perturbation>].json``. Two places hold such folders:
``precomputed/dynamics`` (what ships) and ``<home>/dynamics`` (what ``insidessl-dash dynamics``
computed on this installation). Runs are discovered, never listed by hand, and the two places are
never mixed in one trajectory. Only means and their intervals are held in memory, no utterances.
"""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from insidessl_dash.core.errors import ConflictError, NotFoundError
from insidessl_dash.core.lenses import LENSES
from insidessl_dash.results.schema import CorpusInfo, Curve, Result, depth_percent
from insidessl_dash.results.training_card import TrainingCard, read_training_card

log = logging.getLogger(__name__)

OWN = "~"
"""Starts the id of a run that this installation computed, e.g. ``~my-run``."""

_FILE = re.compile(
    r"(?P<member>.+)\.update-(?P<update>\d+)__(?P<lens>[a-z]+(?:_[a-z]+)*)(?:__(?P<option>[\w.-]+))?\.json"
)
_OPTIONS = {info.name: "__".join(info.defaults().values()) for info in LENSES}


@dataclass(frozen=True)
class Run:
    """A training run that has results on a corpus.

    Attributes:
        id: How a link names it: the member's name, after `OWN` where it is this installation's.
        member: Name of the model that was trained, e.g. ``hubert-nano``.
        own: Whether this installation computed it, rather than that it ships.
        corpus: Name of the held-out corpus.
        updates: Lens -> updates with a result, ascending.
    """

    id: str
    member: str
    own: bool
    corpus: str
    updates: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Surface:
    """One measure over training and depth.

    Attributes:
        title, unit, note: As in `Curve`.
        mean: Over utterances, float64 (updates, layers); NaN where it is not defined.
        low, high: Of its bootstrap 95% interval, of the same shape.
        n: Utterances behind each mean.
    """

    title: str
    unit: str
    note: str
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n: int


@dataclass(frozen=True)
class Trajectory:
    """One lens at every checkpoint of a run.

    Attributes:
        run: Of which run.
        lens, config: The lens and its options.
        corpus: What it was computed on.
        layers: Names, shallow to deep.
        frame_rates_hz: One a layer.
        updates: Of the checkpoints, ascending.
        primary: The measure shown first.
        measures: Name -> its surface.
        keys: Of the results, one an update.
        left_out: Why a checkpoint that has a file is not here, a sentence each.
        created: When the last of them was computed.
        devices: What computed them.
        versions: Of this package and the libraries, at the last checkpoint.
        seed: Of the bootstrap and the perturbations.
    """

    run: Run
    lens: str
    config: dict[str, Any]
    corpus: CorpusInfo
    layers: list[str]
    frame_rates_hz: list[float]
    updates: list[int]
    primary: str
    measures: dict[str, Surface]
    keys: list[str]
    left_out: list[str]
    created: str
    devices: list[str]
    versions: dict[str, str]
    seed: int

    @property
    def depth_percent(self) -> list[float]:
        """Depth of each layer from 0 to 100."""
        return depth_percent(self.layers)


@dataclass
class _Folder:
    """One folder of results as last listed, and what was read from it."""

    stamp: tuple[int, ...]
    files: dict[tuple[str, str], dict[int, Path]]
    read: dict[tuple[str, str], tuple[tuple, Trajectory]] = field(default_factory=dict)


class Trajectories:
    """Every training run of an installation, read on demand and kept until its files change.

    Args:
        home: Folder that this installation writes to.
        precomputed: Folder of what ships.
    """

    def __init__(self, home: Path, precomputed: Path) -> None:
        self._places = {False: precomputed / "dynamics", True: home / "dynamics"}
        self._models = precomputed / "models"
        self._lock = threading.Lock()
        self._folders: dict[Path, _Folder] = {}

    def corpora(self) -> list[str]:
        """Corpora that a run has results on, the demo corpus first."""
        found = {
            folder.name
            for place in self._places.values()
            for folder in _subfolders(place)
            if self._listed(folder).files
        }
        return sorted(found, key=lambda name: (name != "demo", name))

    def runs(self, corpus: str) -> list[Run]:
        """Runs with results on a corpus: what ships by name, then this installation's own."""
        found = []
        for own, place in self._places.items():
            updates: dict[str, dict[str, tuple[int, ...]]] = {}
            for (member, name), files in self._listed(self._folder(place, corpus)).files.items():
                updates.setdefault(member, {})[name] = tuple(sorted(files))
            found += [
                Run(f"{OWN if own else ''}{member}", member, own, corpus, updates[member])
                for member in sorted(updates)
            ]
        return found

    def get(self, corpus: str, run_id: str, lens_name: str) -> Trajectory:
        """One lens of a run.

        Raises:
            NotFoundError: No such run, or it has no result of this lens.
            ConflictError: Its results do not belong together.
        """
        run = next((r for r in self.runs(corpus) if r.id == run_id), None)
        if run is None or lens_name not in run.updates:
            what = "no such run" if run is None else f"no {lens_name} of it"
            raise NotFoundError(
                f"{run_id} on {corpus}: {what} here. `insidessl-dash dynamics --checkpoints FOLDER"
                f" --corpus {corpus}` computes the lenses at the checkpoints of a run."
            )
        folder = self._listed(self._folder(self._places[run.own], corpus))
        group = run.member, lens_name
        stamp = tuple((n, *_stamp(p)) for n, p in sorted(folder.files[group].items()))
        with self._lock:
            known = folder.read.get(group)
        if known is not None and known[0] == stamp:
            return known[1]
        made = _read(run, lens_name, folder.files[group])
        with self._lock:
            folder.read[group] = stamp, made
        return made

    def training(self, run: Run) -> TrainingCard | None:
        """The card of a shipped member; None for a run of one's own, or where there is none."""
        return None if run.own else read_training_card(self._models / run.member)

    def _folder(self, place: Path, corpus: str) -> Path:
        """The folder of a corpus; a name that is none of the place's own folders has nothing."""
        known = {folder.name: folder for folder in _subfolders(place)}
        return known.get(corpus, place / "none")

    def _listed(self, folder: Path) -> _Folder:
        stamp = _stamp(folder)
        with self._lock:
            known = self._folders.get(folder)
            if known is not None and known.stamp == stamp:
                return known
            files: dict[tuple[str, str], dict[int, Path]] = {}
            for path in sorted(folder.glob("*.json")) if stamp else ():
                match = _FILE.fullmatch(path.name)
                if match and _OPTIONS.get(match["lens"]) == (match["option"] or ""):
                    group = files.setdefault((match["member"], match["lens"]), {})
                    group[int(match["update"])] = path
            self._folders[folder] = _Folder(stamp, files)
            return self._folders[folder]


def _subfolders(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.is_dir())
    except OSError:
        return []


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file is written again; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size


def _read(run: Run, lens_name: str, files: dict[int, Path]) -> Trajectory:
    found: dict[int, Result] = {}
    left_out = []
    for update, path in sorted(files.items()):
        try:
            result = Result.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read: %s", path.name, error)
            left_out.append(f"Update {update:,} is left out: its file is damaged.")
            continue
        if result.lens != lens_name or not _has_values(result):
            left_out.append(f"Update {update:,} is left out: its file holds no {lens_name} values.")
            continue
        found[update] = result.model_copy(update={"utterances": []})
    if not found:
        raise ConflictError(
            f"{run.id} on {run.corpus}: none of its {len(files)} {lens_name} files can be read. "
            "Remove them and compute them again with insidessl-dash dynamics."
        )
    _agree(run, found)
    last = found[max(found)]
    results = [found[update] for update in sorted(found)]
    return Trajectory(
        run=run,
        lens=lens_name,
        config=last.config,
        corpus=last.corpus,
        layers=last.layers,
        frame_rates_hz=last.frame_rates_hz,
        updates=sorted(found),
        primary=last.primary,
        measures={name: _surface([r.measures[name] for r in results]) for name in last.measures},
        keys=[r.key for r in results],
        left_out=left_out,
        created=max(r.provenance.created for r in results),
        devices=sorted({r.provenance.device for r in results}),
        versions=last.provenance.versions,
        seed=last.provenance.seed,
    )


def _has_values(result: Result) -> bool:
    curve = result.measures.get(result.primary)
    return curve is not None and any(mean is not None for mean in curve.mean)


def _agree(run: Run, found: dict[int, Result]) -> None:
    """Refuse checkpoints that were not measured in the same way.

    Raises:
        ConflictError: With the first update that differs from the last one, and in what.
    """
    last = max(found)
    for update, result in found.items():
        other = found[last]
        parts = {
            "architecture": (result.model.family, other.model.family),
            "layers": (result.layers, other.layers),
            "audio": (result.corpus.digest, other.corpus.digest),
            "options": (result.config, other.config),
            "seed": (result.provenance.seed, other.provenance.seed),
            "version of the lens": (
                result.provenance.analysis_version,
                other.provenance.analysis_version,
            ),
            "measures": (list(result.measures), list(other.measures)),
        }
        wrong = [name for name, (one, two) in parts.items() if one != two]
        if wrong:
            raise ConflictError(
                f"{run.id} on {run.corpus}: update {update:,} was measured with another "
                f"{' and another '.join(wrong)} than update {last:,}, so they make no one curve. "
                "Remove the results of the odd one, or compute all again with insidessl-dash "
                "dynamics."
            )


def _surface(curves: list[Curve]) -> Surface:
    both = [[ci or (None, None) for ci in curve.ci95] for curve in curves]
    return Surface(
        title=curves[-1].title,
        unit=curves[-1].unit,
        note=curves[-1].note,
        mean=np.array([curve.mean for curve in curves], dtype=np.float64),
        low=np.array([[low for low, _high in row] for row in both], dtype=np.float64),
        high=np.array([[high for _low, high in row] for row in both], dtype=np.float64),
        n=min(curve.n for curve in curves),
    )
