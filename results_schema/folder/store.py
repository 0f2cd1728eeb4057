"""A store in a folder, local or shared (NFS), and its leases.

A put is atomic: the bytes are written aside, on the same file system, and renamed into place, so
that a reader sees the old file or the new one, never a torn one.

A lease on item X is a folder `leases/X/<token>/`, made by renaming a prepared folder to `leases/X`,
which succeeds for one taker alone. Every write of the holder is staged inside the token's folder
and renamed out of it; what it deletes is first renamed into it. A successor removes that folder
before it does anything: from then on the old holder's renames fail with ENOENT, and it stops
(`Superseded`). No file in the folder stays open, and nothing makes the folder again.

Every path is opened step by step and no link is followed (`results_schema.folder.files`). A link in
the place of an item or of a token holds nothing; the next taker removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from results_schema import layout
from results_schema.errors import LinkRefused, MissingKey, StoreError, Superseded, store_error
from results_schema.folder.files import (
    FILLED,
    GONE,
    NEW_LEASE,
    STAGING,
    Folder,
    opened,
    path_below,
    sync_folder,
)
from results_schema.layout import Stat, Store, checked_item, is_key, is_name
from results_schema.lease import Holder, Lease, Leases, checked_lease

_LEASES = layout.LEASES.rstrip("/")
_BEAT = "heartbeat"
_LARGEST_BEAT = 10_000
"""Bytes beyond which a heartbeat is not read."""
_TRIES = 100
_MISSING = (FileNotFoundError, NotADirectoryError)


class LocalStore(Store):
    """A store in a folder."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()
        self.location = str(self.root)
        self.leases = FolderLeases(self.root)

    def _put(self, key: str, data: bytes, lease: Lease | None, durable: bool, final: bool) -> None:
        held, changed = checked_lease(lease, FolderLease), list[Path]()
        staging, staged = held.place if held else STAGING, uuid.uuid4().hex
        try:
            # A lease's folder is never made here: where it is missing, the lease is lost.
            with opened(self.root, staging, None if held else changed) as source:
                source.write(staged, data, durable=durable)
                self._move(source, staged, key, changed)
            if durable:
                # The rename survives a power cut only with its folder's entries, and these only
                # with the entries of the folders that were made for it.
                for folder in changed:
                    sync_folder(self.root, folder)
        except StoreError:
            self._unstage(staging, staged)
            raise
        except OSError as error:
            if held:
                held.check(error, staged)
            self._unstage(staging, staged)
            raise store_error(error, self.root / key) from error

    def _get(self, key: str, most: int | None) -> bytes:
        folder, name, path = self._split(key)
        try:
            with opened(self.root, folder) as at:
                return at.read(name, most=most)
        except _MISSING as error:
            raise MissingKey("nothing is stored here", where=str(path)) from error
        except OSError as error:
            raise store_error(error, path) from error

    def _names(self, prefix: str) -> Iterator[str]:
        return (key for key, _ in self._below(prefix))

    def _stats(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        for key, entry in self._below(prefix):
            with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                yield key, _stat(entry.stat(follow_symlinks=False))

    def _stat(self, key: str) -> Stat | None:
        folder, name, path = self._split(key)
        try:
            with opened(self.root, folder) as at:
                return _stat(at.file_status(name))
        except _MISSING:
            return None
        except OSError as error:
            raise store_error(error, path) from error

    def _delete(self, key: str, lease: Lease | None) -> None:
        folder, name, path = self._split(key)
        try:
            if held := checked_lease(lease, FolderLease):
                self._withdraw(key, held)
            else:
                with opened(self.root, folder) as at:
                    at.refuse_link(name)
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=at.handle)
            # The folder of a checkpoint goes with its last file. A table's folder stays, as other
            # programs read it by its name.
            if key.count("/") > 1:
                outer, _, inner = folder.rpartition("/")
                with opened(self.root, outer) as at:
                    os.rmdir(inner, dir_fd=at.handle)
        except OSError as error:
            if error.errno not in FILLED | {errno.ENOENT}:
                raise store_error(error, path) from error

    def _locate(self, key: str) -> str:
        """Return a path that is relative if it is below the current folder."""
        path, here = path_below(self.root, key), Path.cwd()
        return str(path.relative_to(here) if path.is_relative_to(here) else path)

    def _split(self, key: str) -> tuple[str, str, Path]:
        """Return the folder's path below the root, the file's name, and its full path."""
        folder, _, name = key.rpartition("/")
        return folder, name, self.root / key

    def _below(self, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        folders = [prefix]
        while folders:
            folder = folders.pop()
            try:
                with opened(self.root, folder[:-1]) as at, os.scandir(at.handle) as entries:
                    for entry in entries:
                        key = folder + entry.name
                        if not is_key(key):
                            continue
                        if not entry.is_dir(follow_symlinks=False):
                            yield key, entry
                        elif key.endswith(layout.FILES):
                            # Passed over, it would look as if its file had not been written yet.
                            at.file_status(entry.name)
                        else:
                            folders.append(key + "/")
            except FileNotFoundError:
                continue
            except OSError as error:
                raise store_error(error, self.root / folder) from error

    def _move(self, source: Folder, staged: str, key: str, changed: list[Path]) -> None:
        """Rename a staged file into place; add the folders that got a new entry by it."""
        folder, name, path = self._split(key)
        for attempt in count(1):
            try:
                with opened(self.root, folder, changed) as at:
                    source.move(staged, at, name)
                changed.append(path.parent)
                return
            except FileNotFoundError:
                # ENOENT has two causes. A `delete` of a neighbour removed the empty folder: try
                # again. A successor removed the staged file: the caller finds the lease lost.
                if attempt == _TRIES or not source.exists(staged):
                    raise

    def _withdraw(self, key: str, lease: FolderLease) -> None:
        """Delete a file, if there is one, by a rename into the lease's folder."""
        (folder, name, _), staged = self._split(key), uuid.uuid4().hex
        try:
            with opened(self.root, lease.place) as own:
                # A rename can replace a file by a file only: with one in the way, it can't carry
                # off a folder that is in the place of the key.
                own.write(staged, b"")
                with opened(self.root, folder) as at:
                    at.refuse_link(name)
                    at.move(name, own, staged)
        except OSError as error:
            lease.check(error, staged)
            if error.errno != errno.ENOENT:
                raise
        finally:
            self._unstage(lease.place, staged)

    def _unstage(self, staging: str, staged: str) -> None:
        # What can't be removed now goes with the lease's folder, or is found as abandoned.
        with contextlib.suppress(OSError, StoreError), opened(self.root, staging) as at:
            os.unlink(staged, dir_fd=at.handle)


class FolderLease(Lease):
    """A held lease, whose writes are staged in a folder of its own.

    Attributes:
        place: Path of that folder below the store's.
        folder: The same path in full, for people; writes open `place` step by step.
    """

    def __init__(self, store: Path, item: str, holder: Holder) -> None:
        super().__init__(item, holder)
        self.place = f"{_LEASES}/{item}/{holder.token}"
        self.folder = store / self.place
        self._store = store

    def check(self, error: OSError, staged: str) -> None:
        """Raise `Superseded` if a write failed because its staged file is gone with the lease.

        Whoever takes over removes that file, just before the lease's folder.
        """
        # ENOENT alone does not show a lost lease: a failing disk and a missing target give it too.
        if error.errno in GONE and self._is_gone(staged):
            raise Superseded(f"another worker has taken over {self.item}") from error

    def _renew(self, text: bytes) -> bool:
        fresh = f"{_BEAT}.new"
        try:
            with opened(self._store, self.place) as at:
                # Renamed, as an observer who reads half a heartbeat would not know the holder.
                at.write(fresh, text, new=False)
                at.move(fresh, at, _BEAT)
        except LinkRefused:
            return False  # what is in the folder's place is not this holder's
        except OSError as error:
            if error.errno in GONE and self._is_gone(fresh):
                return False
            raise store_error(error, self.folder / fresh) from error
        return True

    def _give_back(self) -> None:
        _remove_token(self._store, self.item, self.token)

    def _is_gone(self, name: str) -> bool:
        try:
            with opened(self._store, self.place) as at:
                return not at.exists(name)
        except OSError as error:
            return error.errno in GONE  # on a failing disk nothing is known to be gone


class FolderLeases(Leases[FolderLease]):
    """All leases of a store in a folder."""

    def __init__(self, store: Path, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._store, self._root = store, store / _LEASES

    def age(self, item: str, holder: Holder) -> float | None:
        """See `Leases.age`."""
        try:
            with opened(self._store, f"{_LEASES}/{checked_item(item)}/{holder.token}") as at:
                return max(0.0, time.time() - at.status(_BEAT).st_mtime)
        except (OSError, LinkRefused):
            return None

    def _read(self, item: str | None = None) -> dict[str, list[Holder]]:
        try:
            with opened(self._store, _LEASES) as at:
                items = filter(is_name, at.links()) if item is None else [item]
                return {name: _read_holders(at, name) for name in items}
        except OSError as error:
            if error.errno not in GONE:
                raise store_error(error, self._root) from error
            return {}

    def _place(self, item: str, holder: Holder) -> FolderLease | None:
        outer, taken = f"{NEW_LEASE}{uuid.uuid4().hex}", False
        prepared = f"{_LEASES}/{outer}/{holder.token}"
        try:
            # The heartbeat is there before the lease is, so that no observer sees an empty one.
            with opened(self._store, prepared, made=[]) as at:
                at.write(_BEAT, holder.to_json().encode())
            with opened(self._store, _LEASES) as at:
                try:
                    _rename(at, outer, item)
                    taken = True
                except OSError as error:
                    # A folder with a token in it can't be replaced: someone else was first.
                    if error.errno not in FILLED:
                        raise
        except OSError as error:
            raise store_error(error, self._root / item) from error
        finally:
            if not taken:
                with contextlib.suppress(OSError, LinkRefused), opened(self._store, _LEASES) as at:
                    at.remove(outer)
        return FolderLease(self._store, item, holder) if taken else None

    def _end(self, item: str, token: str) -> bool:
        try:
            return _remove_token(self._store, item, token)
        except OSError as error:
            raise store_error(error, self._root / item / token) from error


def _remove_token(store: Path, item: str, token: str) -> bool:
    """Remove a token's folder, and the item's if nothing is left in it.

    Return whether the token's folder was there. A link in the place of the folder of all leases is
    refused, and one in the place of the item's is no lease.
    """
    try:
        with opened(store, _LEASES) as at:
            try:
                with at.entered(item) as inner:
                    held = inner.exists(token)
                    inner.remove(token)
            except LinkRefused:
                return False
            # It fails where a successor's token is: its lease is not touched.
            with contextlib.suppress(OSError):
                os.rmdir(item, dir_fd=at.handle)
            return held
    except OSError as error:
        if error.errno not in GONE:
            raise
        return False


def _rename(at: Folder, outer: str, item: str) -> None:
    """Rename a prepared folder to an item's, after removing links that are in its place."""
    try:
        os.rename(outer, item, src_dir_fd=at.handle, dst_dir_fd=at.handle)
    except OSError as error:
        if error.errno not in FILLED | {errno.ENOTDIR} or not _unlink_links(at, item):
            raise
        os.rename(outer, item, src_dir_fd=at.handle, dst_dir_fd=at.handle)


def _unlink_links(at: Folder, item: str) -> bool:
    """Remove a link in the place of an item, or among its tokens; return whether one was there."""
    try:
        with at.entered(item) as inner:
            links = [name for name, is_link in inner.links().items() if is_link]
            for name in links:
                os.unlink(name, dir_fd=inner.handle)
            return bool(links)
    except LinkRefused:
        os.unlink(item, dir_fd=at.handle)
        return True
    except FileNotFoundError:
        return False  # given back since the rename failed


def _read_holders(at: Folder, item: str) -> list[Holder]:
    try:
        with at.entered(item) as inner:
            tokens = [name for name, is_link in inner.links().items() if not is_link]
            return [_read_holder(inner, token) for token in tokens]
    except LinkRefused:
        return []
    except OSError as error:
        if error.errno in GONE:
            return []
        raise store_error(error, at.path / item) from error


def _read_holder(at: Folder, token: str) -> Holder:
    text = b""
    # A heartbeat that can't be read may be a living worker's: it is known by its token, and has
    # until its expiry.
    with contextlib.suppress(OSError, StoreError), at.entered(token) as inner:
        text = inner.read(_BEAT, most=_LARGEST_BEAT)
    return Holder.from_json(text, token)


def _stat(found: os.stat_result) -> Stat:
    age = time.time() - found.st_mtime
    return Stat(found.st_size, f"{found.st_mtime_ns}-{found.st_size}", age)
