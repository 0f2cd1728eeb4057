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
from results_schema.surface import SurfaceSpec
from results_schema.trial import TrialSpec

Work = TrialSpec | SurfaceSpec
"""What an item consists of."""

ATTEMPTS = 3
"""Attempts at an item whose failure may pass, such as a killed worker."""
BACKOFF = 2.0
"""Seconds before the second attempt; twice as many before each further one."""
PASSING = frozenset({"killed", "evicted", "node", "cuda"})
"""Kinds of failure that another attempt may not meet."""


@dataclass(frozen=True)
class Item:
    """One thing a worker does next: a pack of alike trials, for now always of one, or a surface.

    Attributes:
        token: Names the leases of this offer, so that the queue can fence them.
        pack: The trials, or the surface alone.
    """

    token: str
    pack: tuple[Work, ...]

    @property
    def names(self) -> list[str]:
        """Ids of what is in the pack."""
        return [item_id(work) for work in self.pack]


@dataclass
class _Owed:
    work: Work
    attempts: int = 0
    not_before: float = 0.0
    contested: bool = False

    @property
    def id(self) -> str:
        return item_id(self.work)


def item_id(work: Work) -> str:
    """Of a trial or a surface: what its lease and its log are named by."""
    return work.trial_id if isinstance(work, TrialSpec) else work.surface_id


@dataclass
class Queue:
    """Items owed by a plan, offered one at a time.

    A surface waits until its trial has ended, or has left the checkpoint that is to be measured.

    Attributes:
        store: Tells what others hold and what has ended meanwhile.
        surfaces_last: Whether trials go before surfaces whose checkpoint has landed.
        endings: How each trial or surface that is off the queue ended: done, diverged, failed,
            cancelled, ended by another launch, or untrained, if its trial did not end.
        reasons: Why each failed one failed.
        unfit: Why no more is offered: the store can't be written.
        stopping: Set by `stop`.
        room: Whether the store has room; none is offered without.
    """

    store: Store
    clock: Callable[[], float] = time.monotonic
    surfaces_last: bool = False
    endings: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    unfit: str = ""
    stopping: bool = False
    _waiting: list[_Owed] = field(default_factory=list)
    _running: dict[str, list[_Owed]] = field(default_factory=dict)
    _untrained: dict[str, list[_Owed]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.room = Room(self.store, self.clock)

    def add(self, specs: Sequence[TrialSpec]) -> None:
        """Queues trials behind those already there."""
        self._waiting += [_Owed(spec) for spec in specs]

    def add_surfaces(self, surfaces: Sequence[SurfaceSpec]) -> None:
        """Queues surfaces; those of trials that are queued wait for them.

        So do those of untrained networks, or a grid would be measured before it is trained.
        """
        training, ready = {owed.id for owed in self._waiting}, []
        for surface in surfaces:
            trial_id = surface.trial.trial_id
            if trial_id in training:
                self._untrained.setdefault(trial_id, []).append(_Owed(surface))
            else:
                ready.append(_Owed(surface))
        self._release(ready)

    def reached(self, trial_id: str, epoch: int) -> None:
        """A trial trains this epoch: what it left after earlier ones can be looked at."""
        waiting = self._untrained.get(trial_id)
        if not waiting:
            return
        landed = [o for o in waiting if isinstance(o.work, SurfaceSpec) and o.work.epoch < epoch]
        self._untrained[trial_id] = [owed for owed in waiting if owed not in landed]
        self._release(landed)

    @property
    def running(self) -> int:
        """Number of trials and surfaces offered and not yet settled."""
        return sum(len(pack) for pack in self._running.values())

    @property
    def waiting(self) -> int:
        """Number of trials and surfaces not yet offered, or to be offered again."""
        return len(self._waiting) + sum(map(len, self._untrained.values()))

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
            if owed.id in self.endings:
                self._follow(owed.id)
                continue
            item = Item(uuid.uuid4().hex, (owed.work,))
            self._running[item.token] = [owed]
            return item
        return None

    def settle(self, token: str, name: str, status: str, reason: str, kind: str = "") -> None:
        """Takes note of how one trial of an item, or its surface, went.

        Args:
            token: Of the item.
            name: Id of the trial or surface.
            status: As in `workers.attempt.Outcome`, like the rest.
            reason: In a few words.
            kind: Of a failure.
        """
        pack = self._running.get(token, [])
        owed = next((o for o in pack if o.id == name), None)
        if owed is None:
            return
        pack.remove(owed)
        if status in ("done", "diverged"):
            self.endings[name] = status
            self._follow(name)
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
                self.store.leases.fence(owed.id, token)
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
        if kind == "store":
            self._give_up(reason)
        elif kind in PASSING and owed.attempts < ATTEMPTS:
            owed.not_before = self.clock() + BACKOFF * 2 ** (owed.attempts - 1)
            self._waiting.append(owed)
            return
        if silent:  # nobody else is left to say so
            Failure(kind, reason).record(self.store, owed.id)
        self.endings[owed.id], self.reasons[owed.id] = "failed", reason
        self._follow(owed.id)

    def _release(self, surfaces: list[_Owed]) -> None:
        """Lets surfaces be offered, in their order: next, or when no trial is left to offer."""
        if self.surfaces_last:
            self._waiting += surfaces
            return
        ahead = [o for o in self._waiting if isinstance(o.work, SurfaceSpec)]
        behind = [o for o in self._waiting if isinstance(o.work, TrialSpec)]
        self._waiting = [*ahead, *surfaces, *behind]

    def _follow(self, name: str) -> None:
        """What becomes of a trial's surfaces once it is off the queue."""
        surfaces = self._untrained.pop(name, [])
        if self.endings[name] in ("failed", "cancelled"):
            trained = [o for o in surfaces if isinstance(o.work, SurfaceSpec) and o.work.epoch]
            self.endings |= {owed.id: "untrained" for owed in trained}
            surfaces = [owed for owed in surfaces if owed not in trained]
        self._release(surfaces)

    def _unfit(self, error: StoreError) -> None:
        if isinstance(error, StoreFull):
            self.room.ran_out(str(error))
        else:
            self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        self.unfit = reason
        self.stop()

    def _is_due(self, owed: _Owed) -> bool:
        """Whether one can leave the waiting: to a worker, or because it has ended by now."""
        if self.clock() < owed.not_before:
            return False
        if not self.store.leases.free(owed.id):
            owed.contested = True
            return False
        if not (owed.contested and self._ended_elsewhere(owed)) and any(
            self.store.has(layout.cancel(name)) for name in {owed.id, layout.trial_of(owed.id)}
        ):
            self.endings[owed.id] = "cancelled"
        return True

    def _ended_elsewhere(self, owed: _Owed) -> bool:
        key = layout.trial if isinstance(owed.work, TrialSpec) else layout.surface
        ended = self.store.has(key(owed.id))
        if ended:
            self.endings[owed.id] = "ended by another launch"
        return ended
