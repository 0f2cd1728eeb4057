"""A store in a folder, local or shared (NFS).

A put is atomic: the bytes are written aside, on the same file system, and renamed into place, so
that a reader sees the old file or the new one and never a torn one. A put under a lease is staged
in the lease's own folder; when the lease has been taken over that folder is gone, the rename
fails, and the writer learns that it is superseded (`FolderLease`). A delete under
a lease goes the other way: the file is renamed into that folder, and removed there.

Every path is opened step by step and no link is followed (`results_schema.folder_files`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from results_schema import folder_files, layout
from results_schema.errors import LinkRefused, MissingKey, StoreError, Superseded, store_error
from results_schema.folder_files import (
    FILLED,
    GONE,
    STAGING,
    entered,
    exists,
    look,
    make_folders,
    opened,
    read_file,
    remove_tree,
    write_file,
)
from results_schema.layout import Stat, checked_item, checked_key, folder_key, is_key
from results_schema.lease import Holder, Lease, Leases

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
            raise store_error(error, self.folder / fresh) from error
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
        return self._holders([checked_item(item)])[item]

    def held(self) -> dict[str, Holder]:
        """See `Leases.held`."""
        found = self._holders(None)
        return {item: holder for item, holders in found.items() for holder in holders}

    def age(self, item: str, holder: Holder) -> float | None:
        """See `Leases.age`."""
        try:
            place = f"{self._root.name}/{checked_item(item)}/{holder.token}"
            with opened(self._root.parent, place) as at:
                beaten = look(at, _BEAT).st_mtime
        except (OSError, LinkRefused):
            return None
        return max(0.0, time.time() - beaten)

    def fence(self, item: str, token: str) -> bool:
        """See `Leases.fence`; only this token's folder is removed."""
        where = self._root / checked_item(item) / token
        if token in ("", ".", "..") or "/" in token:
            raise StoreError(f"{token!r} names no lease")
        try:
            held = _fence(self._root, item, token)
        except OSError as error:
            raise store_error(error, where) from error
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
                raise store_error(error, self._root) from error
            return {item: [] for item in items or ()}

    def _place(self, item: str, holder: Holder) -> FolderLease | None:
        target, outer = self._root / checked_item(item), f".new-{uuid.uuid4().hex}"
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
            raise store_error(error, target) from error
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
        raise store_error(error, where) from error


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


_TRIES = 100
_MISSING = (FileNotFoundError, NotADirectoryError)


class LocalStore:
    """A store in a folder, local or shared (NFS)."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()
        self.location = str(self.root)
        self.leases = FolderLeases(self.root / layout.LEASES)

    def __repr__(self) -> str:
        return f"LocalStore({str(self.root)!r})"

    @property
    def hasty(self) -> LocalStore:
        """See `Store.hasty`; a file system has one patience, its own."""
        return self

    def put(
        self,
        key: str,
        data: bytes,
        *,
        lease: Lease | None = None,
        durable: bool = False,
        final: bool = False,
    ) -> None:
        """See `Store.put`."""
        target, held = self.root / checked_key(key), _of_folder(lease)
        staging, staged = held.place if held else STAGING, uuid.uuid4().hex
        try:
            grown = [] if held else make_folders(self.root, staging)
            with opened(self.root, staging) as source:
                folder_files.write_file(source, staged, data, durable=durable)
                grown += self._move(source, staged, key)
            if durable:
                for folder in grown:
                    folder_files.sync_folder(self.root, folder)
        except (OSError, StoreError) as error:
            if held and isinstance(error, OSError):
                held.check(error, staged)
            self._unstage(staging, staged)
            if isinstance(error, StoreError):
                raise
            raise store_error(error, target) from error

    def get(self, key: str, *, most: int | None = None) -> bytes:
        """See `Store.get`."""
        folder, name, path = self._split(key)
        try:
            with opened(self.root, folder) as at:
                return folder_files.read_file(at, name, path, most=most)
        except _MISSING as error:
            raise MissingKey("nothing is stored here", where=str(path)) from error
        except OSError as error:
            raise store_error(error, path) from error

    def has(self, key: str) -> bool:
        """See `Store.has`."""
        return self.stat(key) is not None

    def several(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """See `Store.several`."""
        # One after the other: threads that check bytes would keep each other waiting for longer.
        for key in keys:
            with contextlib.suppress(MissingKey):
                yield key, self.get(key)

    def list(self, prefix: str) -> list[str]:
        """See `Store.list`."""
        return sorted(key for key, _ in self._below(prefix))

    def stats(self, prefix: str) -> dict[str, Stat]:
        """See `Store.stats`."""
        found = {}
        for key, entry in self._below(prefix):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                found[key] = _stat(entry.stat(follow_symlinks=False))
        return dict(sorted(found.items()))

    def stat(self, key: str) -> Stat | None:
        """See `Store.stat`."""
        folder, name, path = self._split(key)
        try:
            with opened(self.root, folder) as at:
                return _stat(folder_files.check_file(look(at, name), path))
        except _MISSING:
            return None
        except OSError as error:
            raise store_error(error, path) from error

    def _below(self, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        folders = [folder_key(prefix)]
        while folders:
            folder = folders.pop()
            try:
                with opened(self.root, folder[:-1]) as at, os.scandir(at) as entries:
                    for entry in entries:
                        key = folder + entry.name
                        if not is_key(key):
                            continue
                        if not entry.is_dir(follow_symlinks=False):
                            yield key, entry
                        elif key.endswith(layout.FILES):
                            # Passed over, it would look as if its file had not been written yet.
                            folder_files.check_file(look(at, entry.name), self.root / key)
                        else:
                            folders.append(key + "/")
            except FileNotFoundError:
                continue
            except OSError as error:
                raise store_error(error, self.root / folder) from error

    def delete(self, key: str, *, lease: Lease | None = None) -> None:
        """See `Store.delete`."""
        folder, name, path = self._split(key)
        held = _of_folder(lease)
        try:
            if held:
                self._withdraw(key, held)
            else:
                with opened(self.root, folder) as at:
                    folder_files.refuse_link(at, name, path)
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=at)
            if key.count("/") > 1:  # a checkpoint's own folder, left empty; tables keep theirs
                outer, _, inner = folder.rpartition("/")
                with opened(self.root, outer) as at:
                    os.rmdir(inner, dir_fd=at)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise store_error(error, path) from error

    def locate(self, key: str) -> str:
        """See `Store.locate`; relative if it lies below the current folder."""
        path, here = folder_files.path_below(self.root, checked_key(key)), Path.cwd()
        return str(path.relative_to(here) if path.is_relative_to(here) else path)

    def _split(self, key: str) -> tuple[str, str, Path]:
        """The folder's path below the root, the file's name, and its full path for errors."""
        folder, _, name = checked_key(key).rpartition("/")
        return folder, name, self.root / key

    def _move(self, source: int, staged: str, key: str) -> list[Path]:
        """Renames a staged file into place and says which folders got a new entry by it."""
        folder, name, path = self._split(key)
        grown, tries = [path.parent], 0
        while True:
            try:
                if folder:
                    grown += make_folders(self.root, folder)
                with opened(self.root, folder) as at:
                    folder_files.refuse_link(at, name, path)
                    os.replace(staged, name, src_dir_fd=source, dst_dir_fd=at)
                return grown
            except FileNotFoundError:
                # A `delete` may have found the folder empty, or a successor taken the file.
                tries += 1
                if tries == _TRIES or not folder_files.exists(source, staged):
                    raise

    def _withdraw(self, key: str, lease: FolderLease) -> None:
        """Removes a file, if there is one, by way of the lease's folder."""
        (folder, name, path), staged = self._split(key), uuid.uuid4().hex
        try:
            with opened(self.root, lease.place) as own:
                # So that no folder, which a rename would carry off, can take its place.
                folder_files.write_file(own, staged, b"")
                with opened(self.root, folder) as at:
                    folder_files.refuse_link(at, name, path)
                    os.replace(name, staged, src_dir_fd=at, dst_dir_fd=own)
        except OSError as error:
            lease.check(error, staged)
            if error.errno != errno.ENOENT:
                raise
        finally:
            self._unstage(lease.place, staged)

    def _unstage(self, staging: str, staged: str) -> None:
        """Removes what is left of a staged file; what can't be removed goes with its folder."""
        with contextlib.suppress(OSError, StoreError), opened(self.root, staging) as at:
            os.unlink(staged, dir_fd=at)


def _of_folder(lease: Lease | None) -> FolderLease | None:
    if not (lease is None or isinstance(lease, FolderLease)):
        raise TypeError(f"the lease on {lease.item} is another store's")
    return lease


def _stat(found: os.stat_result) -> Stat:
    age = time.time() - found.st_mtime
    return Stat(found.st_size, f"{found.st_mtime_ns}-{found.st_size}", age)
