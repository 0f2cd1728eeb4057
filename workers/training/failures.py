"""Failures told apart by kind."""

from __future__ import annotations

import re

import torch

from results_schema.errors import DataError, MachineError, SpecError, StoreError
from results_schema.failure import Failure


def classify(error: BaseException) -> Failure:
    """What kind of failure an exception is."""
    message = f"{type(error).__name__}: {error}"
    kinds: list[tuple[str, tuple[type[BaseException], ...]]] = [
        ("memory", (torch.cuda.OutOfMemoryError, MemoryError)),
        ("store", (StoreError,)),
        ("data", (DataError,)),
        ("spec", (SpecError,)),
        ("machine", (MachineError,)),
    ]
    for kind, types in kinds:
        if isinstance(error, types):
            return Failure(kind, str(error) if kind != "memory" else message)
    if isinstance(error, RuntimeError) and re.search("CUDA|CUDNN|CUBLAS", str(error)):
        return Failure("cuda", message)
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
        return Failure("memory", message)
    return Failure("error", message)
