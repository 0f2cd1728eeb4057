"""Trials side by side in one process, each as it would be alone, and how many are worth it."""

import threading
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_trials import (
    COMMIT_ALL,
    EPOCHS,
    assert_same,
    ending,
    log,
    rows,
    small_spec,
)
from stops import wait_until_made

from results_schema import layout
from results_schema.errors import SpecError
from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec
from workers.cells.bases import named
from workers.training import checkpoint, trial
from workers.training import packing as packing
from workers.training.attempt import Outcome
from workers.training.packing import (
    MEMORY_LIMIT,
    PackSpeed,
    measure_pack,
    measure_pack_sizes,
    search_pack_sizes,
    train_pack,
)
from workers.training.trial import train

SPECS = [
    small_spec(),
    replace(small_spec(epochs=5), seed=1),
    small_spec(rate=0.03, drop_path=0.5, cutout=4),
    small_spec(genotype=named("SNAS"), epochs=1),
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return open_store(tmp_path_factory.mktemp("alone") / "results")


def trained_alone(spec: TrialSpec, alone: LocalStore) -> LocalStore:
    train(spec, alone, device="cpu")
    return alone


def test_packed_trials_end_with_the_bits_that_they_have_alone(store: LocalStore, alone: LocalStore):
    done = train_pack(SPECS, store, device="cpu", checkpointing=COMMIT_ALL)
    assert [outcome.status for outcome in done] == ["done"] * len(SPECS)
    assert [outcome.epochs for outcome in done] == [3, 5, 3, 1]
    for spec in SPECS:
        assert_same(store, trained_alone(spec, alone), spec)
        row = ending(store, spec)
        assert (row["pack_size"], row["threads"], row["attempts"]) == (4, 1, 1)
        assert ending(alone, spec)["pack_size"] == 1
    assert store.leases.held() == {}


def epochs(store: LocalStore, spec: TrialSpec) -> int:
    """How many rows the trial has; the first is written when it has resumed."""
    return len(rows(store, spec)) if store.has(layout.metrics(spec.trial_id)) else 0


def test_whoever_asked_is_told_in_his_own_thread(store: LocalStore):
    told: list[tuple[str, Any]] = []
    threads = set()

    def hear(spec: TrialSpec, news: Any) -> None:
        threads.add(threading.current_thread())
        told.append((spec.trial_id, news.status if isinstance(news, Outcome) else news["epoch"]))

    train_pack(SPECS, store, device="cpu", on_epoch=hear, on_outcome=hear)
    assert threads == {threading.current_thread()}
    for spec in SPECS:
        of_one = [news for name, news in told if name == spec.trial_id]
        assert of_one == [*range(1, spec.recipe.epochs + 1), "done"]


def test_what_befalls_one_is_nothing_to_its_neighbours(
    store: LocalStore, alone: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    diverging, unknown = small_spec(rate=1e30, epochs=6), replace(small_spec(), preprocessing=7)
    cancelled, lost, large = (replace(small_spec(epochs=6), seed=seed) for seed in (2, 3, 4))
    sound = SPECS[:2]
    pack = [sound[0], diverging, unknown, cancelled, lost, large, sound[1]]

    train_epoch = trial.train_epoch

    def disturbed(spec: TrialSpec, epoch: int, *arguments: Any) -> Any:
        if epoch == 2 and spec == large:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if epoch == 2 and spec == lost:
            store.leases.fence(lost.trial_id, "ours")
        if epoch == 2 and spec == cancelled:
            *_, stopping = arguments
            wait_until_made(stopping.request)
        return train_epoch(spec, epoch, *arguments)

    monkeypatch.setattr(trial, "train_epoch", disturbed)
    outcomes = train_pack(
        pack,
        store,
        device="cpu",
        token="ours",
        checkpointing=COMMIT_ALL,
        ask=lambda spec: "it is cancelled" * (spec == cancelled and epochs(store, spec) > 0),
    )
    monkeypatch.undo()
    assert [outcome.status for outcome in outcomes] == [
        *("done", "diverged", "failed", "stopped", "superseded", "failed", "done")
    ]
    assert [outcomes[place].kind for place in (2, 5)] == ["spec", "memory"]
    assert "out of memory" in log(store, large)
    for spec in (*sound, diverging):
        assert_same(store, trained_alone(spec, alone), spec)
    assert store.leases.held() == {}
    for spec in (cancelled, large):  # they left what they go on from
        assert len(rows(store, spec)) == 1
        assert train(spec, store, device="cpu").status == "done"
        assert not store.has(layout.failure(spec.trial_id))
        assert_same(store, trained_alone(spec, alone), spec)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_whoever_is_interrupted_while_he_is_told_leaves_no_trial_running(
    store: LocalStore, error: type[BaseException]
):
    specs = [replace(spec, recipe=replace(spec.recipe, epochs=500)) for spec in SPECS]

    def interrupt(*_: object) -> None:
        raise error

    with pytest.raises(error):
        train_pack(specs, store, device="cpu", on_epoch=interrupt)
    assert store.leases.held() == {}
    assert not {thread.name for thread in threading.enumerate()} & {s.trial_id for s in specs}
    assert any(checkpoint.epochs(store, s.trial_id) for s in specs)
    assert not any(store.has(layout.trial(s.trial_id)) for s in specs)


def test_an_error_that_no_attempt_can_record_is_an_outcome_too(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    def leave(spec: TrialSpec) -> str:
        if spec == SPECS[0]:
            raise SystemExit("a library wanted to leave")
        return ""

    outcomes = train_pack(SPECS[:2], store, device="cpu", ask=leave)
    assert [outcome.status for outcome in outcomes] == ["failed", "done"]
    assert "a library wanted to leave" in outcomes[0].reason


def test_a_trial_named_twice_is_trained_once(store: LocalStore):
    outcomes = train_pack([SPECS[0]] * 2, store, device="cpu")
    assert "done" in {outcome.status for outcome in outcomes} <= {"done", "held"}
    assert ending(store, SPECS[0])["attempts"] == 1
    assert len(rows(store, SPECS[0])) == EPOCHS


def test_a_ladder_is_measured_on_a_cpu():
    rungs = measure_pack_sizes(small_spec(), device="cpu", most=2, steps=4)
    assert [rung.trials for rung in rungs] == [1, 2]
    for rung in rungs:
        assert rung.images_per_second > 0
        assert 0 < rung.memory < 1


def test_all_are_warm_before_they_are_timed(monkeypatch: pytest.MonkeyPatch):
    """Each trains an epoch of all its shapes, evaluation too, before one begins the timed ones."""
    real, told = packing.train_epoch, []

    def train_epoch(*arguments):
        row = real(*arguments)
        told.append(row["epoch"])
        return row

    monkeypatch.setattr(packing, "train_epoch", train_epoch)
    warm: list[int] = []

    class Barrier(threading.Barrier):
        def wait(self, timeout=None):
            warm.append(told.count(1))
            return super().wait(timeout)

    monkeypatch.setattr(packing.threading, "Barrier", Barrier)
    measure_pack(small_spec(), 3, device="cpu", steps=7)
    assert len(warm) == 3 and all(done <= 3 for done in warm)
    assert len(told) == 3 + 3 * 3, "an epoch has 160 images, and a step 48 of them"


def test_memory_that_runs_out_ends_the_ladder(monkeypatch: pytest.MonkeyPatch):
    real, there = packing.set_up, threading.Semaphore(3)

    def set_up(*arguments):
        if not there.acquire(blocking=False):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(*arguments)

    monkeypatch.setattr(packing, "set_up", set_up)
    before = set(threading.enumerate())
    assert [
        rung.trials for rung in measure_pack_sizes(small_spec(), device="cpu", most=8, steps=1)
    ][:1] == [1]
    assert len(set(threading.enumerate()) - before) < 8, "nobody waits for whoever gave up"


def test_what_no_trial_could_be_trained_with_is_told():
    odd = replace(small_spec(), dataset="mnist")
    with pytest.raises(SpecError, match="unknown data set 'mnist'"):
        measure_pack_sizes(odd, device="cpu", most=4, steps=1)


def tried(
    speeds: dict[int, float], most: int = 64, *, each: float = 0.01, fits: int = 99
) -> list[int]:
    """The sizes tried on a device of these speeds, each trial of which takes such a share."""
    order: list[int] = []

    def measure(trials: int) -> PackSpeed | None:
        order.append(trials)
        if trials > fits:
            return None
        return PackSpeed(trials, speeds.get(trials, max(speeds.values())), each * trials)

    search_pack_sizes(measure, most)
    return order


def test_it_stops_where_it_gets_no_better_and_looks_half_way_beside_the_best():
    assert tried({1: 100, 2: 160, 4: 150}) == [1, 2, 4, 3]
    assert tried({1: 100, 2: 160, 4: 220, 8: 222}) == [1, 2, 4, 8, 6]
    assert tried({1: 100, 2: 160, 4: 220, 8: 200}) == [1, 2, 4, 8, 3, 6]
    assert tried({1: 100, 2: 101}) == [1, 2]
    assert tried({1: 100, 2: 70}) == [1, 2]


def test_memory_that_runs_out_ends_it():
    assert tried({1: 100, 2: 160, 4: 220}, fits=2) == [1, 2, 4, 3]
    assert tried({1: 100}, fits=0) == [1]
    assert search_pack_sizes(lambda trials: None, 8) == []


def test_memory_that_is_nearly_full_ends_it():
    each = (MEMORY_LIMIT + 0.01) / 4
    assert tried({1: 100, 2: 160, 4: 220, 3: 200}, each=each) == [1, 2, 4, 3]
    assert tried({1: 100}, each=0.9) == [1]


@pytest.mark.parametrize(("most", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3])])
def test_no_more_are_tried_than_are_wanted(most, expected):
    assert tried({1: 100, 2: 200, 3: 300, 4: 400}, most) == expected


@given(
    speeds=st.lists(st.floats(1, 1e6), min_size=64, max_size=64),
    most=st.integers(1, 64),
    fits=st.integers(0, 64),
    each=st.floats(0.005, 0.5),
)
def test_it_always_ends_and_tries_nothing_twice(speeds, most, fits, each):
    order = tried(dict(enumerate(speeds, 1)), most, each=each, fits=fits)
    assert len(order) == len(set(order)) <= 9
    assert order[0] == 1
    assert max(order) <= most
