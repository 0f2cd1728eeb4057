"""Leases in a folder, local or shared: a lease on item X is a folder `leases/X/<token>/`.

It is taken by renaming a prepared folder to `leases/X`, which succeeds for one taker alone. Every
write of the holder is staged inside its token folder and renamed out of it, and what it deletes is
first renamed into it (`results_schema.folder_store`). A successor first removes that folder: from
then on the old holder's writes and deletes fail with ENOENT, and it stops. The folder is never made
again, and no file in it stays open.

A lease is expired when its heartbeat has not changed for `EXPIRY` seconds of the observer's own
monotonic clock, or when its holder ran on this very machine and its process is gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from results_schema import layout
from results_schema.errors import StoreError, Superseded
from results_schema.faults import unfit
from results_schema.holder import Holder
from results_schema.lease import Lease, Leases, checked

_HELD = {errno.ENOTEMPTY, errno.EEXIST}
_GONE = {errno.ENOENT, errno.ESTALE, errno.ENOTDIR}
_NAME = re.compile(layout.NAME)
_PATIENCE = 5.0
"""Seconds for which to go on emptying a folder into which its holder writes."""


class FolderLease(Lease):
    """A held lease, whose writes are staged in a folder of its own."""

    def __init__(self, outer: Path, holder: Holder) -> None:
        super().__init__(outer.name, holder)
        self.folder = outer / holder.token
        self._outer = outer
        self._beats = 0

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
        """See `Lease.beat`."""
        self._beats += 1
        holder = replace(self._holder, beat=self._beats)
        fresh = self.folder / "heartbeat.new"
        try:
            holder.write(fresh)
            fresh.replace(self.folder / "heartbeat")
        except OSError as error:
            if error.errno in _GONE and _is_gone(fresh):
                return False
            raise unfit(error, fresh) from error
        return True

    def release(self) -> None:
        """See `Lease.release`."""
        with contextlib.suppress(OSError):
            _clear(self.folder)
            self._outer.rmdir()


class FolderLeases(Leases[FolderLease]):
    """All leases of a store in a folder.

    Args:
        root: The folder `leases` of the store.
        clock: Gives the observer's time, in seconds.
    """

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._root = root

    def holders(self, item: str) -> list[Holder]:
        """See `Leases.holders`."""
        outer = self._path(item)
        return [Holder.of(outer / token) for token in _names(outer)]

    def held(self) -> dict[str, Holder]:
        """See `Leases.held`."""
        items = [name for name in _names(self._root) if _NAME.fullmatch(name)]
        return {item: holder for item in items for holder in self.holders(item)}

    def age(self, item: str, holder: Holder) -> float | None:
        """See `Leases.age`."""
        try:
            beaten = (self._path(item) / holder.token / "heartbeat").stat().st_mtime
        except OSError:
            return None
        return max(0.0, time.time() - beaten)

    def fence(self, item: str, token: str) -> bool:
        """See `Leases.fence`; only this token's folder is removed."""
        outer = self._path(item)
        if token in ("", ".", "..") or "/" in token:
            raise StoreError(f"{token!r} names no lease")
        held = os.path.lexists(outer / token)
        try:
            _clear(outer / token)
        except OSError as error:
            raise unfit(error, outer / token) from error
        self._seen.pop((item, token), None)
        with contextlib.suppress(OSError):
            outer.rmdir()
        return held

    def _place(self, item: str, holder: Holder) -> FolderLease | None:
        target, outer = self._path(item), self._root / f".new-{uuid.uuid4().hex}"
        try:
            (outer / holder.token).mkdir(parents=True)
            holder.write(outer / holder.token / "heartbeat")
            outer.rename(target)
        except OSError as error:
            shutil.rmtree(outer, ignore_errors=True)
            if error.errno in _HELD:
                return None
            raise unfit(error, target) from error
        return FolderLease(target, holder)

    def _path(self, item: str) -> Path:
        return self._root / checked(item)


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
