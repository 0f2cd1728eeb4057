"""Training one trial: take its lease, resume, train epoch by epoch, publish, end.

Every epoch's row is published at once; a checkpoint commits the rows so far (`checkpoint`). A trial
that is asked to stop drops the running epoch and commits those before it. A trial ends in this
order: final checkpoint, metrics, trial row. So one that is cut off is either still unfinished, or
has ended with all of its files in place.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import pyarrow as pa
import torch

from results_schema import layout, tables
from results_schema.canonical import parse_json
from results_schema.errors import CorruptData, MissingKey, StoreError
from results_schema.lease import Lease
from results_schema.plugins import sources
from results_schema.program import ProgramSpec
from results_schema.store import Store, recorded_failure
from results_schema.trial import TrialSpec
from workers.data.batches import Data, Images, evaluation_batches, training_batches
from workers.training import device as devices
from workers.training.attempt import (
    Ask,
    ItemLog,
    Outcome,
    Status,
    Stopped,
    Stopping,
    StopRequest,
    attempt,
    nobody,
)
from workers.training.checkpoint import Checkpoint, Checkpointing, History, Row
from workers.training.engine import Engine
from workers.training.graphs import StepMode
from workers.training.recipe import scheduled_lr
from workers.training.setup import check_versions, set_up

_ONCE_A_MINUTE = Checkpointing()

_LATE = 10
"""Epochs that the late test accuracy averages over."""

_LARGEST_COUNTER = 10_000
"""Bytes beyond which a counter of attempts is not read."""

T = TypeVar("T", TrialSpec, ProgramSpec)

Ending = tuple[Literal["done", "diverged"], str]
"""The status of an ended trial, and why it ended."""


def train(
    spec: TrialSpec,
    store: Store,
    *,
    device: str | None = None,
    deterministic: bool = False,
    token: str | None = None,
    checkpointing: Checkpointing = _ONCE_A_MINUTE,
    pack_size: int = 1,
    gpu_share: float = 1.0,
    on_epoch: Callable[[Row], None] = lambda row: None,
    stop: StopRequest | None = None,
    ask: Ask = nobody,
    until: int | None = None,
) -> Outcome:
    """Train a trial to its end, from its newest sound checkpoint if it has one.

    Args:
        spec: The trial.
        store: Where its rows and checkpoints go.
        device: See `device.choose`, like the next.
        deterministic: Whether a GPU must give the same bits again; no part of the identity.
        token: Name of the lease, chosen by whoever may want to fence it.
        checkpointing: When to commit.
        pack_size: How many trials this process trains side by side (`packing`), for the row.
        gpu_share: GPUs that this process has, below 1 a share of one; for the row too.
        on_epoch: Called with each published row.
        stop: Asks it to stop before the next batch.
        ask: As in `attempt`, which returns an error as an outcome.
        until: See `Training`.
    """
    choose = partial(devices.choose, device, deterministic=deterministic, precision=spec.precision)

    def begin(lease: Lease, log: ItemLog, stopping: Stopping) -> _CellTraining:
        history = History(store, lease, spec.trial_id, checkpointing)
        shared = {"pack_size": pack_size, "gpu_share": gpu_share}
        return _CellTraining(
            spec, store, lease, log, history, choose, shared, on_epoch, stopping, until
        )

    return attempt(store, spec.trial_id, token, begin, stop or StopRequest(), ask)


@dataclass
class Training(ABC, Generic[T]):
    """One worker's attempt at a trial whose lease it holds; kinds of trials differ in `train`.

    Attributes:
        shared: Columns of the trial's row: how the worker shares its device.
        until: Epoch after which the trial waits for a decision on its cohort; None for none.
        done: Number of epochs trained.
    """

    spec: T
    store: Store
    lease: Lease
    log: ItemLog
    history: History
    choose_device: Callable[[], torch.device]
    shared: dict[str, Any]
    on_epoch: Callable[[Row], None]
    stopping: Stopping
    until: int | None = None
    done: int = 0

    def run(self) -> tuple[Status, str]:
        """Train until the trial ends or is asked to stop; return its status and the reason."""
        spec = self.spec
        # Checked under the lease: another worker may have ended it just before.
        if ended := ended_status(self.store, spec.trial_id):
            return ended, "it had ended before"
        if self.stopping.request.made:
            return "stopped", "before it began"
        self.check()
        device = self.choose_device()
        with devices.own_stream(device):
            attempts = count_attempt(self.store, self.lease, spec.trial_id, spec.epochs)
            share = self.shared["gpu_share"] if device.type == "cuda" else None
            facts = devices.provenance(device) | attempts | self.shared | {"gpu_share": share}
            place = f"{facts['host']}, {device}"
            self.log.add(f"attempt {facts['attempts']} of {spec.trial_id} on {place}")
            # Written before anything may crash the process: the log then shows where it was.
            self.log.flush()
            return self.train(device, facts)

    def check(self) -> None:
        """Raise an error if this machine can't train what the trial's spec means."""

    @abstractmethod
    def train(self, device: torch.device, facts: dict[str, Any]) -> tuple[Status, str]:
        """Resume, train and end the trial, given the columns of where and when it is trained."""

    def resume(self, restore: Callable[[Checkpoint], None], last: int) -> None:
        """Return to the newest sound checkpoint of an epoch up to `last`."""
        self.history.resume(restore, self.log.add, last=last)
        if self.history.rows:
            self.log.add(f"resumes after epoch {len(self.history.rows)}")
        self.log.flush()  # an epoch may take long, and this worker may die in it

    @property
    def waits(self) -> bool:
        """Whether it has committed the epoch after which it waits for a decision."""
        return self.until is not None and self.history.committed >= self.until

    def add(self, row: Row, line: str) -> None:
        """Publish the row of one more epoch, and log a line."""
        self.done += 1
        self.history.add(row)
        self.log.add(f"epoch {row['epoch']}: {line}, {row['seconds']:.2f} s")
        self.log.flush()
        self.on_epoch(row)

    def end(self, row: Row, schema: pa.Schema = tables.TRIALS) -> None:
        """Publish the final rows and the trial's own: it has ended once that one is there."""
        store, trial_id = self.store, self.spec.trial_id
        self.history.close()
        # Before the row: whoever finds the row never looks for a failure to remove.
        store.delete(layout.failure(trial_id), lease=self.lease)
        self.log.add(f"{row['status']}: {row['exit_reason']}")
        self.log.flush()
        data = tables.to_parquet([row], schema)
        store.put(layout.trial(trial_id), data, lease=self.lease, final=True)
        # The trial has ended: a small file left over is no reason to call it failed.
        with contextlib.suppress(StoreError):
            store.delete(layout.attempts(trial_id), lease=self.lease)


class _CellTraining(Training[TrialSpec]):
    """An attempt at training a network of cells."""

    def check(self) -> None:
        check_versions(self.spec)

    def train(self, device: torch.device, facts: dict[str, Any]) -> tuple[Status, str]:
        for source in sources(self.spec.extensions):
            self.log.add(source)
        mode: StepMode | None = None
        # The failure is in the store, as another process on another node may try next.
        if recorded_failure(self.store, self.spec.trial_id)["kind"] == "graph":
            self.log.add(
                "no CUDA graph could be captured before: steps run kernel by kernel, slower"
            )
            mode = "eager"
        data, engine = set_up(self.spec, device, mode)
        # A neighbour in the process may need the memory as soon as this trial has ended.
        with contextlib.closing(engine):
            return self._train_epochs(data, engine, facts)

    def _train_epochs(
        self, data: Data, engine: Engine, facts: dict[str, Any]
    ) -> tuple[Status, str]:
        spec, history = self.spec, self.history
        last = spec.recipe.epochs

        def restore(found: Checkpoint) -> None:
            engine.restore(found.tensors, momenta=found.epoch < last)

        self.resume(restore, last)
        while not (ending := self._ending(engine)):
            # A stop commits the epochs before the running one, so their state is kept: in a
            # checkpoint if one is due, otherwise in a copy on the device, which is cheap.
            if history.due or len(history.rows) == self.until:
                history.commit(engine.state)
            elif history.rows:
                engine.take_snapshot()
            if self.waits:
                return "waiting", f"after epoch {len(history.rows)} of {last}"
            epoch = len(history.rows) + 1
            try:
                row = train_epoch(spec, epoch, engine, data, self.stopping)
            except Stopped:
                history.commit(engine.snapshot)
                return "stopped", f"after epoch {epoch - 1} of {last}"
            self.add(
                row,
                f"train loss {row['train_loss']:.4f}, {_validated(row)}"
                f"test loss {row['test_loss']:.4f}, test accuracy {row['test_accuracy']:.4f}",
            )
        # After the last epoch nobody takes a step from here, and momenta are half of the file. A
        # trial that diverged earlier keeps them, so that the epoch alone decides what a file holds.
        history.commit(lambda: engine.state(momenta=len(history.rows) < last))
        parameters = sum(weight.numel() for weight in engine.network.parameters())
        facts |= {"form": engine.mode, "parameters": parameters}
        self.end(trial_row(spec, history.rows, ending, facts))
        return ending

    def _ending(self, engine: Engine) -> Ending | None:
        """Return how the trial has ended, from its rows and weights alone; None if it has not."""
        # A trial that is cut off after its final checkpoint must end alike when it is resumed.
        rows, last = self.history.rows, self.spec.recipe.epochs
        if not rows:
            return None
        if not math.isfinite(rows[-1]["train_loss"]):
            return "diverged", f"the training loss of epoch {len(rows)} is not finite"
        # The last step of an epoch may break the weights without a trace in its own loss.
        if not engine.finite():
            return "diverged", f"a weight is not finite after epoch {len(rows)}"
        if len(rows) < last:
            return None
        # An earlier one may be infinite and recover: evaluation uses running statistics.
        if not math.isfinite(rows[-1]["test_loss"]):
            return "diverged", "the test loss of the last epoch is not finite"
        return "done", f"trained {last} epochs"


def train_epoch(spec: TrialSpec, epoch: int, engine: Engine, data: Data, stopping: Stopping) -> Row:
    """Train one epoch, evaluate the network, and return the row of `tables.METRICS`.

    Raises:
        Stopped: It was asked to stop; the engine is left half-trained.
    """
    # Also here: a batch would be computed in vain, and generators are cheap to seed again.
    stopping.check()
    recipe = spec.recipe
    start = time.perf_counter()
    lr = scheduled_lr(recipe, spec.learning_rate, epoch)
    batches = training_batches(
        data, recipe.batch_size, spec.seed, epoch, recipe.cutout, recipe.augmentation
    )
    engine.begin(spec.seed, epoch)
    totals = engine.train_epoch(stopping.between(batches), lr)
    # The totals were read from the device, so all steps have run by now.
    trained = time.perf_counter()

    def evaluate(images: Images | None) -> tuple[float, float] | tuple[None, None]:
        if images is None:
            return None, None
        parts = evaluation_batches(images, data.about, recipe.evaluation_batch)
        return engine.evaluate(stopping.between(parts))

    val_loss, val_accuracy = evaluate(data.validation)
    loss, accuracy = evaluate(data.test)
    return {
        "trial_id": spec.trial_id,
        "epoch": epoch,
        "rate": lr,
        "train_loss": totals.loss,
        "train_accuracy": totals.accuracy,
        "test_loss": loss,
        "test_accuracy": accuracy,
        "val_loss": val_loss,
        "val_accuracy": val_accuracy,
        "grad_norm": totals.grad_norm,
        "clip_rate": totals.clip_rate,
        "seconds": time.perf_counter() - start,
        "images_per_second": totals.images / (trained - start),
        "peak_memory": devices.peak_memory(data.train.pixels.device),
        "finished_at": datetime.now(UTC),
    }


def _validated(row: Row) -> str:
    """Return what a log says of the held-out images, if there are any."""
    if row["val_loss"] is None:
        return ""
    return f"val loss {row['val_loss']:.4f}, val accuracy {row['val_accuracy']:.4f}, "


def trial_row(spec: TrialSpec, rows: list[Row], ending: Ending, facts: dict[str, Any]) -> Row:
    """Return a row of `tables.TRIALS` from rows of metrics, at least one.

    `facts` are the columns of where, when and with what it was trained, and its parameters.
    """
    last = rows[-1]
    accuracies = [row["test_accuracy"] for row in rows]
    late = accuracies[-_LATE:]
    # Selected by validation alone: what is largest on the test set is no estimate of a test.
    validated = [row["val_accuracy"] for row in rows]
    best = validated.index(max(validated)) if None not in validated else None
    return {
        "trial_id": spec.trial_id,
        "status": ending[0],
        "dataset": spec.dataset,
        "learning_rate": spec.learning_rate,
        "seed": spec.seed,
        "precision": spec.precision,
        "recipe_version": spec.recipe.version,
        "width": spec.genotype.width,
        "depth": spec.genotype.depth,
        "epochs": len(rows),
        "train_loss": last["train_loss"],
        "test_loss": last["test_loss"],
        "test_accuracy": last["test_accuracy"],
        "best_test_accuracy": max(accuracies),
        "late_test_accuracy": sum(late) / len(late),
        "val_loss": last["val_loss"],
        "val_accuracy": last["val_accuracy"],
        "best_epoch": None if best is None else best + 1,
        "selected_test_accuracy": None if best is None else accuracies[best],
        "spec": spec.to_json(),
        "exit_reason": ending[1],
        "ended_at": datetime.now(UTC),
        "train_seconds": sum(row["seconds"] for row in rows),
        "origin": None,
        **facts,
    }


def ended_status(store: Store, trial_id: str) -> Literal["done", "diverged"] | None:
    """Return the status of an ended trial, None if it has not ended."""
    key = layout.trial(trial_id)
    try:
        data = store.get(key)
    except MissingKey:
        return None
    return tables.from_parquet(data, tables.TRIALS, key)["status"][0].as_py()


def count_attempt(store: Store, lease: Lease, trial_id: str, epochs: int) -> dict[str, Any]:
    """Return which attempt at the trial this is and when the first began, as columns of its row.

    The number of epochs that it is to train, 0 if that is not known, is stored beside, for
    `nas-sweep status`.
    """
    key = layout.attempts(trial_id)
    try:
        past = parse_json(store.get(key, most=_LARGEST_COUNTER))
        count, started = past["attempts"] + 1, datetime.fromisoformat(past["started_at"])
    except (MissingKey, CorruptData, ValueError, KeyError, TypeError):
        # A damaged counter is no reason to refuse the trial: it explains, and decides nothing.
        count, started = 1, datetime.now(UTC)
    content = {"attempts": count, "started_at": started.isoformat(), "epochs": epochs or None}
    store.put(key, json.dumps(content).encode(), lease=lease)
    return {"attempts": count, "started_at": started}
