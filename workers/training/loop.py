"""The life of one trial: take its lease, resume, train epoch by epoch, publish, end.

Every epoch's row is published at once; a checkpoint commits the rows so far (`history`). A trial
that is asked to stop gives up the epoch that is running and commits those before it. A trial ends
in this order: final checkpoint, metrics, trial row. The row comes last, so that whatever cuts a
trial off leaves it owed, or ended and tidy.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from results_schema import layout, tables
from results_schema.errors import SpecError, StoreError
from results_schema.lease import Lease
from results_schema.store import Store, recorded_failure
from results_schema.trial import RECIPE_VERSION, TrialSpec
from workers.attempt import Outcome, attempt
from workers.data.catalog import describe
from workers.data.images import Data
from workers.training import device as devices
from workers.training.checkpoint import Row
from workers.training.ending import ended_status, trial_row
from workers.training.engine import Engine
from workers.training.epoch import train_epoch
from workers.training.history import ONCE_A_MINUTE, Checkpointing, History
from workers.training.log import ItemLog
from workers.training.provenance import count_attempt, gather
from workers.training.setup import set_up
from workers.training.stopping import Ask, Stopped, Stopping, StopRequest, nobody


def train(
    spec: TrialSpec,
    store: Store,
    *,
    device: str | None = None,
    deterministic: bool = False,
    token: str | None = None,
    checkpointing: Checkpointing = ONCE_A_MINUTE,
    pack_size: int = 1,
    gpu_share: float = 1.0,
    on_epoch: Callable[[Row], None] = lambda row: None,
    stop: StopRequest | None = None,
    ask: Ask = nobody,
) -> Outcome:
    """Trains a trial to its end, from its newest sound checkpoint if it has one.

    Args:
        spec: The trial.
        store: Where its rows and checkpoints go.
        device: See `device.choose`, like the next.
        deterministic: Whether a GPU must give the same bits again; no part of the identity.
        token: Name of the lease, chosen by whoever may want to fence it.
        checkpointing: When to commit.
        pack_size: How many trials this process trains side by side (`pack`); told in its row.
        gpu_share: GPUs that this process has, below 1 a share of one; recorded in the row of a
            trial on a GPU.
        on_epoch: Told each published row.
        stop: Asks it to stop, before the next batch: the running epoch is then given up, and all
            before it are committed.
        ask: Called before it begins and once a second by another thread, the one that keeps the
            lease; the reason that it returns asks to stop likewise.

    Returns:
        How it went; an error is an outcome too, recorded in the store, as far as that can be
        written, with its traceback in the trial's log.
    """

    def use() -> torch.device:
        return devices.choose(device, deterministic=deterministic, precision=spec.precision)

    def begin(lease: Lease, log: ItemLog, stopping: Stopping) -> _Training:
        history = History(store, lease, spec.trial_id, checkpointing, epochs=spec.recipe.epochs)
        return _Training(
            spec, store, lease, log, history, use, pack_size, gpu_share, on_epoch, stopping
        )

    return attempt(store, spec.trial_id, token, begin, stop or StopRequest(), ask)


@dataclass
class _Training:
    """One worker's attempt at a trial whose lease it holds."""

    spec: TrialSpec
    store: Store
    lease: Lease
    log: ItemLog
    history: History
    use: Callable[[], torch.device]
    pack_size: int
    gpu_share: float
    on_epoch: Callable[[Row], None]
    stopping: Stopping
    done: int = 0

    def run(self) -> tuple[str, str]:
        """Trains until the trial ends or is asked to stop; returns its status and the reason."""
        spec = self.spec
        if ended := ended_status(self.store, spec.trial_id):
            return ended, "it had ended before"
        if self.stopping.request.made:
            return "stopped", "before it began"
        check_versions(spec)
        device = self.use()
        with devices.alone(device):
            return self._train(device)

    def _train(self, device: torch.device) -> tuple[str, str]:
        spec = self.spec
        attempts = count_attempt(self.store, self.lease, spec.trial_id, spec.recipe.epochs)
        share = self.gpu_share if device.type == "cuda" else None
        shared = {"pack_size": self.pack_size, "gpu_share": share}
        provenance = gather(device) | attempts | shared
        self.log.say(
            f"attempt {provenance['attempts']} of {spec.trial_id} on {provenance['host']}, {device}"
        )
        self.log.flush()
        data, engine = set_up(spec, device, self._form())
        with contextlib.closing(engine):
            return self._run_epochs(device, data, engine, provenance)

    def _form(self) -> str | None:
        """The form of the steps; "eager" after an attempt that could not capture a graph."""
        if recorded_failure(self.store, self.spec.trial_id)["kind"] != "graph":
            return None
        self.log.say(
            "no CUDA graph could be captured before, so steps run kernel by kernel, slower"
        )
        return "eager"

    def _run_epochs(
        self, device: torch.device, data: Data, engine: Engine, provenance: dict[str, Any]
    ) -> tuple[str, str]:
        spec = self.spec
        self.history.resume(engine.restore, self.log.say)
        if self.history.rows:
            self.log.say(f"goes on after epoch {len(self.history.rows)}")
        self.log.flush()  # an epoch may take long, and this worker may die in it
        while not (ending := self._ending(engine)):
            if self.history.due:
                self.history.commit(engine.state)
            elif self.history.rows:
                engine.mark()
            epoch = len(self.history.rows) + 1
            try:
                row = train_epoch(spec, epoch, engine, data, device, self.stopping)
            except Stopped:
                self.history.commit(engine.marked)
                return "stopped", f"after epoch {epoch - 1} of {spec.recipe.epochs}"
            self._publish(row)
            self.on_epoch(row)
        self.history.commit(engine.state)
        status, reason = ending
        row = trial_row(
            spec,
            self.history.rows,
            provenance | {"form": engine.form},
            parameters=sum(weight.numel() for weight in engine.network.parameters()),
            status=status,
            reason=reason,
        )
        self._end(row)
        return ending

    def _ending(self, engine: Engine) -> tuple[str, str] | None:
        rows, last = self.history.rows, self.spec.recipe.epochs
        if not rows:
            return None
        if not math.isfinite(rows[-1]["train_loss"]):
            return "diverged", f"the training loss of epoch {len(rows)} is not finite"
        if not engine.finite():
            return "diverged", f"a weight is not finite after epoch {len(rows)}"
        if len(rows) < last:
            return None
        if not math.isfinite(rows[-1]["test_loss"]):
            return "diverged", "the test loss of the last epoch is not finite"
        return "done", f"trained {last} epochs"

    def _publish(self, row: Row) -> None:
        self.done += 1
        self.history.add(row)
        self.log.say(
            f"epoch {row['epoch']}: train loss {row['train_loss']:.4f}, "
            f"test loss {row['test_loss']:.4f}, test accuracy {row['test_accuracy']:.4f}, "
            f"{row['seconds']:.2f} s"
        )
        self.log.flush()

    def _end(self, row: Row) -> None:
        store, trial_id = self.store, self.spec.trial_id
        self.history.close()
        store.delete(layout.failure(trial_id), lease=self.lease)
        self.log.say(f"{row['status']}: {row['exit_reason']}")
        self.log.flush()
        data = tables.to_parquet([row], tables.TRIALS)
        store.put(layout.trial(trial_id), data, lease=self.lease, final=True)
        # The trial has ended: a small file left over is no reason to call it failed.
        with contextlib.suppress(StoreError):
            store.delete(layout.attempts(trial_id), lease=self.lease)


def check_versions(spec: TrialSpec) -> None:
    """Sees whether this release trains what the trial's spec means.

    Raises:
        SpecError: It does not.
    """
    current, statistics = describe(spec.dataset).preprocessing, spec.recipe.statistics
    versions = [
        ("recipe version", spec.recipe.version, RECIPE_VERSION),
        (f"preprocessing of {spec.dataset}", spec.preprocessing, current),
    ]
    if statistics != "own":
        current = describe(statistics).preprocessing
        versions.append((f"preprocessing of {statistics}", spec.statistics_preprocessing, current))
    for name, asked, ours in versions:
        if asked != ours:
            raise SpecError(
                f"the {name} is {asked}, and this release's is {ours}",
                fix="train it with the release that named it, or name it anew with this one",
            )
