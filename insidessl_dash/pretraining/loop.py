"""The one training loop: schedule, checkpoints, progress, exact resume.

Batches, masks and every other random choice follow from (seed, update), so a run that was killed
and resumed takes the same steps as one that was not.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from insidessl_dash.core.errors import StorageError, TrainingError
from insidessl_dash.core.files import whole_file, write_json, writing
from insidessl_dash.core.progress import ProgressHook
from insidessl_dash.core.types import SAMPLE_RATE, stable_seed
from insidessl_dash.pretraining.data import Batches, SpeechData
from insidessl_dash.pretraining.recipe import Batch, Recipe, RunSettings

_PART = 60
"""Held-out utterances that are evaluated at every checkpoint."""

_UNREADABLE = (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError)


def log_spaced(updates: int) -> list[int]:
    """0, 1, 2, 4, ... and the last update: where checkpoints are kept."""
    powers = [2**k for k in range(int(math.log2(updates)) + 1)]
    return sorted({0, *powers, updates})


def warmup(settings: RunSettings) -> int:
    """Updates of warm-up: those of the settings, but never more than a tenth of the run."""
    return min(settings.warmup, max(1, settings.updates // 10))


def learning_rate(settings: RunSettings, update: int) -> float:
    """Linear warm-up, then linear decay to zero; `update` counts from 1."""
    rising = warmup(settings)
    if update <= rising:
        return settings.learning_rate * update / rising
    left = (settings.updates - update + 1) / (settings.updates - rising + 1)
    return settings.learning_rate * left


class Run:
    """One run in one folder: ``run.json``, ``log.jsonl``, ``state.safetensors``, ``checkpoints/``.

    Args:
        recipe: The objective.
        data: The speech.
        settings: What determines the run.
        folder: Where it lives.
        device: ``cpu`` or ``cuda``.
        resume: Go on from the last saved state.
        extend: With `resume`, allow more updates than before. The schedule of the learning rate
            then stretches from here on; ``run.json`` and the card keep every stretch.

    Attributes:
        stretches: ``{"from_update", "updates"}`` of each schedule the run has had.

    Raises:
        TrainingError: The folder holds a run already, one with other settings, data or recipe, or a
            state that cannot be read.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: SpeechData,
        settings: RunSettings,
        folder: Path,
        device: str,
        resume: bool,
        extend: bool = False,
    ) -> None:
        self.recipe, self.data, self.settings = recipe, data, settings
        self.folder, self.device = folder, device
        self.batches = Batches(
            data, settings.batch_seconds, settings.max_crop_s, settings.seed, recipe.least_batch
        )
        if device.startswith("cuda"):
            torch.backends.cudnn.deterministic = True  # else a resumed run drifts from a whole one
        self.model = recipe.build().to(device).train()
        self.parameters = {k: p for k, p in self.model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in g.module.parameters() if p.requires_grad], "rate": g.rate}
                for g in recipe.groups(self.model)
            ],
            lr=0.0,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._buffers = list(self.model.buffers())
        self._kept = [torch.empty_like(buffer) for buffer in self._buffers]
        self._reader = ThreadPoolExecutor(1)
        self._ahead: tuple[int, Future[Batch]] | None = None
        self._log_path = folder / "log.jsonl"
        self.update, self.seconds_seen, self.wall_s = 0, 0.0, 0.0
        self._whole = True  # not in the middle of an update
        identity = {
            "recipe": recipe.name,
            **recipe.depends_on(),
            "settings": settings.model_dump(mode="json"),
            "data": data.digest,
        }
        self.stretches = [{"from_update": 0, "updates": settings.updates}]
        self._open(identity, resume, extend)

    def _open(self, identity: dict[str, Any], resume: bool, extend: bool) -> None:
        record = self.folder / "run.json"
        if not record.exists():
            write_json(record, identity)
            return
        try:
            stored = json.loads(record.read_text())
            before = stored["settings"]["updates"]
        except (ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{record} is not the record of a run (cut off?): start in another folder."
            ) from error
        if not resume:
            raise TrainingError(
                f"{self.folder} holds a run already. Add --resume to go on with it, "
                "or choose another --out."
            )
        self.stretches = stored.pop("stretches", [{"from_update": 0, "updates": before}])
        longer = {**identity["settings"], "updates": before} == stored["settings"]
        if (
            extend
            and longer
            and self.settings.updates > before
            and {k: stored.get(k) for k in identity if k != "settings"}
            == {k: v for k, v in identity.items() if k != "settings"}
        ):
            if not (self.folder / "state.safetensors").exists():
                raise TrainingError(
                    f"{self.folder} has no saved state to extend yet. Resume it with --updates "
                    f"{before} and without --extend first, or start in another folder."
                )
            self._load_state()
            self.stretches.append({"from_update": self.update, "updates": self.settings.updates})
            write_json(record, identity | {"stretches": self.stretches})
            return
        if stored != identity:
            flat = {**stored, **stored["settings"]}, {**identity, **identity["settings"]}
            keys = sorted(k for k in flat[1] if flat[0].get(k) != flat[1][k] and k != "settings")
            changes = ", ".join(f"{k}: {flat[0].get(k)} -> {flat[1][k]}" for k in keys)
            raise TrainingError(
                f"Cannot resume {self.folder} with other settings ({changes}). "
                "Give the same ones, or start in another folder."
            )
        if (self.folder / "state.safetensors").exists():
            self._load_state()

    def train(
        self, progress: ProgressHook, save_every: int = 250, until: int | None = None
    ) -> None:
        """Run to the last update, or to `until`, from where the run can be extended.

        Raises:
            TrainingError: The loss is not finite; the last good state is kept.
            Cancelled: From `progress`; the state is saved first, as it is when Ctrl-C is hit.
            StorageError: The disk is full, or the folder cannot be written.
        """
        keep = set(log_spaced(self.settings.updates))
        self._trim_log()
        started = time.monotonic() - self.wall_s
        try:
            if self.update in keep:
                self._checkpoint()  # the first one, or one that was interrupted
            while self.update < min(until or self.settings.updates, self.settings.updates):
                with _interrupted_after():
                    entry = self._step()
                self.wall_s = time.monotonic() - started
                if self.update % 10 == 0 or self.update <= 32:
                    self._append(entry | {"wall_s": round(self.wall_s, 2)})
                if self.update in keep:
                    self._checkpoint()
                if self.update % save_every == 0:
                    self._save_state()
                progress(f"loss {entry['loss']:.3f}", self.update, self.settings.updates)
        except BaseException:
            with suppress(StorageError):  # what stopped the run is what is told
                self._save_state()
            raise
        self._save_state()

    def log(self) -> list[dict[str, Any]]:
        """What was logged so far, in order."""
        try:
            lines = self._log_path.read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(x) for x in lines if _update_of(x) < math.inf]

    def _batch(self) -> Batch:
        """The batch of this update; that of the next one is read meanwhile."""
        update, ahead = self.update, self._ahead
        found = ahead[1].result() if ahead and ahead[0] == update else self.batches(update)
        self._ahead = (update + 1, self._reader.submit(self.batches, update + 1))
        return found

    def _step(self) -> dict[str, Any]:
        batch, update = self._batch(), self.update + 1
        _copy(self._buffers, self._kept)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * learning_rate(self.settings, update)
        torch.manual_seed(stable_seed("torch", self.settings.seed, update))
        try:
            value, metrics = self._gradients(batch, update)
        except BaseException:  # as if the update had not begun
            self.optimizer.zero_grad(set_to_none=True)
            _copy(self._kept, self._buffers)
            raise
        self._whole = False
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.recipe.after_step(self.model, update)
        self.update = update
        self.seconds_seen += batch[0].size / SAMPLE_RATE
        self._whole = True
        return {
            "update": update,
            "loss": value,
            **metrics,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "seconds_seen": round(self.seconds_seen, 2),
        }

    def _gradients(self, batch: Batch, update: int) -> tuple[float, dict[str, float]]:
        """Loss of a batch and what to log beside it; the clipped gradients are left behind."""
        with torch.autocast(
            self.device.partition(":")[0],
            torch.bfloat16,
            enabled=self.settings.precision == "bfloat16",
        ):
            loss, metrics = self.recipe.loss(self.model, batch, update, self.device)
        value = loss.item()
        self._require_finite("loss", value)
        loss.backward()
        for group in self.optimizer.param_groups:
            norm = nn.utils.clip_grad_norm_(group["params"], self.settings.clip_norm)
            self._require_finite("gradient", norm.item())
        return value, metrics

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"The {what} became {value} at update {self.update + 1}; stopped. The state of "
                f"update {self.update} is kept. Try a lower learning rate."
            )

    def _checkpoint(self) -> None:
        """Export the weights of this update, whole or absent, and evaluate; what is there stays.

        On a part of the held-out speech, the same at every update; first and last, what the card
        compares, on all of it too.
        """
        target = self.folder / "checkpoints" / f"update-{self.update:06d}"
        if not target.exists():
            temporary = target.with_name(f".{target.name}.part")
            with writing(target):
                temporary.mkdir(parents=True, exist_ok=True)
                self.recipe.export(self.model, temporary)
                os.replace(temporary, target)
        found = [
            e["held_out"] for e in self.log() if "held_out" in e and e["update"] == self.update
        ]
        limits = [_PART, None] if self.update in (0, self.settings.updates) else [_PART]
        for limit in limits[len(found) :]:
            if found and found[0]["utterances"] < _PART:
                break  # the part was all there is
            scores = self.recipe.evaluate(self.model, self.device, self.settings.max_crop_s, limit)
            found.append(scores)
            self._append({"update": self.update, "held_out": scores})

    def _append(self, entry: dict[str, Any]) -> None:
        with writing(self._log_path), self._log_path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _save_state(self) -> None:
        """Nothing where there is nothing to go on from: no update yet, or half of one."""
        if not (self.update and self._whole):
            return
        state = {f"model.{k}": v.detach() for k, v in self.model.state_dict().items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                state[f"{key}.{name}"] = value
        record = {"update": self.update, "seconds_seen": self.seconds_seen, "wall_s": self.wall_s}
        with whole_file(self.folder / "state.safetensors") as temporary:
            tensors = {k: v.contiguous().cpu() for k, v in state.items()}
            save_file(tensors, temporary, metadata={"run": json.dumps(record)})

    def _load_state(self) -> None:
        try:
            self._read_state()
        except _UNREADABLE as error:
            said = (str(error) or type(error).__name__).splitlines()[0][:120]
            raise TrainingError(
                f"The state in {self.folder} is not one of this model ({said}): resume the "
                "run that wrote it, or start in another folder."
            ) from error

    def _read_state(self) -> None:
        with safe_open(self.folder / "state.safetensors", "pt", device=self.device) as file:
            record = json.loads(file.metadata()["run"])
            names = set(file.keys())
            self.model.load_state_dict(
                {k.removeprefix("model."): file.get_tensor(k) for k in names if k[:6] == "model."}
            )
            for name, parameter in self.parameters.items():
                keys = ("step", "exp_avg", "exp_avg_sq")
                if f"step.{name}" in names:
                    self.optimizer.state[parameter] = {
                        key: file.get_tensor(f"{key}.{name}") for key in keys
                    }
        self.update, self.seconds_seen = record["update"], record["seconds_seen"]
        self.wall_s = record["wall_s"]

    def _trim_log(self) -> None:
        """Forget what was logged after the state that is resumed from."""
        path = self._log_path
        if path.exists():
            lines = path.read_text().splitlines() if self.update else []
            kept = [x for x in lines if _update_of(x) <= self.update]
            with whole_file(path) as temporary:
                temporary.write_text("".join(line + "\n" for line in kept))


@contextmanager
def _interrupted_after() -> Iterator[None]:
    """Ctrl-C waits for the end of the block, so that an update is made whole or not at all."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    asked: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _frame: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


def _copy(tensors: list[Tensor], into: list[Tensor]) -> None:
    """In one go, which on a GPU is much faster than one by one."""
    if tensors:
        torch._foreach_copy_(into, tensors)


def _update_of(line: str) -> float:
    """Which update a line of the log is of; never, where its writing was interrupted."""
    try:
        return json.loads(line)["update"]
    except ValueError:
        return math.inf
