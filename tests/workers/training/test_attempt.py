"""Failures by kind, what is kept of a trial that fails, and stops in the middle of an epoch."""

import itertools
import json
import os
import socket
import threading
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_trials import (
    COMMIT_ALL,
    COMMIT_LAST,
    EPOCHS,
    assert_same,
    ending,
    files,
    log,
    rows,
    small_spec,
)
from stops import REASON, StopAtLook, after_epoch

from results_schema import layout
from results_schema import lease as leases_module
from results_schema.errors import (
    CorruptData,
    DataError,
    MachineError,
    SpecError,
    StoreError,
    StoreFull,
)
from results_schema.store import LocalStore
from results_schema.trial import TrialSpec
from workers.data import batches
from workers.training import checkpoint, trial
from workers.training.attempt import Failure, Outcome, Stopped, Stopping, classify
from workers.training.checkpoint import Checkpointing
from workers.training.graphs import CaptureFailed
from workers.training.trial import train


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StoreError("read-only"), "store"),
        (StoreFull("no room"), "full"),
        (CorruptData("torn"), "store"),
        (DataError("missing"), "data"),
        (SpecError("odd"), "spec"),
        (MachineError("no GPU"), "machine"),
        (MemoryError(), "memory"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9e9"),
            "memory",
        ),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "cuda"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "cuda"),
        (RuntimeError("CUDA error: out of memory"), "memory"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "memory"),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), "cuda"),
        (RuntimeError("CUDA error: unspecified launch failure"), "cuda"),
        (RuntimeError("FIND was unable to find an engine to execute this computation"), "cuda"),
        (RuntimeError("GET was unable to find an engine to execute this computation"), "cuda"),
        (RuntimeError("cudaErrorStreamCaptureInvalidated"), "cuda"),
        (RuntimeError("Cannot call this while capturing"), "cuda"),
        (CaptureFailed("no CUDA graph could be captured: operation not permitted"), "graph"),
        (RuntimeError("shape mismatch"), "error"),
        (ValueError("CUDA is only mentioned"), "error"),
        (ZeroDivisionError("division by zero"), "error"),
    ],
)
def test_failures_are_told_apart(error: BaseException, kind: str):
    failure = classify(error)
    assert failure.kind == kind
    assert str(error).split("\n")[0] in failure.message


def test_an_allocation_that_fails_is_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert classify(caught.value).kind == "memory"


@pytest.mark.parametrize("explicit", [True, False], ids=["cause", "context"])
def test_memory_that_ran_out_is_found_behind_another_error(explicit: bool):
    """So a capture ends that runs out of memory."""
    out = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    try:
        try:
            raise out
        except torch.OutOfMemoryError as error:
            ended = torch.AcceleratorError("CUDA error: operation failed due to a previous error")
            raise ended from (error if explicit else None)
    except torch.AcceleratorError as error:
        assert classify(error).kind == "memory"


def test_errors_that_are_one_anothers_cause_are_told_apart_too():
    one, two = RuntimeError("shape mismatch"), RuntimeError("odd")
    one.__cause__, two.__cause__ = two, one
    assert classify(one).kind == "error"


def test_a_users_mistake_is_told_without_the_name_of_its_class():
    assert classify(DataError("not here", fix="fetch it")).message == "not here\n  fetch it"
    assert classify(KeyError("x")).message == "KeyError: 'x'"


def test_a_later_failure_takes_the_place_of_an_earlier_one(store: LocalStore):
    Failure("data", "not here").record(store, "t1")
    Failure("store", "full").record(store, "t1")
    record = json.loads(store.get(layout.failure("t1")))
    assert (record["kind"], record["message"], record["log"]) == ("store", "full", "logs/t1.log")
    assert record["at"].endswith("+00:00")


def test_an_error_is_recorded_and_forgotten_once_the_trial_ends(
    store: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delitem(batches.__dict__, "cut_out")
    spec = replace(spec, recipe=replace(spec.recipe, cutout=2))
    failed = train(spec, store, device="cpu")
    assert (failed.status, failed.kind, failed.epochs) == ("failed", "error", 0)
    record = json.loads(store.get(layout.failure(spec.trial_id)))
    assert record["kind"] == "error"
    assert "cut_out" in record["message"]
    assert record["log"] == layout.log(spec.trial_id)
    assert "Traceback (most recent call last)" in log(store, spec)
    assert store.leases.held() == {}
    monkeypatch.undo()
    assert train(spec, store, device="cpu").status == "done"
    assert not store.has(layout.failure(spec.trial_id))
    assert ending(store, spec)["attempts"] == 2
    assert "Traceback" in log(store, spec)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dataset": "mnist"}, "unknown data set 'mnist'"),
        ({"preprocessing": 7}, "preprocessing of digits is 7, and this release's is 1"),
        ({"recipe": replace(small_spec().recipe, version=9)}, "recipe version is 9"),
        (
            {
                "recipe": replace(small_spec().recipe, statistics="digits_32"),
                "statistics_preprocessing": 7,
            },
            "preprocessing of digits_32 is 7, and this release's is 1",
        ),
    ],
)
def test_what_this_release_cannot_train_is_said(
    store: LocalStore, spec: TrialSpec, change: dict[str, Any], says: str
):
    odd = replace(spec, **change)
    outcome = train(odd, store, device="cpu")
    assert (outcome.status, outcome.kind) == ("failed", "spec")
    assert says in outcome.reason
    assert json.loads(store.get(layout.failure(odd.trial_id)))["kind"] == "spec"
    assert not store.has(layout.metrics(odd.trial_id))


def test_a_missing_data_set_is_a_failure_of_its_own_kind(
    store: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
):
    def missing(*_: object) -> None:
        raise DataError("digits is not here", fix="fetch it")

    monkeypatch.setattr("workers.training.setup.load", missing)
    outcome = train(spec, store, device="cpu")
    assert outcome == Outcome("failed", "digits is not here\n  fetch it", kind="data")
    assert "fetch it" in json.loads(store.get(layout.failure(spec.trial_id)))["message"]


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "gpu", "meta", "cpu?"])
def test_a_device_that_is_not_there_is_a_failure_of_the_machine(
    store: LocalStore, spec: TrialSpec, device: str
):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    outcome = train(spec, store, device=device)
    assert (outcome.status, outcome.kind) == ("failed", "machine")
    assert "use " in outcome.reason


def test_a_store_that_gives_no_lease_is_a_failure_of_the_store(
    store: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise StoreError("No space left on device", where="leases", fix="free some space")

    monkeypatch.setattr(store.leases, "take", full)
    outcome = train(spec, store, device="cpu")
    assert outcome == Outcome(
        "failed", "leases: No space left on device\n  free some space", kind="store"
    )


def test_a_damaged_row_of_an_ended_trial_is_named(store: LocalStore, spec: TrialSpec):
    train(spec, store, device="cpu")
    store.put(layout.trial(spec.trial_id), b"PAR1 no more")
    outcome = train(spec, store, device="cpu")
    assert (outcome.status, outcome.kind) == ("failed", "store")
    assert layout.trial(spec.trial_id) in outcome.reason
    store.delete(layout.trial(spec.trial_id))
    assert train(spec, store, device="cpu") == Outcome("done", f"trained {EPOCHS} epochs", 0)


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
