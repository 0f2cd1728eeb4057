"""A lease: a worker's sole right to an item, and the fence that stops a worker that lost it.

A worker whose node was declared dead may train on; its writes must not mix with its successor's.
A lease on item X is a folder `leases/X/<token>/`. It is taken by renaming a prepared folder to
`leases/X`, which succeeds for one taker alone. Every write of the holder is staged inside its
token folder and renamed out of it, and what it deletes is first renamed into it
(`results_schema.store`). A successor first removes that folder: from then on the old holder's
writes and deletes fail with ENOENT, and it stops. The folder is never made again, and no file in
it stays open.

A lease is expired when its heartbeat has not changed for `EXPIRY` seconds of the observer's own
monotonic clock, or when its holder ran on this very machine and its process is gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from results_schema import layout
from results_schema.errors import StoreError, Superseded
from results_schema.faults import unfit
from results_schema.holder import Holder

BEAT = 5.0
"""Seconds between heartbeats."""
EXPIRY = 60.0
"""Seconds without a heartbeat after which a lease may be taken over."""

_HELD = {errno.ENOTEMPTY, errno.EEXIST}
_GONE = {errno.ENOENT, errno.ESTALE, errno.ENOTDIR}
_NAME = re.compile(layout.NAME)
_PATIENCE = 5.0
"""Seconds for which to go on emptying a folder into which its holder writes."""


class Lease:
    """A held lease. As a context it keeps beating and is released at the end."""

    def __init__(self, outer: Path, holder: Holder) -> None:
        self.item = outer.name
        self.folder = outer / holder.token
        self._outer, self._holder = outer, holder
        self._done = threading.Event()
        self._beats = 0

    def __enter__(self) -> Lease:
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.release()

    def check(self, error: OSError, staged: Path) -> None:
        """Tells a lost lease from a failing disk.

        Args:
            error: Why a write or a removal failed.
            staged: The file in the lease's folder that it began with.

        Raises:
            Superseded: The file is gone: whoever takes over removes it, just before the folder.
        """
        if error.errno in _GONE and _is_gone(staged):
            raise Superseded(f"another worker has taken over {self.item}") from error

    def beat(self) -> bool:
        """Renews the heartbeat; false if the lease is lost."""
        self._beats += 1
        holder = replace(self._holder, beat=self._beats)
        fresh = self.folder / "heartbeat.new"
        try:
            holder.write(fresh)
            fresh.replace(self.folder / "heartbeat")
        except OSError as error:
            return error.errno not in _GONE
        return True

    def release(self) -> None:
        """Gives the item back. Does nothing if the lease is lost."""
        with contextlib.suppress(OSError):
            _clear(self.folder)
            self._outer.rmdir()

    def _keep_beating(self) -> None:
        while not self._done.wait(BEAT) and self.beat():
            pass


class Leases:
    """All leases of a store.

    Args:
        root: The folder `leases` of the store.
        clock: Gives the observer's time, in seconds.
    """

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._clock = root, clock
        self._seen: dict[tuple[str, str], tuple[int, float]] = {}

    def take(self, item: str, token: str | None = None) -> Lease | None:
        """Takes a free or expired item; None if someone else holds it.

        The caller must check again that the item is still owed: its last holder may have
        finished it.

        Args:
            item: The item's id.
            token: The lease's own name, by which whoever chose it can fence it (`fence`).

        Raises:
            StoreError: The leases' folder can't be written, or a name is none.
        """
        return self._place(item, token or uuid.uuid4().hex) if self.free(item) else None

    def free(self, item: str) -> bool:
        """Whether nobody holds the item, or none but a holder that is expired, and fenced now.

        To know that a holder on another machine is expired takes an observer who has watched it
        for `EXPIRY` s; it frees the item for takers who have not.

        Raises:
            StoreError: The leases' folder can't be read or written.
        """
        for holder in self.holders(item):
            if not self.expired(item, holder):
                return False
            self.fence(item, holder.token)
        return True

    def holders(self, item: str) -> list[Holder]:
        """Who holds the item: nobody, or one, known by its token alone while it can't be read."""
        outer = self._path(item)
        return [Holder.of(outer / token) for token in _names(outer)]

    def held(self) -> dict[str, Holder]:
        """Every held item with its holder."""
        items = [name for name in _names(self._root) if _NAME.fullmatch(name)]
        return {item: holder for item in items for holder in self.holders(item)}

    def expired(self, item: str, holder: Holder) -> bool:
        """Whether the holder is dead, or has not beaten for `EXPIRY` s while we watched."""
        now = self._clock()
        beat, since = self._seen.get((item, holder.token), (-1, now))
        if beat != holder.beat:
            since = now
        self._seen[item, holder.token] = (holder.beat, since)
        return holder.dead or now - since >= EXPIRY

    def fence(self, item: str, token: str) -> None:
        """Ends a holder's right at once: whatever it still tries to write will fail.

        Only this token's folder is removed, so that a successor who came first is left alone.

        Raises:
            StoreError: It can't be removed.
        """
        outer = self._path(item)
        if token in ("", ".", "..") or "/" in token:
            raise StoreError(f"{token!r} names no lease")
        try:
            _clear(outer / token)
        except OSError as error:
            raise unfit(error, outer / token) from error
        self._seen.pop((item, token), None)
        with contextlib.suppress(OSError):
            outer.rmdir()

    def _place(self, item: str, token: str) -> Lease | None:
        target, outer = self._path(item), self._root / f".new-{uuid.uuid4().hex}"
        if not _NAME.fullmatch(token):
            raise StoreError(f"{token!r} can't name a lease")
        holder = Holder.here(token)
        try:
            (outer / token).mkdir(parents=True)
            holder.write(outer / token / "heartbeat")
            outer.rename(target)
        except OSError as error:
            shutil.rmtree(outer, ignore_errors=True)
            if error.errno in _HELD:
                return None
            raise unfit(error, target) from error
        return Lease(target, holder)

    def _path(self, item: str) -> Path:
        if not _NAME.fullmatch(item):
            raise StoreError(f"{item!r} is no item", fix="name it by its id")
        return self._root / item


def _is_gone(path: Path) -> bool:
    """Whether nothing lies there; not so if that can't be seen, on a disk that fails."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno in _GONE
    return False


def _names(folder: Path) -> list[str]:
    """What lies in a folder; nothing if it is none."""
    try:
        return [path.name for path in folder.iterdir()]
    except OSError as error:
        if error.errno in _GONE:
            return []
        raise unfit(error, folder) from error


def _clear(folder: Path) -> None:
    """Empties and removes a folder into which another process may still be writing."""
    end = time.monotonic() + _PATIENCE
    while os.path.lexists(folder):
        try:
            shutil.rmtree(folder)
        except NotADirectoryError:
            folder.unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in _GONE | _HELD | {errno.EBUSY} or time.monotonic() > end:
                raise
