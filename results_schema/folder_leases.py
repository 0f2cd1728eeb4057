"""Leases in a folder, local or shared: a lease on item X is a folder `leases/X/<token>/`.

It is taken by renaming a prepared folder to `leases/X`, which succeeds for one taker alone. Every
write of the holder is staged inside its token folder and renamed out of it, and what it deletes is
first renamed into it (`results_schema.folder_store`). A successor first removes that folder: from
then on the old holder's writes and deletes fail with ENOENT, and it stops. The folder is never made
again, and no file in it stays open.

Every path is opened step by step and no link is followed (`results_schema.links`). A link in the
place of an item or of a token is no holder; the next taker removes the link itself.

A lease is expired when its heartbeat has not changed for `EXPIRY` seconds of the observer's own
monotonic clock, or when its holder ran on this very machine and its process is gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from results_schema import layout
from results_schema.errors import LinkRefused, StoreError, Superseded
from results_schema.faults import unfit
from results_schema.holder import Holder
from results_schema.lease import Lease, Leases, checked
from results_schema.links import (
    FILLED,
    GONE,
    entered,
    exists,
    look,
    make_folders,
    opened,
    read_file,
    remove_tree,
    write_file,
)

_NAME = re.compile(layout.NAME)
_BEAT = "heartbeat"
_LARGEST_BEAT = 10_000
"""Bytes beyond which a heartbeat is not read."""


class FolderLease(Lease):
    """A held lease, whose writes are staged in a folder of its own.

    Attributes:
        place: Path of that folder below the store's.
        folder: The same path in full, for people; writes open `place` step by step.
    """

    def __init__(self, root: Path, item: str, holder: Holder) -> None:
        super().__init__(item, holder)
        self.place = f"{root.name}/{item}/{holder.token}"
        self.folder = root / item / holder.token
        self._root = root
        self._beats = 0

    def check(self, error: OSError, staged: str) -> None:
        """Tells a lost lease from a failing disk.

        Args:
            error: Why a write or a removal failed.
            staged: Name of the file in the lease's folder that it began with.

        Raises:
            Superseded: The file is gone: whoever takes over removes it, just before the folder.
        """
        if error.errno in GONE and self._is_gone(staged):
            raise Superseded(f"another worker has taken over {self.item}") from error

    def beat(self) -> bool:
        """See `Lease.beat`."""
        self._beats += 1
        text = replace(self._holder, beat=self._beats).to_json().encode()
        fresh = f"{_BEAT}.new"
        try:
            with opened(self._root.parent, self.place) as at:
                write_file(at, fresh, text, new=False)
                os.replace(fresh, _BEAT, src_dir_fd=at, dst_dir_fd=at)
        except LinkRefused:
            return False  # what is in the folder's place is not this holder's
        except OSError as error:
            if error.errno in GONE and self._is_gone(fresh):
                return False
            raise unfit(error, self.folder / fresh) from error
        return True

    def release(self) -> None:
        """See `Lease.release`."""
        with contextlib.suppress(OSError, LinkRefused):
            _fence(self._root, self.item, self.token)

    def _is_gone(self, name: str) -> bool:
        """Whether a file of the lease is gone; not so if that can't be seen on a failing disk."""
        try:
            with opened(self._root.parent, self.place) as at:
                look(at, name)
        except OSError as error:
            return error.errno in GONE
        return False


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
        return self._holders([checked(item)])[item]

    def held(self) -> dict[str, Holder]:
        """See `Leases.held`."""
        found = self._holders(None)
        return {item: holder for item, holders in found.items() for holder in holders}

    def age(self, item: str, holder: Holder) -> float | None:
        """See `Leases.age`."""
        try:
            place = f"{self._root.name}/{checked(item)}/{holder.token}"
            with opened(self._root.parent, place) as at:
                beaten = look(at, _BEAT).st_mtime
        except (OSError, LinkRefused):
            return None
        return max(0.0, time.time() - beaten)

    def fence(self, item: str, token: str) -> bool:
        """See `Leases.fence`; only this token's folder is removed."""
        where = self._root / checked(item) / token
        if token in ("", ".", "..") or "/" in token:
            raise StoreError(f"{token!r} names no lease")
        try:
            held = _fence(self._root, item, token)
        except OSError as error:
            raise unfit(error, where) from error
        self._seen.pop((item, token), None)
        return held

    def _holders(self, items: list[str] | None) -> dict[str, list[Holder]]:
        """The holders of some items, or of all that are held."""
        try:
            with opened(self._root.parent, self._root.name) as at:
                if items is None:
                    with os.scandir(at) as entries:
                        items = [one.name for one in entries if _NAME.fullmatch(one.name)]
                return {item: _holders(at, item, self._root / item) for item in items}
        except OSError as error:
            if error.errno not in GONE:
                raise unfit(error, self._root) from error
            return {item: [] for item in items or ()}

    def _place(self, item: str, holder: Holder) -> FolderLease | None:
        target, outer = self._root / checked(item), f".new-{uuid.uuid4().hex}"
        inner = f"{self._root.name}/{outer}/{holder.token}"
        try:
            make_folders(self._root.parent, inner)
            with opened(self._root.parent, inner) as at:
                write_file(at, _BEAT, holder.to_json().encode())
            with opened(self._root.parent, self._root.name) as at:
                _rename(at, outer, item, target)
        except OSError as error:
            self._discard(outer)
            if error.errno in FILLED:
                return None
            raise unfit(error, target) from error
        return FolderLease(self._root, item, holder)

    def _discard(self, outer: str) -> None:
        root = self._root
        with contextlib.suppress(OSError, LinkRefused), opened(root.parent, root.name) as at:
            remove_tree(at, outer)


def _rename(at: int, outer: str, item: str, where: Path) -> None:
    """Renames a prepared folder to an item's, out of whose place it removes links."""
    try:
        os.rename(outer, item, src_dir_fd=at, dst_dir_fd=at)
    except OSError as error:
        if error.errno not in FILLED | {errno.ENOTDIR} or not _unlink_links(at, item, where):
            raise
        os.rename(outer, item, src_dir_fd=at, dst_dir_fd=at)


def _unlink_links(at: int, item: str, where: Path) -> bool:
    """Removes a link in the place of an item, or those among its tokens; whether there were any."""
    try:
        with entered(at, item, where) as inner:
            with os.scandir(inner) as entries:
                links = [entry.name for entry in entries if entry.is_symlink()]
            for name in links:
                os.unlink(name, dir_fd=inner)
            return bool(links)
    except LinkRefused:
        os.unlink(item, dir_fd=at)
        return True
    except FileNotFoundError:
        return False  # given back meanwhile


def _holders(at: int, item: str, where: Path) -> list[Holder]:
    """Who holds an item; nobody if there is no folder of that name."""
    try:
        with entered(at, item, where) as inner:
            with os.scandir(inner) as entries:
                tokens = [entry.name for entry in entries if not entry.is_symlink()]
            return [_holder(inner, token, where / token) for token in tokens]
    except LinkRefused:
        return []
    except OSError as error:
        if error.errno in GONE:
            return []
        raise unfit(error, where) from error


def _holder(at: int, token: str, where: Path) -> Holder:
    """The holder of a token, known by it alone while its heartbeat can't be read."""
    text = b""
    with contextlib.suppress(OSError, StoreError), entered(at, token, where) as inner:
        text = read_file(inner, _BEAT, where / _BEAT, most=_LARGEST_BEAT)
    return Holder.from_json(text, token)


def _fence(root: Path, item: str, token: str) -> bool:
    """Removes a token's folder, and the item's if nothing is left in it; whether it was there.

    Raises:
        OSError: It can't be removed.
    """
    try:
        with opened(root.parent, root.name) as at:
            with entered(at, item, root / item) as inner:
                held = exists(inner, token)
                remove_tree(inner, token)
            with contextlib.suppress(OSError):
                os.rmdir(item, dir_fd=at)
            return held
    except LinkRefused as error:
        if error.where == str(root):
            raise
        return False  # a link in the item's place holds no token; the next taker removes it
    except OSError as error:
        if error.errno not in GONE:
            raise
        return False
