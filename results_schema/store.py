"""The store: put, get, list and delete behind everything that is kept, and how one is opened.

A put is atomic, and one under a lease is done only while the lease holds. A store is in a folder
(`results_schema.folder`) or in a bucket (`results_schema.s3.store`).
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

__all__ = [
    "Failure",
    "LocalStore",
    "Store",
    "attach_store",
    "existing_store",
    "find_store",
    "open_store",
    "recorded_failure",
]

_S3 = "s3://"
_LARGEST_FAILURE = 1_000_000
"""Bytes beyond which a failure is not read."""


class Store(Protocol):
    """What every store can do. Keys are relative paths with forward slashes (`layout`).

    Attributes:
        location: Opens the store again, here or on another machine: a folder or a URL.
    """

    location: str

    @property
    def leases(self) -> Leases[Lease]:
        """The leases on the store's items."""
        ...

    @property
    def hasty(self) -> Store:
        """The same store for requests that are repeated soon: given up after a few seconds."""
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
        """Replace what is stored under the key, atomically.

        Args:
            key: The key.
            data: The bytes.
            lease: If given, write only while this lease holds.
            durable: Whether the bytes must survive a power cut from here on.
            final: Whether they are the item's last under this key; a store that hides live bytes
                from other programs shows them these.

        Raises:
            Superseded: The lease has been taken over; nothing was written.
            StoreError: It could not be written; what was there before still is.
        """

    def get(self, key: str, *, most: int | None = None) -> bytes:
        """Return the bytes under the key.

        Args:
            key: The key.
            most: How many there may be; if there are more, none is read, lest they fill the memory.

        Raises:
            MissingKey: Nothing is stored under it.
            CorruptData: There are more bytes than `most`.
            StoreError: They could not be read.
        """
        ...

    def several(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield each key with its bytes, in order, as quickly as the store can; omit missing ones.

        Raises:
            StoreError: Some could not be read.
        """
        ...

    def has(self, key: str) -> bool:
        """Return whether anything is stored under the key."""
        ...

    def list(self, prefix: str) -> list[str]:
        """Return all keys below a folder's key, which ends in a slash, sorted.

        Files of other programs whose names are not keys, such as `.DS_Store`, are omitted.
        """
        ...

    def stats(self, prefix: str) -> dict[str, Stat]:
        """Return the keys that `list` returns, each with its size, version and age."""
        ...

    def stat(self, key: str) -> Stat | None:
        """Return size, version and age of one key; None if nothing is stored under it."""
        ...

    def delete(self, key: str, *, lease: Lease | None = None) -> None:
        """Remove what is stored under the key, if anything is.

        Args:
            key: The key.
            lease: If given, remove only while this lease holds.

        Raises:
            Superseded: The lease has been taken over; nothing was removed.
            StoreError: It could not be removed.
        """

    def locate(self, key: str) -> str:
        """Return where a person finds what is stored under the key."""
        ...


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
    """Return the store that is at a location, without making or writing anything.

    Raises:
        StoreError: The store does not exist, or it can't be read.
        MachineError: As for `open_store`.
    """
    if found := find_store(location):
        return found
    raise StoreError(
        "there is no store here",
        where=str(location),
        fix="name the place given to --store, or launch an experiment first",
    )


def find_store(location: str | Path) -> Store | None:
    """Return the store that is at a location, or None; see `existing_store`."""
    store = attach_store(location)
    there = store.root.is_dir() if isinstance(store, LocalStore) else store.list(layout.METRICS)
    return store if there else None


def attach_store(location: str | Path) -> Store:
    """Return the store at a location, whether or not anything is there yet.

    Raises:
        StoreError: It is not a place for a store.
        MachineError: As for `open_store`.
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


@dataclass(frozen=True)
class Failure:
    """Why an attempt at an item failed, kept in the store until the item ends after all.

    Attributes:
        kind: "memory", "cuda", "graph" (no CUDA graph could be captured; the next attempt does
            without), "full", "store", "data", "spec", "machine" or "error", as
            `workers.training.attempt` classifies them; or, if the worker could not report more,
            "killed", "evicted" (this node's main memory ran out) or "node" (it was lost).
            "unfit", of a node that can do nothing for its launch, is no trial's and never kept.
        message: What went wrong.
    """

    kind: str
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
