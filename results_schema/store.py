"""The store: put, get, list and delete behind everything that is kept.

A put is atomic, and one under a lease is done only while the lease holds. There is a store in a
folder (`results_schema.folder`) and one in a bucket (`results_schema.s3.store`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, overload

from results_schema import layout, tables
from results_schema.canonical import parse_json
from results_schema.errors import MissingKey, NasSweepError, StoreError
from results_schema.folder import LocalStore
from results_schema.layout import Stat
from results_schema.lease import Lease, Leases

__all__ = ["LocalStore", "Store", "attach_store", "existing_store", "find_store", "open_store"]

_S3 = "s3://"


class Store(Protocol):
    """What every store can do. Keys are relative paths with forward slashes (`layout`).

    Attributes:
        location: What opens it again, here or on another machine: a folder or a URL.
    """

    location: str

    @property
    def leases(self) -> Leases[Lease]:
        """Who works on what."""
        ...

    @property
    def hasty(self) -> Store:
        """The same store for questions that are asked again soon: given up after a few seconds."""
        ...

    def put(
        self,
        key: str,
        data: bytes,
        *,
        lease: Lease | None = None,
        durable: bool = False,
        final: bool = False,
    ) -> None:
        """Replaces what lies under the key, atomically.

        Args:
            key: Where.
            data: What.
            lease: If given, write only while this lease holds.
            durable: Whether the bytes must survive a power cut from here on.
            final: Whether they are the item's last under this key; a store that keeps live bytes
                from other programs shows them these.

        Raises:
            Superseded: The lease has been taken over; nothing was written.
            StoreError: It could not be written; what was there before still is.
        """
        ...

    def get(self, key: str, *, most: int | None = None) -> bytes:
        """The bytes under the key.

        Args:
            key: Where.
            most: How many there may be: of more, none is read, lest they fill the memory.

        Raises:
            MissingKey: There are none.
            CorruptData: There are more than there may be.
            StoreError: They could not be read.
        """
        ...

    def several(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Each key with its bytes, in order, as quickly as the store can; missing ones left out.

        Raises:
            StoreError: Some could not be read.
        """
        ...

    def has(self, key: str) -> bool:
        """Whether anything lies under the key."""
        ...

    def list(self, prefix: str) -> list[str]:
        """All keys below a folder's key, which ends in a slash; sorted; empty if there is none.

        What other programs leave there under a name that is no key, such as `.DS_Store`, is
        left out.
        """
        ...

    def stats(self, prefix: str) -> dict[str, Stat]:
        """The keys that `list` names, each with what can be told of it unread."""
        ...

    def stat(self, key: str) -> Stat | None:
        """What can be told of one key unread; None if nothing lies under it."""
        ...

    def delete(self, key: str, *, lease: Lease | None = None) -> None:
        """Removes what lies under the key, if anything does.

        Args:
            key: Where.
            lease: If given, remove only while this lease holds.

        Raises:
            Superseded: The lease has been taken over; nothing was removed.
            StoreError: It could not be removed.
        """
        ...

    def locate(self, key: str) -> str:
        """Where a person finds what lies under the key."""
        ...


@overload
def open_store(location: Path) -> LocalStore: ...
@overload
def open_store(location: str | Path) -> Store: ...
def open_store(location: str | Path) -> Store:
    """The store at a location, made ready: its tables exist, if only without rows.

    Args:
        location: A folder, made if it is not there, or `s3://bucket/prefix`.

    Raises:
        StoreError: It can't be made, read or written, or is no place for a store.
        MachineError: It is in a bucket, and this machine lacks the package for it.
    """
    store = attach_store(location)
    for folder, schema in (
        (layout.METRICS, tables.METRICS),
        (layout.TRIALS, tables.TRIALS),
        (layout.MEMBERS, tables.MEMBERS),
        (layout.SURFACES, tables.SURFACES),
        (layout.POINTS, tables.POINTS),
        (layout.WANTED, tables.WANTED),
    ):
        empty = tables.to_parquet([], schema)
        try:
            current = store.get(layout.schema(folder)) == empty
        except MissingKey:
            current = False
        if not current:
            store.put(layout.schema(folder), empty, durable=True, final=True)
    return store


@overload
def existing_store(location: Path) -> LocalStore: ...
@overload
def existing_store(location: str | Path) -> Store: ...
def existing_store(location: str | Path) -> Store:
    """The store that is at a location; makes and writes nothing.

    Raises:
        StoreError: There is none, or it can't be read.
        MachineError: As of `open_store`.
    """
    if found := find_store(location):
        return found
    raise StoreError(
        "there is no store here",
        where=str(location),
        fix="name the place given to --store, or launch an experiment first",
    )


def find_store(location: str | Path) -> Store | None:
    """The same, but None if there is none."""
    store = attach_store(location)
    there = store.root.is_dir() if isinstance(store, LocalStore) else store.list(layout.METRICS)
    return store if there else None


def attach_store(location: str | Path) -> Store:
    """The store at a location, whether or not anything is there yet.

    Raises:
        StoreError: It is no place for a store.
        MachineError: As of `open_store`.
    """
    where = str(location)
    if where.startswith(_S3):
        from results_schema.s3.store import S3Store

        return S3Store.at(where)
    if "://" in where or not where:
        raise StoreError(
            "a store is a folder, or a place in a bucket",
            where=where,
            fix="use --store with a path, such as results, or with s3://bucket/results",
        )
    return LocalStore(location)


_LARGEST = 1_000_000
"""Bytes beyond which a failure is not read."""


@dataclass(frozen=True)
class Failure:
    """One failed attempt.

    Attributes:
        kind: "memory", "cuda", "graph" (no CUDA graph could be captured; the next attempt does
            without), "full", "store", "data", "spec", "machine" or "error", as
            `workers.training.attempt` tells them apart; or, where the worker could say nothing
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


def recorded_failure(store: Store, item: str) -> dict[str, str]:
    """`kind`, `message` and `at` of an item's failure, each "unknown" while it can't be read."""
    try:
        read = parse_json(store.get(layout.failure(item), most=_LARGEST))
    except (NasSweepError, ValueError):
        read = {}
    read = read if isinstance(read, dict) else {}
    return {name: str(read.get(name, "unknown")) for name in ("kind", "message", "at")}
