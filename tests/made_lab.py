"""Answers of the Signal Lab without a model (test fixture): numbers that say the strength."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile
from made_results import MODELS, make_result

from insidessl_dash.core.dials import DIALS
from insidessl_dash.core.lab import LENS, MEASURES
from insidessl_dash.engine.lab_spec import LabOutcome, LabSounds, LabTask
from insidessl_dash.engine.spec import EncoderInfo
from insidessl_dash.results.schema import Curve, Result

SECONDS = 2.0


def share(task: LabTask) -> float:
    """Where a strength lies in its range, 0 to 1: the made-up similarity of every layer."""
    dial = DIALS[task.perturbation]
    return (task.strength - dial.low) / (dial.high - dial.low)


def make_lab_result(card: dict[str, Any], task: LabTask) -> Result:
    name = card["name"] if card["name"] in MODELS else "hubert-nano"
    made = make_result(name, corpus=task.corpus, n=1)
    stretched = task.perturbation == "speed" and task.strength != 1
    measures = {}
    for info in MEASURES:
        defined = not stretched or info.name == "means"
        count = len(made.layers)
        mean = [share(task) if defined else None] * count
        note = "" if defined else f"Not defined here. {DIALS[task.perturbation].alignment}"
        measures[info.name] = Curve(
            title=info.title, unit="", mean=mean, std=[None] * count, ci95=[None] * count, n=1,
            note=note,
        )  # fmt: skip
    config = {"perturbation": task.perturbation, "strength": task.strength}
    changes = {"lens": LENS, "config": config, "primary": "centred", "measures": measures}
    return made.model_copy(update=changes)


def make_lab_outcome(task: LabTask) -> LabOutcome:
    """Tones whose pitch says which sound it is."""
    longer = task.strength if task.perturbation == "speed" else 1.0
    return LabOutcome(
        results=[make_lab_result(card, task) for card in task.cards],
        sounds=LabSounds(
            original=tone(220, SECONDS),
            perturbed=tone(300 + 300 * share(task), SECONDS / longer),
            gain_db=-3.0 if task.perturbation == "gain" else 0.0,
            seconds=(SECONDS, SECONDS / longer),
            whole_s=SECONDS,
            notes=[],
        ),
    )


def tone(hz: float, seconds: float) -> bytes:
    buffer = io.BytesIO()
    samples = 0.2 * np.sin(2 * np.pi * hz * np.arange(int(16_000 * seconds)) / 16_000)
    soundfile.write(buffer, samples, 16_000, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


class HeldExecutor:
    """Computes when the test says so, and remembers what it was given (test fixture).

    Attributes:
        given: Tasks in the order that they were handed over.
        began: Those that were begun.
        hold: While it is not set, a task waits in the queue; `check` may end it there.
        run: While it is not set, a task that has begun goes on.
        failure: What the next task raises.
    """

    ready = True

    def __init__(self) -> None:
        self.given: list[LabTask] = []
        self.began: list[LabTask] = []
        self.described: list[str] = []
        self.hold, self.run = threading.Event(), threading.Event()
        self.arrived, self.started = threading.Semaphore(0), threading.Semaphore(0)
        self.failure: Exception | None = None
        self.hold.set()
        self.run.set()

    def until_begun(self, strength: float) -> None:
        """Wait for the task of a strength to be begun."""
        while all(task.strength != strength for task in self.began):
            assert self.started.acquire(timeout=30)

    def describe(self, card: dict[str, Any], requests: list[Any]) -> tuple[EncoderInfo, list]:
        self.described.append(card["name"])
        sample = make_result("hubert-nano")
        info = EncoderInfo(
            layers=sample.layers, frame_rates_hz=sample.frame_rates_hz,
            weights_sha256=card["name"], source="", revision="", layer_policy={}, device="cpu",
        )  # fmt: skip
        return info, []

    def lab(
        self, task: LabTask, begun: Callable[[], None], check: Callable[[], None]
    ) -> LabOutcome:
        self.given.append(task)
        self.arrived.release()
        while not self.hold.wait(0.005):
            check()
        check()
        begun()
        self.began.append(task)
        self.started.release()
        while not self.run.wait(0.005):
            check()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return make_lab_outcome(task)
