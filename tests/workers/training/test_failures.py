import json

import pytest
import torch

from results_schema import layout
from results_schema.errors import (
    CorruptData,
    DataError,
    MachineError,
    SpecError,
    StoreError,
    StoreFull,
)
from results_schema.store import LocalStore
from workers.training.attempt import Failure, classify
from workers.training.graphs import CaptureFailed


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
