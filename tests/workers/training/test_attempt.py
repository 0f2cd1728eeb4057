"""Failures by kind, what is kept of an item that fails, its log, and stops within an epoch."""

import itertools
import json
import os
import socket
import threading
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_checkpoints import ID
from small_trials import COMMIT_ALL, EPOCHS, ending, files, log, small_spec
from stops import StopAtLook, after_epoch

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
from results_schema.lease import Lease
from results_schema.store import LocalStore
from results_schema.trial import TrialSpec
from workers.data import batches
from workers.training import checkpoint, trial
from workers.training.attempt import (
    CaptureFailed,
    Failure,
    ItemLog,
    Outcome,
    Stopped,
    Stopping,
    StopRequest,
    append_to_log,
    classify,
)
from workers.training.trial import train


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StoreError("read-only"), "store"),
        (StoreFull("no space"), "full"),
        (CorruptData("torn"), "store"),
        (DataError("missing"), "data"),
        (SpecError("odd"), "spec"),
        (MachineError("no GPU"), "machine"),
        (MemoryError(), "memory"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9e9"), "memory"),
        (RuntimeError("CUDA error: out of memory"), "memory"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "cuda"),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), "cuda"),
        (RuntimeError("FIND was unable to find an engine to execute this computation"), "cuda"),
        (RuntimeError("GET was unable to find an engine to execute this computation"), "cuda"),
        (RuntimeError("cudaErrorStreamCaptureInvalidated"), "cuda"),
        (RuntimeError("Cannot call this while capturing"), "cuda"),
        (CaptureFailed("no CUDA graph could be captured: operation not permitted"), "graph"),
        (RuntimeError("shape mismatch"), "error"),
        (ValueError("CUDA is only mentioned, out of memory too"), "error"),
    ],
)
def test_failures_are_classified(error: BaseException, kind: str):
    failure = classify(error)
    assert failure.kind == kind
    assert str(error) in failure.message


@pytest.mark.parametrize("explicit", [True, False], ids=["cause", "context"])
def test_memory_that_ran_out_is_found_behind_another_error(explicit: bool):
    """So a capture ends that runs out of memory; errors may be one another's causes."""
    out = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    ended = CaptureFailed("CUDA error: operation failed due to a previous error")
    between = RuntimeError("shape mismatch")
    between.__cause__, ended.__cause__ = ended, between
    assert classify(ended).kind == "graph"
    if explicit:
        between.__cause__ = out
    else:
        between.__context__ = out
    assert classify(ended).kind == "memory"


def test_a_users_mistake_is_reported_without_the_name_of_its_class():
    assert classify(DataError("not here", fix="fetch it")).message == "not here\n  fetch it"
    assert classify(KeyError("x")).message == "KeyError: 'x'"


def test_a_later_failure_takes_the_place_of_an_earlier_one(store: LocalStore):
    Failure("data", "not here").record(store, "t1")
    Failure("store", "full").record(store, "t1")
    record = json.loads(store.get(layout.failure("t1")))
    assert (record["kind"], record["message"], record["log"]) == ("store", "full", "logs/t1.log")
    assert record["at"].endswith("+00:00")


def test_an_error_is_recorded_and_forgotten_once_the_trial_ends(store, spec, monkeypatch):
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


def test_a_full_disk_is_no_fault_of_the_trials(store, spec, monkeypatch):
    def full(*_: object) -> None:
        raise StoreFull("no space", fix="free some")

    monkeypatch.setattr(trial, "train_epoch", full)
    assert train(spec, store, device="cpu") == Outcome("failed", "no space\n  free some", 0, "full")
    assert not store.has(layout.failure(spec.trial_id))


VERSIONED = replace(small_spec().recipe, statistics="digits_32")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"dataset": "mnist"}, "unknown data set 'mnist'"),
        ({"preprocessing": 7}, "preprocessing of digits is 7, and this release's is 1"),
        ({"recipe": replace(small_spec().recipe, version=9)}, "recipe version is 9"),
        (
            {"recipe": VERSIONED, "statistics_preprocessing": 7},
            "preprocessing of digits_32 is 7, and this release's is 1",
        ),
    ],
)
def test_what_this_release_cannot_train_is_a_failure_of_the_spec(store, spec, change, what):
    odd = replace(spec, **change)
    outcome = train(odd, store, device="cpu")
    assert (outcome.status, outcome.kind) == ("failed", "spec")
    assert what in outcome.reason
    assert json.loads(store.get(layout.failure(odd.trial_id)))["kind"] == "spec"
    assert not store.has(layout.metrics(odd.trial_id))


def test_a_store_that_gives_no_lease_is_a_failure_of_the_store(store, spec, monkeypatch):
    def broken(*_: object) -> None:
        raise StoreError("input/output error", where="leases", fix="repair it")

    monkeypatch.setattr(store.leases, "take", broken)
    outcome = train(spec, store, device="cpu")
    assert outcome == Outcome("failed", "leases: input/output error\n  repair it", kind="store")


def test_a_damaged_row_of_an_ended_trial_is_named(store: LocalStore, spec: TrialSpec):
    store.put(layout.trial(spec.trial_id), b"PAR1 no more")
    outcome = train(spec, store, device="cpu")
    assert (outcome.status, outcome.kind) == ("failed", "store")
    assert layout.trial(spec.trial_id) in outcome.reason


def test_of_batches_the_one_in_hand_is_given_up_and_those_behind_it_are_untouched():
    batches, seen = iter(range(7)), list[int]()
    stopping = Stopping(StopAtLook(4))
    with pytest.raises(Stopped):
        seen += stopping.between(batches)
    assert list(batches) == [4, 5, 6]


def test_the_first_reason_to_stop_stays():
    request = StopRequest()
    request.poll(lambda: "")
    assert not request.made
    request.poll(lambda: "one")
    request.poll(pytest.fail)
    request.make("another")
    assert (request.made, request.reason) == (True, "one")


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


def test_a_stop_is_asked_for_by_the_thread_that_keeps_the_lease_and_a_failed_look_is_logged(
    store: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch, quick: None
):
    epoch, threads, calls = LongEpoch(monkeypatch, 2), list[threading.Thread](), itertools.count()

    def ask() -> str:
        threads.append(threading.current_thread())
        number = next(calls) if epoch.began.is_set() else 0
        if number == 1:
            raise StoreError("no answer")
        return "nas-sweep cancel" if number > 2 else ""

    outcome = train(spec, store, device="cpu", ask=ask)
    assert outcome == Outcome("stopped", f"after epoch 1 of {EPOCHS}", 1)
    assert threads.count(threading.current_thread()) == 1, "before it begins"
    others = set(threads) - {threading.current_thread()}
    assert {thread.name for thread in others} == {f"lease {spec.trial_id}"}
    assert checkpoint.epochs(store, spec.trial_id) == [1]
    text = log(store, spec)
    assert "stop requests fail: no answer\n" in text
    assert "stop requests succeed again after " in text
    assert text.endswith(f" stopped after epoch 1 of {EPOCHS}: nas-sweep cancel\n")


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


def test_the_log_names_the_worker_whose_lease_was_taken_over(store: LocalStore, spec: TrialSpec):
    old = store.leases.take(spec.trial_id)
    assert old is not None
    heartbeat = old.folder / "heartbeat"
    heartbeat.write_text(heartbeat.read_text().replace(f'"pid": {os.getpid()}', '"pid": 4194305'))
    train(spec, store, device="cpu")
    first = log(store, spec).splitlines()[0]
    gone = f"process 4194305 on {socket.gethostname()} has ended"
    assert first.endswith(f" takes over from a worker that is gone: {gone}")


def test_lines_before_the_first_epoch_are_kept_though_the_worker_dies_in_it(
    store: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
):
    train(spec, store, device="cpu", **after_epoch(1))
    seen: list[str] = []

    def die(*_: Any) -> None:
        seen.append(log(store, spec))
        raise SystemExit

    monkeypatch.setattr(trial, "train_epoch", die)
    with pytest.raises(SystemExit):
        train(spec, store, device="cpu")
    assert "attempt 2 of" in seen[0]
    assert "resumes after epoch 1" in seen[0]


class Refusing(LocalStore):
    """A store that can't be written, and counts how often somebody tries."""

    tries = 0

    def put(self, key: str, data: bytes, **how: Any) -> None:
        self.tries += 1
        raise StoreError("read-only")


def test_a_log_is_appended_to_and_its_lines_are_kept_while_it_can_not_be_written(store, lease):
    store.put(layout.log(ID), b"before\n")
    refusing = Refusing(store.root)
    log = ItemLog(refusing, lease, ID)
    assert not log.begun and not log.pending
    log.add("one")
    assert log.begun and log.pending
    log.try_flush()
    assert not log.pending, "or it would be tried before each batch"
    with pytest.raises(StoreError):
        log.flush()
    assert refusing.tries == 2
    log._store = store
    log.add("two")
    log.flush()
    lines = store.get(layout.log(ID)).decode().splitlines()
    assert lines[0] == "before"
    assert [line[20:] for line in lines[1:]] == ["one", "two"]
    assert len(lines[1][:19]) == 19 and lines[1][19] == " "


def test_lines_of_another_thread_are_written_at_a_check_only_while_the_lease_is_healthy(
    store: LocalStore, lease: Lease
):
    log = ItemLog(store, lease, ID)
    stopping = Stopping(lease=lease, log=log)
    stopping.check()
    assert not store.has(layout.log(ID))
    log.add("a line")
    lease.healthy = False
    stopping.check()
    assert not store.has(layout.log(ID))
    lease.healthy = True
    stopping.check()
    assert store.get(layout.log(ID)).endswith(b" a line\n")


def test_a_line_is_appended_to_the_log_of_an_item_that_no_worker_holds(store: LocalStore):
    append_to_log(store, ID, "its worker is gone")
    assert store.get(layout.log(ID)).endswith(b" its worker is gone\n")
    assert store.leases.held() == {}
    with store.leases.take(ID):  # type: ignore[union-attr]
        append_to_log(store, ID, "not this")
    assert store.get(layout.log(ID)).count(b"\n") == 1
