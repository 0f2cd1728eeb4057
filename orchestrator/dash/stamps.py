"""When the folders and tables of a store last changed, told without reading them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Hashable

from results_schema import layout
from results_schema.errors import StoreError
from results_schema.store import LocalStore, Store

WATCHED = (
    layout.METRICS,
    layout.POINTS,
    layout.TRIALS,
    layout.MEMBERS,
    layout.FAILURES,
    layout.REQUESTS,
    layout.LEASES,
)


def folder_stamps(store: Store) -> dict[str, Hashable]:
    """What changes when an entry of a watched folder is put or removed; 0 without one.

    A store in a folder puts files by renaming them into place, which changes the time of their
    folder, so that seven questions tell whether any of thousands of files is new. A file that
    others write in place is not told of, nor are two files within one tick of the file system's
    clock. A bucket has no such times: there the names are listed, a thousand at a time.
    """
    found: dict[str, Hashable] = dict.fromkeys(WATCHED, 0)
    for folder in WATCHED:
        # Not there yet, or not to be read, which a look tells.
        with contextlib.suppress(OSError, StoreError):
            if isinstance(store, LocalStore):
                found[folder] = (store.root / folder).stat().st_mtime_ns
            else:
                marks = [f"{key} {stat.mark}" for key, stat in store.stats(folder).items()]
                found[folder] = hashlib.sha256("\n".join(marks).encode()).digest() if marks else 0
    return found


def table_stamps(store: Store, folder: str) -> dict[str, str]:
    """What changes with each table in a folder, by its id; none if there is no folder."""
    return {
        name: stat.mark
        for key, stat in store.stats(folder).items()
        if key.endswith(".parquet")
        for name in layout.names([key])
    }
