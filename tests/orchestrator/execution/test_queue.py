"""What the queue offers, retries and gives up on, with unfit nodes and a full store."""

import json
import os
import socket

import pytest
from small_queues import make, offer, spec

from orchestrator.execution.queue import ATTEMPTS, LEASE_INTERVAL, SPACE_INTERVAL, Queue
from results_schema import layout, tables
from results_schema.errors import StoreError, StoreFull
from results_schema.folder import FolderLeases
from results_schema.lease import EXPIRY
from results_schema.store import Failure, open_store


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "results")


def test_an_empty_queue_is_over(store):
    queue, _ = make(store, 0)
    assert queue.over
    assert queue.offer() is None


def test_items_come_in_order_each_once_and_the_queue_ends_with_the_last(store):
    queue, _ = make(store, 3)
    offered = [offer(queue) for _ in range(3)]
    assert [trial_id for _, trial_id in offered] == [spec(seed).trial_id for seed in range(3)]
    assert queue.offer() is None
    assert not queue.over
    for item, trial_id in offered:
        queue.settle(item.token, trial_id, "done", "trained")
        queue.close(item.token)
    assert queue.over
    assert set(queue.endings.values()) == {"done"}


def test_divergence_is_an_ending_and_is_never_retried(store):
    queue, _ = make(store, 1)
    item, trial_id = offer(queue)
    queue.settle(item.token, trial_id, "diverged", "the loss is not finite")
    queue.close(item.token)
    assert queue.endings == {trial_id: "diverged"}
    assert queue.over


def test_a_killed_worker_is_retried_after_a_pause_and_given_up_in_the_end(store):
    queue, clock = make(store, 1)
    trial_id = spec(0).trial_id
    for attempt in range(ATTEMPTS):
        item, _ = offer(queue)
        queue.close(item.token, died=Failure("killed", "it died"))
        if attempt < ATTEMPTS - 1:
            assert queue.offer() is None, "the next attempt comes after a pause"
            assert not queue.over
            clock.now += 60
    assert queue.endings == {trial_id: "failed"}
    assert "died" in queue.reasons[trial_id]
    assert b'"killed"' in store.get(layout.failure(trial_id)), "nobody else is left to say so"


@pytest.mark.parametrize(("kind", "again"), [("node", True), ("evicted", True), ("error", False)])
def test_what_ray_tells_of_a_dead_worker_decides_whether_it_is_tried_again(store, kind, again):
    queue, clock = make(store, 1)
    item, trial_id = offer(queue)
    queue.close(item.token, died=Failure(kind, "as Ray tells"))
    clock.now += 60
    assert (queue.offer() is not None) == again
    if not again:
        assert queue.reasons == {trial_id: "as Ray tells"}
        record = json.loads(store.get(layout.failure(trial_id)))
        assert (record["kind"], record["log"]) == (kind, layout.log(trial_id))


@pytest.mark.parametrize("kind", ["cuda", "graph"])
def test_what_a_fresh_process_may_not_meet_is_tried_again(store, kind):
    queue, clock = make(store, 1)
    item, trial_id = offer(queue)
    queue.settle(item.token, trial_id, "failed", "no CUDA graph could be captured", kind)
    queue.close(item.token)
    clock.now += 60
    assert offer(queue)[1] == trial_id
    assert queue.retries == {kind: 1}


def test_a_dead_workers_lease_is_fenced_at_once(store):
    queue, clock = make(store, 1)
    item, trial_id = offer(queue)
    lease = store.leases.take(trial_id, item.token)
    assert lease is not None
    queue.close(item.token, died=Failure("killed", "it died"))
    assert not lease.folder.exists()
    assert store.leases.held() == {}
    assert store.get(layout.log(trial_id)).endswith(b" cut off: it died\n")
    clock.now += 60
    assert offer(queue)[1] == trial_id


def test_a_worker_that_another_look_found_gone_is_logged_when_its_item_is_closed(store):
    queue, _ = make(store, 1)
    item, trial_id = offer(queue)
    lease = store.leases.take(trial_id, item.token)
    beat = lease.folder / "heartbeat"
    beat.write_text(json.dumps(json.loads(beat.read_text()) | {"pid": 4194305}))
    assert store.leases.free(trial_id), "as a launch asks that waits for its workers to end"
    queue.close_all()
    last = store.get(layout.log(trial_id)).decode().splitlines()[-1]
    assert last.endswith(f"cut off: process 4194305 on {socket.gethostname()} has ended")


def test_the_log_of_what_a_launch_cuts_off_at_its_end_says_so(store):
    queue, _ = make(store, 2)
    begun, waiting = offer(queue)[0], offer(queue)[0]
    assert store.leases.take(begun.names[0], begun.token)
    queue.close_all()
    assert store.get(layout.log(begun.names[0])).endswith(
        b" cut off: its launch ended before it did\n"
    )
    assert not store.has(layout.log(waiting.names[0])), "no worker had begun it"
    assert store.leases.held() == {}


@pytest.mark.parametrize("kind", ["data", "spec", "memory", "error"])
def test_a_failure_that_will_not_pass_is_not_retried_and_spares_the_others(store, kind):
    queue, _ = make(store, 2)
    item, trial_id = offer(queue)
    queue.settle(item.token, trial_id, "failed", "no such file", kind)
    queue.close(item.token)
    assert queue.endings == {trial_id: "failed"}
    assert offer(queue)[1] == spec(1).trial_id


def test_an_unfit_store_stops_the_queue_and_says_why(store):
    queue, _ = make(store, 2)
    item, trial_id = offer(queue)
    queue.settle(item.token, trial_id, "failed", "No space left on device", "store")
    queue.close(item.token)
    assert queue.over
    assert queue.offer() is None
    assert "space" in queue.unfit


def test_what_another_launch_holds_is_waited_for_and_counted_when_it_has_ended(store):
    queue, clock = make(store, 2)
    other = store.leases.take(spec(0).trial_id)
    assert other is not None
    item, trial_id = offer(queue)
    assert trial_id == spec(1).trial_id
    queue.settle(item.token, trial_id, "done", "trained")
    queue.close(item.token)
    assert queue.offer() is None
    assert not queue.over, "the other launch may yet die"
    store.put(layout.trial(spec(0).trial_id), tables.to_parquet([], tables.TRIALS))
    other.release()
    clock.now += LEASE_INTERVAL
    assert queue.offer() is None
    assert queue.over
    assert queue.endings == {
        spec(1).trial_id: "done",
        spec(0).trial_id: "ended by another launch",
    }


def test_what_others_hold_is_looked_at_again_after_seconds(store, monkeypatch):
    queue, clock = make(store, 64)
    held = [store.leases.take(spec(seed).trial_id) for seed in range(64)]
    assert all(held)
    looks, free = [], store.leases.free
    monkeypatch.setattr(store.leases, "free", lambda item: looks.append(item) or free(item))
    for _ in range(100):  # as often as Tune asks in a second
        assert queue.offer() is None
    assert len(looks) == 64, "one look at each"
    clock.now += LEASE_INTERVAL
    assert queue.offer() is None
    assert len(looks) == 128


def test_what_another_launch_left_unfinished_is_taken_up(store):
    queue, clock = make(store, 1)
    other = store.leases.take(spec(0).trial_id)
    assert other is not None
    assert queue.offer() is None
    other.release()
    clock.now += LEASE_INTERVAL
    assert offer(queue)[1] == spec(0).trial_id


@pytest.mark.parametrize("status", ["held", "superseded", "stopped"])
def test_an_attempt_that_came_to_nothing_leaves_the_trial_owed(store, status):
    queue, _ = make(store, 1)
    item, trial_id = offer(queue)
    queue.settle(item.token, trial_id, status, "")
    queue.close(item.token)
    assert queue.endings == {}
    assert offer(queue)[1] == trial_id


def test_a_cancelled_trial_is_offered_no_more_and_spares_the_others(store):
    queue, _ = make(store, 3)
    item, running = offer(queue)
    for number in (0, 1):
        store.put(layout.cancel(spec(number).trial_id), b"")
    queue.settle(item.token, running, "stopped", "after epoch 1 of 2")
    queue.close(item.token)
    item, trial_id = offer(queue)
    assert trial_id == spec(2).trial_id
    queue.settle(item.token, trial_id, "done", "trained")
    queue.close(item.token)
    assert queue.offer() is None
    assert queue.over
    assert queue.endings == {
        running: "cancelled",
        spec(1).trial_id: "cancelled",
        spec(2).trial_id: "done",
    }


def test_a_trial_that_ended_before_its_request_was_seen_has_ended(store):
    queue, _ = make(store, 1)
    item, trial_id = offer(queue)
    store.put(layout.cancel(trial_id), b"")
    queue.settle(item.token, trial_id, "done", "trained")
    queue.close(item.token)
    assert queue.endings == {trial_id: "done"}


def test_a_stopped_queue_offers_nothing_and_forgets_nothing(store):
    queue, _ = make(store, 2)
    item, _ = offer(queue)
    queue.stopping = True
    assert queue.over
    assert queue.offer() is None
    queue.close_all()
    assert queue.items == 0
    assert queue.waiting == 2
    queue.settle(item.token, spec(0).trial_id, "done", "too late")
    assert queue.endings == {}


def test_a_worker_lost_on_another_machine_is_replaced_when_its_lease_expires(store):
    queue, clock = make(store, 1)
    store.leases = FolderLeases(store.root, clock)
    lease = store.leases.take(spec(0).trial_id)
    assert lease is not None
    beat = lease.folder / "heartbeat"
    elsewhere = json.loads(beat.read_text()) | {"machine": "another"}
    beat.write_text(json.dumps(elsewhere))
    assert queue.offer() is None
    clock.now += EXPIRY
    item, trial_id = offer(queue)
    assert store.leases.take(trial_id, item.token) is not None, "a worker need not wait again"
    last = store.get(layout.log(trial_id)).decode().splitlines()[-1]
    assert last.endswith(
        f"cut off: process {os.getpid()} on {socket.gethostname()} sent no heartbeat for 60 s"
    )


def test_a_store_that_fails_under_the_queue_stops_it_and_says_why(store, monkeypatch):
    queue, _ = make(store, 2)
    item, trial_id = offer(queue)

    def fail(*_):
        raise StoreError("Input/output error", where="leases")

    monkeypatch.setattr(store.leases, "free", fail)
    assert queue.offer() is None
    assert queue.over
    assert "Input/output error" in queue.unfit
    monkeypatch.setattr(store.leases, "fence", fail)
    queue.close_all()
    assert queue.waiting == 2, "nothing is forgotten"
    assert trial_id not in queue.endings
    assert item.token


LOST = Failure("node", "its node was lost")


def test_an_unfit_node_ends_the_launch_and_no_trial_is_to_blame(store):
    queue, _ = make(store, 3)
    halted = []
    queue.stop_workers = lambda: halted.append(True)
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
    queue.pack, queue.slots = 2, 0
    item, _ = offer(queue)
    assert len(item.pack) == 2


def test_a_full_store_pauses_the_queue_until_there_is_space_and_is_no_attempt(store, monkeypatch):
    queue, clock = make(store, 2)
    told: list[str] = []
    queue.notify = told.append
    queue.space.needed = 5000
    real, written = store.put, []

    def put(key, data, **options):
        if len(data) >= 5000 and not written:
            raise StoreFull("No space left on device", where=key, fix="free some space")
        real(key, data, **options)

    monkeypatch.setattr(store, "put", put)
    for _ in range(2 * ATTEMPTS):
        item, trial_id = offer(queue)
        queue.settle(item.token, trial_id, "failed", "results: No space left on device", "full")
        queue.close(item.token)
        for _ in range(3):
            assert queue.offer() is None
            assert not queue.over
            clock.now += SPACE_INTERVAL
        assert "No space left on device" in queue.space.full
        written.append(True)
        assert queue.offer() is not None, "there is space"
        queue.close_all()
        written.clear()
    assert len(told) == 4 * ATTEMPTS, "once each time that it ran out, and once that it is over"
    assert "paused: results: No space left on device" in told[0]
    assert "5.0 kB" in told[0]
    assert queue.endings == {}
    assert not store.list(layout.REQUESTS), "what it tried with is gone"


def test_a_pause_that_is_interrupted_keeps_its_reason(store):
    queue, _ = make(store, 1)
    item, trial_id = offer(queue)
    queue.settle(item.token, trial_id, "failed", "No space left on device", "full")
    queue.close(item.token)
    queue.stopping = True
    assert queue.over
    assert (queue.space.full, queue.waiting) == ("No space left on device", 1)


def test_a_store_that_is_full_for_the_queue_itself_pauses_it_too(store, monkeypatch):
    queue, clock = make(store, 1)

    def fail(*_):
        raise StoreFull("Disk quota exceeded", where="leases")

    monkeypatch.setattr(store.leases, "free", fail)
    assert queue.offer() is None
    assert not queue.over
    assert "Disk quota exceeded" in queue.space.full
    monkeypatch.undo()
    clock.now += SPACE_INTERVAL
    assert queue.offer() is not None
