"""Failures told apart by kind."""

from __future__ import annotations

import re

import torch

from results_schema.errors import DataError, MachineError, SpecError, StoreError, StoreFull
from results_schema.failure import Failure

_MEMORY = "out of memory|can't allocate memory|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"


def classify(error: BaseException) -> Failure:
    """What kind of failure an exception is."""
    message = f"{type(error).__name__}: {error}"
    kinds: list[tuple[str, tuple[type[BaseException], ...]]] = [
        ("memory", (torch.cuda.OutOfMemoryError, MemoryError)),
        ("full", (StoreFull,)),
        ("store", (StoreError,)),
        ("data", (DataError,)),
        ("spec", (SpecError,)),
        ("machine", (MachineError,)),
    ]
    for kind, types in kinds:
        if isinstance(error, types):
            return Failure(kind, str(error) if kind != "memory" else message)
    if isinstance(error, RuntimeError) and re.search(_MEMORY, str(error), re.IGNORECASE):
        return Failure("memory", message)
    if isinstance(error, RuntimeError) and re.search("CUDA|CUDNN|CUBLAS", str(error)):
        return Failure("cuda", message)
    return Failure("error", message)
