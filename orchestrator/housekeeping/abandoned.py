"""What workers and launches left in a store when they were cut off, beside the files with keys."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path

from results_schema import layout
from results_schema.errors import LinkRefused, store_error
from results_schema.folder.files import GONE, NEW_LEASE, STAGING, Folder, opened
from results_schema.s3.bucket import Bucket, Entry
from results_schema.s3.leases import newest_blocks
from results_schema.s3.store import BLOCKS


class AbandonedKind(StrEnum):
    """Kinds of abandoned files, in the order of a listing."""

    STAGED = "staged files"
    NEVER_TAKEN = "leases never taken"
    EMPTY = "empty folders of leases"
    LINKS = "links among the leases"


@dataclass(frozen=True)
class Abandoned:
    """A file, link or folder that a process left when it was cut off, and that nobody needs.

    Attributes:
        kind: What it is.
        path: Path below the store's folder.
        size: Bytes of the files in it.
    """

    kind: AbandonedKind
    path: str
    size: int


def abandoned_files(root: Path, old: float) -> list[Abandoned]:
    """Return what may be removed from a store's folder beside the files that have keys.

    Args:
        root: The store's folder.
        old: Seconds after which nobody is still writing a staged file or taking a lease.

    Raises:
        StoreError: It can't be read, or a link is in the place of one of the two folders.
    """
    found: list[Abandoned] = []
    for folder, start, kind in (
        (STAGING, "", AbandonedKind.STAGED),
        (layout.LEASES.rstrip("/"), NEW_LEASE, AbandonedKind.NEVER_TAKEN),
    ):
        try:
            with opened(root, folder) as at:
                for name in sorted(at.links()):
                    path = f"{folder}/{name}"
                    if name.startswith(start):
                        size, age = _measure(at, name)
                        found += [Abandoned(kind, path, size)] if age > old else []
                    elif layout.is_name(name):
                        found += _in_lease(at, name, path)
        except OSError as error:
            if error.errno not in GONE:
                raise store_error(error, root / folder) from error
    order = list(AbandonedKind)
    return sorted(found, key=lambda one: (order.index(one.kind), one.path))


def remove_abandoned(root: Path, abandoned: Abandoned) -> None:
    """Remove what was just found; what can't be removed is found again later."""
    folder, _, name = abandoned.path.rpartition("/")
    with contextlib.suppress(OSError, LinkRefused), opened(root, folder) as at:
        if abandoned.kind is AbandonedKind.EMPTY:
            os.rmdir(name, dir_fd=at.handle)  # fails if the lease has been taken
        elif abandoned.kind is not AbandonedKind.LINKS or at.links()[name]:
            at.remove(name)


def abandoned_objects(bucket: Bucket, old: float) -> Iterator[Entry]:
    """Yield what writers left that were cut off, and the empty blocks of what was deleted.

    Args:
        bucket: The store's objects.
        old: Seconds after which nobody is still in the middle of creating an object.
    """
    for start in (BLOCKS, layout.LEASES):
        for _, group in groupby(
            bucket.list(start), key=lambda entry: entry.name.rpartition("/")[0]
        ):
            entries = list(group)
            newest = next(iter(newest_blocks(entries).values()), None)
            # While the newest block is young, a frozen writer may still create a number after it.
            if newest and newest.age >= old:
                kept = newest.size > 0
                yield from (e for e in entries if not (kept and e.name.startswith(newest.name)))


def _in_lease(at: Folder, item: str, path: str) -> list[Abandoned]:
    try:
        with at.entered(item) as inner:
            links = inner.links()
    except LinkRefused:
        return [Abandoned(AbandonedKind.LINKS, path, 0)]
    except OSError as error:
        if error.errno in GONE:  # given back meanwhile, or a file
            return []
        raise store_error(error, at.path / item) from error
    found = [f"{path}/{token}" for token, is_link in links.items() if is_link]
    found = [Abandoned(AbandonedKind.LINKS, one, 0) for one in found]
    return found if links else [Abandoned(AbandonedKind.EMPTY, path, 0)]


def _measure(at: Folder, name: str) -> tuple[int, float]:
    """Return an entry's bytes, and seconds since anything in it changed; 0 if it changes now."""
    try:
        found = [at.status(name)]
        if stat.S_ISDIR(found[0].st_mode):
            # The time of a folder itself changes only when an entry comes or goes.
            for _, folders, files, handle in os.fwalk(name, onerror=_raise, dir_fd=at.handle):
                inner = Folder(handle, at.path)
                found += [inner.status(one) for one in (*folders, *files)]
    except OSError:
        return 0, 0.0
    size = sum(one.st_size for one in found if not stat.S_ISDIR(one.st_mode))
    return size, time.time() - max(one.st_mtime for one in found)


def _raise(error: OSError) -> None:
    raise error
