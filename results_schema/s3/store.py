"""A store in a bucket (docs/s3.md).

What workers write under leases is kept in numbered blocks, each created by a conditional PUT and
never overwritten; the rest, and the last tables of what has ended, are plain objects under their
own keys.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from results_schema import layout
from results_schema.errors import CorruptData, MissingKey, StoreError
from results_schema.layout import Stat, checked_key, folder_key, is_key
from results_schema.lease import Lease
from results_schema.s3.bucket import Address, Bucket, Entry
from results_schema.s3.leases import Block, Blocks, BucketLease, BucketLeases, newest_of

BLOCKS = "blocks/"
"""What the names of all keys' blocks begin with."""
_TRIES = 100
_THREADS = 16
_LARGEST = 5_000_000_000
"""Bytes that S3 takes in one PUT."""


class S3Store:
    """A store below an address in a bucket. Threads may share it."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.location = str(bucket.address)
        self.leases = BucketLeases(bucket)
        self._blocks = Blocks(bucket)

    @property
    def hasty(self) -> S3Store:
        """See `Store.hasty`."""
        return S3Store(self.bucket.hasty)

    @classmethod
    def at(cls, url: str) -> S3Store:
        """The store at a URL.

        Raises:
            StoreError: The URL names no place in a bucket.
            MachineError: The package for it is not installed.
        """
        return cls(Bucket(Address.of(url)))

    def __repr__(self) -> str:
        return f"S3Store({self.location!r})"

    def put(
        self,
        key: str,
        data: bytes,
        *,
        lease: Lease | None = None,
        durable: bool = False,
        final: bool = False,
    ) -> None:
        """See `Store.put`; what S3 has taken is durable."""
        if len(data) > _LARGEST:
            raise StoreError(
                f"{len(data)} bytes are more than S3 takes in one piece",
                where=self.locate(key),
                fix="keep a store of such networks in a folder",
            )
        held = _of_bucket(lease)
        if not _is_leased(checked_key(key)):
            if held:
                held.check()
            self.bucket.put(key, data)
            return
        if final:
            if held:
                held.check()
            self.bucket.put(key, data)
        self._append(key, held, lambda row, number: self._blocks.create(row, number, data))

    def get(self, key: str, *, most: int | None = None) -> bytes:
        """See `Store.get`."""
        if _is_leased(checked_key(key)):
            return self._read(key, self._blocks.newest(_row(key)), most)
        found = self.bucket.get(key, most=most)
        if found is None:
            raise self._missing(key)
        return found[0]

    def several(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """See `Store.several`."""
        asked = [checked_key(key) for key in keys]
        folders = {_folder(key) for key in asked if _is_leased(key)} if len(asked) > 1 else set()
        listed = {
            _key(row): block
            for folder in sorted(folders)
            for row, block in self._blocks.below(BLOCKS + folder).items()
        }

        def get(key: str) -> bytes | None:
            try:
                return self._read(key, listed[key]) if key in listed else self.get(key)
            except MissingKey:
                return None

        with ThreadPoolExecutor(_THREADS) as threads:
            for key, data in zip(asked, threads.map(get, asked), strict=True):
                if data is not None:
                    yield key, data

    def has(self, key: str) -> bool:
        """See `Store.has`."""
        return self.stat(key) is not None

    def list(self, prefix: str) -> list[str]:
        """See `Store.list`."""
        return list(self.stats(prefix))

    def stats(self, prefix: str) -> dict[str, Stat]:
        """See `Store.stats`."""
        if _is_leased(folder_key(prefix)):
            rows = self._blocks.below(BLOCKS + prefix)
            found = {_key(row): block.entry for row, block in rows.items() if block.alive}
        else:
            found = {entry.name: entry for entry in self.bucket.list(prefix)}
        return {
            key: _stat(entry)
            for key, entry in sorted(found.items())
            if entry is not None and is_key(key)
        }

    def stat(self, key: str) -> Stat | None:
        """See `Store.stat`."""
        if _is_leased(checked_key(key)):
            block = self._blocks.newest(_row(key))
            return _stat(block.entry) if block.alive and block.entry else None
        entry = next(self.bucket.list(key, flat=True), None)  # what only begins so sorts behind it
        return _stat(entry) if entry and entry.name == key else None

    def delete(self, key: str, *, lease: Lease | None = None) -> None:
        """See `Store.delete`."""
        held = _of_bucket(lease)
        if held:
            held.check()
        if not _is_leased(checked_key(key)):
            self.bucket.remove([key])
            return
        if self._blocks.newest(_row(key)).alive:
            self._append(key, held, self._blocks.end)
            if _folder(key) != layout.CHECKPOINTS:
                self.bucket.remove([key])  # as other programs see it

    def locate(self, key: str) -> str:
        """See `Store.locate`; of a leased key, where its blocks lie: the last one counts."""
        return f"{self.location}/{_row(key) if _is_leased(checked_key(key)) else key}"

    def _append(
        self, key: str, lease: BucketLease | None, create: Callable[[str, int], bool]
    ) -> None:
        """Creates the next block of a key, and removes those before it.

        Raises:
            Superseded: The lease is lost, or was when another writer took the number.
        """
        row, known = _row(key), lease.numbers.get(key) if lease else None
        for _ in range(_TRIES):
            blocks = self._blocks.all(row) if known is None else [Block(known - 1), Block(known)]
            number = blocks[-1].number + 1 if blocks else 1
            if lease:
                lease.check()
            if create(row, number):
                if lease:
                    lease.numbers[key] = number
                # One is left for readers under way; of what is deleted, none.
                passed = blocks if create == self._blocks.end else blocks[:-1]
                with contextlib.suppress(StoreError):  # what is left goes with the next
                    self._blocks.remove(row, (b.number for b in passed if b.number > 0))
                return
            known = None
        raise StoreError(
            f"{_TRIES} others wrote it first, again and again",
            where=self.locate(key),
            fix="stop the workers that keep writing there, then launch again",
        )

    def _read(self, key: str, block: Block, most: int | None = None) -> bytes:
        for _ in range(_TRIES):
            if not block.alive:
                break
            data = self._blocks.read(_row(key), block, most=most)
            if data is not None:
                return data
            block = self._blocks.newest(_row(key))  # two more have come since it was listed
        else:
            raise CorruptData("its newest block is listed and is not there", where=self.locate(key))
        raise self._missing(key)

    def _missing(self, key: str) -> MissingKey:
        return MissingKey("nothing is stored here", where=f"{self.location}/{key}")


def _is_leased(key: str) -> bool:
    return key.startswith(layout.LEASED)


def _row(key: str) -> str:
    return f"{BLOCKS}{key}/"


def _key(row: str) -> str:
    return row.removeprefix(BLOCKS)[:-1]


def _folder(key: str) -> str:
    return key.partition("/")[0] + "/"


def _stat(entry: Entry) -> Stat:
    return Stat(entry.size, entry.mark, entry.age)


def _of_bucket(lease: Lease | None) -> BucketLease | None:
    if not (lease is None or isinstance(lease, BucketLease)):
        raise TypeError(f"the lease on {lease.item} is another store's")
    return lease


def abandoned_objects(bucket: Bucket, old: float) -> Iterator[Entry]:
    """What writers left behind that were cut off, and what says that a key or lease has ended.

    Args:
        bucket: Of the store.
        old: Seconds after which nobody is still in the middle of creating an object.
    """
    for start in (BLOCKS, layout.LEASES):
        for _, group in groupby(bucket.list(start), key=lambda entry: _row_of(entry.name)):
            yield from _passed(list(group), old)


def _passed(entries: list[Entry], old: float) -> Iterator[Entry]:
    """Of the objects of one row, which are sorted, those to be removed."""
    newest = next(iter(newest_of(entries).values()), None)
    if newest is None or newest.entry is None or newest.entry.age < old:
        return
    counts = newest.entry.name if newest.alive else ""
    for entry in entries:
        if not (counts and entry.name.startswith(counts)):
            yield entry


def _row_of(name: str) -> str:
    return name.rpartition("/")[0]
