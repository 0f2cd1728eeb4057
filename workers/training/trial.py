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
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal, TypeVar

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
from workers.training.attempt import Attempt, Outcome, Status, Stopped, Stopping, read_rows
from workers.training.checkpoint import Checkpoint, Checkpointing, History, Row
from workers.training.engine import Engine
from workers.training.graphs import StepMode
from workers.training.recipe import scheduled_lr
from workers.training.setup import check_versions, set_up

_LATE = 10
"""Epochs that the late test accuracy averages over."""

_LARGEST_COUNTER = 10_000
"""Bytes beyond which a counter of attempts is not read."""

T = TypeVar("T", TrialSpec, ProgramSpec)

Ending = tuple[Literal["done", "diverged"], str]
"""The status of an ended trial, and why it ended."""


def train(spec: TrialSpec, store: Store, **options: Any) -> Outcome:
    """Train a trial to its end, from its newest sound checkpoint if it has one.

    Options are fields of `Training`.
    """
    return _CellTraining(spec, store, **options).run()


@dataclass(kw_only=True)
class Training(Attempt[T]):
    """One worker's attempt at a trial; kinds of trials differ in `train`.

    Attributes:
        checkpointing: When to commit.
        pack_size: How many trials this process trains side by side (`packing`), for the row.
        on_epoch: Called with each published row.
        until: Epoch after which the trial waits for a decision on its cohort; None for none.
    """

    checkpointing: Checkpointing = field(default_factory=Checkpointing)
    pack_size: int = 1
    on_epoch: Callable[[Row], None] = lambda row: None
    until: int | None = None

    @property
    def item(self) -> str:
        """The trial's id."""
        return self.spec.trial_id

    def ended(self) -> Status | None:
        """Return the status in the trial's row, if it is there."""
        rows = read_rows(self.store, layout.trial(self.item), tables.TRIALS)
        return rows[0]["status"] if rows else None

    @cached_property
    def schema(self) -> pa.Schema:
        """That of its rows."""
        return tables.METRICS

    @cached_property
    def history(self) -> History:
        """Its rows and checkpoints."""
        return History(self.store, self.lease, self.item, self.checkpointing, self.schema)

    def work(self, device: torch.device) -> tuple[Status, str]:
        """Train until the trial ends or is asked to stop; return its status and the reason."""
        with devices.own_stream(device):
            attempts = count_attempt(self.store, self.lease, self.item, self.spec.epochs)
            facts = self.provenance(device) | attempts | {"pack_size": self.pack_size}
            place = f"{facts['host']}, {device}"
            self.log.add(f"attempt {facts['attempts']} of {self.item} on {place}")
            self.log.flush()  # before anything may crash the process
            return self.train(device, facts)

    @abstractmethod
    def train(self, device: torch.device, facts: Row) -> tuple[Status, str]:
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
        """Publish the final rows and the trial's own."""
        self.history.close()
        self.finish(layout.trial(self.item), row, schema)
        with contextlib.suppress(StoreError):
            self.store.delete(layout.attempts(self.item), lease=self.lease)


class _CellTraining(Training[TrialSpec]):
    """An attempt at training a network of cells."""

    def choose_device(self) -> torch.device:
        check_versions(self.spec)
        precision = self.spec.precision
        return devices.choose(self.device, deterministic=self.deterministic, precision=precision)

    def train(self, device: torch.device, facts: Row) -> tuple[Status, str]:
        for source in sources(self.spec.extensions):
            self.log.add(source)
        mode: StepMode | None = None
        if recorded_failure(self.store, self.spec.trial_id)["kind"] == "graph":
            self.log.add(
                "no CUDA graph could be captured before: steps run kernel by kernel, slower"
            )
            mode = "eager"
        data, engine = set_up(self.spec, device, mode)
        # A neighbour in the process may need the memory as soon as this trial has ended.
        with contextlib.closing(engine):
            return self._train_epochs(data, engine, facts)

    def _train_epochs(self, data: Data, engine: Engine, facts: Row) -> tuple[Status, str]:
        spec, history = self.spec, self.history
        last = spec.recipe.epochs

        def restore(found: Checkpoint) -> None:
            engine.restore(found.tensors, momenta=found.epoch < last)

        self.resume(restore, last)
        while not (ending := self._ending(engine)):
            # A stop commits the epochs before the running one, so their state is kept.
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
            names = ["train_loss", "val_loss", "val_accuracy", "test_loss", "test_accuracy"]
            shown = [f"{n.replace('_', ' ')} {v:.4f}" for n in names if (v := row[n]) is not None]
            self.add(row, ", ".join(shown))
        # Momenta are half of a file, and nobody takes a step from the last epoch. A trial that
        # diverged earlier keeps them, so that the epoch alone decides what a file holds.
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
    stopping.check()
    recipe = spec.recipe
    start = time.perf_counter()
    lr = scheduled_lr(recipe, spec.learning_rate, epoch)
    batches = training_batches(
        data, recipe.batch_size, spec.seed, epoch, recipe.cutout, recipe.augmentation
    )
    engine.begin(spec.seed, epoch)
    totals = engine.train_epoch(stopping.between(batches), lr)
    trained = time.perf_counter()  # of all steps, as the totals were read from the device

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


def trial_row(spec: TrialSpec, rows: list[Row], ending: Ending, facts: Row) -> Row:
    """Return a row of `tables.TRIALS` from rows of metrics, at least one.

    `facts` are the columns of where, when and with what it was trained, and its parameters.
    """
    last = rows[-1]
    accuracies = [row["test_accuracy"] for row in rows]
    late = accuracies[-_LATE:]
    # The largest on the test set is no estimate of a test, so validation alone selects.
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


def count_attempt(store: Store, lease: Lease, trial_id: str, epochs: int) -> dict[str, Any]:
    """Return which attempt at the trial this is and when the first began, as columns of its row.

    The number of epochs that it is to train, 0 if that is not known, is stored beside, for
    `nas-sweep status`.
    """
    key = layout.attempts(trial_id)
    try:
        past = parse_json(store.get(key, most=_LARGEST_COUNTER))
        count, started = past["attempts"] + 1, datetime.fromisoformat(past["started_at"])
        if type(count) is not int or not 1 < count < 2**31 or started.tzinfo is None:
            raise ValueError("it counts no attempts")
    except (MissingKey, CorruptData, ValueError, KeyError, TypeError):
        # A damaged counter is no reason to refuse the trial: it explains, and decides nothing.
        count, started = 1, datetime.now(UTC)
    content = {"attempts": count, "started_at": started.isoformat(), "epochs": epochs or None}
    store.put(key, json.dumps(content).encode(), lease=lease)
    return {"attempts": count, "started_at": started}
