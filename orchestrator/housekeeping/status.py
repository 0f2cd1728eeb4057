"""The state of every trial and surface of a store, read from the store alone.

No launch needs to be running, on this machine or anywhere. Nothing is fenced: an expired lease is
reported, and left to the next worker that takes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args

import pyarrow as pa

from orchestrator.housekeeping import lookup
from results_schema import layout, tables
from results_schema.canonical import parse_json
from results_schema.errors import NasSweepError
from results_schema.lease import EXPIRY, Holder
from results_schema.store import Store, recorded_failure

if TYPE_CHECKING:
    from results_schema.results import Snapshot

State = Literal["done", "diverged", "pruned", "damaged", "running", "failed", "cancelled", "owed"]
"""State of a trial or surface; "owed" is one that the next launch runs."""
STATES: tuple[State, ...] = get_args(State)
SURFACE_STATES: tuple[State, ...] = tuple(state for state in STATES if state != "diverged")
STATE_NAMES: dict[State, str] = {**{state: state for state in STATES}, "owed": "to do"}
"""What each state is called in all that people read."""
UNNAMED = ""
"""The experiment of trials that none names, such as those of `workers.train`."""

_SOUND = ("done", "diverged", "")
_LARGEST = 10_000
"""Size in bytes beyond which a counter of attempts is not read."""
_UNREADABLE = (NasSweepError, pa.ArrowException, OSError, ValueError, KeyError)

T = TypeVar("T")


@dataclass(frozen=True)
class RunningTrial:
    """A trial that a worker holds.

    Attributes:
        host: Host of the worker.
        epoch: Number of epochs trained.
        epochs: Number of epochs to train; None if the store does not have it.
        row_age: Seconds since the last row of metrics; None before the first.
        beat_age: Seconds since the last heartbeat, by the store's clock.
        lost: Whether the worker is dead, or silent for so long that it may be replaced.
        pace: Seconds of an epoch; None before the first.
    """

    trial_id: str
    host: str
    epoch: int
    epochs: int | None
    row_age: float | None
    beat_age: float | None
    lost: bool
    pace: float | None = None

    @property
    def left(self) -> float | None:
        """Seconds that its other epochs take at the pace so far."""
        if self.pace is None or self.epochs is None:
            return None
        return self.pace * (self.epochs - self.epoch)


@dataclass(frozen=True)
class RunningSurface:
    """A surface that a worker holds.

    Attributes:
        host: Host of the worker.
        points: Number of points in the surface's file, which is rewritten every half minute.
        of: Number of points of its grid.
        left: Seconds that the other points take at the pace so far; None before the first.
        lost: Whether the worker is dead, or silent for so long that it may be replaced.
    """

    surface_id: str
    host: str
    points: int
    of: int
    left: float | None
    lost: bool

    @property
    def pace(self) -> float | None:
        """Seconds of a point; None before the first or after the last."""
        return self.left / (self.of - self.points) if self.left else None


@dataclass(frozen=True)
class ItemStatus(Generic[T]):
    """The states of all trials, or of all surfaces.

    Attributes:
        experiments: The state of each item, by experiment.
        running: The items that are held, by id; with those whose worker is lost.
        failed: `trial_id` or `surface_id`, `kind`, `message`, `at` and `log` of each failed item.
    """

    experiments: dict[str, dict[str, State]] = field(default_factory=dict)
    running: list[T] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def states(self, experiment: str | None = None) -> dict[str, State]:
        """Return the state of each item of an experiment, or of all."""
        if experiment is not None:
            return self.experiments.get(experiment, {})
        return {item: state for group in self.experiments.values() for item, state in group.items()}

    def having(self, state: State) -> list[str]:
        """Return the items in a state, each once."""
        every = [item for states in self.experiments.values() for item in states.items()]
        return list(dict.fromkeys(item for item, its in every if its == state))

    def counts(self, experiment: str, states: tuple[State, ...]) -> dict[State, int]:
        """Return how many of an experiment's items are in each state."""
        found = list(self.experiments[experiment].values())
        return {state: found.count(state) for state in states}


@dataclass(frozen=True)
class Status:
    """The state of a store's trials, under `UNNAMED` those of no experiment, and surfaces.

    Attributes:
        trials: State of the trials.
        surfaces: State of the surfaces.
        progress: Of each item that has begun and not ended, its epochs or points so far, and of
            how many, None if the store does not have that.
        launches: Number of launches that seem to live.
    """

    trials: ItemStatus[RunningTrial] = field(default_factory=ItemStatus[RunningTrial])
    surfaces: ItemStatus[RunningSurface] = field(default_factory=ItemStatus[RunningSurface])
    progress: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    launches: int = 0

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing remains to be run."""
        groups = (*self.trials.experiments.values(), *self.surfaces.experiments.values())
        return not any(state in ("running", "owed") for g in groups for state in g.values())

    @property
    def idle(self) -> bool:
        """Whether nothing will change by itself: nothing runs, and no launch lives."""
        running = [*self.trials.running, *self.surfaces.running]
        return self.launches == 0 and all(one.lost for one in running)

    @cached_property
    def states(self) -> dict[str, State]:
        """The state of every trial and surface."""
        return self.trials.states() | self.surfaces.states()

    def describe(self, item: str, state: State | None = None, *, step: bool = True) -> str:
        """Return the state of a trial or surface for people: `interrupted after epoch 3 of 20`.

        Without `step` it is `interrupted`. `state` is the item's in one experiment, which may have
        pruned what another has not.
        """
        state = state or self.states[item]
        done, of = self.progress.get(item, (0, None))
        name = "interrupted" if state == "owed" and done else STATE_NAMES[state]
        if not step or not done or state in ("done", "diverged", "damaged"):
            return name
        steps = f"{'point' if layout.is_surface(item) else 'epoch'} {done}" + f" of {of}" * bool(of)
        return f"{name}{',' if state == 'running' else ' after'} {steps}"

    def left(self, items: ItemStatus[Any], experiment: str | None) -> float | None:
        """Return the seconds that trials or surfaces of an experiment, or of all, take as of now.

        None if none of them runs, or the first step of those that do has not ended.
        """
        group = items.states(experiment)
        running = [one for one in items.running if one.pace and not one.lost]
        paces = [one.pace for one in running if _id(one) in group]
        lengths = [of for item in group if (of := self.progress.get(item, (0, None))[1])]
        if not paces or not lengths:
            return None
        usual = statistics.median(lengths)  # of those that have not begun
        steps = [
            (of or usual) - done
            for item, state in group.items()
            if state in ("running", "owed")
            for done, of in [self.progress.get(item, (0, None))]
        ]
        return sum(steps) * statistics.mean(paces) / len(paces)

    def as_json(self) -> dict[str, Any]:
        """Return the status as `nas-sweep status --format json` prints it."""

        def part(items: ItemStatus[Any], states: tuple[State, ...]) -> dict[str, Any]:
            return {
                "experiments": {name: items.counts(name, states) for name in items.experiments},
                "running": [vars(one) for one in items.running],
                "failed": items.failed,
            }

        return {
            **part(self.trials, STATES),
            "diverged": self.trials.having("diverged"),
            "surfaces": part(self.surfaces, SURFACE_STATES),
        }


def count_states(states: Iterable[State]) -> dict[str, int]:
    """Return the number of items by the name of their state; states of none are left out."""
    found = Counter(states)
    return {STATE_NAMES[state]: found[state] for state in STATES if found[state]}


def list_counts(states: Iterable[State]) -> str:
    """Return the numbers of items in each state as text: `5 done, 1 diverged`."""
    return ", ".join(f"{count} {name}" for name, count in count_states(states).items())


class StatusReader:
    """Reads the status of a store, as often as needed, and remembers how trials ended."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables = ItemTables(store)

    def read(self, names: Sequence[str] = ()) -> Status:
        """Return the states of the named experiments' items; without names, of the whole store's.

        Raises:
            ConfigError: An experiment is not in this store.
            CorruptData: An experiment's table is damaged.
            StoreError: The store can't be read.
        """
        store = self._store
        found = lookup.find_experiments(store, names)
        trials = {name: lookup.members(store, name) for name in found}
        surfaces = {name: wanted for name in found if (wanted := lookup.wanted(store, name))}
        if not names:
            named = {trial_id for ids in trials.values() for trial_id in ids}
            if others := sorted(lookup.trials(store) - named):
                trials[UNNAMED] = others
        trial_ids = {trial_id for ids in trials.values() for trial_id in ids}
        points = {surface: n for wanted in surfaces.values() for surface, n in wanted.items()}
        items = trial_ids | points.keys()

        # In the order in which an item passes through these states, so that an item that moves on
        # during the reads is seen in one of them.
        held = {item: by for item, by in sorted(store.leases.held().items()) if item in items}
        failures = layout.names(store.list(layout.FAILURES))
        cancelled = lookup.cancelled(store)
        ended, steps = self._tables.read(items)
        # A diverged surface is one of a diverged trial.
        ended |= {i: "done" for i in points.keys() & ended.keys() if ended[i] == "diverged"}

        running: list[RunningTrial] = []
        measured: list[RunningSurface] = []
        for item, holder in held.items():
            if item in points and item not in ended:
                measured.append(_running_surface(store, item, holder, points[item]))
            elif item not in ended:
                running.append(_running_trial(store, item, holder))
        progress = {one.trial_id: (one.epoch, one.epochs) for one in running}
        progress |= {one.surface_id: (one.points, one.of) for one in measured}
        for item in steps.keys() - progress.keys():
            progress[item] = steps[item], points.get(item) or _planned_epochs(store, item)
        alive = {one.trial_id for one in running if not one.lost}
        alive |= {one.surface_id for one in measured if not one.lost}

        pruned = {name: lookup.pruned(store, name) for name in found}

        def state(item: str, experiment: str) -> State:
            if item in ended:
                return ended[item]
            if item in alive:
                return "running"
            # Before failures: a trial that was pruned is not tried again.
            epoch = pruned.get(experiment, {}).get(layout.trial_of(item))
            if epoch and (not layout.is_surface(item) or layout.epoch_of(item) > epoch):
                return "pruned"
            if item in failures:
                return "failed"
            # A cancelled trial's surfaces are not measured either.
            return "cancelled" if {item, layout.trial_of(item)} & cancelled else "owed"

        def part(kind: str, groups: Mapping[str, Iterable[str]], running: list[T]) -> ItemStatus[T]:
            status = ItemStatus(running=running)
            for name, ids in groups.items():
                status.experiments[name] = {i: state(i, name) for i in ids}
            for i in sorted(status.having("failed")):
                log = store.locate(layout.log(i))
                status.failed.append({kind: i, **recorded_failure(store, i), "log": log})
            return status

        return Status(
            part("trial_id", trials, running),
            part("surface_id", surfaces, measured),
            progress,
            len(lookup.launches(store)),
        )


def experiment_title(experiment: str) -> str:
    """Return an experiment's name for people."""
    return "in no experiment" if experiment == UNNAMED else experiment


def _id(running: RunningTrial | RunningSurface) -> str:
    return running.trial_id if isinstance(running, RunningTrial) else running.surface_id


def _running_trial(store: Store, trial_id: str, holder: Holder) -> RunningTrial:
    epoch, row_age, pace = 0, None, None
    columns = ["epoch", "finished_at", "seconds"]
    rows = _read_columns(store, layout.metrics(trial_id), trial_id, columns)
    if rows:
        seconds = [one for one in rows["seconds"].to_pylist() if one is not None]
        pace = statistics.mean(seconds) if seconds else None
        [last] = rows.slice(len(rows) - 1).to_pylist()
        epoch = last["epoch"]
        row_age = max(0.0, time.time() - last["finished_at"].timestamp())
    epochs = _planned_epochs(store, trial_id)
    beat_age, lost = _heartbeat(store, trial_id, holder)
    return RunningTrial(trial_id, holder.host, epoch, epochs, row_age, beat_age, lost, pace)


def _planned_epochs(store: Store, trial_id: str) -> int | None:
    """Return the epochs that a trial is to train, as its worker noted; None if none is noted."""
    try:
        epochs = parse_json(store.get(layout.attempts(trial_id), most=_LARGEST))["epochs"]
    except (NasSweepError, ValueError, KeyError, TypeError):
        return None
    return epochs if isinstance(epochs, int) else None


def _running_surface(store: Store, surface: str, holder: Holder, of: int) -> RunningSurface:
    rows = _read_columns(store, layout.points(surface), surface, ["seconds"])
    seconds = rows["seconds"].to_pylist() if rows else []
    points = len(seconds)
    left = sum(seconds) / points * (of - points) if points else None
    _, lost = _heartbeat(store, surface, holder)
    return RunningSurface(surface, holder.host, points, of, left, lost)


def _read_columns(store: Store, key: str, item: str, columns: list[str]) -> pa.Table | None:
    """Return columns of an item's table; None if it is missing, damaged or another item's."""
    try:
        file = tables.open_parquet(store.get(key))
        return file.read(columns, use_threads=False) if tables.holds_only(file, item) else None
    except _UNREADABLE:
        return None  # its worker will write it again


def _heartbeat(store: Store, item: str, holder: Holder) -> tuple[float | None, bool]:
    """Return the seconds since the last heartbeat, and whether the worker is lost."""
    age = store.leases.age(item, holder)
    return age, store.leases.expired(item, holder) or (age or 0.0) >= EXPIRY


class ItemTables:
    """How the trials and surfaces of a store ended, and which of them have a damaged table.

    Each has two tables: its row, which exists once it has ended, and its epochs or points. Both are
    read once by a user and checked against their seals, and again when size or time of one has
    changed or one was damaged: what was found is kept in the user's cache folder.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[str, str, int]] | None = None

    def read(self, items: Set[str]) -> tuple[dict[str, State], dict[str, int]]:
        """Return the states of those items that have ended, and the rows of those that have not.

        The states are done, diverged and damaged; the rows, of those that have any, are numbers of
        epochs or points. What has no row yet and is damaged has not begun.
        """
        ended = layout.names(self._store.list(layout.TRIALS))
        ended |= layout.names(self._store.list(layout.SURFACES))
        found: dict[str, Any] = self._read(items)
        states = {item: state for item, (state, _) in found.items() if state and item in ended}
        return states, {item: rows for item, (state, rows) in found.items() if not state and rows}

    def damaged(self, items: Set[str] | None = None) -> dict[str, list[str]]:
        """Return the items with a damaged table, each with the keys of its tables.

        `items` are those that are looked at: all of the store's by default.
        """
        found = self._read(items)
        return {one: _table_keys(one) for one in sorted(found) if found[one][0] == "damaged"}

    def _read(self, items: Set[str] | None) -> dict[str, tuple[str, int]]:
        """Return the state of each item that has a table, empty if it has not ended, and its rows.

        The rows are epochs or points.
        """
        if self._known is None:
            self._known = self._load()
        known, marks = self._known, dict[str, str]()
        for folder in (layout.TRIALS, layout.SURFACES, layout.METRICS, layout.POINTS):
            for item, version in lookup.table_fingerprints(self._store, folder).items():
                if items is None or item in items:
                    marks[item] = f"{marks.get(item, '')} {folder[0]}{version}"
        found = {i: known[i][1:] for i, mark in marks.items() if i in known and known[i][0] == mark}
        unread = {key: item for item in marks.keys() - found.keys() for key in _table_keys(item)}
        for key, data in self._store.several(sorted(unread)):
            item = unread[key]
            state, rows = found.get(item, ("", 0))
            if not tables.is_sound(data, layout.owner(key)):
                state = "damaged"
            elif key == lookup.row_of(item):
                state = state or _ended_state(data)
            else:
                rows = tables.open_parquet(data).metadata.num_rows
            found[item] = state, rows
        read = {item for item in unread.values() if item in found and found[item][0] in _SOUND}
        if read:
            known |= {item: (marks[item], *found[item]) for item in read}
            self._save(known if items is not None else {i: known[i] for i in marks if i in known})
        return found

    @property
    def _path(self) -> Path:
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        name = hashlib.sha256(self._store.location.encode()).hexdigest()[:16]
        return Path(cache).expanduser() / "nas-sweep" / "tables" / f"{name}.json"

    def _load(self) -> dict[str, tuple[str, str, int]]:
        """Return what is kept; nothing if it can't be read, since it only saves time."""
        try:
            kept = parse_json(self._path.read_bytes())
            return {
                str(name): (str(mark), state, int(rows))
                for name, (mark, state, rows) in kept.items()
                if state in _SOUND
            }
        except (OSError, RuntimeError, ValueError, TypeError, AttributeError):
            return {}

    def _save(self, known: dict[str, tuple[str, str, int]]) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex}")
            fresh.write_text(json.dumps(known))
            fresh.replace(self._path)


def sound_results(store: Store) -> tuple[Snapshot, list[str]]:
    """Return a store's results without the items of damaged tables, and a line on each of those."""
    from results_schema.results import Snapshot  # pandas, which a status does without

    damaged = ItemTables(store).damaged()
    return Snapshot(store, damaged), damage_lines(damaged)


def damage_lines(items: Iterable[str]) -> list[str]:
    """Return a line on each item of damaged tables that is left out."""
    fix = "launch its experiment, which rebuilds them"
    return [f"{item} is left out, as its tables are damaged: {fix}" for item in items]


def remove_damaged(store: Store, items: Set[str]) -> list[str]:
    """Remove the tables of items where one is damaged; return the items, which have then not ended.

    Whoever runs them next writes the tables again: a trial's from its last checkpoint.
    """
    removed = []
    for item, keys in ItemTables(store).damaged(items).items():
        if lease := store.leases.take(item):  # else its worker writes them again
            with lease:
                for key in keys:  # the row first: without it the item has not ended
                    store.delete(key, lease=lease)
            removed.append(item)
    return removed


def _table_keys(item: str) -> list[str]:
    rows = layout.points if layout.is_surface(item) else layout.metrics
    return [lookup.row_of(item), rows(item)]


def _ended_state(data: bytes) -> str:
    """Return the status in a sound row; "damaged" if it has none."""
    try:
        file = tables.open_parquet(data)
        # The footer's statistics hold the one value: no column needs to be decoded.
        column = file.schema_arrow.get_field_index("status")
        statistics = file.metadata.row_group(0).column(column).statistics
        if statistics is not None and statistics.has_min_max:
            return statistics.max
        return file.read(["status"], use_threads=False)["status"][0].as_py()
    except (*_UNREADABLE, IndexError):
        return "damaged"
