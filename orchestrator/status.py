"""How the trials of a store stand, from the store alone: no driver need be alive or near.

It reads and never fences: an expired lease is told of and left to the next taker. Ended trials are
counted by name; of those only the column with the status is read, of running ones the last row.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator import lookup
from orchestrator.surface_status import SurfaceStatus, look_at_surfaces, surfaces_as_json
from results_schema import foreign_json, layout
from results_schema.errors import MissingKey, NasSweepError
from results_schema.failure import recorded
from results_schema.holder import Holder
from results_schema.lease import EXPIRY
from results_schema.store import Store

STATES = ("done", "diverged", "damaged", "running", "failed", "cancelled", "owed")
UNNAMED = ""
"""Stands for the experiment of trials that none names, such as those of `workers.train`."""


@dataclass(frozen=True)
class Running:
    """A trial that somebody holds.

    Attributes:
        trial_id: Of the trial.
        host: Of the holder.
        epoch: Epochs trained.
        epochs: To train; None where that is not known.
        row_age: Seconds since the last row, None without any.
        beat_age: Seconds since the last heartbeat, by the store's clock.
        lost: Whether the holder is dead, or silent for so long that it may be replaced.
    """

    trial_id: str
    host: str
    epoch: int
    epochs: int | None
    row_age: float | None
    beat_age: float | None
    lost: bool


@dataclass(frozen=True)
class Status:
    """How things stand.

    Attributes:
        experiments: Of each experiment the state of each of its trials.
        running: What is held, lost leases too.
        failed: `trial_id`, `kind`, `message`, `at` and `log` of each failed trial.
        surfaces: The same of surfaces.
    """

    experiments: dict[str, dict[str, str]]
    running: list[Running]
    failed: list[dict[str, str]]
    surfaces: SurfaceStatus = field(default_factory=SurfaceStatus)

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing is owed."""
        left = {state for trials in self.experiments.values() for state in trials.values()}
        return not left & {"running", "owed"} and self.surfaces.over

    def of(self, state: str) -> list[str]:
        """Trials in a state, each once."""
        every = [trials.items() for trials in self.experiments.values()]
        return list(dict.fromkeys(t for items in every for t, s in items if s == state))


@dataclass
class Observer:
    """Looks at a store, again and again; remembers how trials ended.

    Attributes:
        store: The store.
    """

    store: Store
    _ended: dict[str, str] = field(default_factory=dict)

    def look(self, names: list[str]) -> Status:
        """How the trials of some experiments stand; with none named, all trials of the store.

        Raises:
            ConfigError: An experiment is not in this store.
            StoreError: The store can't be read.
        """
        store = self.store
        groups = {
            name: lookup.members(store, name) for name in lookup.find_experiments(store, names)
        }
        if not names:
            named = {trial_id for ids in groups.values() for trial_id in ids}
            if others := sorted(lookup.trials(store) - named):
                groups[UNNAMED] = others
        wanted = {trial_id for ids in groups.values() for trial_id in ids}
        # In the order in which a trial passes through them, so that none is missed on its way.
        held = {item: by for item, by in store.leases.held().items() if item in wanted}
        failures = layout.names(store.list(layout.FAILURES)) & wanted
        cancelled = lookup.cancelled(store)
        ended = layout.names(store.list(layout.TRIALS)) & wanted
        running = [self._running(t, by) for t, by in held.items() if t not in ended]
        alive = {one.trial_id for one in running if not one.lost}

        def state(trial_id: str) -> str:
            if trial_id in ended:
                return self._ending(trial_id)
            if trial_id in alive:
                return "running"
            if trial_id in failures:
                return "failed"
            return "cancelled" if trial_id in cancelled else "owed"

        states = {trial_id: state(trial_id) for trial_id in wanted}
        return Status(
            {name: {t: states[t] for t in ids} for name, ids in groups.items()},
            sorted(running, key=lambda one: one.trial_id),
            [self._failure(t) for t in sorted(wanted) if states[t] == "failed"],
            look_at_surfaces(store, [name for name in groups if name != UNNAMED]),
        )

    def _ending(self, trial_id: str) -> str:
        if self._ended.get(trial_id, "damaged") == "damaged":
            try:
                self._ended[trial_id] = _status(self.store.get(layout.trial(trial_id)))
            except MissingKey:
                return "owed"
            except (pa.ArrowException, OSError, ValueError, IndexError, KeyError):
                self._ended[trial_id] = "damaged"
        return self._ended[trial_id]

    def _running(self, trial_id: str, holder: Holder) -> Running:
        epoch, row_age = 0, None
        try:
            data = io.BytesIO(self.store.get(layout.metrics(trial_id)))
            file = pq.ParquetFile(data, page_checksum_verification=True)
            table = file.read(["epoch", "finished_at"])
            if len(table):
                [last] = table.slice(len(table) - 1).to_pylist()
                epoch = last["epoch"]
                row_age = max(0.0, time.time() - last["finished_at"].timestamp())
        except (NasSweepError, pa.ArrowException, OSError, ValueError, KeyError):
            pass  # none yet, or damaged: its worker will write it anew
        beat_age = self.store.leases.age(trial_id, holder)
        lost = self.store.leases.expired(trial_id, holder) or (beat_age or 0.0) >= EXPIRY
        epochs = self._epochs(trial_id)
        return Running(trial_id, holder.host, epoch, epochs, row_age, beat_age, lost)

    def _epochs(self, trial_id: str) -> int | None:
        """As its worker noted when it began; None if that was lost, or of an older release."""
        try:
            noted = foreign_json.read(self.store.get(layout.attempts(trial_id)))["epochs"]
        except (NasSweepError, ValueError, KeyError, TypeError):
            return None
        return noted if isinstance(noted, int) else None

    def _failure(self, trial_id: str) -> dict[str, str]:
        told = recorded(self.store, trial_id)
        return {"trial_id": trial_id, **told, "log": self.store.locate(layout.log(trial_id))}


def as_json(status: Status) -> dict[str, Any]:
    """The same for programs."""
    return {
        "experiments": {
            name: {state: sum(s == state for s in trials.values()) for state in STATES}
            for name, trials in status.experiments.items()
        },
        "running": [vars(one) for one in status.running],
        "failed": status.failed,
        "diverged": status.of("diverged"),
        "surfaces": surfaces_as_json(status.surfaces),
    }


def _status(data: bytes) -> str:
    """Of an ended trial's row, from the footer's statistics: no column is decoded."""
    file = pq.ParquetFile(io.BytesIO(data))
    column = file.schema_arrow.get_field_index("status")
    statistics = file.metadata.row_group(0).column(column).statistics
    if statistics is not None and statistics.has_min_max:
        return str(statistics.max)
    return str(file.read(["status"])["status"][0].as_py())
