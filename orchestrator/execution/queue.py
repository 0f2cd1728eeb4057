"""The queue: which item a free worker runs next, and what becomes of it afterwards.

It does not import Ray. It offers what remains to be run and nobody holds, requeues what a dead
worker leaves, retries failures that may pass (`ATTEMPTS`, `BACKOFF`, `RETRIED`), and records the
others. While the store is full it pauses. docs/commands.md states attempts and pauses;
docs/monitoring.md and `progress` name the kinds that are retried: change them together.
"""

from __future__ import annotations

import math
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from orchestrator.execution.cohorts import Cohorts
from orchestrator.execution.packing import alike, next_pack_size
from orchestrator.output.text import byte_size
from orchestrator.planning.plan import Work, work_id
from results_schema import layout
from results_schema.errors import StoreError, StoreFull
from results_schema.program import Trial
from results_schema.store import Failure, FailureKind, Store
from results_schema.surface import SurfaceSpec
from results_schema.trial import TrialSpec

Ending = Literal[
    "done", "diverged", "pruned", "failed", "cancelled", "ended by another launch", "untrained"
]
"""How a trial or surface left the queue; a surface is untrained if its trial did not end."""

ENDED = ("done", "diverged", "ended by another launch")
"""Endings after which nothing remains of a trial."""
ATTEMPTS = 3
"""Attempts at an item whose failure may pass, such as a killed worker."""
BACKOFF = 2.0
"""Seconds before the second attempt; twice as many before each further one."""
RETRIED: frozenset[FailureKind] = frozenset({"killed", "evicted", "node", "cuda", "graph"})
"""Kinds of failure that another attempt may not meet."""
LEASE_INTERVAL = 5.0
"""Seconds between two checks of the lease of an item that another worker holds: as many as between
its heartbeats. Tune asks for the next item a hundred times a second."""
SPACE_INTERVAL = 10.0
"""Seconds between two checks whether a full store has space again."""


class Item(NamedTuple):
    """What a worker runs next: a pack of alike trials, often of one, or a surface."""

    token: str
    """Name of the leases of this offer, by which the queue can fence them."""
    pack: tuple[Work, ...]
    """The trials, or the surface alone."""
    until: tuple[int | None, ...]
    """Epoch after which each waits for a decision on its cohort; None if it does not."""

    @property
    def names(self) -> list[str]:
        """Ids of the trials, or of the surface."""
        return [work_id(work) for work in self.pack]


@dataclass(eq=False)
class _Pending:
    """A trial or surface that has not ended."""

    work: Work
    attempts: int = 0
    """Number of attempts that failed."""
    not_before: float = 0.0
    """Time of the queue's clock before which it is not offered again."""
    contested: bool = False
    """Whether another launch has or had it, and may have ended it."""
    until: int | None = None
    """Epoch after which it waits for a decision, as it was last offered."""
    furthest: int = 0
    """Epoch or number of points that it has reached in this launch."""
    progressed: bool = False
    """Whether it has come further than ever since its last failure."""

    @property
    def id(self) -> str:
        return work_id(self.work)

    @property
    def packable(self) -> bool:
        """Whether it may share a process: not a surface, nor a trial's last attempt."""
        # A trial that crashes its worker takes its pack along; its neighbours' last attempts, each
        # alone, can't fail because of it.
        return isinstance(self.work, TrialSpec) and self.attempts < ATTEMPTS - 1


class _Offer(NamedTuple):
    """An item that some worker has, and what of it is not settled."""

    size: int
    unsettled: list[_Pending]


class StoreSpace:
    """Whether a store has space to write; checks only after a write found none.

    Args:
        queue: The queue, with the store, the clock, and where to report that space ran out.

    Attributes:
        full: Why nothing can be written, or empty.
        needed: Bytes to test with: what a trial writes at once, which is a checkpoint.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._next_check = 0.0
        self.full = ""
        self.needed = 1_000_000

    def ran_out(self, reason: str) -> None:
        """Note that a write found no space, and report it once."""
        self._next_check = self._queue.clock() + SPACE_INTERVAL
        if not self.full:
            self.full = reason
            self._queue.notify(
                f"paused: {reason}\n  the sweep continues by itself once "
                f"{byte_size(self.needed)} can be written (checked every {SPACE_INTERVAL:.0f} s); "
                "Ctrl-C ends it, and the same command resumes it"
            )

    def available(self) -> bool:
        """Return whether there is space, as far as is known; check again when it is time to."""
        if self.full and self._queue.clock() >= self._next_check:
            key = layout.probe(uuid.uuid4().hex)
            try:
                # Random bytes: a file system that compresses may keep zeros in no space at all.
                self._queue.store.put(key, os.urandom(self.needed), durable=True)
                self._queue.store.delete(key)
            except StoreFull:
                self._next_check = self._queue.clock() + SPACE_INTERVAL
            else:
                self.full = ""
                self._queue.notify("there is space again: the sweep continues")
        return not self.full


@dataclass
class Queue:
    """The remaining work of a plan, offered one item at a time.

    Attributes:
        store: Where leases show what others hold, and rows what has ended meanwhile.
        clock: Returns the time in seconds.
        surfaces_last: Whether trials go before surfaces whose checkpoint has landed.
        pack: Number of alike trials in an item at most; decreases when their memory runs out.
        slots: How many such items fit side by side, by which the last ones are sized.
        endings: How each trial or surface that left the queue did.
        reasons: Why each failed one failed.
        retries: Number of failed attempts that were tried again, by kind of failure.
        unfit: Why no more is offered: the store can't be written, or a node is unfit.
        stopping: Whether nothing more is offered; what has not ended remains for another launch.
        stop_workers: Asks all workers to stop.
        notify: Called with a line that the user should see: memory or space that ran out.
        space: Whether the store has space; nothing is offered without.
        cohorts: What decides which trials wait, and which of them go on.
    """

    store: Store
    clock: Callable[[], float] = time.monotonic
    surfaces_last: bool = False
    pack: int = 1
    slots: int = 1
    endings: dict[str, Ending] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    retries: Counter[FailureKind] = field(default_factory=Counter)
    unfit: str = ""
    stopping: bool = False
    stop_workers: Callable[[], None] = lambda: None
    notify: Callable[[str], None] = lambda line: None
    cohorts: Cohorts | None = None
    _offers: dict[str, _Offer] = field(default_factory=dict)
    _ready: list[_Pending] = field(default_factory=list)  # in the order of offering
    _blocked: dict[str, list[_Pending]] = field(default_factory=dict)  # surfaces by their trial
    _waiting: dict[str, _Pending] = field(default_factory=dict)  # trials, for a decision

    def __post_init__(self) -> None:
        self.space = StoreSpace(self)

    def add(self, specs: Sequence[Trial]) -> None:
        """Add trials behind those already there."""
        self._ready += map(_Pending, specs)

    def add_surfaces(self, surfaces: Sequence[SurfaceSpec]) -> None:
        """Add surfaces; those of trials in the queue wait until their checkpoint has landed."""
        # Surfaces of untrained networks wait too, or a grid would be measured before it is trained.
        training, landed = {one.id for one in self._ready}, []
        for surface in surfaces:
            trial_id = surface.trial.trial_id
            if trial_id in training:
                self._blocked.setdefault(trial_id, []).append(_Pending(surface))
            else:
                landed.append(_Pending(surface))
        self._make_ready(landed)

    def reached(self, trial_id: str, epoch: int) -> None:
        """Note that a trial trains this epoch, so that earlier checkpoints can be measured."""
        self.stepped(trial_id, epoch)
        self._release_surfaces(trial_id, before=epoch)

    def stepped(self, name: str, step: int) -> None:
        """Note that a trial has come to this epoch, or a surface has so many points."""
        for offer in self._offers.values():
            for pending in offer.unsettled:
                if pending.id == name and step > pending.furthest:
                    pending.furthest, pending.progressed = step, True

    @property
    def items(self) -> int:
        """Number of items that were offered and not closed."""
        return len(self._offers)

    @property
    def waiting(self) -> int:
        """Number of trials and surfaces not yet offered, or to be offered again."""
        blocked = sum(map(len, self._blocked.values()))
        return len(self._ready) + len(self._waiting) + blocked

    @property
    def undecided(self) -> list[str]:
        """Trials that wait for a decision."""
        return list(self._waiting)

    def working(self, slots: int) -> list[str]:
        """Return ids of the trials and surfaces that workers have when so many items fit.

        An item of which all is settled makes way for the next before Tune has closed it.
        """
        # Threads that show progress call this while the queue changes: only copies are iterated.
        unsettled = [[*offer.unsettled] for offer in list(self._offers.values()) if offer.unsettled]
        return [pending.id for pack in unsettled[:slots] for pending in pack]

    @property
    def over(self) -> bool:
        """Whether nothing will be offered any more, whatever becomes of what is running."""
        undecided = self._waiting and self.cohorts and self.cohorts.pending
        return self.stopping or not (self._ready or self._offers or undecided)

    def offer(self) -> Item | None:
        """Return the next item, or None if nothing can be run now."""
        try:
            return None if self.stopping or not self.space.available() else self._next()
        except StoreError as error:
            self._store_failed(error)
            return None

    def _next(self) -> Item | None:
        self._advance()
        pack: list[_Pending] = []
        size = 1
        if self.pack > 1:
            slots = max(1, self.slots)  # without nodes, as one may come
            trials = sum(isinstance(one.work, TrialSpec) for one in self._ready)
            size = next_pack_size(trials, slots - self.items, slots, self.pack)
        for pending in [*self._ready]:
            if pack and not (alike(pack[0].work, pending.work) and pending.packable):
                continue
            if not self._is_due(pending):
                continue
            self._ready.remove(pending)
            # `_is_due` may have found that it was cancelled, or ended by another launch.
            if pending.id in self.endings:
                ending = self.endings[pending.id]
                self._leave(pending.id, ending, lost=ending == "cancelled")
                continue
            pack.append(pending)
            if len(pack) >= size or not pending.packable:
                break
        if not pack:
            return None
        # A new token per offer: a worker of an earlier one that still lives can't write any more.
        for pending in pack:
            pending.until = self.cohorts.until(pending.id) if self.cohorts else None
        until = tuple(pending.until for pending in pack)
        item = Item(uuid.uuid4().hex, tuple(pending.work for pending in pack), until)
        self._offers[item.token] = _Offer(len(pack), pack)
        return item

    def settle(
        self, token: str, name: str, status: str, reason: str, kind: FailureKind | Literal[""] = ""
    ) -> None:
        """Record how a trial of the item with this token, or its surface, went.

        `status`, `reason` and `kind` are those of its `workers.training.attempt.Outcome`.
        """
        offer = self._offers.get(token)
        pending = next((o for o in offer.unsettled if o.id == name), None) if offer else None
        # Tune repeats an item's last report, and may deliver one after the item was closed.
        if offer is None or pending is None:
            return
        offer.unsettled.remove(pending)
        if status == "done" or status == "diverged":
            self._leave(name, status)
        elif status == "waiting" and self.cohorts:
            self.cohorts.note(name, pending.until or pending.furthest)
            self._ready.append(pending)
        elif kind == "memory" and offer.size > 1:
            # The pack was too large, which is no fault of the trial: it costs no attempt.
            self._shrink_packs(offer.size)
            self._ready.append(pending)
        elif status == "failed":
            self._fail(pending, Failure(kind or "error", reason))
        else:  # held, superseded or stopped: it remains, here or with whoever has it now
            pending.contested = True
            self._ready.append(pending)

    def close(self, token: str, died: Failure | None = None) -> None:
        """End an item; what its worker did not settle was cut off, and is fenced at once.

        `died` is why its worker ended without reporting an outcome, if it did.
        """
        offer = self._offers.pop(token, None)
        for pending in offer.unsettled if offer else ():
            try:
                # A check of the lease meanwhile may have found its holder dead, and fenced it.
                gone = self.store.leases.ended.pop(pending.id, "")
                # Without a lease of this token no worker has begun it: nothing was cut off.
                if self.store.leases.fence(pending.id, token) or gone:
                    why = died.message if died else gone or "its launch ended before it did"
                    _add_to_log(self.store, pending.id, f"cut off: {why}")
                if died:
                    self._fail(pending, died, record=True)
                    continue
            except StoreError as error:
                self._store_failed(error)
            self._ready.append(pending)

    def close_all(self) -> None:
        """End every running item, when all workers are gone."""
        for token in list(self._offers):
            self.close(token)

    def _fail(self, pending: _Pending, failure: Failure, *, record: bool = False) -> None:
        """Retry, requeue or give up a failed attempt; record it where its worker could not."""
        kind, reason = failure.kind, failure.message
        if kind == "full":  # no fault of the trial
            self.space.ran_out(reason)
        elif kind == "unfit":  # the fault of its node, which all that is offered there would meet
            self._give_up(reason)
            self.stop_workers()
        else:
            # Preemptible nodes come and go: a trial that advances between two losses never runs out
            # of attempts, and one that kills its node each time does.
            if kind == "node" and pending.progressed:
                pending.attempts = 0
            pending.progressed = False
            pending.attempts += 1
            if kind not in RETRIED or pending.attempts >= ATTEMPTS:
                if kind == "store":
                    self._give_up(reason)  # every other item would fail in the same way
                if record:
                    failure.record(self.store, pending.id)
                self.reasons[pending.id] = reason
                self._leave(pending.id, "failed", lost=kind not in RETRIED and kind != "store")
                return
            self.retries[kind] += 1
            # What failed it, such as a full GPU, may need a moment to pass.
            pending.not_before = self.clock() + BACKOFF * 2 ** (pending.attempts - 1)
        self._ready.append(pending)

    def _shrink_packs(self, size: int) -> None:
        """Offer smaller packs: the memory that trials share was too small for one of this size."""
        # Two trials of one pack may both report it: the second finds packs smaller already.
        if size <= self.pack:
            self.pack = size - 1
            fewer = f"{self.pack} share" if self.pack > 1 else "each has"
            self.notify(
                f"memory ran out for {size} trials side by side: from now on {fewer} a device"
            )

    def _leave(self, name: str, ending: Ending, *, lost: bool = False) -> None:
        """Record how a trial or surface leaves; `lost` if no later attempt can change that."""
        self.endings[name] = ending
        if self.cohorts and (lost or ending in ENDED):
            self.cohorts.end(name, lost=lost)
        self._end_surfaces(name)

    def _advance(self) -> None:
        """Set aside trials that wait; offer those that a decision keeps, and end the others."""
        if self.cohorts is None or not self.cohorts.due(waiting=bool(self._waiting)):
            return
        self._waiting |= {one.id: one for one in self._ready if self.cohorts.waits(one.id)}
        self._ready = [one for one in self._ready if one.id not in self._waiting]
        self.cohorts.advance(self.undecided)
        for name in self.undecided:
            if self.cohorts.pruned(name):
                del self._waiting[name]
                self._leave(name, "pruned")
            elif not self.cohorts.waits(name):
                self._ready.append(self._waiting.pop(name))

    def _end_surfaces(self, trial_id: str) -> None:
        """Release the surfaces of a trial that left the queue, or end them with it."""
        ending = self.endings[trial_id]
        # An untrained trial has no checkpoint of an epoch after the start.
        self._release_surfaces(trial_id, before=math.inf if ending in ENDED else 1)
        for lost in self._blocked.pop(trial_id, []):
            self.endings[lost.id] = "pruned" if ending == "pruned" else "untrained"

    def _release_surfaces(self, trial_id: str, before: float) -> None:
        """Make the surfaces of a trial's checkpoints before an epoch ready."""
        blocked = self._blocked.pop(trial_id, [])
        landed = [o for o in blocked if isinstance(o.work, SurfaceSpec) and o.work.epoch < before]
        if left := [one for one in blocked if one not in landed]:
            self._blocked[trial_id] = left
        self._make_ready(landed)

    def _make_ready(self, surfaces: list[_Pending]) -> None:
        """Offer surfaces, in their order: next, or when no trial is left to offer."""
        self._ready += surfaces
        if surfaces and not self.surfaces_last:
            # The sort is stable: surfaces that wait already stay ahead of these.
            self._ready.sort(key=lambda one: not isinstance(one.work, SurfaceSpec))

    def _store_failed(self, error: StoreError) -> None:
        if isinstance(error, StoreFull):
            self.space.ran_out(str(error))
        else:
            self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        self.unfit = self.unfit or reason
        self.stopping = True

    def _is_due(self, pending: _Pending) -> bool:
        """Return whether it stops waiting: for a worker, or because it has ended by now."""
        if self.clock() < pending.not_before:
            return False
        if not self.store.leases.free(pending.id):
            pending.contested = True
            pending.not_before = self.clock() + LEASE_INTERVAL
            return False
        if gone := self.store.leases.ended.pop(pending.id, ""):
            _add_to_log(self.store, pending.id, f"cut off: {gone}")
        # An ending is looked for only where another launch had it: a GET per trial adds up in a
        # bucket. It comes before the request to cancel, as what has ended can't be cancelled.
        ended = layout.surface if isinstance(pending.work, SurfaceSpec) else layout.trial
        if pending.contested and self.store.has(ended(pending.id)):
            self.endings[pending.id] = "ended by another launch"
        elif any(
            self.store.has(layout.cancel(name))
            for name in {pending.id, layout.trial_of(pending.id)}
        ):
            self.endings[pending.id] = "cancelled"
        return True


def _add_to_log(store: Store, item: str, line: str) -> None:
    from workers.training.attempt import append_to_log

    append_to_log(store, item, line)
