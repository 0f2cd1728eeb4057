"""A store in a folder, local or shared (NFS).

A put is atomic: the bytes are written aside, on the same file system, and renamed into place, so
that a reader sees the old file or the new one and never a torn one. A put under a lease is staged
in the lease's own folder; when the lease has been taken over that folder is gone, the rename
fails, and the writer learns that it is superseded (`results_schema.folder_leases`). A delete under
a lease goes the other way: the file is renamed into that folder, and removed there.

Every path is opened step by step and no link is followed (`results_schema.links`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from results_schema import layout, links
from results_schema.errors import MissingKey, StoreError
from results_schema.faults import unfit
from results_schema.folder_leases import FolderLease, FolderLeases
from results_schema.keys import checked_key, folder_key, is_key
from results_schema.lease import Lease
from results_schema.links import look, make_folders, opened
from results_schema.stat import Stat

STAGING = ".staging"
"""Where files are written that no lease covers, before they are renamed into place."""
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
                links.write_file(source, staged, data, durable=durable)
                grown += self._move(source, staged, key)
            if durable:
                for folder in grown:
                    links.sync_folder(self.root, folder)
        except (OSError, StoreError) as error:
            if held and isinstance(error, OSError):
                held.check(error, staged)
            self._unstage(staging, staged)
            if isinstance(error, StoreError):
                raise
            raise unfit(error, target) from error

    def get(self, key: str, *, most: int | None = None) -> bytes:
        """See `Store.get`."""
        folder, name, path = self._split(key)
        try:
            with opened(self.root, folder) as at:
                return links.read_file(at, name, path, most=most)
        except _MISSING as error:
            raise MissingKey("nothing is stored here", where=str(path)) from error
        except OSError as error:
            raise unfit(error, path) from error

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
                return _stat(links.check_file(look(at, name), path))
        except _MISSING:
            return None
        except OSError as error:
            raise unfit(error, path) from error

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
                            links.check_file(look(at, entry.name), self.root / key)
                        else:
                            folders.append(key + "/")
            except FileNotFoundError:
                continue
            except OSError as error:
                raise unfit(error, self.root / folder) from error

    def delete(self, key: str, *, lease: Lease | None = None) -> None:
        """See `Store.delete`."""
        folder, name, path = self._split(key)
        held = _of_folder(lease)
        try:
            if held:
                self._withdraw(key, held)
            else:
                with opened(self.root, folder) as at:
                    links.refuse_link(at, name, path)
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=at)
            if key.count("/") > 1:  # a checkpoint's own folder, left empty; tables keep theirs
                outer, _, inner = folder.rpartition("/")
                with opened(self.root, outer) as at:
                    os.rmdir(inner, dir_fd=at)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise unfit(error, path) from error

    def locate(self, key: str) -> str:
        """See `Store.locate`; relative if it lies below the current folder."""
        path, here = links.path_below(self.root, checked_key(key)), Path.cwd()
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
                    links.refuse_link(at, name, path)
                    os.replace(staged, name, src_dir_fd=source, dst_dir_fd=at)
                return grown
            except FileNotFoundError:
                # A `delete` may have found the folder empty, or a successor taken the file.
                tries += 1
                if tries == _TRIES or not links.exists(source, staged):
                    raise

    def _withdraw(self, key: str, lease: FolderLease) -> None:
        """Removes a file, if there is one, by way of the lease's folder."""
        (folder, name, path), staged = self._split(key), uuid.uuid4().hex
        try:
            with opened(self.root, lease.place) as own:
                # So that no folder, which a rename would carry off, can take its place.
                links.write_file(own, staged, b"")
                with opened(self.root, folder) as at:
                    links.refuse_link(at, name, path)
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
