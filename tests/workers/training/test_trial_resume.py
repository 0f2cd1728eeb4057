"""Whatever cuts a trial off, its results are in the end those of an undisturbed run."""

import multiprocessing
import random
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from endless_epochs import endless_from
from small_trials import (
    COMMIT_ALL,
    COMMIT_LAST,
    EPOCHS,
    assert_same,
    ending,
    files,
    log,
    rows,
    train_on_few_digits,
)
from stops import after_epoch

from results_schema import layout
from results_schema.errors import StoreError
from results_schema.lease import Lease
from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec
from workers.training import checkpoint, trial
from workers.training.attempt import Outcome
from workers.training.checkpoint import Checkpointing, Row
from workers.training.trial import train


def train_until(store: LocalStore, spec: TrialSpec, epoch: int) -> None:
    """Stops after an epoch, as asked to."""
    train(spec, store, device="cpu", checkpointing=COMMIT_ALL, **after_epoch(epoch))


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_stopped_trial_goes_on(
    store: LocalStore, undisturbed: LocalStore, spec: TrialSpec, epoch: int
):
    train_until(store, spec, epoch)
    outcome = train(spec, store, device="cpu", checkpointing=COMMIT_LAST)
    assert (outcome.status, outcome.epochs) == ("done", EPOCHS - epoch)
    assert_same(store, undisturbed, spec)
    assert ending(store, spec)["attempts"] == 2


def test_rows_beyond_the_checkpoint_are_replaced(
    store: LocalStore, undisturbed: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
):
    """They are provisional: whatever they say is trained anew."""
    train_until(store, spec, 2)
    provisional = store.get(layout.metrics(spec.trial_id))
    for part in (layout.state, layout.tensors):
        store.delete(part(spec.trial_id, 2))
    store.put(layout.metrics(spec.trial_id), provisional)
    seen: list[list[int]] = []
    train_epoch = trial.train_epoch

    def look(*arguments: Any) -> Row:
        seen.append(rows(store, spec)["epoch"].tolist())
        return train_epoch(*arguments)

    monkeypatch.setattr(trial, "train_epoch", look)
    train(spec, store, device="cpu")
    assert seen == [[1], [1, 2]], "before each epoch"
    assert_same(store, undisturbed, spec)


@pytest.mark.parametrize("damaged", [{2}, {1, 2}])
@pytest.mark.parametrize("part", [layout.state, layout.tensors])
def test_damaged_checkpoints_cost_epochs_but_no_results(
    store: LocalStore,
    undisturbed: LocalStore,
    spec: TrialSpec,
    damaged: set[int],
    part: Callable[[str, int], str],
):
    train_until(store, spec, 2)
    for epoch in damaged:
        key = part(spec.trial_id, epoch)
        store.put(key, store.get(key)[:-9])
    outcome = train(spec, store, device="cpu", checkpointing=COMMIT_ALL)
    assert outcome.epochs == (2 if damaged == {2} else 3)
    assert_same(store, undisturbed, spec)
    told = [line for line in log(store, spec).splitlines() if "is damaged" in line]
    assert len(told) == len(damaged)
    assert checkpoint.epochs(store, spec.trial_id) == [EPOCHS]


def test_metrics_are_never_read_to_resume(
    store: LocalStore, undisturbed: LocalStore, spec: TrialSpec
):
    train_until(store, spec, 2)
    store.put(layout.metrics(spec.trial_id), b"torn")
    train(spec, store, device="cpu")
    assert_same(store, undisturbed, spec)


class Killed(BaseException):
    """Ends a worker as suddenly as a test within one process can."""


class FailingStore(LocalStore):
    """A store whose n-th write or removal goes wrong, after which it works again."""

    def __init__(self, root: Path, failing: int, error: BaseException) -> None:
        super().__init__(root)
        self.failing, self.error, self.calls = failing, error, 0

    def put(self, key: str, data: bytes, **how: Any) -> None:
        self._count()
        super().put(key, data, **how)

    def delete(self, key: str, *, lease: Lease | None = None) -> None:
        self._count()
        super().delete(key, lease=lease)

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.failing:
            raise self.error


def writes_of_a_trial(folder: Path, spec: TrialSpec) -> int:
    """How often an undisturbed trial puts or deletes."""
    store = FailingStore(open_store(folder).root, 0, Killed())
    train(spec, store, device="cpu", checkpointing=COMMIT_ALL)
    return store.calls


def test_killed_at_any_write_it_ends_as_if_nothing_had_happened(
    undisturbed: LocalStore, spec: TrialSpec, tmp_path: Path
):
    complete = {*files(undisturbed)}
    for failing in range(1, writes_of_a_trial(tmp_path / "whole", spec) + 1):
        root = open_store(tmp_path / str(failing)).root
        with pytest.raises(Killed):
            store = FailingStore(root, failing, Killed())
            train(spec, store, device="cpu", checkpointing=COMMIT_ALL)
        store = LocalStore(root)
        outcome = train(spec, store, device="cpu", checkpointing=COMMIT_ALL)
        assert outcome.status == "done"
        assert_same(store, undisturbed, spec)
        # A kill between the trial's row and the very last removal leaves one small file.
        assert files(store) - {layout.attempts(spec.trial_id)} == complete


def test_a_store_that_fails_at_any_write_is_reported_and_the_trial_goes_on_later(
    undisturbed: LocalStore, spec: TrialSpec, tmp_path: Path
):
    complete = {*files(undisturbed)}
    last = writes_of_a_trial(tmp_path / "whole", spec)
    for failing in range(1, last + 1):
        root = open_store(tmp_path / str(failing)).root
        full = StoreError("No space left on device", fix="free some space there")
        store = FailingStore(root, failing, full)
        outcome = train(spec, store, device="cpu", checkpointing=COMMIT_ALL)
        if failing < last:
            assert (outcome.status, outcome.kind) == ("failed", "store")
            assert "free some space" in outcome.reason
        else:
            assert outcome.status == "done", "only a file that nobody needs could not be removed"
        assert store.leases.held() == {}
        assert train(spec, LocalStore(root), device="cpu").status == "done"
        assert_same(store, undisturbed, spec)
        assert files(store) - {layout.attempts(spec.trial_id)} == complete


class Reader(threading.Thread):
    """Reads the folder of metrics over and over, as a person's notebook would."""

    def __init__(self, store: LocalStore) -> None:
        super().__init__(daemon=True)
        self.folder = store.root / "metrics"
        self.reads, self.wrong, self.over = 0, [], threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                epochs = pd.read_parquet(self.folder)["epoch"].tolist()
                good = epochs == list(range(1, len(epochs) + 1))
            except Exception as error:
                epochs, good = error, False
            if not good:
                self.wrong.append(epochs)
            self.reads += 1

    def __enter__(self) -> "Reader":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


def train_endlessly(
    spec: TrialSpec, store: LocalStore, checkpointing: Checkpointing, first: int
) -> None:
    """What a worker runs that is to be killed: no epoch ends from this one on."""
    with endless_from(first):
        train_on_few_digits(spec, store, checkpointing)


def start(
    store: LocalStore, spec: TrialSpec, checkpointing: Checkpointing, endless: int
) -> BaseProcess:
    """A worker in a process of its own that has begun its attempt; see `train_endlessly`."""
    processes = multiprocessing.get_context("forkserver")
    # What takes long to import, so that each worker is forked within a fraction of a second.
    processes.set_forkserver_preload(["pandas", "pytest", "workers.training.trial"])
    worker = processes.Process(target=train_endlessly, args=(spec, store, checkpointing, endless))
    before = attempts(store, spec)
    worker.start()
    while worker.is_alive() and attempts(store, spec) == before:
        time.sleep(0.005)
    return worker


def attempts(store: LocalStore, spec: TrialSpec) -> bytes:
    """Changes once a worker has begun."""
    key = layout.attempts(spec.trial_id)
    return store.get(key) if store.has(key) else b""


@pytest.mark.parametrize("checkpointing", [COMMIT_ALL, COMMIT_LAST])
def test_killed_at_random_moments_it_ends_as_if_nothing_had_happened(
    store: LocalStore, undisturbed: LocalStore, spec: TrialSpec, checkpointing: Checkpointing
):
    moments = random.Random(7)
    with Reader(store) as reader:
        for _ in range(6):
            worker = start(store, spec, checkpointing, moments.randint(1, EPOCHS))
            worker.join(moments.uniform(0, 0.4))
            worker.kill()
            worker.join()
            assert worker.exitcode == -signal.SIGKILL
        outcome = train(spec, store, device="cpu", checkpointing=checkpointing)
    assert outcome.status == "done"
    assert_same(store, undisturbed, spec)
    assert files(store) - {layout.attempts(spec.trial_id)} == files(undisturbed)
    assert store.leases.held() == {}
    assert reader.wrong == []
    assert reader.reads > 10


def test_a_killed_workers_lease_is_free_at_once(
    store: LocalStore, undisturbed: LocalStore, spec: TrialSpec
):
    worker = start(store, spec, COMMIT_ALL, 1)
    assert train(spec, store, device="cpu") == Outcome("held", "another worker holds its lease")
    worker.kill()
    worker.join()
    assert train(spec, store, device="cpu").status == "done"
    assert_same(store, undisturbed, spec)
