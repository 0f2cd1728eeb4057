"""Numbered objects that are created and never overwritten: the blocks of a key or of a lease.

The one with the highest number holds what the key holds; an empty one says that it holds nothing.
It stays when those before it are removed, so that no number is used twice while anyone remembers
it, and whoever creates a number that has been passed is seen by nobody.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from results_schema.errors import CorruptData
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
        return self._bucket.any(row, after=f"{name(row, number)}~")

    def create(self, row: str, number: int, data: bytes) -> bool:
        """Creates a block that holds some bytes; false if the number is taken."""
        mark = uuid.uuid4().hex
        if not data:
            return self._bucket.create(name(row, number), _NOTHING, mark + _EMPTY)
        return self._bucket.create(name(row, number), data, mark)

    def end(self, row: str, number: int) -> bool:
        """Creates a block that says "deleted"; false if the number is taken."""
        return self._bucket.create(name(row, number), b"")

    def read(self, row: str, block: Block, *, most: int | None = None) -> bytes | None:
        """What a block holds; None if it has been removed since it was listed.

        Raises:
            CorruptData: It is larger than it may be.
        """
        if most is not None and block.entry and block.entry.size > most:
            said = f"it has {block.entry.size} bytes, not {most} at most"
            raise CorruptData(said, where=self._bucket.where(name(row, block.number)))
        found = self._bucket.get(name(row, block.number))
        if found is None:
            return None
        data, writer = found
        return b"" if writer.endswith(_EMPTY) else data

    def remove(self, row: str, numbers: Iterable[int]) -> None:
        """Removes blocks, none of which may be the newest."""
        self._bucket.remove(name(row, number) for number in numbers)


def name(row: str, number: int) -> str:
    """A block's name."""
    return f"{row}{number:010d}"


def newest_of(entries: Iterable[Entry]) -> dict[str, Block]:
    """The newest block of each row among some sorted objects, by row; others are left out."""
    return dict(found for entry in entries if (found := _block(entry)))


def _block(entry: Entry) -> tuple[str, Block] | None:
    """A block with its row; None if the object is none."""
    found = _NUMBER.fullmatch(entry.name)
    return (found[1], Block(int(found[2]), entry)) if found else None
