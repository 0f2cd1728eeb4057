"""How the trials of a store stand, from the store alone: no driver need be alive or near.

It reads and never fences: an expired lease is told of and left to the next taker. Ended trials are
counted by name; of those only the column with the status is read, and only once by a user, whose
cache folder keeps it. Of running ones the last row is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.housekeeping import lookup
from orchestrator.housekeeping.surface_status import (
    SurfaceStatus,
    look_at_surfaces,
    surfaces_as_json,
)
from results_schema import layout, tables
from results_schema.canonical import parse_json
from results_schema.errors import NasSweepError
from results_schema.lease import EXPIRY, Holder
from results_schema.store import Store, recorded_failure

STATES = ("done", "diverged", "damaged", "running", "failed", "cancelled", "owed")
ENDED = ("done", "diverged")
_LARGEST = 10_000
"""Bytes beyond which a counter of attempts is not read."""
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


class Endings:
    """How trials of a store have ended, kept between commands in the user's cache folder.

    A file is read again when its size or time has changed, or if it was damaged.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[str, str]] | None = None

    def of(self, wanted: Set[str]) -> dict[str, str]:
        """Return the status of each wanted trial that has ended: done, diverged or damaged.

        Raises:
            StoreError: The store can't be read.
        """
        if self._known is None:
            self._known = self._load()
        marks = {
            name: stat.mark
            for key, stat in self._store.stats(layout.TRIALS).items()
            for name in layout.names([key])
        }
        found = {
            name: status
            for name, (mark, status) in self._known.items()
            if name in wanted and marks.get(name) == mark
        }
        unread = {layout.trial(name): name for name in (marks.keys() & wanted) - found.keys()}
        for key, data in self._store.several(sorted(unread)):
            try:
                found[unread[key]] = _status(data, unread[key])
            except (pa.ArrowException, OSError, ValueError, IndexError, KeyError):
                found[unread[key]] = "damaged"
        read = {
            name: (marks[name], found[name]) for name in unread.values() if found.get(name) in ENDED
        }
        if read:
            self._known |= read
            self._save({n: one for n, one in self._known.items() if marks.get(n) == one[0]})
        return found

    @property
    def _path(self) -> Path:
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        name = hashlib.sha256(self._store.location.encode()).hexdigest()[:16]
        return Path(cache).expanduser() / "nas-sweep" / "status" / f"{name}.json"

    def _load(self) -> dict[str, tuple[str, str]]:
        """Nothing if it can't be read: it saves time and is not needed."""
        try:
            kept = parse_json(self._path.read_bytes())
            return {
                str(name): (str(mark), status)
                for name, (mark, status) in kept.items()
                if status in ENDED
            }
        except (OSError, RuntimeError, ValueError, TypeError, AttributeError):
            return {}

    def _save(self, known: dict[str, tuple[str, str]]) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex}")
            fresh.write_text(json.dumps(known))
            fresh.replace(self._path)


@dataclass
class Observer:
    """Looks at a store, again and again; remembers how trials ended.

    Attributes:
        store: The store.
    """

    store: Store

    def __post_init__(self) -> None:
        self._endings = Endings(self.store)

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
        ended = self._endings.of(wanted)
        running = [self._running(t, by) for t, by in held.items() if t not in ended]
        alive = {one.trial_id for one in running if not one.lost}

        def state(trial_id: str) -> str:
            if trial_id in ended:
                return ended[trial_id]
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

    def _running(self, trial_id: str, holder: Holder) -> Running:
        epoch, row_age = 0, None
        try:
            file = tables.open_parquet(self.store.get(layout.metrics(trial_id)))
            if not tables.is_of(file, trial_id):
                raise ValueError("it has rows of another trial")
            table = file.read(["epoch", "finished_at"], use_threads=False)
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
            text = self.store.get(layout.attempts(trial_id), most=_LARGEST)
            noted = parse_json(text)["epochs"]
        except (NasSweepError, ValueError, KeyError, TypeError):
            return None
        return noted if isinstance(noted, int) else None

    def _failure(self, trial_id: str) -> dict[str, str]:
        told = recorded_failure(self.store, trial_id)
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


def _status(data: bytes, trial_id: str) -> str:
    """Of an ended trial's row, from the footer's statistics: no column is decoded.

    Raises:
        ValueError: The row is another trial's.
    """
    file = tables.open_parquet(data)
    if not tables.is_of(file, trial_id):
        raise ValueError("it has the row of another trial")
    column = file.schema_arrow.get_field_index("status")
    statistics = file.metadata.row_group(0).column(column).statistics
    if statistics is not None and statistics.has_min_max:
        return str(statistics.max)
    return str(file.read(["status"], use_threads=False)["status"][0].as_py())
