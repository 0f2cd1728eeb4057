"""Trials of a pack have the results that they have alone; sizes of packs are measured."""

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
from workers.training import checkpoint, packing, trial
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
    replace(small_spec(epochs=4), seed=1),
    small_spec(rate=0.03, drop_path=0.5, cutout=4),
    small_spec(genotype=named("SNAS"), epochs=1),
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return open_store(tmp_path_factory.mktemp("alone") / "results")


def trained_alone(spec: TrialSpec, alone: LocalStore) -> LocalStore:
    train(spec, alone, device="cpu")
    return alone


def test_packed_trials_end_with_the_bits_that_they_have_alone_and_report_in_the_callers_thread(
    store: LocalStore, alone: LocalStore
):
    news: list[tuple[str, Any]] = []
    threads = set()

    def report(spec: TrialSpec, item: Any) -> None:
        threads.add(threading.current_thread())
        news.append((spec.trial_id, item.status if isinstance(item, Outcome) else item["epoch"]))

    done = train_pack(
        SPECS, store, device="cpu", checkpointing=COMMIT_ALL, on_epoch=report, on_outcome=report
    )
    assert [outcome.status for outcome in done] == ["done"] * len(SPECS)
    assert [outcome.epochs for outcome in done] == [3, 4, 3, 1]
    assert threads == {threading.current_thread()}
    for spec in SPECS:
        assert_same(store, trained_alone(spec, alone), spec)
        row = ending(store, spec)
        assert (row["pack_size"], row["threads"], row["attempts"]) == (4, 1, 1)
        assert ending(alone, spec)["pack_size"] == 1
        of_one = [item for name, item in news if name == spec.trial_id]
        assert of_one == [*range(1, spec.recipe.epochs + 1), "done"]
    assert store.leases.held() == {}


def epochs(store: LocalStore, spec: TrialSpec) -> int:
    """How many rows the trial has; the first is written when it has resumed."""
    return len(rows(store, spec)) if store.has(layout.metrics(spec.trial_id)) else 0


def test_what_happens_to_one_does_not_affect_its_neighbours(store, alone, monkeypatch):
    diverging, unknown = small_spec(rate=1e30, epochs=6), replace(small_spec(), preprocessing=7)
    cancelled, lost, large = (replace(small_spec(epochs=6), seed=seed) for seed in (2, 3, 4))
    pack = [SPECS[0], diverging, unknown, cancelled, lost, large, SPECS[1]]
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
    assert store.leases.held() == {}
    assert len(rows(store, cancelled)) == len(rows(store, large)) == 1
    for spec in (SPECS[0], SPECS[1], diverging):
        assert_same(store, trained_alone(spec, alone), spec)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_caller_leaves_no_trial_running(store, error):
    specs = [replace(spec, recipe=replace(spec.recipe, epochs=500)) for spec in SPECS[:2]]

    def interrupt(*_: object) -> None:
        raise error

    with pytest.raises(error):
        train_pack(specs, store, device="cpu", on_epoch=interrupt)
    assert store.leases.held() == {}
    assert not {thread.name for thread in threading.enumerate()} & {s.trial_id for s in specs}
    assert any(checkpoint.epochs(store, s.trial_id) for s in specs)
    assert not any(store.has(layout.trial(s.trial_id)) for s in specs)


def test_an_error_that_no_attempt_can_record_is_an_outcome_too(store: LocalStore):
    def leave(spec: TrialSpec) -> str:
        if spec == SPECS[0]:
            raise SystemExit("a library wanted to leave")
        return ""

    outcomes = train_pack([SPECS[0], SPECS[3]], store, device="cpu", ask=leave)
    assert [outcome.status for outcome in outcomes] == ["failed", "done"]
    assert "a library wanted to leave" in outcomes[0].reason


def test_a_trial_named_twice_is_trained_once(store: LocalStore):
    outcomes = train_pack([SPECS[0]] * 2, store, device="cpu")
    assert "done" in {outcome.status for outcome in outcomes} <= {"done", "held"}
    assert ending(store, SPECS[0])["attempts"] == 1
    assert len(rows(store, SPECS[0])) == EPOCHS


def test_sizes_are_measured_on_a_cpu():
    measured = measure_pack_sizes(small_spec(), device="cpu", most=2, steps=1)
    assert [speed.trials for speed in measured] == [1, 2]
    for speed in measured:
        assert speed.images_per_second > 0
        assert 0 < speed.memory < 1


def test_all_are_warm_before_they_are_timed(monkeypatch: pytest.MonkeyPatch):
    """Each trains an epoch of all its shapes, evaluation too, before one begins the timed ones."""
    real, ended, warm = packing.train_epoch, list[TrialSpec](), list[int]()

    def train_epoch(spec: TrialSpec, *arguments: Any) -> Any:
        row = real(spec, *arguments)
        ended.append(spec)
        return row | {"images_per_second": [100.0, 50.0][spec.seed]}

    class Barrier(threading.Barrier):
        def __init__(self, parties: int) -> None:
            super().__init__(parties, lambda: warm.append(len(ended)))

    monkeypatch.setattr(packing.threading, "Barrier", Barrier)
    monkeypatch.setattr(packing, "train_epoch", train_epoch)
    speed = measure_pack(small_spec(), 2, device="cpu", steps=7)
    assert warm == [2]
    assert len(ended) == 2 + 2 * 3, "an epoch has 160 images, and a step 48 of them"
    assert {spec.seed for spec in ended} == {0, 1}
    assert (speed.trials, speed.images_per_second) == (2, pytest.approx(2 * 50.0))


def test_an_epoch_that_is_measured_is_no_longer_than_it_must_be(monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[int, int]] = []

    def train_epoch(spec: TrialSpec, epoch: int, engine: Any, data: Any, stopping: Any) -> Any:
        seen.append((len(data.train), len(data.test)))
        return {"images_per_second": 1.0}

    monkeypatch.setattr(packing, "train_epoch", train_epoch)
    measure_pack(small_spec(evaluation_batch=10), 1, device="cpu", steps=2)
    assert seen == [(96, 50)] * 2


def test_memory_that_runs_out_ends_the_measurement(monkeypatch: pytest.MonkeyPatch):
    real, there = packing.set_up, threading.Semaphore(1)

    def set_up(*arguments: Any) -> Any:
        if not there.acquire(blocking=False):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(*arguments)

    monkeypatch.setattr(packing, "set_up", set_up)
    before = set(threading.enumerate())
    measured = measure_pack_sizes(small_spec(), device="cpu", most=8, steps=1)
    assert [speed.trials for speed in measured] == [1]
    assert len(set(threading.enumerate()) - before) < 8, "nobody waits for whoever gave up"
    monkeypatch.undo()
    with pytest.raises(SpecError, match="unknown data set 'mnist'"):
        measure_pack_sizes(replace(small_spec(), dataset="mnist"), device="cpu", most=4, steps=1)


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

    measured = search_pack_sizes(measure, most)
    assert [speed.trials for speed in measured] == [size for size in order if size <= fits]
    return order


@pytest.mark.parametrize(
    ("speeds", "options", "expected"),
    [
        # It stops where it gets no better, and looks half-way beside the best.
        ({1: 100, 2: 160, 4: 150}, {}, [1, 2, 4, 3]),
        ({1: 100, 2: 160, 4: 220, 8: 222}, {}, [1, 2, 4, 8, 6]),
        ({1: 100, 2: 160, 4: 220, 8: 200}, {}, [1, 2, 4, 8, 3, 6]),
        ({1: 100, 2: 103, 4: 104}, {}, [1, 2, 4, 3]),
        ({1: 100, 2: 102.9}, {}, [1, 2]),
        # Memory runs out, or is nearly full.
        ({1: 100, 2: 160, 4: 220}, {"fits": 2}, [1, 2, 4, 3]),
        ({1: 100}, {"fits": 0}, [1]),
        ({1: 100, 2: 160, 4: 220, 3: 200}, {"each": (MEMORY_LIMIT + 0.01) / 4}, [1, 2, 4, 3]),
        ({1: 100, 2: 160}, {"each": MEMORY_LIMIT / 2, "most": 2}, [1, 2]),
        ({1: 100}, {"each": 0.9}, [1]),
        # No more are tried than are asked for.
        ({1: 100, 2: 200, 3: 300, 4: 400}, {"most": 1}, [1]),
        ({1: 100, 2: 200, 3: 300, 4: 400}, {"most": 3}, [1, 2, 3]),
    ],
)
def test_sizes_are_tried_while_that_gains_something(speeds, options, expected):
    assert tried(speeds, **options) == expected


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
