"""The rows, curves and counts that the live page shows, read again only when the store changes.

Changes are noticed by fingerprints of folders, which need no listing in a local store, and then of
the files in them; only files with another fingerprint are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import secrets
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.housekeeping.lookup import table_fingerprints
from orchestrator.housekeeping.status import Status, StatusReader, count_states
from results_schema import layout, tables
from results_schema.errors import CorruptData, NasSweepError, StoreError
from results_schema.program import is_program
from results_schema.results import Results
from results_schema.store import LocalStore, Store

RECHECK_SECONDS = 5.0
"""Seconds after which states are read again although no folder has changed: leases expire."""
BUCKET_SECONDS = 2.0
"""Seconds between two checks of a store in a bucket, each of which takes some requests."""

COLUMNS = {
    "test_accuracy": "Test accuracy",
    "test_loss": "Test loss (nat)",
    "val_accuracy": "Validation accuracy",
    "val_loss": "Validation loss (nat)",
    "train_accuracy": "Training accuracy",
    "train_loss": "Training loss (nat)",
    "rate": "Learning rate",
    "grad_norm": "Gradient norm before clipping",
    "clip_rate": "Share of clipped steps",
}
"""Columns of metrics that can be drawn over epochs, with their titles."""
FIRST = next(iter(COLUMNS))
"""The column that is drawn at first."""
_DRAWN_ALONE = ("epoch", "train_accuracy", "rate", "grad_norm", "clip_rate")
"""Columns whose last number no row shows."""
WATCHED = (
    layout.METRICS,
    layout.POINTS,
    layout.TRIALS,
    layout.MEMBERS,
    layout.FAILURES,
    layout.REQUESTS,
    layout.LEASES,
    layout.DECISIONS,
)
NAMES = ("base", "variant", "index", "dataset", "learning_rate", "seed", "width", "depth")
"""Columns of members that a trial's row shows, before those of further axes."""

Numbers = NDArray[np.float64]
Curve = dict[str, Numbers]
"""`epoch`, and `COLUMNS` or a program's metrics, each [epochs]; NaN where missing."""
Row = dict[str, Any]


def folder_fingerprints(store: Store) -> dict[str, Hashable]:
    """Return a value for each watched folder that changes when a file is put or removed in it.

    A local store puts a file by renaming it into place, which changes the time of its folder, so
    that a few system calls cover thousands of files. Files that other programs write in place are
    not noticed, nor are two files within one tick of the file system's clock. A bucket has no such
    times: there all names are listed.
    """
    found: dict[str, Hashable] = dict.fromkeys(WATCHED, 0)
    for folder in WATCHED:
        # The folder may not exist yet; one that can't be read is reported when it is read.
        with contextlib.suppress(OSError, StoreError):
            if isinstance(store, LocalStore):
                found[folder] = (store.root / folder).stat().st_mtime_ns
            elif stats := store.stats(folder):
                marks = "\n".join(f"{key} {stat.version}" for key, stat in stats.items())
                found[folder] = hashlib.sha256(marks.encode()).digest()
    return found


@dataclass
class Curves:
    """The metrics of every trial, as they were at the last refresh; damage leaves what was read."""

    store: Store
    by_trial: dict[str, Curve] = field(default_factory=dict)  # each trial's curve
    damaged: dict[str, str] = field(default_factory=dict)  # why a trial's file can't be read
    version: int = 0  # number of refreshes that found something new
    changed_at: dict[str, int] = field(default_factory=dict)  # version of a trial's last change
    trials_changed_at: int = 0  # the version at which trials were last added or removed
    _seen: dict[str, str] = field(default_factory=dict)

    def refresh(self) -> None:
        """Read the tables that have changed."""
        # Taken before the tables are read, so that a change in between is noticed next time.
        found = table_fingerprints(self.store, layout.METRICS)
        changed = [trial_id for trial_id, mark in found.items() if self._seen.get(trial_id) != mark]
        removed = self._seen.keys() - found.keys()
        before = self.by_trial.keys() - removed
        keys = {layout.metrics(trial_id): trial_id for trial_id in changed}
        for key, data in self.store.several(keys):
            trial_id = keys[key]
            try:
                self.by_trial[trial_id] = _read_curve(data, key)
                self.damaged.pop(trial_id, None)
            except NasSweepError as error:
                self.damaged[trial_id] = error.what
        for trial_id in removed:
            self.by_trial.pop(trial_id, None)
            self.damaged.pop(trial_id, None)
        self._seen = found
        if changed or removed:
            self.version += 1
            self.changed_at |= dict.fromkeys(changed, self.version)
            if removed or self.by_trial.keys() != before:
                self.trials_changed_at = self.version


@dataclass
class Live:
    """A store that is watched while it fills."""

    store: Store
    curves: Curves = field(init=False)  # its metrics
    problem: str = ""  # why the last refresh was incomplete; empty if it was not
    # Distinguishes this process's versions from those of an earlier one.
    session: str = field(default_factory=lambda: secrets.token_hex(4))
    version: int = 0  # grows whenever something is new
    _reader: StatusReader = field(init=False)
    _status: Status = field(default_factory=Status)
    _members: dict[str, dict[str, Row]] = field(default_factory=dict)
    _member_tables: dict[str, str] = field(default_factory=dict)
    _rows: dict[str, Row] = field(default_factory=dict)
    _changed_at: dict[str, int] = field(default_factory=dict)
    _order_changed_at: int = 0
    _folders: dict[str, Hashable] = field(default_factory=dict)
    _checked: float = -math.inf
    _states_read: float = -math.inf
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.curves, self._reader = Curves(self.store), StatusReader(self.store)

    def refresh(self) -> int:
        """Read what has changed, and states also when the last read is old; return the version."""
        with self._lock:
            now = time.monotonic()
            in_bucket = not isinstance(self.store, LocalStore)
            if in_bucket and now - self._checked < BUCKET_SECONDS:
                return self.version
            folders = folder_fingerprints(self.store)
            self._checked = time.monotonic()
            old = self._checked - self._states_read >= RECHECK_SECONDS
            if old or folders != self._folders:
                changed = {f for f, mark in folders.items() if mark != self._folders.get(f)}
                # New epochs and points alone change no trial's state.
                states = old or bool(self.problem) or not changed <= {layout.METRICS, layout.POINTS}
                self._read(states=states)
                self._folders = folders
                if old:
                    self._states_read = time.monotonic()
                if layout.POINTS in changed:
                    self.version += 1
            return self.version

    def experiments(self) -> list[str]:
        """Return the names of all experiments, with `UNNAMED` for trials that none names."""
        return list(self._status.trials.experiments)

    def counts(self, experiment: str | None) -> dict[str, int]:
        """Return how many trials of an experiment, or of all, are in each state."""
        return count_states(self._status.trials.states(experiment).values())

    def rows(self, experiment: str | None, only: set[str] | None = None) -> list[Row]:
        """Return a row for each trial of an experiment, or of all: names, state, last numbers.

        If `only` is given, return the rows of these trials alone.
        """
        if experiment is None:
            members = {t: row for rows in self._members.values() for t, row in rows.items()}
        else:
            members = self._members.get(experiment, {})
        return [
            {"trial_id": trial_id, "state": self._status.describe(trial_id, state, step=False)}
            | members.get(trial_id, {})
            | _last_numbers(self.curves.by_trial.get(trial_id))
            for trial_id, state in self._status.trials.states(experiment).items()
            if only is None or trial_id in only
        ]

    def changed_rows(self, experiment: str | None, since: int) -> list[Row] | None:
        """Return the rows changed since a version; None if rows were added, removed or moved."""
        with self._lock:
            if since < self._order_changed_at:
                return None
            changed = {t for t, version in self._changed_at.items() if version > since}
            return self.rows(experiment, changed) if changed else []

    def axes(self) -> list[str]:
        """Return the columns by which trials differ: `NAMES`, then those of further axes."""
        every = [row for rows in self._members.values() for row in rows.values()]
        return list(dict.fromkeys([*NAMES, *(name for row in every for name in row)]))

    def seconds_left(self, experiment: str | None) -> float | None:
        """Return how long what remains of an experiment, or of all, takes; see `Status.left`."""
        return self._status.left(self._status.trials, experiment)

    def _read(self, *, states: bool) -> None:
        def shown() -> tuple[Any, ...]:
            status = self._status.trials.experiments
            return self.curves.version, status, self.problem, self._member_tables

        before, self.problem = shown(), ""
        try:
            self.curves.refresh()
            found = table_fingerprints(self.store, layout.MEMBERS)
            if found != self._member_tables:
                self._members, self._member_tables = _read_members(Results(self.store)), found
            if states:
                self._status = self._reader.read()
        except NasSweepError as error:
            self.problem = str(error)
        except OSError as error:
            self.problem = f"the store can't be read: {error}"
        if shown() != before:
            self.version += 1
            self._compare_rows(renamed=self._member_tables != before[3])

    def _compare_rows(self, *, renamed: bool) -> None:
        """Note which rows changed in this version."""
        rows = {row["trial_id"]: row for row in self.rows(None)}
        if renamed or list(rows) != list(self._rows):
            self._order_changed_at = self.version
        for trial_id, row in rows.items():
            if row != self._rows.get(trial_id):
                self._changed_at[trial_id] = self.version
        self._rows = rows


def _read_curve(data: bytes, key: str) -> Curve:
    wanted, owner = ("epoch", *COLUMNS), layout.owner(key)
    if owner is not None and is_program(owner):
        schema = tables.widened(tables.METRICS, data)
        own = (name for name in schema.names if name not in tables.METRICS.names)
        wanted = ("epoch", *own)
        table = tables.from_parquet(data, schema, key)
    elif not tables.is_sealed(data):
        table = tables.from_parquet(data, tables.METRICS, key)
    else:
        file = tables.open_parquet(data)
        if owner is not None and not tables.holds_only(file, owner):
            raise CorruptData("it has rows of another trial", where=key)
        there = set(file.schema_arrow.names)
        table = file.read([name for name in wanted if name in there], use_threads=False)
    return {name: _column(table, name) for name in wanted}


def _column(table: pa.Table, name: str) -> Numbers:
    if name not in table.column_names:
        return np.full(len(table), np.nan)
    return table[name].to_numpy().astype(float)


def _read_members(results: Results) -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    members: Any = results.members()
    axes = [name for name in members.columns if name not in tables.MEMBERS.names]
    members = members[["experiment", "trial_id", *NAMES, *axes]].astype(object)
    for row in members.where(members.notna(), None).to_dict("records"):
        experiment, trial_id = row.pop("experiment"), row.pop("trial_id")
        found.setdefault(experiment, {}).setdefault(trial_id, row)
    return found


def _last_numbers(curve: Curve | None) -> Row:
    """Return the numbers of the last epoch, and the best; None for what JSON lacks."""
    if curve is None or not len(curve["epoch"]):
        return {"epoch": 0}
    best: Callable[..., Any] = np.fmax.reduce  # leaves NaN out
    numbers = {name: curve[name][-1] for name in curve if name not in _DRAWN_ALONE}
    if "test_accuracy" in curve:
        numbers["best_test_accuracy"] = best(curve["test_accuracy"])
    rounded = {
        name: round(float(value), 5) if math.isfinite(value) else None
        for name, value in numbers.items()
    }
    return {"epoch": int(curve["epoch"][-1]), **rounded}
