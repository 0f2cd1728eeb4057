"""Early stopping in a launch: which trials wait for a decision, and when one can be made.

It does not import Ray. What a launch knows of the cohorts' trials it hears from its queue; of
trials that other launches train it looks into the store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from results_schema import layout
from results_schema.stopping import Cohort, Decision, decide, pruned_trials, read_decisions
from results_schema.store import Store

INTERVAL = 5.0
"""Seconds between two looks at what other launches have trained and decided."""


@dataclass
class Cohorts:
    """The cohorts of a launch's experiments, and how far their trials have come.

    Attributes:
        store: Where trials, checkpoints and decisions are.
        named: Cohorts of each experiment by its name; an experiment without a rule has none.
        members: Names of the experiments that name each trial.
        clock: Returns the time in seconds.
        gone: Trials that failed for good in this launch, or were cancelled: they come last.
    """

    store: Store
    named: Mapping[str, Sequence[Cohort]]
    members: Mapping[str, Sequence[str]]
    clock: Callable[[], float] = time.monotonic
    gone: set[str] = field(default_factory=set)
    _reached: dict[str, int] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    _decisions: dict[str, dict[int, Decision]] = field(default_factory=dict)
    _looked: float = -INTERVAL
    _changed: bool = True
    _contended: bool = False  # whether another launch was making a decision at the last attempt

    def __post_init__(self) -> None:
        self._of: dict[tuple[str, str], Cohort] = {
            (name, trial): cohort
            for name, cohorts in self.named.items()
            for cohort in cohorts
            for trial in cohort.trials
        }
        if self.any:
            self._look()

    @property
    def any(self) -> bool:
        """Whether any experiment has a rule."""
        return bool(self._of)

    def until(self, trial: str) -> int | None:
        """Return the epoch after which a trial waits; None if it does not."""
        # An experiment that has no rule, or whose decisions kept the trial so far, wants all.
        waits = [self._next(name, trial) for name in self.members.get(trial, ())]
        wanted = [rung for rung in waits if rung != 0]
        return None if None in wanted or not wanted else max(rung for rung in wanted if rung)

    def waits(self, trial: str) -> bool:
        """Return whether a trial has committed the epoch after which it waits."""
        until = self.until(trial)
        return until is not None and self._reached.get(trial, 0) >= until

    def pruned(self, trial: str) -> bool:
        """Return whether every experiment that names a trial has pruned it."""
        names = self.members.get(trial, ())
        return bool(names) and all(self._next(name, trial) == 0 for name in names)

    def note(self, trial: str, epoch: int) -> None:
        """Note that a trial has committed an epoch, after which it waits."""
        self._reached[trial] = max(epoch, self._reached.get(trial, 0))
        self._changed = True

    def end(self, trial: str, *, lost: bool) -> None:
        """Note that a trial has ended, or is lost: it failed for good or was cancelled."""
        (self.gone if lost else self._ended).add(trial)
        self._changed = True

    @property
    def pending(self) -> bool:
        """Whether a decision may be made soon without any trial training on."""
        return self._changed or self._contended

    def due(self, *, waiting: bool) -> bool:
        """Return whether anything has changed since the last `advance`, as far as is known.

        While trials wait, other launches may do what they wait for.
        """
        if waiting and self.clock() - self._looked >= INTERVAL:
            self._look()
        return self._changed

    def advance(self, waiting: Sequence[str]) -> None:
        """Make the decisions for which waiting trials wait, where all that they need is there.

        Raises:
            StoreError: The store can't be read or written.
        """
        self._changed = self._contended = False
        for (name, _, rung), cohort in self._asked(waiting).items():
            if not self._absent(cohort, rung):
                made = decide(self.store, cohort, rung, name)
                if made is None:
                    self._contended = True
                else:
                    self._decisions[cohort.digest][rung] = made
                    # Those that come further may be enough for the next one.
                    self._changed = True

    def missing(self, waiting: Sequence[str]) -> list[str]:
        """Return the trials for which waiting ones wait."""
        asked = self._asked(waiting).items()
        return list(dict.fromkeys(t for key, one in asked for t in self._absent(one, key[-1])))

    def _asked(self, waiting: Sequence[str]) -> dict[tuple[str, str, int], Cohort]:
        """Return the cohorts whose decisions trials wait for, by experiment, digest and rung."""
        return {
            (name, self._of[name, trial].digest, rung): self._of[name, trial]
            for trial in waiting
            for name in self.members.get(trial, ())
            if (rung := self._next(name, trial))
        }

    def _next(self, name: str, trial: str) -> int | None:
        """Return a trial's first undecided rung, 0 if it is pruned, None if all are decided."""
        cohort = self._of.get((name, trial))
        if cohort is None:
            return None
        known = self._decisions[cohort.digest]
        for rung in cohort.rungs(trial):
            if rung not in known:
                return rung
            if trial in known[rung].pruned:
                return 0
        return None

    def _absent(self, cohort: Cohort, rung: int) -> list[str]:
        known = self._decisions[cohort.digest].values()
        out = pruned_trials(one for one in known if one.epoch < rung)
        out = self._ended | self.gone | out.keys()
        return [t for t in cohort.trials if t not in out and self._reached.get(t, 0) < rung]

    def _look(self) -> None:
        """Read from the store which trials have ended or come further, and what was decided."""
        self._looked, self._changed = self.clock(), True
        # Decisions first: a trial that one of them let go on has committed its rung.
        cohorts = {one.digest: one for cohorts in self.named.values() for one in cohorts}
        self._decisions = read_decisions(self.store, list(cohorts.values()))
        self._ended |= layout.names(self.store.list(layout.TRIALS))
        from workers.training.checkpoint import committed_epochs  # torch

        for trial, epoch in committed_epochs(self.store).items():
            self._reached[trial] = max(epoch, self._reached.get(trial, 0))
