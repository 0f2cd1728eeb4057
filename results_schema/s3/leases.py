"""Leases in a bucket: a lease on item X is a block `leases/X/<number>`, and the next one ends it.

It is taken by creating the number after an empty block, which succeeds for one taker alone, and
given back or fenced by creating the number after it, empty. A holder looks, before it writes
anything, whether its number has been passed (`BucketLease.check`).
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from results_schema import layout
from results_schema.canonical import parse_json
from results_schema.errors import CorruptData, StoreError, Superseded
from results_schema.layout import checked_item
from results_schema.lease import Holder, Lease, Leases
from results_schema.s3.bucket import Bucket, Entry

_NUMBER = re.compile(r"(.*/)(\d{10})")
_NOTHING, _EMPTY = b"\0", "-empty"
"""Body and end of the mark of a block that holds no byte, as an empty object says "deleted"."""


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        number: From 1 on; 0 stands for the time before the first.
        entry: The object; None if there is none yet.
    """

    number: int
    entry: Entry | None = None

    @property
    def alive(self) -> bool:
        """Whether it holds something."""
        return self.entry is not None and self.entry.size > 0


class Blocks:
    """The blocks of a bucket.

    A row of blocks is named by the beginning of their names, which ends in a slash.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def all(self, row: str) -> list[Block]:
        """The blocks of a row, ascending."""
        found = (_block(entry) for entry in self._bucket.list(row, flat=True))
        return [block for found_row, block in filter(None, found) if found_row == row]

    def newest(self, row: str) -> Block:
        """The one that counts; number 0 if there is none."""
        return (self.all(row) or [Block(0)])[-1]

    def below(self, start: str) -> dict[str, Block]:
        """The newest block of every row that begins so, by row, sorted."""
        return newest_of(self._bucket.list(start))

    def passed(self, row: str, number: int) -> bool:
        """Whether there is a block of a higher number."""
        # A heartbeat beside the block sorts before the next number, and "~" behind it.
        return self._bucket.any(row, after=f"{block_name(row, number)}~")

    def create(self, row: str, number: int, data: bytes) -> bool:
        """Creates a block that holds some bytes; false if the number is taken."""
        mark = uuid.uuid4().hex
        if not data:
            return self._bucket.create(block_name(row, number), _NOTHING, mark + _EMPTY)
        return self._bucket.create(block_name(row, number), data, mark)

    def end(self, row: str, number: int) -> bool:
        """Creates a block that says "deleted"; false if the number is taken."""
        return self._bucket.create(block_name(row, number), b"")

    def read(self, row: str, block: Block, *, most: int | None = None) -> bytes | None:
        """What a block holds; None if it has been removed since it was listed.

        Raises:
            CorruptData: It is larger than it may be.
        """
        if most is not None and block.entry and block.entry.size > most:
            said = f"it has {block.entry.size} bytes, not {most} at most"
            raise CorruptData(said, where=self._bucket.where(block_name(row, block.number)))
        found = self._bucket.get(block_name(row, block.number))
        if found is None:
            return None
        data, writer = found
        return b"" if writer.endswith(_EMPTY) else data

    def remove(self, row: str, numbers: Iterable[int]) -> None:
        """Removes blocks, none of which may be the newest."""
        self._bucket.remove(block_name(row, number) for number in numbers)


def block_name(row: str, number: int) -> str:
    """A block's name."""
    return f"{row}{number:010d}"


def newest_of(entries: Iterable[Entry]) -> dict[str, Block]:
    """The newest block of each row among some sorted objects, by row; others are left out."""
    return dict(found for entry in entries if (found := _block(entry)))


def _block(entry: Entry) -> tuple[str, Block] | None:
    """A block with its row; None if the object is none."""
    found = _NUMBER.fullmatch(entry.name)
    return (found[1], Block(int(found[2]), entry)) if found else None


_BEAT = ".beat"


class BucketLease(Lease):
    """A held lease, known by its number.

    Attributes:
        numbers: The newest block of each key that the holder has written.
    """

    def __init__(self, bucket: Bucket, item: str, number: int, holder: Holder) -> None:
        super().__init__(item, holder)
        self.numbers: dict[str, int] = {}
        self._bucket, self._blocks = bucket, Blocks(bucket)
        self._row, self._number = _row(item), number
        self._beats = 0

    @property
    def passed(self) -> bool:
        """Whether its number has been passed: the lease is lost."""
        return self._blocks.passed(self._row, self._number)

    def check(self) -> None:
        """Returns if the lease holds.

        Raises:
            Superseded: It is lost.
        """
        if self.passed:
            raise Superseded(f"another worker has taken over {self.item}")

    def beat(self) -> bool:
        """See `Lease.beat`."""
        self._beats += 1
        text = replace(self._holder, beat=self._beats).to_json()
        # A patient request could hang for longer than the lease lasts without a heartbeat.
        bucket = self._bucket.hasty
        if Blocks(bucket).passed(self._row, self._number):
            return False
        bucket.put(block_name(self._row, self._number) + _BEAT, text.encode())
        return True

    def release(self) -> None:
        """See `Lease.release`."""
        with contextlib.suppress(StoreError):
            _end(self._bucket, self._blocks, self._row, self._number)


class BucketLeases(Leases[BucketLease]):
    """All leases of a store in a bucket.

    Args:
        bucket: Of the store.
        clock: Gives the observer's time, in seconds.
    """

    def __init__(self, bucket: Bucket, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._bucket, self._blocks = bucket, Blocks(bucket)

    def holders(self, item: str) -> list[Holder]:
        """See `Leases.holders`."""
        found = self._held(self._bucket.list(_row(checked_item(item)))).get(item)
        return [found[1]] if found else []

    def held(self) -> dict[str, Holder]:
        """See `Leases.held`."""
        found = self._held(self._bucket.list(layout.LEASES))
        return {item: holder for item, (_, holder) in found.items()}

    def age(self, item: str, holder: Holder) -> float | None:
        """See `Leases.age`."""
        entries = list(self._bucket.list(_row(checked_item(item))))
        block = newest_of(entries).get(_row(item))
        if block is None or not block.alive:
            return None
        start = block_name(_row(item), block.number)
        return min(entry.age for entry in entries if entry.name.startswith(start))

    def fence(self, item: str, token: str) -> bool:
        """See `Leases.fence`."""
        if token in ("", ".", "..") or "/" in token:
            raise StoreError(f"{token!r} names no lease")
        row = _row(checked_item(item))
        number, holder = self._held(self._bucket.list(row)).get(item, (0, None))
        held = holder is not None and holder.token == token
        if held:
            _end(self._bucket, self._blocks, row, number)
        self._seen.pop((item, token), None)
        return held

    def _held(self, listed: Iterable[Entry]) -> dict[str, tuple[int, Holder]]:
        """Number and holder of each held item among some sorted objects."""
        entries = list(listed)
        beats = {entry.name for entry in entries if entry.name.endswith(_BEAT)}
        found = {}
        for row, block in newest_of(entries).items():
            if block.alive:
                start = block_name(row, block.number)
                read = self._bucket.get(start + _BEAT) if start + _BEAT in beats else None
                if read := read or self._bucket.get(start):  # else given back since it was listed
                    found[_item(row)] = block.number, _read(read[0], block.number)
        return found

    def _place(self, item: str, holder: Holder) -> BucketLease | None:
        row = _row(checked_item(item))
        entries = list(self._bucket.list(row))
        newest = newest_of(entries).get(row, Block(0))
        number = newest.number + 1
        if newest.alive or not self._blocks.create(row, number, holder.to_json().encode()):
            return None
        lease = BucketLease(self._bucket, item, number, holder)
        if lease.passed:  # it was taken, given back and taken again since the list
            self._blocks.remove(row, [number])
            return None
        with contextlib.suppress(StoreError):
            self._bucket.remove(entry.name for entry in entries)
        return lease


def _row(item: str) -> str:
    return f"{layout.LEASES}{item}/"


def _item(row: str) -> str:
    return row.removeprefix(layout.LEASES)[:-1]


def _read(text: bytes, number: int) -> Holder:
    """The holder; known by the lease's number alone if the text is damaged."""
    try:
        token = parse_json(text)["token"]
        return Holder.from_json(text, checked_item(token))
    except (ValueError, TypeError, KeyError, StoreError):
        return Holder.from_json(b"", f"unknown-{number}")


def _end(bucket: Bucket, blocks: Blocks, row: str, number: int) -> None:
    """Creates the number after a lease's, and removes the lease; does nothing to a successor's."""
    blocks.end(row, number + 1)
    start = block_name(row, number)
    bucket.remove([start, start + _BEAT])
