"""When the folders and tables of a store last changed, told without reading them."""

from __future__ import annotations

import contextlib
import os

from results_schema import layout
from results_schema.store import LocalStore

WATCHED = (
    layout.METRICS,
    layout.POINTS,
    layout.TRIALS,
    layout.MEMBERS,
    layout.FAILURES,
    layout.REQUESTS,
    layout.LEASES,
)

Stamp = tuple[int, int]
"""Time of the last change, in nanoseconds, and size in bytes."""


def folder_stamps(store: LocalStore) -> dict[str, int]:
    """When an entry of each watched folder was last put or removed, in nanoseconds; 0 without one.

    A store puts files by renaming them into place, which changes the time of their folder, so that
    seven questions tell whether any of thousands of files is new. A file that others write in
    place is not told of, nor are two files within one tick of the file system's clock.
    """
    found: dict[str, int] = dict.fromkeys(WATCHED, 0)
    for folder in WATCHED:
        with contextlib.suppress(OSError):  # not there yet, or not to be read, which a look tells
            found[folder] = (store.root / folder).stat().st_mtime_ns
    return found


def table_stamps(store: LocalStore, folder: str) -> dict[str, Stamp]:
    """The stamp of each table in a folder, by its id; none if there is no folder."""
    found = {}
    try:
        with os.scandir(store.root / folder) as entries:
            for entry in entries:
                if entry.name.endswith(".parquet") and entry.name != "0-schema.parquet":
                    with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                        told = entry.stat()
                        name = entry.name.removesuffix(".parquet")
                        found[name] = told.st_mtime_ns, told.st_size
    except FileNotFoundError:  # nothing was launched yet
        pass
    return found
