"""The queue: which item a free worker does next, and what becomes of it afterwards.

It knows nothing of Ray. It offers what is owed and held by no one, takes back what a dead worker
leaves, retries what may pass and gives up on what will not. While the store is full it pauses.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from orchestrator.room import Room
from results_schema import layout
from results_schema.errors import StoreError, StoreFull
from results_schema.failure import Failure
from results_schema.store import Store
from results_schema.trial import TrialSpec

ATTEMPTS = 3
"""Attempts at an item whose failure may pass, such as a killed worker."""
BACKOFF = 2.0
"""Seconds before the second attempt; twice as many before each further one."""
PASSING = frozenset({"killed", "evicted", "node", "cuda"})
"""Kinds of failure that another attempt may not meet."""


@dataclass(frozen=True)
class Item:
    """One thing a worker does next: a pack of alike trials, for now always of one.

    Attributes:
        token: Names the leases of this offer, so that the queue can fence them.
        specs: The trials.
    """

    token: str
    specs: tuple[TrialSpec, ...]


@dataclass
class _Owed:
    spec: TrialSpec
    attempts: int = 0
    not_before: float = 0.0
    contested: bool = False


@dataclass
class Queue:
    """Items owed by a plan, offered one at a time.

    Attributes:
        store: Tells what others hold and what has ended meanwhile.
        endings: How each trial that is off the queue ended: done, diverged, failed, cancelled, or
            ended by another launch.
        reasons: Why each failed trial failed.
        unfit: Why no more is offered: the store can't be written.
        stopping: Set by `stop`.
        room: Whether the store has room; none is offered without.
    """

    store: Store
    clock: Callable[[], float] = time.monotonic
    endings: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    unfit: str = ""
    stopping: bool = False
    _waiting: list[_Owed] = field(default_factory=list)
    _running: dict[str, list[_Owed]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.room = Room(self.store, self.clock)

    def add(self, specs: Sequence[TrialSpec]) -> None:
        """Queues trials behind those already there."""
        self._waiting += [_Owed(spec) for spec in specs]

    @property
    def running(self) -> int:
        """Number of trials offered and not yet settled."""
        return sum(len(pack) for pack in self._running.values())

    @property
    def waiting(self) -> int:
        """Number of trials not yet offered, or to be offered again."""
        return len(self._waiting)

    @property
    def over(self) -> bool:
        """Whether nothing will be offered any more, whatever becomes of what is running."""
        return self.stopping or not (self._waiting or self._running)

    def stop(self) -> None:
        """Offers nothing more; what is left stays owed."""
        self.stopping = True

    def offer(self) -> Item | None:
        """The next item, or None if there is none just now."""
        try:
            return None if self.stopping or not self.room.enough() else self._next()
        except StoreError as error:
            self._unfit(error)
            return None

    def _next(self) -> Item | None:
        for owed in list(self._waiting):
            if not self._is_due(owed):
                continue
            self._waiting.remove(owed)
            if owed.spec.trial_id in self.endings:
                continue
            item = Item(uuid.uuid4().hex, (owed.spec,))
            self._running[item.token] = [owed]
            return item
        return None

    def settle(self, token: str, trial_id: str, status: str, reason: str, kind: str = "") -> None:
        """Takes note of how one trial of an item went.

        Args:
            token: Of the item.
            trial_id: Of the trial.
            status: As in `workers.training.loop.Outcome`, like the rest.
            reason: In a few words.
            kind: Of a failure.
        """
        pack = self._running.get(token, [])
        owed = next((o for o in pack if o.spec.trial_id == trial_id), None)
        if owed is None:
            return
        pack.remove(owed)
        if status in ("done", "diverged"):
            self.endings[trial_id] = status
        elif status == "failed":
            self._fail(owed, kind, reason)
        else:  # held, superseded, stopped: still owed, by us or by whoever has it now
            owed.contested = True
            self._waiting.append(owed)

    def close(self, token: str, died: Failure | None = None) -> None:
        """Ends an item; what its worker did not settle was cut off, and is fenced at once.

        Args:
            token: Of the item.
            died: Why its worker could not say how it went, if so.
        """
        for owed in self._running.pop(token, []):
            try:
                self.store.leases.fence(owed.spec.trial_id, token)
                if died:
                    self._fail(owed, died.kind, died.message, silent=True)
                    continue
            except StoreError as error:
                self._unfit(error)
            self._waiting.append(owed)

    def close_all(self) -> None:
        """Ends every running item, when all workers are gone."""
        for token in list(self._running):
            self.close(token)

    def _fail(self, owed: _Owed, kind: str, reason: str, *, silent: bool = False) -> None:
        if kind == "full":  # no fault of the trial's
            self.room.ran_out(reason)
            self._waiting.append(owed)
            return
        owed.attempts += 1
        trial_id = owed.spec.trial_id
        if kind == "store":
            self._give_up(reason)
        elif kind in PASSING and owed.attempts < ATTEMPTS:
            owed.not_before = self.clock() + BACKOFF * 2 ** (owed.attempts - 1)
            self._waiting.append(owed)
            return
        if silent:  # nobody else is left to say so
            Failure(kind, reason).record(self.store, trial_id)
        self.endings[trial_id], self.reasons[trial_id] = "failed", reason

    def _unfit(self, error: StoreError) -> None:
        if isinstance(error, StoreFull):
            self.room.ran_out(str(error))
        else:
            self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        self.unfit = reason
        self.stop()

    def _is_due(self, owed: _Owed) -> bool:
        """Whether a trial can leave the waiting: to a worker, or because it has ended by now."""
        trial_id = owed.spec.trial_id
        if self.clock() < owed.not_before:
            return False
        if not self.store.leases.free(trial_id):
            owed.contested = True
            return False
        if not (owed.contested and self._ended_elsewhere(trial_id)) and self.store.has(
            layout.cancel(trial_id)
        ):
            self.endings[trial_id] = "cancelled"
        return True

    def _ended_elsewhere(self, trial_id: str) -> bool:
        ended = self.store.has(layout.trial(trial_id))
        if ended:
            self.endings[trial_id] = "ended by another launch"
        return ended
