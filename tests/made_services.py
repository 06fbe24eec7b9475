"""A dashboard on synthetic results (test fixture): everything real but the computing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from made_lab import make_lab_outcome
from made_results import MODELS, make_result, make_values, shipped_results

from insidessl_dash.core.errors import ModelError
from insidessl_dash.core.lenses import lens
from insidessl_dash.core.registry import Registry
from insidessl_dash.core.settings import Settings
from insidessl_dash.corpora.known import known_corpus
from insidessl_dash.dashboard.callbacks.choice import Catalogue
from insidessl_dash.dashboard.callbacks.screen import Screen
from insidessl_dash.dashboard.factory import Services
from insidessl_dash.engine.lab_spec import LabOutcome, LabTask
from insidessl_dash.engine.plan import corpus_digest, key_of
from insidessl_dash.engine.service import JobService
from insidessl_dash.engine.spec import EncoderInfo, LensPlan, LensRequest, ShardOutcome, ShardTask
from insidessl_dash.engine.uploads import Uploads
from insidessl_dash.results.schema import Result, UtteranceInfo, Values
from insidessl_dash.results.store import Store, pack_values

ROOT = Path(__file__).resolve().parents[1]
SLOW_MODEL = "hubert-nano-init"
BROKEN_MODEL = "wavlm-large"
SCREEN: Screen = {"scheme": "light", "compact": False}


class FixtureExecutor:
    """Says it computes, takes a moment, and hands back made-up curves (test fixture).

    `SLOW_MODEL` takes so long that it can be cancelled; `BROKEN_MODEL` cannot be loaded.
    """

    ready = True

    def describe(
        self, card: dict[str, Any], requests: list[LensRequest]
    ) -> tuple[EncoderInfo, list[LensPlan]]:
        name = card["name"]
        if name == BROKEN_MODEL or name not in MODELS:
            raise ModelError(f"{name}: its weights are not on this machine (test fixture).")
        sample = make_result(name)
        info = EncoderInfo(
            layers=sample.layers,
            frame_rates_hz=sample.frame_rates_hz,
            weights_sha256=sample.model.weights_sha256,
            source="",
            revision="",
            layer_policy={},
            device="test fixture",
        )
        plans = [
            LensPlan(name=r.name, version=1, config={**lens(r.name).defaults(), **r.config})
            for r in requests
        ]
        return info, plans

    def shards(
        self, tasks: list[ShardTask], advance: Callable[[int, int], None], check: Callable[[], None]
    ) -> Iterator[tuple[ShardTask, ShardOutcome]]:
        for task in tasks:
            for step in range(600 if task.card["name"] == SLOW_MODEL else 1):
                check()
                time.sleep(0.05)
                advance(task.index, min(step, len(task.utterances) - 1))
            yield (
                task,
                ShardOutcome(
                    states=[],
                    utterances=[
                        {"id": row["id"], "seconds": row.get("seconds") or 3.2}
                        for row in task.utterances
                    ],
                    wall_s=0.1,
                ),
            )

    def finish(self, *args: Any) -> list[tuple[Result, Values]]:
        card, info, plans, outcomes, corpus, audio, seed, command = args
        rows = sorted((r for o in outcomes for r in o.utterances), key=lambda r: r["id"])
        found = []
        for plan in plans:
            made = make_result(card["name"], plan.name, corpus=corpus["name"], n=len(rows))
            made = made.model_copy(
                update={
                    "key": key_of(info, card["name"], plan, audio, seed),
                    "config": plan.config,
                    "utterances": [UtteranceInfo(**row) for row in rows],
                    "corpus": made.corpus.model_copy(update={"digest": corpus_digest(audio)}),
                    "provenance": made.provenance.model_copy(update={"command": command}),
                }
            )
            found.append((made, make_values(made)))
        return found

    def lab(
        self, task: LabTask, begun: Callable[[], None], check: Callable[[], None]
    ) -> LabOutcome:
        check()
        begun()
        return make_lab_outcome(task)


def write_results(folder: Path, results: Sequence[Result]) -> None:
    """Results as they ship, in ``folder/results``."""
    for result in results:
        path = folder / "results" / result.corpus.name / f"{result.model.name}__{result.lens}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(result.model_dump_json())
        path.with_suffix(".npz").write_bytes(pack_values(make_values(result)))


def make_settings(folder: Path, results: Sequence[Result] | None = None) -> Settings:
    """Settings of a scratch installation that ships synthetic results."""
    precomputed = folder / "precomputed"
    precomputed.mkdir(parents=True, exist_ok=True)
    write_results(precomputed, shipped_results() if results is None else results)
    demo = ROOT / "precomputed" / "demo"
    if demo.exists():
        (precomputed / "demo").symlink_to(demo)
    return Settings(home=folder / "home", precomputed=precomputed, assets=ROOT / "assets")


def make_services(settings: Settings) -> Services:
    """Services whose jobs are done by `FixtureExecutor`."""
    store = Store(settings.home, settings.precomputed)
    registry = Registry(settings.home, settings.precomputed)
    uploads = Uploads(settings)
    service = JobService(
        store, FixtureExecutor(), registry, uploads, lambda name: known_corpus(name, settings)
    )
    return Services(store, registry, uploads, service)


def catalogue_of(services: Services, visible: bool = True) -> Catalogue:
    """What the callbacks of these services draw from."""
    return Catalogue(services.store, services.registry, lambda: ["demo"], lambda key: visible)


def fire(client: FlaskClient, output: str, values: dict[str, Any], changed: str) -> Any:
    """Call a callback as the browser does."""
    entry = next(d for d in client.get("/_dash-dependencies").json if output in d["output"])
    body = {
        "output": entry["output"],
        "outputs": [
            dict(zip(("id", "property"), part.rsplit(".", 1), strict=True))
            for part in entry["output"].strip(".").split("...")
        ],
        "changedPropIds": [changed],
    }
    for kind in ("inputs", "state"):
        body[kind] = [
            {**item, "value": values.get(f"{item['id']}.{item['property']}")}
            for item in entry[kind]
        ]
    return client.post("/_dash-update-component", json=body)
