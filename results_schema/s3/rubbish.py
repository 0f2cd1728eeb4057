"""Objects of a store in a bucket that nobody reads any more, and nobody will create again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from results_schema import layout
from results_schema.s3.blocks import newest_of
from results_schema.s3.bucket import Bucket, Entry
from results_schema.s3.store import BLOCKS


def rubbish(bucket: Bucket, old: float) -> Iterator[Entry]:
    """What writers left behind that were cut off, and what says that a key or lease has ended.

    Args:
        bucket: Of the store.
        old: Seconds after which nobody is still in the middle of creating an object.
    """
    for start in (BLOCKS, layout.LEASES):
        for _, group in groupby(bucket.list(start), key=lambda entry: _row(entry.name)):
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


def _row(name: str) -> str:
    return name.rpartition("/")[0]
