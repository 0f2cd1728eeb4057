"""Why an attempt at a trial failed, kept in the store until the trial ends after all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from results_schema import foreign_json, layout
from results_schema.errors import NasSweepError
from results_schema.lease import Lease
from results_schema.store import Store

_LARGEST = 1_000_000
"""Bytes beyond which a failure is not read."""


@dataclass(frozen=True)
class Failure:
    """One failed attempt.

    Attributes:
        kind: "memory", "cuda", "graph" (no CUDA graph could be captured; the next attempt does
            without), "full", "store", "data", "spec", "machine" or "error", as
            `workers.training.failures` tells them apart; or, where the worker could say nothing
            more, "killed", "evicted" (this node's main memory ran out) or "node" (it was lost).
            "unfit", of a node that can do nothing for its launch, is no trial's and never kept.
        message: What went wrong.
    """

    kind: str
    message: str

    def record(self, store: Store, trial_id: str, lease: Lease | None = None) -> None:
        """Writes `failures/<id>.json`, in place of an earlier failure's."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        content = asdict(self) | {"at": at, "log": layout.log(trial_id)}
        store.put(layout.failure(trial_id), json.dumps(content, indent=1).encode(), lease=lease)


def recorded(store: Store, item: str) -> dict[str, str]:
    """`kind`, `message` and `at` of an item's failure, each "unknown" while it can't be read."""
    try:
        read = foreign_json.read(store.get(layout.failure(item), most=_LARGEST))
    except (NasSweepError, ValueError):
        read = {}
    read = read if isinstance(read, dict) else {}
    return {name: str(read.get(name, "unknown")) for name in ("kind", "message", "at")}
