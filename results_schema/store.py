"""A store of results: how one is opened, and the failures that it keeps.

What every store does: `results_schema.layout.Store`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, overload

from results_schema import layout
from results_schema.canonical import parse_json
from results_schema.errors import MissingKey, NasSweepError, StoreError
from results_schema.folder.store import LocalStore as LocalStore
from results_schema.layout import Store as Store
from results_schema.lease import Lease

_LARGEST_FAILURE = 1_000_000
"""Bytes beyond which a failure is not read."""


@overload
def open_store(location: Path) -> LocalStore: ...
@overload
def open_store(location: str | Path) -> Store: ...
def open_store(location: str | Path) -> Store:
    """Return the store at a location, ready for use: its tables exist, if only without rows.

    Args:
        location: A folder, made if it is not there, or `s3://bucket/prefix`.

    Raises:
        StoreError: It can't be made, read or written, or is not a place for a store.
        MachineError: It is in a bucket, and this machine lacks the package for it.
    """
    from results_schema import tables  # pyarrow, which planning does without

    store = attach_store(location)

    def outdated() -> dict[str, bytes]:
        found = {}
        for folder, schema in tables.OPENED.items():
            try:
                current = store.get(layout.schema(folder))
            except MissingKey:
                current = b""
            # Columns that programs have added stay (`results_schema.program.widen`).
            empty = tables.to_parquet([], tables.widened(schema, current))
            if current != empty:
                found[layout.schema(folder)] = empty
        return found

    if outdated():
        with store.leases.wait(layout.SCHEMA_LEASE) as lease:
            # Again, under the lease: another process may just have made them, and added columns.
            for key, empty in outdated().items():
                store.put(key, empty, lease=lease, durable=True, final=True)
    return store


def existing_store(location: str | Path) -> Store:
    """Return the store that is at a location; raise as `open_store` does, or if it is missing."""
    if found := find_store(location):
        return found
    fix = "name the place given to --store, or launch an experiment first"
    raise StoreError("there is no store here", where=str(location), fix=fix)


def find_store(location: str | Path) -> Store | None:
    """Return the store that is at a location, or None, without making or writing anything."""
    store = attach_store(location)
    there = store.root.is_dir() if isinstance(store, LocalStore) else store.list(layout.METRICS)
    return store if there else None


ATTACHED: dict[str, Store] = {}
"""Stores that this process has attached, by location, the last one last."""


def attach_store(location: str | Path) -> Store:
    """Return the store at a location, whether or not anything is there yet; see `open_store`."""
    where = str(location)
    if where.startswith("s3://"):
        from results_schema.s3.store import S3Store  # boto3, an optional package

        store = S3Store.at(where)
    elif "://" in where or not where:
        raise StoreError(
            "a store is a folder, or a place in a bucket",
            where=where,
            fix="use --store with a path, such as results, or with s3://bucket/results",
        )
    else:
        store = LocalStore(where)
    ATTACHED.pop(where, None)
    ATTACHED[where] = store
    return store


FailureKind = Literal[
    # As `workers.training.attempt` classifies errors. After "graph", no CUDA graph could be
    # captured, the next attempt does without.
    "memory", "cuda", "graph", "full", "store", "data", "spec", "machine", "error",
    # The worker could not report more: its process was killed, by Ray as its node's main memory ran
    # out ("evicted"), or with its node.
    "killed", "evicted", "node",
    # Of a node that can do nothing for its launch; it is no trial's failure, and never kept.
    "unfit",
]  # fmt: skip
"""Kinds of failure. Which are tried again is up to `orchestrator.execution.queue`."""


@dataclass(frozen=True)
class Failure:
    """Why an attempt at an item failed, kept in the store until the item ends after all.

    Attributes:
        kind: Kind of the failure.
        message: What went wrong.
    """

    kind: FailureKind
    message: str

    def record(self, store: Store, item: str, lease: Lease | None = None) -> None:
        """Write `failures/<id>.json`, in place of an earlier failure's."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        content = asdict(self) | {"at": at, "log": layout.log(item)}
        store.put(layout.failure(item), json.dumps(content, indent=1).encode(), lease=lease)


def recorded_failure(store: Store, item: str) -> dict[str, str]:
    """Return `kind`, `message` and `at` of an item's failure, "unknown" where it can't be read."""
    try:
        read = parse_json(store.get(layout.failure(item), most=_LARGEST_FAILURE))
    except (NasSweepError, ValueError):
        read = {}
    read = read if isinstance(read, dict) else {}
    return {name: str(read.get(name, "unknown")) for name in ("kind", "message", "at")}
