"""Asked to stop in the middle of an epoch, a trial gives that epoch up and nothing else."""

import itertools
import os
import socket
import threading
from typing import Any

import pytest
from small_trials import COMMIT_ALL, COMMIT_LAST, EPOCHS, assert_same, files, log, rows
from stops import REASON, StopAtLook, after_epoch

from results_schema import layout
from results_schema import lease as leases_module
from results_schema.errors import StoreError
from results_schema.store import LocalStore
from results_schema.trial import TrialSpec
from workers.training import checkpoint, trial
from workers.training.attempt import Stopped, Stopping
from workers.training.checkpoint import Checkpointing
from workers.training.trial import train


@pytest.mark.parametrize("checkpointing", [COMMIT_ALL, COMMIT_LAST])
def test_stopped_before_any_batch_it_keeps_all_epochs_before_and_goes_on_bit_by_bit(
    store: LocalStore,
    undisturbed: LocalStore,
    spec: TrialSpec,
    checkpointing: Checkpointing,
):
    stops = 0
    for look in itertools.count(2):
        stop = StopAtLook(look)
        outcome = train(spec, store, device="cpu", checkpointing=checkpointing, stop=stop)
        if outcome.status == "done":
            break
        stops += 1
        published = len(rows(store, spec))
        assert outcome.reason == f"after epoch {published} of {EPOCHS}"
        assert max(checkpoint.epochs(store, spec.trial_id), default=0) == published
        assert store.leases.held() == {}
    # Before the epoch, before each of its 4 batches and before that of the test set; from the
    # seventh attempt on an epoch or two are trained again before the look that stops it.
    assert stops > 6
    assert_same(store, undisturbed, spec)


def test_of_batches_the_one_in_hand_is_given_up_and_those_behind_it_are_untouched():
    batches, seen = iter(range(7)), list[int]()
    stopping = Stopping(StopAtLook(4))
    with pytest.raises(Stopped):
        seen += stopping.between(batches)
    assert list(batches) == [4, 5, 6]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats and looks for a stop without pause."""
    monkeypatch.setattr(leases_module, "BEAT", 0.01)


class LongEpoch:
    """An epoch that does not end by itself: its batches come as long as nobody stops it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self.began = threading.Event()
        train_epoch = trial.train_epoch

        def train(*arguments: Any) -> Any:
            _, epoch, *_, stopping = arguments
            if epoch == number:
                self.began.set()
                for _ in stopping.between(itertools.repeat(None)):
                    pass
            return train_epoch(*arguments)

        monkeypatch.setattr(trial, "train_epoch", train)


def test_a_stop_is_asked_for_by_the_thread_that_keeps_the_lease(
    store: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch, quick: None
):
    epoch, threads = LongEpoch(monkeypatch, 2), list[threading.Thread]()

    def ask() -> str:
        threads.append(threading.current_thread())
        return "nas-sweep cancel" if epoch.began.is_set() else ""

    outcome = train(spec, store, device="cpu", ask=ask)
    assert (outcome.status, outcome.reason) == ("stopped", f"after epoch 1 of {EPOCHS}")
    assert threads[0] is threading.current_thread(), "before it begins"
    assert {thread.name for thread in threads[1:]} == {f"lease {spec.trial_id}"}
    assert checkpoint.epochs(store, spec.trial_id) == [1]


def test_a_look_that_fails_does_not_fail_the_trial(
    store: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch, quick: None
):
    epoch, calls = LongEpoch(monkeypatch, 2), iter(range(10**9))

    def ask() -> str:
        number = next(calls) if epoch.began.is_set() else 0
        if number == 1:
            raise StoreError("no answer")
        return "enough" if number > 2 else ""

    assert train(spec, store, device="cpu", ask=ask).status == "stopped"
    said = log(store, spec)
    assert "stop requests fail: no answer\n" in said
    assert "stop requests succeed again after " in said


def test_a_worker_that_is_fenced_in_a_long_epoch_stops_in_it_and_writes_nothing(
    store: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch, quick: None
):
    epoch, left = LongEpoch(monkeypatch, 2), dict[str, bytes]()

    def fence() -> None:
        assert epoch.began.wait(60)
        store.leases.fence(spec.trial_id, "mine")
        left.update({key: store.get(key) for key in files(store)})

    fencer = threading.Thread(target=fence)
    fencer.start()
    outcome = train(spec, store, device="cpu", token="mine", checkpointing=COMMIT_ALL)
    fencer.join()
    assert (outcome.status, outcome.epochs) == ("superseded", 1)
    assert {key: store.get(key) for key in files(store)} == left


def test_the_log_says_who_stopped_a_trial_and_why(store: LocalStore, spec: TrialSpec):
    train(spec, store, device="cpu", **after_epoch(2))
    assert log(store, spec).endswith(f" stopped after epoch 2 of {EPOCHS}: {REASON}\n")


def test_the_log_says_whose_lease_was_taken_over(store: LocalStore, spec: TrialSpec):
    old = store.leases.take(spec.trial_id)
    assert old is not None
    heartbeat = old.folder / "heartbeat"
    heartbeat.write_text(heartbeat.read_text().replace(f'"pid": {os.getpid()}', '"pid": 4194305'))
    train(spec, store, device="cpu")
    first = log(store, spec).splitlines()[0]
    host = socket.gethostname()
    assert first.endswith(
        f" takes over from a worker that is gone: process 4194305 on {host} has ended"
    )


def test_what_heartbeats_report_is_written_before_a_long_epoch_ends(
    store: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch, quick: None
):
    epoch, looks = LongEpoch(monkeypatch, 1), itertools.count()
    obstacle = store.root / "leases" / spec.trial_id / "mine" / "heartbeat.new"

    def ask() -> str:
        match next(looks) if epoch.began.is_set() else -1:
            case 0:
                obstacle.mkdir()
            case 50:
                obstacle.rmdir()
        return "it was read" if "heartbeats succeed again" in log(store, spec) else ""

    assert train(spec, store, device="cpu", token="mine", ask=ask).status == "stopped"
    assert f" heartbeats fail: {obstacle}: Is a directory" in log(store, spec)


def test_lines_before_the_first_epoch_are_kept_though_the_worker_dies_in_it(
    store: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
):
    train(spec, store, device="cpu", checkpointing=COMMIT_ALL, **after_epoch(2))
    key = layout.tensors(spec.trial_id, 2)
    store.put(key, store.get(key)[:-9])
    seen: list[str] = []

    def die(*_: Any) -> None:
        seen.append(log(store, spec))
        raise SystemExit

    monkeypatch.setattr(trial, "train_epoch", die)
    with pytest.raises(SystemExit):
        train(spec, store, device="cpu")
    assert "checkpoint of epoch 2 is damaged" in seen[0]
    assert "resumes after epoch 1" in seen[0]
