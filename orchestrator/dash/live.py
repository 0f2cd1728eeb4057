"""What the page shows, looked up anew when the store tells that something may have changed."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orchestrator.dash.curves import Curves
from orchestrator.dash.stamps import folder_stamps, table_stamps
from orchestrator.housekeeping.status import UNNAMED, Status, StatusReader
from results_schema import layout
from results_schema.errors import NasSweepError
from results_schema.results import Results
from results_schema.store import LocalStore, Store

AGAIN = 5.0
"""Seconds after which to look although no folder has changed: leases expire unseen."""

FAR = 2.0
"""Seconds between two glances at a store in a bucket, each of which takes some requests."""

Row = dict[str, Any]

NAMES = (
    "base",
    "variant",
    "index",
    "dataset",
    "learning_rate",
    "seed",
    "width",
    "depth",
)
"""What the members' table says of a trial."""


@dataclass
class Live:
    """A store that is looked at while it fills.

    Attributes:
        store: The store.
        curves: Its metrics.
        trouble: What kept the last look from being whole; empty if nothing did.
        name: Tells this process's turns from those of one before it.
        turn: Grows whenever something is new.
    """

    store: Store
    curves: Curves = field(init=False)
    trouble: str = ""
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    turn: int = 0
    _observer: StatusReader = field(init=False)
    _status: Status = field(default_factory=lambda: Status())
    _members: dict[str, dict[str, Row]] = field(default_factory=dict)
    _named: dict[str, str] = field(default_factory=dict)
    _rows: dict[str, Row] = field(default_factory=dict)
    _renewed: dict[str, int] = field(default_factory=dict)
    _arranged: int = 0
    _folders: dict[str, Hashable] = field(default_factory=dict)
    _glanced: float = -math.inf
    _looked: float = -math.inf
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.curves, self._observer = Curves(self.store), StatusReader(self.store)

    def look(self) -> int:
        """Looks again if a folder has changed or the last look is old.

        Returns:
            The turn.
        """
        with self._lock:
            far = not isinstance(self.store, LocalStore)
            if far and time.monotonic() - self._glanced < FAR:
                return self.turn
            folders = folder_stamps(self.store)
            self._glanced = time.monotonic()
            old = time.monotonic() - self._looked >= AGAIN
            if old or folders != self._folders:
                changed = {f for f, at in folders.items() if at != self._folders.get(f)}
                # New epochs and points alone change no trial's state.
                lesser = changed <= {layout.METRICS, layout.POINTS}
                self._renew(states=old or bool(self.trouble) or not lesser)
                self._folders = folders
                if old:
                    self._looked = time.monotonic()
                if layout.POINTS in changed:
                    self.turn += 1
            return self.turn

    def _renew(self, *, states: bool) -> None:
        before = self.curves.version, self._status.trials.experiments, self.trouble, self._named
        self.trouble = ""
        try:
            self.curves.look()
            named = table_stamps(self.store, layout.MEMBERS)
            if named != self._named:
                self._members, self._named = _members(Results(self.store)), named
            if states:
                self._status = self._observer.read()
        except NasSweepError as error:
            self.trouble = str(error)
        except OSError as error:
            self.trouble = f"the store can't be read: {error}"
        if (
            self.curves.version,
            self._status.trials.experiments,
            self.trouble,
            self._named,
        ) != before:
            self.turn += 1
            self._note(rearranged=self._named != before[3])

    def _note(self, *, rearranged: bool) -> None:
        """Notes which rows are new this turn."""
        rows = {row["trial_id"]: row for row in self.rows(None)}
        if rearranged or list(rows) != list(self._rows):
            self._arranged = self.turn
        for trial_id, row in rows.items():
            if row != self._rows.get(trial_id):
                self._renewed[trial_id] = self.turn
        self._rows = rows

    def news(self, experiment: str | None, since: int) -> list[Row] | None:
        """The rows that have changed since a turn; None if they are others, or in another order.

        Args:
            experiment: Whose, or None for all.
            since: The turn.
        """
        with self._lock:
            if since < self._arranged:
                return None
            new = {trial_id for trial_id, turn in self._renewed.items() if turn > since}
            return self.rows(experiment, new) if new else []

    def experiments(self) -> list[str]:
        """Names of all experiments; "" stands for the trials that none names."""
        return list(self._status.trials.experiments)

    def counts(self, experiment: str | None) -> dict[str, int]:
        """How many trials of an experiment, or of all, are in each state."""
        states = list(self._states(experiment).values())
        return {state: states.count(state) for state in dict.fromkeys(states)}

    def rows(self, experiment: str | None, only: set[str] | None = None) -> list[Row]:
        """A row for each trial of an experiment, or of all: names, state and last numbers.

        Args:
            experiment: Whose, or None for all.
            only: Of these trials alone, if given.
        """
        named = self._names(experiment)
        return [
            {"trial_id": trial_id, "state": state}
            | named.get(trial_id, {})
            | _last(self.curves.of.get(trial_id))
            for trial_id, state in self._states(experiment).items()
            if only is None or trial_id in only
        ]

    def label(self, trial_id: str) -> str:
        """A short name for a trial."""
        for members in self._members.values():
            if trial_id in members:
                row = members[trial_id]
                name = row["base"] if row["index"] == 0 else f"{row['base']} {row['variant']}"
                return f"{name}, {row['dataset']}, {row['learning_rate']:g}, seed {row['seed']}"
        return trial_id

    def _names(self, experiment: str | None) -> dict[str, Row]:
        if experiment is not None:
            return self._members.get(experiment, {})
        return {t: row for members in self._members.values() for t, row in members.items()}

    def _states(self, experiment: str | None) -> dict[str, str]:
        groups = self._status.trials.experiments
        if experiment is not None:
            return groups.get(experiment, {})
        return {t: state for trials in groups.values() for t, state in trials.items()}


def title(experiment: str) -> str:
    """An experiment's name to show."""
    return "in no experiment" if experiment == UNNAMED else experiment


def _members(results: Results) -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    members: Any = results.members()[["experiment", "trial_id", *NAMES]]
    for row in members.to_dict("records"):
        named = {str(k): v for k, v in row.items() if k not in ("experiment", "trial_id")}
        found.setdefault(row["experiment"], {}).setdefault(row["trial_id"], named)
    return found


def _last(curve: dict[str, Any] | None) -> Row:
    """Numbers of the last epoch, and the best; None stands for what JSON can't say."""
    if curve is None or not len(curve["epoch"]):
        return {"epoch": 0}
    accuracy = curve["test_accuracy"]
    best: Callable[..., Any] = np.fmax.reduce
    numbers = {
        "test_accuracy": accuracy[-1],
        "best_test_accuracy": best(accuracy),
        "test_loss": curve["test_loss"][-1],
        "train_loss": curve["train_loss"][-1],
    }
    rounded = {
        name: round(float(value), 5) if math.isfinite(value) else None
        for name, value in numbers.items()
    }
    return {"epoch": int(curve["epoch"][-1]), **rounded}
