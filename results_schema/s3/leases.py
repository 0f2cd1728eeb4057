"""Numbered blocks, and the leases of a store in a bucket, which are made of them.

A bucket has no rename. What it has is a PUT that fails if the object exists, so that one of several
writers of a name succeeds. A chain is a sequence of objects with the numbers 1, 2, … behind a
common prefix, each created by such a PUT and never overwritten. Its last block counts; an empty one
means that the chain holds nothing. The last block stays when those before it are removed, so that
no number is used twice while anyone remembers it, and nobody reads a block that was passed.

A lease on item X is a block `leases/X/<number>`. It is taken by creating the number after an empty
block, and given back or fenced by creating the number after it, empty. Before it writes anything, a
holder looks whether its number has been passed (`BucketLease.check`).
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Callable, Iterable

from results_schema import layout
from results_schema.canonical import parse_json
from results_schema.errors import StoreError, Superseded, check_size
from results_schema.layout import checked_item
from results_schema.lease import Holder, Lease, Leases
from results_schema.s3.bucket import Bucket, Entry

_BLOCK = re.compile(r"(.*/)\d{10}")
_BEAT = ".beat"
_NO_BYTES, _EMPTY = b"\0", "-empty"


def block_name(chain: str, number: int) -> str:
    """Return the name of a block, given its chain's prefix, which ends in a slash."""
    return f"{chain}{number:010d}"


def number_of(block: Entry | None) -> int:
    """Return the number of a block; 0 before the first one."""
    return int(block.name[-10:]) if block else 0


def list_blocks(bucket: Bucket, chain: str) -> list[Entry]:
    """Return the blocks of a chain, ascending."""
    return [entry for entry in bucket.list(chain, flat=True) if _BLOCK.fullmatch(entry.name)]


def newest_blocks(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Return the newest block of each chain among some sorted objects; others are ignored."""
    return {found[1]: entry for entry in entries if (found := _BLOCK.fullmatch(entry.name))}


def create_block(bucket: Bucket, chain: str, number: int, data: bytes | None) -> bool:
    """Create a block, empty if `data` is None; return False if the number is taken."""
    name, writer = block_name(chain, number), uuid.uuid4().hex
    # An empty object already means "deleted", so a block that holds no byte needs another form.
    if data == b"":
        return bucket.create(name, _NO_BYTES, writer + _EMPTY)
    return bucket.create(name, data or b"", writer)


def read_block(bucket: Bucket, block: Entry, *, most: int | None = None) -> bytes | None:
    """Return what a block holds; None if it has been removed since it was listed."""
    check_size(block.size, most, bucket.where(block.name))
    found = bucket.get(block.name)
    if found is None:
        return None
    data, writer = found
    return b"" if writer.endswith(_EMPTY) else data


class BucketLease(Lease):
    """A held lease, known by its number.

    Attributes:
        numbers: The newest block of each key that the holder has written.
    """

    def __init__(self, bucket: Bucket, item: str, number: int, holder: Holder) -> None:
        super().__init__(item, holder)
        self.numbers: dict[str, int] = {}
        self._bucket, self._number = bucket, number

    def passed(self, bucket: Bucket | None = None) -> bool:
        """Return whether the lease is lost, as there is a block of a higher number."""
        chain = _chain(self.item)
        # A heartbeat beside the block sorts before the next number, and "~" behind it.
        after = f"{block_name(chain, self._number)}~"
        return next((bucket or self._bucket).list(chain, after=after, page=1), None) is not None

    def check(self) -> None:
        """Raise `Superseded` if the lease is lost."""
        if self.passed():
            raise Superseded(f"another worker has taken over {self.item}")

    def _renew(self, text: bytes) -> bool:
        # A patient request could hang for longer than the lease lasts without a heartbeat.
        bucket = self._bucket.hasty
        if self.passed(bucket):
            return False
        bucket.put(block_name(_chain(self.item), self._number) + _BEAT, text)
        return True

    def _give_back(self) -> None:
        _end(self._bucket, self.item, self._number)


class BucketLeases(Leases[BucketLease]):
    """All leases of a store in a bucket."""

    def __init__(self, bucket: Bucket, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._bucket = bucket

    def age(self, item: str, holder: Holder) -> float | None:
        """See `Leases.age`."""
        entries = list(self._bucket.list(_chain(checked_item(item))))
        block = newest_blocks(entries).get(_chain(item))
        if block is None or not block.size:
            return None
        # Until the first heartbeat, the lease's own block is the last sign of life.
        return min(entry.age for entry in entries if entry.name.startswith(block.name))

    def _read(self, item: str | None = None) -> dict[str, list[Holder]]:
        found = self._held(_chain(item) if item else layout.LEASES)
        return {name: [holder] for name, (_, holder) in found.items()}

    def _place(self, item: str, holder: Holder) -> BucketLease | None:
        chain = _chain(item)
        entries = list(self._bucket.list(chain))
        newest = newest_blocks(entries).get(chain)
        number, text = number_of(newest) + 1, holder.to_json().encode()
        if (newest and newest.size) or not create_block(self._bucket, chain, number, text):
            return None
        lease = BucketLease(self._bucket, item, number, holder)
        # Others may have taken, given back and removed this number since the list; only a number
        # that nobody has passed is a lease.
        if lease.passed():
            self._bucket.remove([block_name(chain, number)])
            return None
        with contextlib.suppress(StoreError):  # what stays is removed by the next taker
            self._bucket.remove(entry.name for entry in entries)
        return lease

    def _end(self, item: str, token: str) -> bool:
        number, holder = self._held(_chain(item)).get(item, (0, None))
        if holder is None or holder.token != token:
            return False
        _end(self._bucket, item, number)
        return True

    def _held(self, start: str) -> dict[str, tuple[int, Holder]]:
        """Return number and holder of each held item below a prefix."""
        entries = list(self._bucket.list(start))
        names = {entry.name for entry in entries}
        found = {}
        for chain, block in newest_blocks(entries).items():
            if block.size:
                beat = block.name + _BEAT
                read = self._bucket.get(beat) if beat in names else None
                if read := read or self._bucket.get(block.name):  # else given back since listed
                    number = number_of(block)
                    found[chain.removeprefix(layout.LEASES)[:-1]] = number, _holder(read[0], number)
        return found


def _end(bucket: Bucket, item: str, number: int) -> None:
    # If the lease was lost, the next number exists already: a successor's lease is not touched.
    create_block(bucket, _chain(item), number + 1, None)
    name = block_name(_chain(item), number)
    bucket.remove([name, name + _BEAT])


def _holder(text: bytes, number: int) -> Holder:
    try:
        return Holder.from_json(text, checked_item(parse_json(text)["token"]))
    except (ValueError, TypeError, KeyError, StoreError):
        # A lease whose text is damaged can still be fenced, by its number.
        return Holder.from_json(b"", f"unknown-{number}")


def _chain(item: str) -> str:
    return f"{layout.LEASES}{item}/"
