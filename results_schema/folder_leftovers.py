"""What cut-off processes left in a store's folder, beside the files that have keys.

Links among the leases are found too: no store has any, and a taker removes them (`folder_leases`).
Everything is opened step by step without following a link (`results_schema.links`).
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from results_schema import layout
from results_schema.errors import LinkRefused
from results_schema.faults import unfit
from results_schema.folder_store import STAGING
from results_schema.links import GONE, entered, look, opened, remove_tree

STAGED = "staged files"
NEVER_TAKEN = "leases never taken"
EMPTY = "empty folders of leases"
LINKS = "links among the leases"

_LEASES = layout.LEASES.rstrip("/")
_ITEM = re.compile(layout.NAME)


@dataclass(frozen=True)
class Leftover:
    """A file, link or folder that nobody needs.

    Attributes:
        kind: One of this module's constants.
        path: Path below the store's folder.
        size: Bytes of the files in it.
    """

    kind: str
    path: str
    size: int


def leftovers(root: Path, old: float) -> list[Leftover]:
    """Return what may be removed.

    Args:
        root: The store's folder.
        old: Seconds after which nobody is still writing a staged file or taking a lease.

    Raises:
        StoreError: It can't be read, or a link is in the place of one of the two folders.
    """
    found = [*_staged(root, old), *_among_leases(root, old)]
    order = [STAGED, NEVER_TAKEN, EMPTY, LINKS]
    return sorted(found, key=lambda one: (order.index(one.kind), one.path))


def discard(root: Path, leftover: Leftover) -> None:
    """Remove what `leftovers` has just returned; what can't be removed is found again later."""
    folder, _, name = leftover.path.rpartition("/")
    with contextlib.suppress(OSError, LinkRefused), opened(root, folder) as at:
        if leftover.kind == EMPTY:
            os.rmdir(name, dir_fd=at)  # fails if the lease has been taken
        elif leftover.kind != LINKS or stat.S_ISLNK(look(at, name).st_mode):
            remove_tree(at, name)


def _staged(root: Path, old: float) -> Iterator[Leftover]:
    for at, name in _entries(root, STAGING):
        size, age = _measure(at, name)
        if age > old:
            yield Leftover(STAGED, f"{STAGING}/{name}", size)


def _among_leases(root: Path, old: float) -> Iterator[Leftover]:
    for at, name in _entries(root, _LEASES):
        path = f"{_LEASES}/{name}"
        if name.startswith(".new-"):
            size, age = _measure(at, name)
            if age > old:
                yield Leftover(NEVER_TAKEN, path, size)
        elif _ITEM.fullmatch(name):
            tokens = _tokens(at, name, root / path)
            if tokens == []:
                yield Leftover(EMPTY, path, 0)
            links = [path] if tokens is None else [f"{path}/{t}" for t, link in tokens if link]
            yield from (Leftover(LINKS, link, 0) for link in links)


def _tokens(at: int, item: str, where: Path) -> list[tuple[str, bool]] | None:
    """The entries of an item's folder, and which are links; None if the item itself is a link."""
    try:
        with entered(at, item, where) as inner, os.scandir(inner) as entries:
            return [(entry.name, entry.is_symlink()) for entry in entries]
    except LinkRefused:
        return None
    except OSError as error:
        if error.errno in GONE:
            return [("", False)]  # given back meanwhile, or a file
        raise unfit(error, where) from error


def _entries(root: Path, folder: str) -> Iterator[tuple[int, str]]:
    """The names in a folder, each with the folder's descriptor; none if there is no folder."""
    try:
        with opened(root, folder) as at:
            with os.scandir(at) as entries:
                names = sorted(entry.name for entry in entries)
            for name in names:
                yield at, name
    except OSError as error:
        if error.errno not in GONE:
            raise unfit(error, root / folder) from error


def _measure(at: int, name: str) -> tuple[int, float]:
    """Bytes of an entry, and seconds since anything in it changed; 0 if it changes just now.

    The time of a folder itself changes only when something is put into it.
    """
    try:
        own = look(at, name)
        size, newest = 0 if stat.S_ISDIR(own.st_mode) else own.st_size, own.st_mtime
        if stat.S_ISDIR(own.st_mode):
            for _, folders, files, inner in os.fwalk(name, onerror=_raise, dir_fd=at):
                for one in (*folders, *files):
                    found = look(inner, one)
                    newest = max(newest, found.st_mtime)
                    size += 0 if stat.S_ISDIR(found.st_mode) else found.st_size
    except OSError:
        return 0, 0.0
    return size, time.time() - newest


def _raise(error: OSError) -> None:
    raise error
