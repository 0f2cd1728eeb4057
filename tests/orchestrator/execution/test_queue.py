"""What the queue offers, retries and gives up on: trials, packs and surfaces."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from clocks import Clock

from orchestrator.execution.queue import (
    ATTEMPTS,
    BACKOFF,
    LEASE_INTERVAL,
    SPACE_INTERVAL,
    Item,
    Queue,
)
from results_schema import layout, tables
from results_schema.errors import StoreError, StoreFull
from results_schema.folder.store import FolderLeases
from results_schema.lease import EXPIRY
from results_schema.store import Failure, LocalStore
from results_schema.surface import SurfaceSpec
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named

KILLED, LOST = Failure("killed", "it died"), Failure("node", "its node was lost")


def trial(seed: int) -> TrialSpec:
    return TrialSpec(named("DARTS"), "digits", 1, NetworkSpec(3, 2), Recipe(epochs=4), 0.025, seed)


def surface(seed: int, epoch: int = 4, pair: int = 0) -> SurfaceSpec:
    return SurfaceSpec(trial(seed), epoch, "contour", rows=3, columns=3, pair=pair)


def ids(*seeds: int) -> list[str]:
    return [trial(seed).trial_id for seed in seeds]


class Sweep:
    """A queue of trials that are never trained, under a clock that a test sets."""

    def __init__(
        self,
        store: LocalStore,
        work: int | Sequence[TrialSpec],
        *surfaces: SurfaceSpec,
        **options: Any,
    ) -> None:
        self.store, self.clock = store, Clock()
        self.lines: list[str] = []
        self.queue = Queue(store, self.clock, notify=self.lines.append, **options)
        self.queue.add([trial(seed) for seed in range(work)] if isinstance(work, int) else work)
        self.queue.add_surfaces(surfaces)

    def take(self) -> Item:
        item = self.queue.offer()
        assert item is not None
        return item

    def end(self, item: Item, status: str = "done", kind: Any = "", reason: str = "") -> None:
        """Settle all of an item alike, and close it."""
        for name in item.names:
            self.queue.settle(item.token, name, status, reason, kind)
        self.queue.close(item.token)

    def die(self, item: Item, why: Failure = KILLED) -> None:
        self.queue.close(item.token, died=why)

    def log(self, name: str) -> str:
        return self.store.get(layout.log(name)).decode().splitlines()[-1].split(" ", 2)[2]


def test_items_come_in_order_each_once_and_the_queue_ends_with_the_last(store):
    sweep = Sweep(store, 3)
    items = [sweep.take() for _ in range(3)]
    assert [item.names for item in items] == [[name] for name in ids(0, 1, 2)]
    assert len({item.token for item in items}) == 3
    assert (sweep.queue.offer(), sweep.queue.over, sweep.queue.items) == (None, False, 3)
    sweep.queue.settle(items[0].token, ids(0)[0], "done", "")
    assert sweep.queue.working(2) == ids(1, 2), "settled, it makes way for the next"
    sweep.queue.close(items[0].token)
    sweep.end(items[1], "diverged")
    sweep.end(items[2])
    assert (sweep.queue.over, sweep.queue.items, sweep.queue.waiting) == (True, 0, 0)
    assert list(sweep.queue.endings.items()) == [
        *zip(ids(0, 1, 2), ("done", "diverged", "done"), strict=True)
    ]
    assert Sweep(store, 0).queue.over


def test_a_killed_worker_is_retried_after_ever_longer_pauses_and_given_up_in_the_end(store):
    sweep, [name] = Sweep(store, 1), ids(0)
    for attempt in range(1, ATTEMPTS):
        sweep.die(sweep.take())
        pause = BACKOFF * 2 ** (attempt - 1)
        sweep.clock.now += pause - 0.01
        assert (sweep.queue.offer(), sweep.queue.over) == (None, False)
        sweep.clock.now += 0.01
    sweep.die(sweep.take())
    assert (sweep.queue.endings, sweep.queue.reasons) == ({name: "failed"}, {name: "it died"})
    assert sweep.queue.retries == {"killed": ATTEMPTS - 1}
    recorded = json.loads(store.get(layout.failure(name)))
    assert (recorded["kind"], recorded["log"]) == ("killed", layout.log(name))


@pytest.mark.parametrize(
    ("kind", "again"),
    [
        *[(kind, True) for kind in ("killed", "evicted", "node", "cuda", "graph")],
        *[(kind, False) for kind in ("data", "spec", "memory", "machine", "error")],
    ],
)
@pytest.mark.parametrize("reported", [True, False])
def test_a_kind_of_failure_decides_whether_it_is_tried_again(store, kind, again, reported):
    sweep = Sweep(store, 2)
    item, [name] = sweep.take(), ids(0)
    if reported:
        sweep.end(item, "failed", kind, "no such file")
    else:
        sweep.die(item, Failure(kind, "no such file"))
    assert sweep.queue.endings == ({} if again else {name: "failed"})
    assert sweep.queue.reasons == ({} if again else {name: "no such file"})
    assert sweep.queue.retries == ({kind: 1} if again else {})
    by_queue = not again and not reported  # a worker that lives records its own failure
    assert store.has(layout.failure(name)) == by_queue
    assert sweep.take().names == ids(1), "others are spared"
    sweep.clock.now += BACKOFF
    assert (sweep.queue.offer() is not None) == again


def test_a_dead_workers_lease_is_fenced_at_once(store):
    sweep = Sweep(store, 2)
    begun, waiting = sweep.take(), sweep.take()
    lease = store.leases.take(begun.names[0], begun.token)
    assert lease is not None
    sweep.die(begun)
    assert (lease.folder.exists(), store.leases.held()) == (False, {})
    assert sweep.log(begun.names[0]) == "cut off: it died"
    sweep.die(waiting)
    assert not store.has(layout.log(waiting.names[0])), "no worker had begun it"


def test_what_a_launch_cuts_off_at_its_end_is_logged_and_stays(store):
    sweep = Sweep(store, 3)
    items = [sweep.take() for _ in range(3)]
    leases = [store.leases.take(item.names[0], item.token) for item in items[:2]]
    beat = leases[1].folder / "heartbeat"
    beat.write_text(json.dumps(json.loads(beat.read_text()) | {"pid": 4194305}))
    assert store.leases.free(items[1].names[0]), "as a launch asks that waits for its workers"
    sweep.queue.stopping = True
    sweep.queue.close_all()
    assert sweep.log(items[0].names[0]) == "cut off: its launch ended before it did"
    dead = f"cut off: process 4194305 on {socket.gethostname()} has ended"
    assert sweep.log(items[1].names[0]) == dead
    assert not store.has(layout.log(items[2].names[0]))
    assert (sweep.queue.items, sweep.queue.waiting, sweep.queue.over) == (0, 3, True)
    sweep.queue.settle(items[2].token, items[2].names[0], "done", "too late")
    assert (sweep.queue.endings, sweep.queue.offer(), store.leases.held()) == ({}, None, {})


def test_what_another_launch_holds_is_looked_at_now_and_then(store, monkeypatch):
    sweep = Sweep(store, 3, surface(0))
    held = [store.leases.take(name) for name in ids(0, 1)]
    looks, free = [], store.leases.free
    monkeypatch.setattr(store.leases, "free", lambda item: looks.append(item) or free(item))
    sweep.end(sweep.take())
    assert sweep.queue.endings == {ids(2)[0]: "done"}
    for _ in range(100):  # as often as Tune asks in a second
        assert (sweep.queue.offer(), sweep.queue.over) == (None, False)
    assert looks == ids(0, 1, 2)
    store.put(layout.trial(ids(0)[0]), tables.to_parquet([], tables.TRIALS))
    for lease in held:
        lease.release()
    sweep.clock.now += LEASE_INTERVAL - 0.01
    assert sweep.queue.offer() is None
    sweep.clock.now += 0.01
    assert sweep.take().names == ids(1), "it was left unfinished"
    assert sweep.queue.endings[ids(0)[0]] == "ended by another launch"
    assert sweep.take().pack == (surface(0),), "its trial has ended, wherever"


def test_a_worker_lost_on_another_machine_is_replaced_when_its_lease_expires(store):
    sweep = Sweep(store, 1)
    store.leases = FolderLeases(store.root, sweep.clock)
    lease = store.leases.take(ids(0)[0])
    assert lease is not None
    beat = lease.folder / "heartbeat"
    beat.write_text(json.dumps(json.loads(beat.read_text()) | {"machine": "another"}))
    assert sweep.queue.offer() is None
    sweep.clock.now += EXPIRY
    item = sweep.take()
    assert store.leases.take(item.names[0], item.token) is not None, "a worker need not wait again"
    here = f"process {os.getpid()} on {socket.gethostname()}"
    assert sweep.log(item.names[0]) == f"cut off: {here} sent no heartbeat for 60 s"


@pytest.mark.parametrize("status", ["held", "superseded", "stopped"])
def test_an_attempt_that_came_to_nothing_leaves_the_trial_in_the_queue(store, status):
    sweep = Sweep(store, 1)
    sweep.end(sweep.take(), status)
    assert (sweep.queue.endings, sweep.queue.retries) == ({}, {})
    # Somebody else may have ended it meanwhile.
    store.put(layout.trial(ids(0)[0]), b"")
    assert (sweep.queue.offer(), sweep.queue.over) == (None, True)
    assert sweep.queue.endings == {ids(0)[0]: "ended by another launch"}


def test_a_cancelled_trial_is_offered_no_more_unless_it_has_ended(store):
    sweep = Sweep(store, 4)
    running, ended = sweep.take(), sweep.take()
    for name in ids(0, 1, 2):
        store.put(layout.cancel(name), b"")
    sweep.end(running, "stopped")
    sweep.end(ended)
    sweep.end(sweep.take())
    assert (sweep.queue.offer(), sweep.queue.over) == (None, True)
    kinds = ("cancelled", "done", "cancelled", "done")
    assert sweep.queue.endings == dict(zip(ids(0, 1, 2, 3), kinds, strict=True))


@pytest.mark.parametrize("error", [StoreError, StoreFull])
def test_a_store_that_fails_under_the_queue_stops_or_pauses_it(store, monkeypatch, error):
    sweep = Sweep(store, 2)
    sweep.take()

    def fail(*_: object) -> None:
        raise error("Input/output error", where="leases")

    monkeypatch.setattr(store.leases, "free", fail)
    monkeypatch.setattr(store.leases, "fence", fail)
    assert sweep.queue.offer() is None
    sweep.queue.close_all()
    assert (sweep.queue.waiting, sweep.queue.endings) == (2, {}), "nothing is forgotten"
    monkeypatch.undo()
    why = sweep.queue.space.full if error is StoreFull else sweep.queue.unfit
    assert why == "leases: Input/output error"
    sweep.clock.now += SPACE_INTERVAL
    assert (sweep.queue.offer() is None) == sweep.queue.over == (error is StoreError)


def test_a_worker_that_can_not_write_stops_the_queue_as_each_other_would_fail_too(store):
    sweep = Sweep(store, 2)
    sweep.end(sweep.take(), "failed", "store", "Read-only file system")
    assert (sweep.queue.over, sweep.queue.offer()) == (True, None)
    assert sweep.queue.unfit == "Read-only file system"
    assert sweep.queue.endings == {ids(0)[0]: "failed"}


def test_an_unfit_node_ends_the_launch_and_is_no_trials_failure(store):
    halted: list[bool] = []
    sweep = Sweep(store, 3, stop_workers=lambda: halted.append(True))
    one, two = sweep.take(), sweep.take()
    sweep.end(one, "failed", "unfit", "node a: it has torch 1")
    assert halted, "workers of fit nodes are asked to stop"
    sweep.die(two, Failure("unfit", "node b can't load nas-sweep"))
    assert (sweep.queue.over, sweep.queue.offer()) == (True, None)
    assert sweep.queue.unfit == "node a: it has torch 1"
    assert (sweep.queue.endings, sweep.queue.reasons, sweep.queue.waiting) == ({}, {}, 3)
    assert store.list(layout.FAILURES) == []


def test_nodes_that_come_and_go_never_fail_a_trial_that_advances(store):
    sweep = Sweep(store, 1)
    for epoch in range(1, 3 * ATTEMPTS):
        item = sweep.take()
        sweep.queue.reached(item.names[0], epoch)
        sweep.die(item, LOST)
        sweep.clock.now += BACKOFF
    sweep.end(sweep.take())
    assert sweep.queue.endings == {ids(0)[0]: "done"}


@pytest.mark.parametrize(("why", "epoch"), [(LOST, 5), (KILLED, 9)])
def test_a_trial_that_gets_no_further_or_kills_its_worker_fails(store, why, epoch):
    sweep = Sweep(store, 1)
    item = sweep.take()
    sweep.queue.reached(item.names[0], 5)
    for attempt in range(ATTEMPTS):
        sweep.die(item, why)
        sweep.clock.now += 60
        if attempt < ATTEMPTS - 1:
            item = sweep.take()
            sweep.queue.reached(item.names[0], epoch)
    # A node's first loss came after progress, and cost nothing that counts.
    assert sweep.queue.endings == {ids(0)[0]: "failed"}


def test_a_full_store_pauses_the_queue_until_there_is_space_and_is_no_attempt(store, monkeypatch):
    sweep, full = Sweep(store, 2), True
    sweep.queue.space.needed = 5000
    put = store.put

    def limited(key: str, data: bytes, **options: Any) -> None:
        if full and len(data) >= 5000:
            raise StoreFull("No space left on device", where=key)
        put(key, data, **options)

    monkeypatch.setattr(store, "put", limited)
    for _ in range(2 * ATTEMPTS):
        sweep.end(sweep.take(), "failed", "full", "No space left on device")
        for _ in range(3):
            sweep.clock.now += SPACE_INTERVAL - 0.01
            assert sweep.queue.offer() is None, "it is not time to check"
            sweep.clock.now += 0.01
            assert (sweep.queue.offer(), sweep.queue.over) == (None, False)
        assert sweep.queue.space.full == "No space left on device"
        full = False
        sweep.clock.now += SPACE_INTERVAL
        assert sweep.queue.offer() is not None, "there is space"
        sweep.queue.close_all()
        full = True
    assert len(sweep.lines) == 4 * ATTEMPTS, "once each time that it ran out, and was there again"
    assert "No space left on device" in sweep.lines[0]
    assert "5.0 kB" in sweep.lines[0]
    assert (sweep.queue.endings, store.list(layout.REQUESTS)) == ({}, [])
    sweep.end(sweep.take(), "failed", "full", "No space left on device")
    sweep.queue.stopping = True
    assert (sweep.queue.over, bool(sweep.queue.space.full)) == (True, True)


# Packs


def test_alike_trials_are_offered_together_in_their_order_and_settled_by_themselves(store):
    sweep = Sweep(store, 8, pack=4)
    first, second = sweep.take(), sweep.take()
    assert (first.names, second.names) == (ids(0, 1, 2, 3), ids(4, 5, 6, 7))
    assert sweep.queue.offer() is None
    assert (len(sweep.queue.working(1)), len(sweep.queue.working(2))) == (4, 8)
    outcomes: Any = [("done", ""), ("diverged", ""), ("failed", "data"), ("stopped", "")]
    for name, (status, kind) in zip(first.names, outcomes, strict=True):
        sweep.queue.settle(first.token, name, status, "", kind)
    assert sweep.queue.items == 2, "its worker is not free yet"
    sweep.queue.close(first.token)
    assert [*sweep.queue.endings.values()] == ["done", "diverged", "failed"]
    assert sweep.take().names == ids(3)


def test_the_last_packs_are_made_smaller_so_that_no_slot_idles(store):
    sweep = Sweep(store, 9, pack=4, slots=4)
    assert [len(sweep.take().pack) for _ in range(4)] == [3, 2, 2, 2]
    assert sweep.queue.offer() is None
    without_nodes = Sweep(store, 9, pack=4, slots=0)
    assert len(without_nodes.take().pack) == 3, "as for one, which may come"


@pytest.mark.parametrize(
    ("change", "together"),
    [
        ({"learning_rate": 0.1}, True),
        ({"genotype": named("ENAS")}, True),
        ({"seed": 7}, True),
        ({"dataset": "digit_pairs"}, False),
        ({"preprocessing": 2}, False),
        ({"precision": "bf16"}, False),
        ({"network": NetworkSpec(3, 4)}, False),
        ({"recipe": Recipe(epochs=4, evaluation_batch=40)}, False),
    ],
)
def test_cells_rates_and_seeds_may_differ_in_a_pack(store, change, together):
    other = replace(trial(0), **change)
    sweep = Sweep(store, [trial(0), other, trial(1)], pack=2)
    next_one = other if together else trial(1)
    assert sweep.take().pack == (trial(0), next_one)
    assert sweep.take().pack == ((trial(1),) if together else (other,))


def test_what_is_held_or_cancelled_is_left_out_of_a_pack_and_surfaces_are_alone(store):
    lease = store.leases.take(ids(1)[0])
    store.put(layout.cancel(ids(2)[0]), b"")
    sweep = Sweep(store, 5, surface(9), surface(9, pair=1), pack=3)
    assert [sweep.take().pack for _ in range(2)] == [(surface(9),), (surface(9, pair=1),)]
    assert sweep.take().names == ids(0, 3, 4)
    assert sweep.queue.endings == {ids(2)[0]: "cancelled"}
    lease.release()
    sweep.clock.now += LEASE_INTERVAL
    assert sweep.take().names == ids(1)


@pytest.mark.parametrize("size", [4, 2])
def test_memory_that_runs_out_in_a_pack_makes_packs_smaller_once_and_is_no_attempt(store, size):
    sweep = Sweep(store, 4, pack=size)
    item = sweep.take()
    large = item.names[:2]
    for name in large:
        sweep.queue.settle(item.token, name, "failed", "CUDA out of memory", "memory")
    for name in item.names[2:]:
        sweep.queue.settle(item.token, name, "done", "")
    sweep.queue.close(item.token)
    assert (sweep.queue.pack, len(sweep.lines)) == (size - 1, 1)
    assert f"memory ran out for {size} trials side by side" in sweep.lines[0]
    assert not sweep.queue.endings.keys() & set(large)
    assert len(sweep.take().pack) <= size - 1


def test_a_trial_that_has_too_little_memory_alone_has_failed(store):
    sweep = Sweep(store, 1, pack=4)
    sweep.end(sweep.take(), "failed", "memory")
    assert (sweep.queue.endings, sweep.queue.pack) == ({ids(0)[0]: "failed"}, 4)


def test_a_worker_that_dies_takes_an_attempt_of_each_trial_it_had_not_settled(store):
    sweep = Sweep(store, 3, pack=3)
    item = sweep.take()
    leases = [store.leases.take(name, item.token) for name in item.names[1:]]
    sweep.queue.settle(item.token, item.names[0], "done", "")
    sweep.die(item)
    assert sweep.queue.endings == {item.names[0]: "done"}
    assert not any(lease.folder.exists() for lease in leases), "all are fenced"
    assert sweep.queue.offer() is None
    sweep.clock.now += BACKOFF
    assert sweep.take().names == item.names[1:]


def test_a_last_attempt_is_made_alone_so_that_neighbours_do_not_fail_with_it(store):
    sweep, sizes = Sweep(store, 4, pack=4), []
    while not sweep.queue.over:
        item = sweep.queue.offer()
        if item is None:
            sweep.clock.now += 60
        elif ids(2)[0] in item.names:
            sizes.append(len(item.pack))
            sweep.die(item)
        else:
            sweep.end(item)
    assert sizes == [4] * (ATTEMPTS - 1) + [1]
    assert sweep.queue.endings == dict.fromkeys(ids(0, 1, 3), "done") | {ids(2)[0]: "failed"}


# Surfaces


@pytest.mark.parametrize("status", ["done", "diverged"])
@pytest.mark.parametrize("last", [False, True])
def test_a_surface_is_offered_once_its_trial_has_ended_next_or_last(store, status, last):
    wanted = [surface(0), surface(0, pair=1), surface(1)]
    sweep = Sweep(store, 3, *wanted, surfaces_last=last)
    assert sweep.queue.waiting == 6
    first, second = sweep.take(), sweep.take()
    assert [first.names, second.names] == [ids(0), ids(1)], "no checkpoint has landed"
    sweep.end(first, status)
    offered = [sweep.take().pack[0] for _ in range(3)]
    landed = wanted[:2]
    assert offered == ([trial(2), *landed] if last else [*landed, trial(2)])
    assert (sweep.queue.offer(), sweep.queue.over) == (None, False)


def test_a_surface_of_an_earlier_epoch_is_offered_while_its_trial_trains_on(store):
    sweep = Sweep(store, 1, surface(0, epoch=0), surface(0, epoch=2), surface(0))
    item = sweep.take()
    assert sweep.queue.offer() is None
    sweep.queue.reached(item.names[0], 1)
    assert sweep.take().pack == (surface(0, epoch=0),)
    sweep.queue.reached(item.names[0], 2)
    assert sweep.queue.offer() is None, "epoch 2 is being trained"
    sweep.queue.reached(item.names[0], 3)
    assert sweep.take().pack == (surface(0, epoch=2),)
    sweep.end(item)
    assert sweep.take().pack == (surface(0),)


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_surfaces_of_a_trial_that_did_not_end_are_untrained_but_for_the_start(store, ending):
    sweep = Sweep(store, 1, surface(0, epoch=0), surface(0))
    if ending == "failed":
        sweep.end(sweep.take(), "failed", "data")
    else:
        store.put(layout.cancel(ids(0)[0]), b"")
    item = sweep.queue.offer()
    assert sweep.queue.endings[ids(0)[0]] == ending
    assert sweep.queue.endings[surface(0).surface_id] == "untrained"
    if ending == "failed":
        assert item is not None and item.pack == (surface(0, epoch=0),)


@pytest.mark.parametrize("by", ["itself", "its trial", "another launch"])
def test_a_surface_that_is_cancelled_or_was_finished_elsewhere_is_not_offered(store, by):
    name = surface(0).surface_id
    sweep = Sweep(store, 0, surface(0))
    if by == "another launch":
        lease = store.leases.take(name)
        assert sweep.queue.offer() is None
        store.put(layout.surface(name), b"")
        lease.release()
        sweep.clock.now += LEASE_INTERVAL
    else:
        store.put(layout.cancel(name if by == "itself" else ids(0)[0]), b"")
    assert (sweep.queue.offer(), sweep.queue.over) == (None, True)
    assert sweep.queue.endings == {
        name: "ended by another launch" if by == "another launch" else "cancelled"
    }


def test_a_surface_whose_worker_died_is_offered_again_under_a_new_token(store):
    sweep = Sweep(store, 0, surface(0))
    item = sweep.take()
    assert store.leases.take(item.names[0], item.token) is not None
    sweep.die(item)
    assert store.leases.held() == {}, "the dead worker is fenced"
    sweep.clock.now += BACKOFF
    again = sweep.take()
    assert (again.names, again.token != item.token) == (item.names, True)
    sweep.queue.stopping = True
    sweep.end(again, "stopped")
    assert (sweep.queue.endings, sweep.queue.waiting) == ({}, 1)
