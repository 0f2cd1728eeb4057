"""What a trial has behind it: its rows, published after each epoch and committed now and then.

A resumed trial republishes the rows of its checkpoint and trains on, so that rows beyond it are
replaced by the same rows again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from results_schema import layout, tables
from results_schema.lease import Lease
from results_schema.store import Store
from workers.training import checkpoint
from workers.training.checkpoint import Checkpoint, Row

KEPT = 2
"""Checkpoints kept while a trial trains, besides those kept by name."""


@dataclass(frozen=True)
class Checkpointing:
    """When checkpoints are committed, besides the one at the end; no part of a trial's identity.

    Attributes:
        every: Seconds that must have passed since the last one when an epoch ends.
        at: Epochs at which one is committed, and kept for good.
    """

    every: float = 60.0
    at: frozenset[int] = frozenset()


ONCE_A_MINUTE = Checkpointing()


class History:
    """The rows of a trial whose lease is held, and its checkpoints.

    Args:
        store: Where they are.
        lease: On the trial.
        trial_id: Of the trial.
        checkpointing: When checkpoints are committed.
        epochs: How many the trial is to train.

    Attributes:
        rows: Of all epochs so far.
    """

    def __init__(
        self,
        store: Store,
        lease: Lease,
        trial_id: str,
        checkpointing: Checkpointing,
        *,
        epochs: int,
    ) -> None:
        self._store, self._lease, self._trial_id = store, lease, trial_id
        self._epochs = epochs
        self._checkpointing = checkpointing
        self.rows: list[Row] = []
        self._mark()

    def resume(
        self, restore: Callable[[dict[str, Tensor]], None], warn: Callable[[str], None]
    ) -> None:
        """Goes back to the newest sound checkpoint (`checkpoint.resume`), or to nothing."""
        self.rows = checkpoint.resume(self._store, self._trial_id, restore, warn, last=self._epochs)
        self._mark()
        self._publish()

    def add(self, row: Row) -> None:
        """Publishes one more epoch."""
        self.rows.append(row)
        self._publish()

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint, which must have something new."""
        if len(self.rows) == self._committed:
            return False
        waited = time.monotonic() - self._clock >= self._checkpointing.every
        return waited or len(self.rows) in self._checkpointing.at

    def commit(self, state: Callable[[], dict[str, Tensor]]) -> None:
        """Makes a checkpoint, unless the last one has all rows already."""
        if len(self.rows) > self._committed:
            epoch = len(self.rows)
            newest = Checkpoint(epoch, self.rows, state(), epoch in self._checkpointing.at)
            checkpoint.save(self._store, self._lease, self._trial_id, newest)
            self._mark()
            self._prune(KEPT)

    def close(self) -> None:
        """Keeps the last checkpoint and those named, and publishes the rows as the last ones."""
        self._prune(1)
        self._publish(final=True)

    def _mark(self) -> None:
        self._committed, self._clock = len(self.rows), time.monotonic()

    def _prune(self, kept: int) -> None:
        checkpoint.prune(
            self._store,
            self._lease,
            self._trial_id,
            newest=len(self.rows),
            keep=self._checkpointing.at,
            kept=kept,
        )

    def _publish(self, *, final: bool = False) -> None:
        """Replaces the rows in the table; a reader sees all of them or the ones before."""
        data = tables.to_parquet(self.rows, tables.METRICS)
        self._store.put(layout.metrics(self._trial_id), data, lease=self._lease, final=final)
