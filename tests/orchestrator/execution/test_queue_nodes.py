"""What the queue does when it is a node that is lost or unfit, and not a trial that fails."""

import pytest
from small_queues import make, offer, spec

from orchestrator.execution.queue import ATTEMPTS, Queue
from results_schema import layout
from results_schema.store import Failure, open_store

LOST = Failure("node", "its node was lost")


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "results")


def test_an_unfit_node_ends_the_launch_and_no_trial_is_to_blame(store):
    queue, _ = make(store, 3)
    halted = []
    queue.halt = lambda: halted.append(True)
    (one, first), (two, second) = offer(queue), offer(queue)
    queue.settle(one.token, first, "failed", "node a: it has torch 1", "unfit")
    queue.close(one.token)
    assert halted, "workers of fit nodes are asked to leave off"
    queue.settle(two.token, second, "failed", "node b: it has torch 2", "unfit")
    queue.close(two.token)
    assert queue.over
    assert queue.offer() is None
    assert queue.unfit == "node a: it has torch 1"
    assert (queue.endings, queue.reasons, queue.waiting) == ({}, {}, 3)
    assert store.list(layout.FAILURES) == []


def test_a_worker_that_could_not_even_be_loaded_is_no_trials_failure(store):
    queue, _ = make(store, 1)
    item, _ = offer(queue)
    queue.close(item.token, died=Failure("unfit", "a node can't load nas-sweep"))
    assert (queue.unfit, queue.endings) == ("a node can't load nas-sweep", {})
    assert store.list(layout.FAILURES) == []


def test_nodes_that_come_and_go_never_fail_a_trial_that_gets_on(store):
    queue, clock = make(store, 1)
    trial_id = spec(0).trial_id
    for epoch in range(1, 3 * ATTEMPTS):
        item, _ = offer(queue)
        queue.reached(trial_id, epoch)
        queue.close(item.token, died=LOST)
        clock.now += 60
    item, _ = offer(queue)
    queue.settle(item.token, trial_id, "done", "trained")
    assert queue.endings == {trial_id: "done"}


@pytest.mark.parametrize(("kind", "epoch"), [("node", 5), ("killed", 9)])
def test_a_trial_that_gets_no_further_or_kills_its_worker_fails(store, kind: str, epoch: int):
    queue, clock = make(store, 1)
    trial_id = spec(0).trial_id
    item, _ = offer(queue)
    queue.reached(trial_id, 5)
    for attempt in range(ATTEMPTS):
        queue.close(item.token, died=Failure(kind, "gone"))
        clock.now += 60
        if attempt < ATTEMPTS - 1:
            item, _ = offer(queue)
            queue.reached(trial_id, epoch)
    assert queue.endings == {trial_id: "failed"}


def test_a_pack_is_offered_while_no_node_is_left(store):
    queue: Queue
    queue, _ = make(store, 3)
    queue.pack, queue.slots = 2, lambda: 0
    item, _ = offer(queue)
    assert len(item.pack) == 2
