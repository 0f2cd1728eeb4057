"""What the page shows, looked up anew at most twice a second however many windows ask."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orchestrator.dash.curves import Curves
from orchestrator.status import UNNAMED, Observer, Status
from results_schema.errors import NasSweepError
from results_schema.results import Results
from results_schema.store import LocalStore

AGAIN = 0.5
"""Seconds for which a look is good."""

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
    """

    store: LocalStore
    curves: Curves = field(init=False)
    trouble: str = ""
    _observer: Observer = field(init=False)
    _status: Status = field(default_factory=lambda: Status({}, [], []))
    _members: dict[str, dict[str, Row]] = field(default_factory=dict)
    _mark: object = None
    _turn: int = 0
    _looked: float = -math.inf
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.curves, self._observer = Curves(self.store), Observer(self.store)

    def look(self) -> int:
        """Looks again if the last look is old.

        Returns:
            A number that grows whenever something is new.
        """
        with self._lock:
            if time.monotonic() - self._looked >= AGAIN:
                self.curves.look()
                try:
                    self._members = _members(Results(self.store))
                    self._status = self._observer.look([])
                    self.trouble = ""
                except NasSweepError as error:
                    self.trouble = str(error)
                mark = self.curves.version, self._status.experiments, self.trouble
                self._turn += mark != self._mark
                self._mark = mark
                self._looked = time.monotonic()
            return self._turn

    def experiments(self) -> list[str]:
        """Names of all experiments; "" stands for the trials that none names."""
        return list(self._status.experiments)

    def counts(self, experiment: str | None) -> dict[str, int]:
        """How many trials of an experiment, or of all, are in each state."""
        states = list(self._states(experiment).values())
        return {state: states.count(state) for state in dict.fromkeys(states)}

    def rows(self, experiment: str | None) -> list[Row]:
        """A row for each trial of an experiment, or of all: names, state and last numbers."""
        named = self._named(experiment)
        return [
            {"trial_id": trial_id, "state": state}
            | named.get(trial_id, {})
            | _last(self.curves.of.get(trial_id))
            for trial_id, state in self._states(experiment).items()
        ]

    def label(self, trial_id: str) -> str:
        """A short name for a trial."""
        for members in self._members.values():
            if trial_id in members:
                row = members[trial_id]
                name = row["base"] if row["index"] == 0 else f"{row['base']} {row['variant']}"
                return f"{name}, {row['dataset']}, {row['learning_rate']:g}, seed {row['seed']}"
        return trial_id

    def _named(self, experiment: str | None) -> dict[str, Row]:
        if experiment is not None:
            return self._members.get(experiment, {})
        return {t: row for members in self._members.values() for t, row in members.items()}

    def _states(self, experiment: str | None) -> dict[str, str]:
        groups = self._status.experiments
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
