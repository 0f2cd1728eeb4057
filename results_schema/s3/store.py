"""A store in a bucket (docs/s3.md).

What workers write under leases is kept in chains of numbered blocks (`results_schema.s3.leases`);
the rest, and the last tables of what has ended, are plain objects under their own keys.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from results_schema import layout
from results_schema.errors import CorruptData, MissingKey, StoreError
from results_schema.layout import Stat, Store, checked_key, is_key
from results_schema.lease import Lease, checked_lease
from results_schema.s3.bucket import Bucket, Entry
from results_schema.s3.leases import (
    BucketLease,
    BucketLeases,
    block_name,
    create_block,
    list_blocks,
    newest_blocks,
    number_of,
    read_block,
)

BLOCKS = "blocks/"
"""What the names of all keys' blocks begin with."""
_TRIES = 100
_THREADS = 16
_LARGEST = 5_000_000_000
"""Bytes that S3 takes in one PUT."""


class S3Store(Store):
    """A store in a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.location = bucket.url
        self.leases = BucketLeases(bucket)

    @property
    def hasty(self) -> S3Store:
        """See `Store.hasty`."""
        return S3Store(self.bucket.hasty)

    @classmethod
    def at(cls, url: str) -> S3Store:
        """Return the store at a URL; see `Bucket` for the errors."""
        return cls(Bucket(url))

    def _put(self, key: str, data: bytes, lease: Lease | None, durable: bool, final: bool) -> None:
        # What S3 has accepted is durable.
        if len(data) > _LARGEST:
            what = f"{len(data)} bytes are more than S3 takes in one piece"
            fix = "keep a store of such networks in a folder"
            raise StoreError(what, where=self._locate(key), fix=fix)
        held, leased = checked_lease(lease, BucketLease), _is_leased(key)
        if final or not leased:
            if held:
                held.check()
            self.bucket.put(key, data)
        if leased:
            self._append(key, held, data)

    def _get(self, key: str, most: int | None) -> bytes:
        if _is_leased(key):
            return self._read(key, self._newest(key), most)
        if found := self.bucket.get(key, most=most):
            return found[0]
        raise self._missing(key)

    def several(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """See `Store.several`."""
        asked = [checked_key(key) for key in keys]
        # One listing of a folder replaces one of each key.
        folders = {key.partition("/")[0] + "/" for key in asked} if len(asked) > 1 else set()
        known = {k: b for folder in folders & {*layout.LEASED} for k, b in self._below(folder)}

        def get(key: str) -> bytes | None:
            try:
                return self._read(key, known[key]) if key in known else self.get(key)
            except MissingKey:
                return None

        with ThreadPoolExecutor(_THREADS) as threads:
            for key, data in zip(asked, threads.map(get, asked), strict=True):
                if data is not None:
                    yield key, data

    def _stats(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        if _is_leased(prefix):
            found = ((key, block) for key, block in self._below(prefix) if block.size)
        else:
            found = ((entry.name, entry) for entry in self.bucket.list(prefix))
        return ((key, entry) for key, entry in found if is_key(key))

    def _stat(self, key: str) -> Stat | None:
        if _is_leased(key):
            block = self._newest(key)
            return block if block and block.size else None
        # A longer name with the same start sorts behind the key itself.
        entry = next(self.bucket.list(key, flat=True, page=1), None)
        return entry if entry and entry.name == key else None

    def _delete(self, key: str, lease: Lease | None) -> None:
        if held := checked_lease(lease, BucketLease):
            held.check()
        if not _is_leased(key):
            self.bucket.remove([key])
        elif (block := self._newest(key)) and block.size:
            self._append(key, held, None)
            # A final put also wrote a plain object, which only tables have.
            if not key.startswith(layout.CHECKPOINTS):
                self.bucket.remove([key])

    def _locate(self, key: str) -> str:
        """Return, for a key that workers write, where its blocks are."""
        return f"{self.location}/{_chain(key) if _is_leased(key) else key}"

    def _below(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        for chain, block in newest_blocks(self.bucket.list(BLOCKS + prefix)).items():
            yield chain.removeprefix(BLOCKS)[:-1], block

    def _newest(self, key: str) -> Entry | None:
        return (list_blocks(self.bucket, _chain(key)) or [None])[-1]

    def _append(self, key: str, lease: BucketLease | None, data: bytes | None) -> None:
        """Create the next block of a key, and remove those before it.

        Raises:
            Superseded: The lease is lost, or was when another writer took the number.
        """
        chain, known = _chain(key), lease.numbers.get(key) if lease else None
        for _ in range(_TRIES):
            # A holder is its keys' only writer, and need not list the blocks that it wrote.
            if known is None:
                numbers = [number_of(block) for block in list_blocks(self.bucket, chain)]
            else:
                numbers = [known - 1, known]
            number = numbers[-1] + 1 if numbers else 1
            # Checked after the number is chosen: a holder that freezes here and is replaced finds
            # the number taken, or its write lands as if it had come just before the takeover.
            if lease:
                lease.check()
            if create_block(self.bucket, chain, number, data):
                if lease:
                    lease.numbers[key] = number
                # One is kept for readers that have just listed it; of a deleted key, none.
                passed = numbers if data is None else numbers[:-1]
                with contextlib.suppress(StoreError):  # what stays is removed by the next put
                    self.bucket.remove(block_name(chain, n) for n in passed if n > 0)
                return
            known = None
        what = f"{_TRIES} others wrote it first, again and again"
        fix = "stop the workers that keep writing there, then launch again"
        raise StoreError(what, where=self._locate(key), fix=fix)

    def _read(self, key: str, block: Entry | None, most: int | None = None) -> bytes:
        for _ in range(_TRIES):
            if not (block and block.size):
                raise self._missing(key)
            data = read_block(self.bucket, block, most=most)
            if data is not None:
                return data
            block = self._newest(key)  # two more have come since it was listed
        raise CorruptData("its newest block is listed and is not there", where=self._locate(key))

    def _missing(self, key: str) -> MissingKey:
        return MissingKey("nothing is stored here", where=f"{self.location}/{key}")


def _is_leased(key: str) -> bool:
    return key.startswith(layout.LEASED)


def _chain(key: str) -> str:
    return f"{BLOCKS}{key}/"
