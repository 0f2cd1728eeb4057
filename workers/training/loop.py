"""The life of one trial: take its lease, restore, train epoch by epoch, publish, end.

Every epoch's row is published at once; a checkpoint commits the rows so far. A resumed trial
republishes the rows of its checkpoint and trains on, so that rows beyond it are replaced by the
same rows again. A trial ends in this order: final checkpoint, metrics, trial row.
"""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from results_schema import layout, tables
from results_schema.errors import MissingKey, SpecError, Superseded
from results_schema.lease import Lease
from results_schema.store import Store
from results_schema.trial import RECIPE_VERSION, TrialSpec
from workers.data.batches import evaluation_batches, training_batches
from workers.data.images import load
from workers.network.network import build_network
from workers.training import checkpoint
from workers.training import device as devices
from workers.training.checkpoint import Checkpoint
from workers.training.ending import trial_row
from workers.training.engine import Engine
from workers.training.failures import classify
from workers.training.log import TrialLog
from workers.training.provenance import gather

Row = dict[str, Any]


@dataclass(frozen=True)
class Checkpointing:
    """When checkpoints are committed, besides the one at the end; no part of a trial's identity.

    Attributes:
        every: Seconds that must have passed since the last one when an epoch ends.
        at: Epochs at which one is committed, and kept for good.
    """

    every: float = 60.0
    at: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a trial went.

    Attributes:
        status: "done" or "diverged", the trial has ended; "stopped", it was asked to stop, and
            left a checkpoint; "held", another worker has it; "superseded", another worker took it
            over; "failed".
        reason: In a few words.
        epochs: Trained by this attempt.
        kind: Of the failure (`failures.Failure`), or empty.
    """

    status: str
    reason: str
    epochs: int = 0
    kind: str = ""


def train(
    spec: TrialSpec,
    store: Store,
    *,
    device: str | None = None,
    token: str | None = None,
    checkpointing: Checkpointing = Checkpointing(),
    on_epoch: Callable[[Row], None] = lambda row: None,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Trains a trial to its end, from its newest sound checkpoint if it has one.

    Args:
        spec: The trial.
        store: Where its rows and checkpoints go.
        device: See `device.choose`.
        token: Name of the lease, chosen by whoever may want to fence it.
        checkpointing: When to commit.
        on_epoch: Told each published row.
        stop: Asked after each epoch whether to leave off.

    Returns:
        How it went; an error in training is an outcome too, recorded in the store with its
        traceback in the trial's log.
    """
    trial_id = spec.trial_id
    lease = store.leases.take(trial_id, token)
    if lease is None:
        return Outcome("held", "another worker holds its lease")
    with lease:
        if ended := ended_status(store, trial_id):
            return Outcome(ended, "it had ended before")
        attempt = _Attempt(spec, store, lease, checkpointing, on_epoch, stop)
        try:
            return attempt.run(device)
        except Superseded as error:
            return Outcome("superseded", str(error), attempt.epochs)
        except Exception as error:
            failure = classify(error)
            attempt.give_up(failure.record)
            return Outcome("failed", failure.message, attempt.epochs, failure.kind)


def ended_status(store: Store, trial_id: str) -> str | None:
    """The status of an ended trial, None if it has not ended."""
    try:
        row = tables.from_parquet(
            store.get(layout.trial(trial_id)), tables.TRIALS, layout.trial(trial_id)
        )
    except MissingKey:
        return None
    return row["status"][0].as_py()


class _Attempt:
    """One worker's attempt at a trial whose lease it holds."""

    def __init__(
        self,
        spec: TrialSpec,
        store: Store,
        lease: Lease,
        checkpointing: Checkpointing,
        on_epoch: Callable[[Row], None],
        stop: Callable[[], bool],
    ) -> None:
        self.spec, self.store, self.lease = spec, store, lease
        self.checkpointing, self.on_epoch, self.stop = checkpointing, on_epoch, stop
        self.trial_id = spec.trial_id
        self.log = TrialLog(store, lease, self.trial_id)
        self.rows: list[Row] = []
        self.epochs = 0

    def run(self, device_name: str | None) -> Outcome:
        if self.spec.recipe.version != RECIPE_VERSION:
            raise SpecError(
                f"recipe version {self.spec.recipe.version} is not this release's {RECIPE_VERSION}",
                fix="train it with the release that named it",
            )
        device = devices.choose(device_name)
        attempt, started = self._count_attempt()
        provenance = gather(device)
        self.log.say(f"attempt {attempt} of {self.trial_id} on {provenance['host']}, {device}")
        self.log.flush()
        self.data = load(self.spec.dataset, device)
        if self.data.about.preprocessing != self.spec.preprocessing:
            raise SpecError(
                f"preprocessing {self.spec.preprocessing} of {self.spec.dataset} is not this "
                f"release's {self.data.about.preprocessing}",
                fix="train it with the release that named it",
            )
        network = build_network(
            self.spec.genotype,
            self.spec.network,
            in_channels=self.data.about.channels,
            classes=self.data.about.classes,
            seed=self.spec.seed,
        ).to(device)
        self.engine = Engine(network, self.spec.recipe)
        self._restore()
        status, reason = self._train_on(device)
        if status == "stopped":
            return Outcome(status, reason, self.epochs)
        row = trial_row(
            self.spec,
            self.rows,
            provenance,
            parameters=sum(w.numel() for w in network.parameters()),
            status=status,
            reason=reason,
            started=started,
            attempts=attempt,
        )
        self._publish()
        self.store.put(
            layout.trial(self.trial_id), tables.to_parquet([row], tables.TRIALS), lease=self.lease
        )
        checkpoint.prune(self.store, self.trial_id, keep=self.checkpointing.at, newest_kept=1)
        self.store.delete(layout.failure(self.trial_id))
        self.log.say(f"{status}: {reason}")
        self.log.flush()
        return Outcome(status, reason, self.epochs)

    def give_up(self, record: Callable[[Store, str, Lease], None]) -> None:
        """Keeps what is known of a failure, as far as the store can still be written."""
        try:
            self.log.say(traceback.format_exc())
            self.log.flush()
            record(self.store, self.trial_id, self.lease)
        except Exception:
            return

    def _count_attempt(self) -> tuple[int, datetime]:
        key = layout.attempts(self.trial_id)
        try:
            past = json.loads(self.store.get(key))
            count, started = past["attempts"] + 1, past["started_at"]
        except (MissingKey, ValueError, KeyError, TypeError):
            count, started = 1, datetime.now(UTC).isoformat()
        content = json.dumps({"attempts": count, "started_at": started})
        self.store.put(key, content.encode(), lease=self.lease)
        return count, datetime.fromisoformat(started)

    def _restore(self) -> None:
        found = checkpoint.newest(self.store, self.trial_id, self.log.say)
        if found is not None:
            self.engine.restore(found.tensors)
            self.rows = found.rows
            self.log.say(f"goes on after epoch {found.epoch}")
        self._publish()

    def _train_on(self, device: torch.device) -> tuple[str, str]:
        """Trains the epochs that are left; the last checkpoint holds all rows."""
        last = self.spec.recipe.epochs
        committed, clock = len(self.rows), time.monotonic()
        while True:
            done = len(self.rows)
            diverged = done and not math.isfinite(self.rows[-1]["train_loss"])
            over = diverged or done == last
            stopping = not over and self.stop()
            due = time.monotonic() - clock >= self.checkpointing.every
            if done > committed and (over or stopping or due or done in self.checkpointing.at):
                state = Checkpoint(done, self.rows, self.engine.state())
                checkpoint.save(self.store, self.lease, self.trial_id, state)
                checkpoint.prune(
                    self.store,
                    self.trial_id,
                    keep=self.checkpointing.at,
                    newest_kept=checkpoint.KEPT,
                )
                committed, clock = done, time.monotonic()
            if diverged:
                return "diverged", f"the training loss of epoch {done} is not finite"
            if over:
                return "done", f"trained {last} epochs"
            if stopping:
                return "stopped", f"after epoch {done} of {last}"
            self._train_epoch(done + 1, device)

    def _train_epoch(self, epoch: int, device: torch.device) -> None:
        spec = self.spec
        start = time.perf_counter()
        rate = cosine_rate(spec.learning_rate, epoch, spec.recipe.epochs)
        batches = training_batches(self.data, spec.recipe.batch_size, spec.seed, epoch)
        totals = self.engine.train_epoch(batches, rate)
        trained = time.perf_counter()
        loss, accuracy = self.engine.evaluate(evaluation_batches(self.data.test, self.data.about))
        row: Row = {
            "trial_id": self.trial_id,
            "epoch": epoch,
            "rate": rate,
            "train_loss": totals.loss,
            "train_accuracy": totals.accuracy,
            "test_loss": loss,
            "test_accuracy": accuracy,
            "grad_norm": totals.grad_norm,
            "clip_rate": totals.clip_rate,
            "seconds": time.perf_counter() - start,
            "images_per_second": totals.images / (trained - start),
            "peak_memory": devices.peak_memory(device),
            "finished_at": datetime.now(UTC),
        }
        self.rows.append(row)
        self.epochs += 1
        self.log.say(
            f"epoch {epoch}: train loss {totals.loss:.4f}, test loss {loss:.4f}, "
            f"test accuracy {accuracy:.4f}, {row['seconds']:.2f} s"
        )
        self._publish()
        self.log.flush()
        self.on_epoch(row)

    def _publish(self) -> None:
        """Replaces the trial's rows in the table; a reader sees all of them or the ones before."""
        data = tables.to_parquet(self.rows, tables.METRICS)
        self.store.put(layout.metrics(self.trial_id), data, lease=self.lease)


def cosine_rate(rate: float, epoch: int, epochs: int) -> float:
    """½·lr·(1 + cos(π e / E)) for e = epoch − 1 (Section A.3): lr at first, never quite 0."""
    return 0.5 * rate * (1 + math.cos(math.pi * (epoch - 1) / epochs))
