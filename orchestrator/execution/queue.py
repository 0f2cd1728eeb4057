"""The queue: which item a free worker does next, and what becomes of it afterwards.

It knows nothing of Ray. It offers what is owed and held by no one, takes back what a dead worker
leaves, retries what may pass and gives up on what will not. While the store is full it pauses.
"""

from __future__ import annotations

import math
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from orchestrator.execution import packing
from orchestrator.execution.items import Item, Owed, alike
from orchestrator.execution.room import Room
from orchestrator.execution.waiting import Waiting
from results_schema import layout
from results_schema.errors import StoreError, StoreFull
from results_schema.store import Failure, Store
from results_schema.surface import SurfaceSpec
from results_schema.trial import TrialSpec
from workers.training.attempt import append_to_log

_ENDED = "its launch ended before it did"
ATTEMPTS = 3
"""Attempts at an item whose failure may pass, such as a killed worker."""
BACKOFF = 2.0
"""Seconds before the second attempt; twice as many before each further one."""
LOOK_EVERY = 5.0
"""Seconds between two looks at the lease of an item that another worker holds: as many as between
its heartbeats. Tune asks for the next item a hundred times a second."""
SLOTS_EVERY = 1.0
"""Seconds for which the number of slots is taken to be the same; each look asks Ray's head."""
PASSING = frozenset({"killed", "evicted", "node", "cuda", "graph"})
"""Kinds of failure that another attempt may not meet."""


@dataclass
class _Offered:
    """An item that some worker has, and what of it is not settled."""

    item: Item
    left: list[Owed]


@dataclass
class Queue:
    """Items owed by a plan, offered one at a time.

    Attributes:
        store: Tells what others hold and what has ended meanwhile.
        surfaces_last: Whether trials go before surfaces whose checkpoint has landed.
        pack: How many alike trials an item has at most; goes down when their memory runs out.
        slots: Tells how many such items fit side by side; it decides how large the last ones are.
        endings: How each trial or surface that is off the queue ended: done, diverged, failed,
            cancelled, ended by another launch, or untrained, if its trial did not end.
        reasons: Why each failed one failed.
        retries: How often an attempt failed that was tried again, by the kind of failure.
        unfit: Why no more is offered: the store can't be written, or a node is unfit.
        stopping: Set by `stop`.
        halt: Asks workers to leave off what they are at.
        say: Told of what a user should know besides: memory or room that ran out.
        room: Whether the store has room; none is offered without.
    """

    store: Store
    clock: Callable[[], float] = time.monotonic
    surfaces_last: bool = False
    pack: int = 1
    slots: Callable[[], int] = lambda: 1
    endings: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    retries: Counter[str] = field(default_factory=Counter)
    unfit: str = ""
    stopping: bool = False
    halt: Callable[[], None] = lambda: None
    say: Callable[[str], None] = lambda text: None
    _offered: dict[str, _Offered] = field(default_factory=dict)
    _slots: int = 1
    _slots_until: float = -math.inf

    def __post_init__(self) -> None:
        self.room = Room(self.store, self.clock, lambda text: self.say(text))
        self._line = Waiting(self.surfaces_last)

    def add(self, specs: Sequence[TrialSpec]) -> None:
        """Queues trials behind those already there."""
        self._line.add(specs)

    def add_surfaces(self, surfaces: Sequence[SurfaceSpec]) -> None:
        """Queues surfaces; those of trials that are queued wait for them (`Waiting`)."""
        self._line.add_surfaces(surfaces)

    def reached(self, trial_id: str, epoch: int) -> None:
        """A trial trains this epoch: what it left after earlier ones can be looked at."""
        self.stepped(trial_id, epoch)
        self._line.reached(trial_id, epoch)

    def stepped(self, name: str, step: int) -> None:
        """A trial has come to this epoch, or a surface has so many points."""
        for offered in self._offered.values():
            for owed in offered.left:
                if owed.id == name and step > owed.furthest:
                    owed.furthest, owed.progressed = step, True

    @property
    def items(self) -> int:
        """Number of items that were offered and not closed."""
        return len(self._offered)

    def at_work(self, slots: int) -> int:
        """Number of trials and surfaces that workers have (`working`)."""
        return len(self.working(slots))

    def working(self, slots: int) -> list[str]:
        """Ids of trials and surfaces that workers have when so many items fit: the first.

        An item of which all is settled makes room for the next before Tune has closed it. Threads
        that show progress ask, while the queue goes on.
        """
        left = [[*offered.left] for offered in list(self._offered.values()) if offered.left]
        return [owed.id for pack in left[:slots] for owed in pack]

    @property
    def waiting(self) -> int:
        """Number of trials and surfaces not yet offered, or to be offered again."""
        return len(self._line)

    @property
    def over(self) -> bool:
        """Whether nothing will be offered any more, whatever becomes of what is running."""
        return self.stopping or not (self._line.ready or self._offered)

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
        pack: list[Owed] = []
        size = 1
        if self.pack > 1:
            slots = self._slots_now()
            size = packing.share(self._line.trials, slots - self.items, slots, self.pack)
        for owed in [*self._line.ready]:
            if pack and not (alike(pack[0].work, owed.work) and _sociable(owed)):
                continue
            if not self._is_due(owed):
                continue
            self._line.ready.remove(owed)
            if owed.id in self.endings:
                self._follow(owed.id)
                continue
            pack.append(owed)
            if len(pack) >= size or not _sociable(owed):
                break
        if not pack:
            return None
        item = Item(uuid.uuid4().hex, tuple(owed.work for owed in pack))
        self._offered[item.token] = _Offered(item, pack)
        return item

    def settle(self, token: str, name: str, status: str, reason: str, kind: str = "") -> None:
        """Takes note of how one trial of an item, or its surface, went.

        Args:
            token: Of the item.
            name: Id of the trial or surface.
            status: As in `workers.training.attempt.Outcome`, like the rest.
            reason: In a few words.
            kind: Of a failure.
        """
        offered = self._offered.get(token)
        owed = next((o for o in offered.left if o.id == name), None) if offered else None
        if offered is None or owed is None:
            return
        offered.left.remove(owed)
        if status in ("done", "diverged"):
            self.endings[name] = status
            self._follow(name)
        elif kind == "memory" and len(offered.item.pack) > 1:
            self._pack_less(len(offered.item.pack))
            self._line.ready.append(owed)
        elif status == "failed":
            self._fail(owed, kind, reason)
        else:  # held, superseded, stopped: still owed, by us or by whoever has it now
            owed.contested = True
            self._line.ready.append(owed)

    def close(self, token: str, died: Failure | None = None) -> None:
        """Ends an item; what its worker did not settle was cut off, and is fenced at once.

        Args:
            token: Of the item.
            died: Why its worker could not say how it went, if so.
        """
        offered = self._offered.pop(token, None)
        for owed in offered.left if offered else ():
            try:
                gone = self.store.leases.ended.pop(owed.id, "")  # whoever asked may have fenced it
                if self.store.leases.fence(owed.id, token) or gone:
                    why = died.message if died else gone or _ENDED
                    append_to_log(self.store, owed.id, f"cut off: {why}")
                if died:
                    self._fail(owed, died.kind, died.message, silent=True)
                    continue
            except StoreError as error:
                self._unfit(error)
            self._line.ready.append(owed)

    def close_all(self) -> None:
        """Ends every running item, when all workers are gone."""
        for token in list(self._offered):
            self.close(token)

    def _fail(self, owed: Owed, kind: str, reason: str, *, silent: bool = False) -> None:
        if kind == "full":  # no fault of the trial's
            self.room.ran_out(reason)
            self._line.ready.append(owed)
            return
        if kind == "unfit":  # its node's fault, which all that is offered would meet
            self._give_up(reason)
            self.halt()
            self._line.ready.append(owed)
            return
        if kind == "node" and owed.progressed:
            owed.attempts = 0  # nodes that come and go are no fault of a trial that gets on
        owed.progressed = False
        owed.attempts += 1
        if kind == "store":
            self._give_up(reason)
        elif kind in PASSING and owed.attempts < ATTEMPTS:
            self.retries[kind] += 1
            owed.not_before = self.clock() + BACKOFF * 2 ** (owed.attempts - 1)
            self._line.ready.append(owed)
            return
        if silent:  # nobody else is left to say so
            Failure(kind, reason).record(self.store, owed.id)
        self.endings[owed.id], self.reasons[owed.id] = "failed", reason
        self._follow(owed.id)

    def _pack_less(self, size: int) -> None:
        """The memory that trials side by side share was too small for a pack of this size."""
        if size <= self.pack:
            self.pack = size - 1
            fewer = f"{self.pack} share" if self.pack > 1 else "each has"
            self.say(f"memory ran out for {size} trials side by side: from now on {fewer} a device")

    def _follow(self, name: str) -> None:
        """What becomes of a trial's surfaces once it is off the queue."""
        trained = self.endings[name] not in ("failed", "cancelled")
        lost = self._line.follow(name, trained=trained)
        self.endings |= {owed.id: "untrained" for owed in lost}

    def _unfit(self, error: StoreError) -> None:
        if isinstance(error, StoreFull):
            self.room.ran_out(str(error))
        else:
            self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        self.unfit = self.unfit or reason
        self.stop()

    def _is_due(self, owed: Owed) -> bool:
        """Whether one can leave the waiting: to a worker, or because it has ended by now."""
        if self.clock() < owed.not_before:
            return False
        if not self.store.leases.free(owed.id):
            owed.contested = True
            owed.not_before = self.clock() + LOOK_EVERY
            return False
        if gone := self.store.leases.ended.pop(owed.id, ""):
            append_to_log(self.store, owed.id, f"cut off: {gone}")
        if not (owed.contested and self._ended_elsewhere(owed)) and any(
            self.store.has(layout.cancel(name)) for name in {owed.id, layout.trial_of(owed.id)}
        ):
            self.endings[owed.id] = "cancelled"
        return True

    def _slots_now(self) -> int:
        """The number of slots, counted now and then; 1 without nodes, as if one were to come."""
        now = self.clock()
        if now >= self._slots_until:
            self._slots, self._slots_until = max(1, self.slots()), now + SLOTS_EVERY
        return self._slots

    def _ended_elsewhere(self, owed: Owed) -> bool:
        key = layout.trial if isinstance(owed.work, TrialSpec) else layout.surface
        ended = self.store.has(key(owed.id))
        if ended:
            self.endings[owed.id] = "ended by another launch"
        return ended


def _sociable(owed: Owed) -> bool:
    """Whether one may have neighbours: not a surface, nor a trial's last attempt.

    A trial that crashes its worker takes its pack along; its neighbours' last attempts, each
    alone, can't fail by it.
    """
    return isinstance(owed.work, TrialSpec) and owed.attempts < ATTEMPTS - 1
