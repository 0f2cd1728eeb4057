"""A store that is full pauses the queue, costs no attempt, and is told from one that is unfit."""

import pytest
from small_queues import make, offer

from orchestrator.execution.queue import ATTEMPTS
from orchestrator.execution.room import EVERY
from results_schema import layout
from results_schema.errors import StoreFull
from results_schema.store import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "results")


def test_a_full_store_pauses_the_queue_until_there_is_room_and_is_no_attempt(store, monkeypatch):
    queue, clock = make(store, 2)
    told: list[str] = []
    queue.say = told.append
    queue.room.size = 5000
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
            clock.now += EVERY
        assert "No space left on device" in queue.room.full
        written.append(True)
        assert queue.offer() is not None, "there is room"
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
    queue.stop()
    assert queue.over
    assert (queue.room.full, queue.waiting) == ("No space left on device", 1)


def test_a_store_that_is_full_for_the_queue_itself_pauses_it_too(store, monkeypatch):
    queue, clock = make(store, 1)

    def fail(*_):
        raise StoreFull("Disk quota exceeded", where="leases")

    monkeypatch.setattr(store.leases, "free", fail)
    assert queue.offer() is None
    assert not queue.over
    assert "Disk quota exceeded" in queue.room.full
    monkeypatch.undo()
    clock.now += EVERY
    assert queue.offer() is not None
