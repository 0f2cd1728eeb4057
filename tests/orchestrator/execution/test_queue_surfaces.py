"""When the queue offers a surface: once its checkpoint has landed, before or after the trials."""

import pytest

from orchestrator.execution.queue import Queue
from results_schema import layout, tables
from results_schema.store import Failure, LocalStore, open_store
from results_schema.surface import SurfaceSpec
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named


def trial(seed: int) -> TrialSpec:
    return TrialSpec(named("DARTS"), "digits", 1, NetworkSpec(3, 2), Recipe(epochs=4), 0.025, seed)


def surface(seed: int, epoch: int = 4, pair: int = 0) -> SurfaceSpec:
    return SurfaceSpec(trial(seed), epoch, "contour", rows=3, columns=3, pair=pair)


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "results")


def make(store: LocalStore, trials: int, surfaces: list[SurfaceSpec], **options) -> Queue:
    queue = Queue(store, **options)
    queue.add([trial(seed) for seed in range(trials)])
    queue.add_surfaces(surfaces)
    return queue


def take(queue: Queue) -> tuple[str, str]:
    item = queue.offer()
    assert item is not None
    return item.token, item.names[0]


def end(queue: Queue, token: str, name: str, status: str = "done", kind: str = "") -> None:
    queue.settle(token, name, status, "", kind)
    queue.close(token)


def test_a_surface_is_offered_next_once_its_trial_has_ended(store):
    queue = make(store, 3, [surface(0), surface(0, pair=1), surface(1)])
    assert queue.waiting == 6
    token, name = take(queue)
    assert name == trial(0).trial_id
    assert take(queue)[1] == trial(1).trial_id, "no checkpoint has landed"
    end(queue, token, name)
    assert [take(queue)[1] for _ in range(3)] == [
        surface(0).surface_id,
        surface(0, pair=1).surface_id,
        trial(2).trial_id,
    ]
    assert queue.offer() is None
    assert not queue.over


def test_surfaces_may_come_last(store):
    queue = make(store, 2, [surface(0)], surfaces_last=True)
    end(queue, *take(queue))
    assert [take(queue)[1] for _ in range(2)] == [trial(1).trial_id, surface(0).surface_id]


def test_a_diverged_trial_has_surfaces_too(store):
    queue = make(store, 1, [surface(0)])
    end(queue, *take(queue), status="diverged")
    assert take(queue)[1] == surface(0).surface_id


def test_an_earlier_checkpoint_is_looked_at_while_its_trial_trains_on(store):
    queue = make(store, 1, [surface(0, epoch=2), surface(0)])
    _, name = take(queue)
    queue.reached(name, 2)
    assert queue.offer() is None, "epoch 2 is trained, and not yet committed"
    queue.reached(name, 3)
    assert take(queue)[1] == surface(0, epoch=2).surface_id
    assert queue.offer() is None


def test_the_surface_of_an_ended_trial_is_offered_at_once(store):
    queue = make(store, 1, [surface(7)])
    assert [take(queue)[1] for _ in range(2)] == [surface(7).surface_id, trial(0).trial_id]


def test_that_of_an_untrained_network_does_not_hold_up_training(store):
    queue = make(store, 1, [surface(0, epoch=0)])
    _, name = take(queue)
    assert name == trial(0).trial_id
    assert queue.offer() is None
    queue.reached(name, 1)
    assert take(queue)[1] == surface(0, epoch=0).surface_id


def test_that_of_an_untrained_network_is_measured_though_its_trial_failed(store):
    queue = make(store, 1, [surface(0, epoch=0), surface(0)])
    end(queue, *take(queue), status="failed", kind="data")
    assert take(queue)[1] == surface(0, epoch=0).surface_id
    assert queue.endings[surface(0).surface_id] == "untrained"


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_surfaces_of_a_trial_that_did_not_end_are_left(store, ending):
    queue = make(store, 1, [surface(0)])
    if ending == "failed":
        end(queue, *take(queue), status="failed", kind="data")
    else:
        store.put(layout.cancel(trial(0).trial_id), b"")
        assert queue.offer() is None
    assert queue.endings == {trial(0).trial_id: ending, surface(0).surface_id: "untrained"}
    assert queue.over


def test_a_trial_that_another_launch_ended_lets_its_surfaces_go(store):
    queue = make(store, 1, [surface(0)])
    lease = store.leases.take(trial(0).trial_id)
    assert queue.offer() is None, "somebody else has it"
    store.put(layout.trial(trial(0).trial_id), tables.to_parquet([], tables.TRIALS))
    lease.release()
    queue.clock = lambda: 1e12
    queue.offer()
    assert queue.endings[trial(0).trial_id] == "ended by another launch"
    assert take(queue)[1] == surface(0).surface_id


def test_a_surface_that_another_launch_finished_is_not_offered(store):
    queue = make(store, 0, [surface(0)])
    lease = store.leases.take(surface(0).surface_id)
    assert queue.offer() is None
    store.put(layout.surface(surface(0).surface_id), b"")
    lease.release()
    queue.clock = lambda: 1e12
    assert queue.offer() is None
    assert queue.endings == {surface(0).surface_id: "ended by another launch"}


@pytest.mark.parametrize("name", [surface(0).surface_id, trial(0).trial_id])
def test_a_surface_is_cancelled_by_its_own_name_or_its_trials(store, name):
    queue = make(store, 0, [surface(0)])
    store.put(layout.cancel(name), b"")
    assert queue.offer() is None
    assert queue.endings == {surface(0).surface_id: "cancelled"}


def test_a_surface_whose_worker_died_is_offered_again_under_a_new_token(store):
    queue = make(store, 0, [surface(0)])
    token, name = take(queue)
    lease = store.leases.take(name, token)
    assert lease is not None
    queue.close(token, died=Failure("killed", "its worker died"))
    assert store.leases.held() == {}, "the dead worker is fenced"
    assert not queue.over
    queue.clock = lambda: 1e12
    again, same = take(queue)
    assert (same, again != token) == (name, True)


def test_a_stopped_surface_stays_owed(store):
    queue = make(store, 0, [surface(0)])
    token, name = take(queue)
    queue.stopping = True
    end(queue, token, name, status="stopped")
    assert queue.endings == {}
    assert queue.waiting == 1
