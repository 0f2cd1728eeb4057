"""Why a trial failed: told apart by kind, kept in the store until the trial ends after all."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import torch

from results_schema import layout
from results_schema.errors import DataError, MachineError, SpecError, StoreError
from results_schema.lease import Lease
from results_schema.store import Store


@dataclass(frozen=True)
class Failure:
    """One failed attempt.

    Attributes:
        kind: "memory", "cuda", "store", "data", "spec", "machine", "killed" or "error".
        message: What went wrong.
    """

    kind: str
    message: str

    def record(self, store: Store, trial_id: str, lease: Lease | None = None) -> None:
        """Writes `failures/<id>.json`, in place of an earlier failure's."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        content = asdict(self) | {"at": at, "log": layout.log(trial_id)}
        store.put(layout.failure(trial_id), json.dumps(content, indent=1).encode(), lease=lease)


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
