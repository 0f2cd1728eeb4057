"""Failures told apart by kind."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch

from results_schema.errors import DataError, MachineError, SpecError, StoreError, StoreFull
from results_schema.store import Failure

_MEMORY = "out of memory|can't allocate memory|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"
_CUDA = (
    "CUDA|CUDNN|CUBLAS|StreamCapture|STREAM_CAPTURE|while capturing|"
    "(FIND|GET) was unable to find an engine"
)
"""cuDNN finds no engine for any shape once its search has broken a capture of another thread."""


class CaptureFailed(RuntimeError):
    """A step could not be captured in a CUDA graph; another process trains without graphs."""


def classify(error: BaseException) -> Failure:
    """What kind of failure an exception is."""
    message = f"{type(error).__name__}: {error}"
    kinds: list[tuple[str, tuple[type[BaseException], ...]]] = [
        ("full", (StoreFull,)),
        ("store", (StoreError,)),
        ("data", (DataError,)),
        ("spec", (SpecError,)),
        ("machine", (MachineError,)),
    ]
    for kind, types in kinds:
        if isinstance(error, types):
            return Failure(kind, str(error))
    if ran_out_of_memory(error):
        return Failure("memory", message)
    if isinstance(error, CaptureFailed):
        return Failure("graph", message)
    if isinstance(error, RuntimeError) and re.search(_CUDA, str(error)):
        return Failure("cuda", message)
    return Failure("error", message)


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception is, or was raised while handling, one about memory.

    A capture that runs out of memory ends in an error of its own, with the first as context.
    """
    return any(
        isinstance(one, torch.OutOfMemoryError | MemoryError)
        or (isinstance(one, RuntimeError) and re.search(_MEMORY, str(one), re.IGNORECASE))
        for one in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, its causes and its contexts."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]
