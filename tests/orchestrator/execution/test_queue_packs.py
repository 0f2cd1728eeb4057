"""Packs: which trials the queue offers together, and what becomes of each in the end."""

from dataclasses import replace

import pytest
from clocks import Clock
from small_queues import spec

from orchestrator.execution.packing import alike
from orchestrator.execution.queue import ATTEMPTS, LEASE_INTERVAL, Item, Queue
from results_schema import layout
from results_schema.store import Failure, LocalStore, open_store
from results_schema.surface import SurfaceSpec
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "results")


def make(store: LocalStore, specs: list[TrialSpec], pack: int, slots: int = 1) -> Queue:
    queue = Queue(store, Clock(), pack=pack, slots=slots)
    queue.add(specs)
    return queue


def seeds(count: int) -> list[TrialSpec]:
    return [spec(seed) for seed in range(count)]


def offer(queue: Queue) -> Item:
    item = queue.offer()
    assert item is not None
    return item


def ids(specs: list[TrialSpec]) -> list[str]:
    return [one.trial_id for one in specs]


def test_an_item_whose_trials_are_settled_makes_room_before_it_is_closed(store):
    queue = make(store, seeds(3), pack=1, slots=2)
    first, *_ = [offer(queue) for _ in range(3)]
    assert len(queue.working(2)) == 2
    queue.settle(first.token, first.names[0], "done", "")
    assert len(queue.working(2)) == 2, "the one that was offered ahead begins"


def end(queue: Queue, item: Item) -> None:
    for name in item.names:
        queue.settle(item.token, name, "done", "")
    queue.close(item.token)


def test_alike_trials_are_offered_together_in_their_order(store):
    queue = make(store, seeds(8), 4)
    first, second = offer(queue), offer(queue)
    assert first.names == ids(seeds(8))[:4]
    assert second.names == ids(seeds(8))[4:]
    assert first.token != second.token
    assert queue.offer() is None
    assert (queue.items, len(queue.working(1)), len(queue.working(2))) == (2, 4, 8)
    end(queue, first)
    end(queue, second)
    assert queue.over
    assert set(queue.endings.values()) == {"done"}


def test_the_last_packs_are_made_smaller_so_that_no_slot_idles(store):
    queue = make(store, seeds(9), 4, slots=4)
    assert [len(offer(queue).pack) for _ in range(4)] == [3, 2, 2, 2]
    assert queue.offer() is None


@pytest.mark.parametrize(
    ("change", "together"),
    [
        ({"learning_rate": 0.1}, True),
        ({"genotype": named("ENAS")}, True),
        ({"seed": 7}, True),
        ({"dataset": "digit_pairs"}, False),
        ({"preprocessing": 2}, False),
        ({"network": NetworkSpec(3, 4)}, False),
        ({"recipe": Recipe(epochs=1, batch_size=40)}, False),
        ({"recipe": Recipe(epochs=1, evaluation_batch=40)}, False),
        ({"recipe": Recipe(epochs=2)}, False),
    ],
)
def test_cells_rates_and_seeds_may_differ_in_a_pack(store, change, together):
    other = replace(spec(0), **change)
    assert alike(spec(0), other) == together
    queue = make(store, [spec(0), other], 2)
    assert offer(queue).names == ids([spec(0), other] if together else [spec(0)])


def test_a_pack_passes_over_those_unlike_which_come_next(store):
    odd = replace(spec(0), dataset="digit_pairs")
    queue = make(store, [spec(0), odd, spec(1)], 2)
    assert offer(queue).names == ids([spec(0), spec(1)])
    assert offer(queue).names == ids([odd])


def test_surfaces_are_always_alone(store):
    surfaces = [SurfaceSpec(spec(0), 1, "contour", pair=pair) for pair in (0, 1)]
    queue = make(store, seeds(2), 4)
    queue.add_surfaces(surfaces)
    first = offer(queue)
    assert first.names == ids(seeds(2))
    end(queue, first)
    for surface in surfaces:
        assert offer(queue).names == [surface.surface_id]


def test_what_is_held_or_cancelled_is_left_out_of_a_pack(store):
    lease = store.leases.take(spec(1).trial_id)
    assert lease is not None
    store.put(layout.cancel(spec(2).trial_id), b"")
    queue = make(store, seeds(5), 3)
    assert offer(queue).names == ids([spec(0), spec(3), spec(4)])
    assert queue.endings == {spec(2).trial_id: "cancelled"}
    lease.release()
    queue.clock = lambda: LEASE_INTERVAL
    assert offer(queue).names == ids([spec(1)])


def test_each_trial_of_a_pack_is_settled_by_itself(store):
    queue = make(store, seeds(4), 4)
    item = offer(queue)
    done, diverged, failed, stopped = item.names
    queue.settle(item.token, diverged, "diverged", "")
    queue.settle(item.token, failed, "failed", "no such file", "data")
    queue.settle(item.token, stopped, "stopped", "")
    assert len(queue.working(1)) == 1
    assert queue.items == 1, "its worker is not free yet"
    queue.settle(item.token, done, "done", "")
    queue.close(item.token)
    assert queue.endings == {done: "done", diverged: "diverged", failed: "failed"}
    assert offer(queue).names == [stopped]


@pytest.mark.parametrize("size", [4, 2])
def test_memory_that_runs_out_in_a_pack_makes_packs_smaller_and_is_no_attempt(store, size):
    queue, told = make(store, seeds(4), size), []
    queue.notify = told.append
    item = offer(queue)
    large, *others = item.names
    queue.settle(item.token, large, "failed", "CUDA out of memory", "memory")
    for name in others:
        queue.settle(item.token, name, "done", "")
    queue.close(item.token)
    assert queue.pack == size - 1
    assert large not in queue.endings
    assert f"memory ran out for {size} trials side by side" in told[0]
    if size == 2:
        assert [len(offer(queue).pack) for _ in range(3)] == [1, 1, 1]
    else:
        assert offer(queue).names == [large]


def test_two_that_find_no_memory_in_one_pack_make_packs_smaller_once(store):
    queue = make(store, seeds(4), 4)
    item = offer(queue)
    for name in item.names[:2]:
        queue.settle(item.token, name, "failed", "CUDA out of memory", "memory")
    assert queue.pack == 3


def test_a_trial_that_has_too_little_memory_alone_has_failed(store):
    queue = make(store, seeds(1), 4)
    item = offer(queue)
    queue.settle(item.token, item.names[0], "failed", "CUDA out of memory", "memory")
    queue.close(item.token)
    assert queue.endings == {item.names[0]: "failed"}
    assert queue.pack == 4, "which says nothing of packs"


def test_a_worker_that_dies_takes_an_attempt_from_each_trial_that_it_had_not_settled(store):
    queue = make(store, seeds(3), 3)
    item = offer(queue)
    ended, *cut_off = item.names
    leases = [store.leases.take(name, item.token) for name in cut_off]
    queue.settle(item.token, ended, "done", "")
    queue.close(item.token, died=Failure("killed", "it died"))
    assert queue.endings == {ended: "done"}
    assert not any(lease and lease.folder.exists() for lease in leases), "all are fenced"
    assert queue.offer() is None, "the next attempt comes after a pause"
    queue.clock = lambda: 60.0
    assert offer(queue).names == cut_off


def test_a_trial_that_kills_its_workers_does_not_make_its_neighbours_fail(store):
    clock = Clock()
    queue = Queue(store, clock, pack=4)
    queue.add(seeds(4))
    poison = spec(2).trial_id
    while not queue.over:
        item = queue.offer()
        if item is None:
            clock.now += 60
        elif poison in item.names:
            queue.close(item.token, died=Failure("killed", "it died"))
        else:
            end(queue, item)
    others = set(ids(seeds(4))) - {poison}
    assert queue.endings == {poison: "failed"} | dict.fromkeys(others, "done")


def test_a_last_attempt_is_made_alone(store):
    clock = Clock()
    queue = Queue(store, clock, pack=2)
    queue.add(seeds(2))
    sizes = []
    while not queue.over:
        item = queue.offer()
        if item is None:
            clock.now += 60
            continue
        sizes.append(len(item.pack))
        queue.close(item.token, died=Failure("killed", "it died"))
    assert sizes == [2] * (ATTEMPTS - 1) + [1, 1]
