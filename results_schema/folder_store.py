"""A store in a folder, local or shared (NFS).

A put is atomic: the bytes are written aside, on the same file system, and renamed into place, so
that a reader sees the old file or the new one and never a torn one. A put under a lease is staged
in the lease's own folder; when the lease has been taken over that folder is gone, the rename
fails, and the writer learns that it is superseded (`results_schema.folder_leases`). A delete under
a lease goes the other way: the file is renamed into that folder, and removed there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from results_schema import layout
from results_schema.errors import CorruptData, MissingKey
from results_schema.faults import unfit
from results_schema.folder_leases import FolderLease, FolderLeases
from results_schema.keys import checked_key, folder_key, is_key
from results_schema.lease import Lease
from results_schema.links import path_below
from results_schema.stat import Stat

_TRIES = 100
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


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
        target = self._path(key)
        held = _of_folder(lease)
        folder = held.folder if held else self.root / ".staging"
        staged = folder / uuid.uuid4().hex
        try:
            grown = [] if held else _make_folder(folder)
            _write(staged, data, durable)
            grown += _move(staged, target)
            if durable:
                for parent in grown:
                    _sync_folder(parent)
        except OSError as error:
            if held:
                held.check(error, staged)
            with contextlib.suppress(OSError):
                staged.unlink()
            raise unfit(error, target) from error

    def get(self, key: str, *, most: int | None = None) -> bytes:
        """See `Store.get`."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if most is not None and size > most:
                    raise CorruptData(f"it has {size} bytes, not {most} at most", where=str(path))
                return file.read()
        except _MISSING as error:
            raise MissingKey("nothing is stored here", where=str(path)) from error
        except OSError as error:
            raise unfit(error, path) from error

    def has(self, key: str) -> bool:
        """See `Store.has`."""
        path = self._path(key)
        try:
            return path.is_file()
        except OSError as error:
            raise unfit(error, path) from error

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
        path = self._path(key)
        try:
            told = path.stat()
        except _MISSING:
            return None
        except OSError as error:
            raise unfit(error, path) from error
        return _stat(told) if stat.S_ISREG(told.st_mode) else None

    def _below(self, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        folders = [folder_key(prefix)]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.root / folder) as entries:
                    for entry in entries:
                        key = folder + entry.name
                        if not is_key(key):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(key + "/")
                        else:
                            yield key, entry
            except FileNotFoundError:
                continue
            except OSError as error:
                raise unfit(error, self.root / folder) from error

    def delete(self, key: str, *, lease: Lease | None = None) -> None:
        """See `Store.delete`."""
        path, held = self._path(key), _of_folder(lease)
        try:
            if held is None:
                path.unlink(missing_ok=True)
            else:
                _withdraw(path, held)
            if key.count("/") > 1:  # a checkpoint's own folder, left empty; tables keep theirs
                path.parent.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise unfit(error, path) from error

    def locate(self, key: str) -> str:
        """See `Store.locate`; relative if it lies below the current folder."""
        path, here = self._path(key), Path.cwd()
        return str(path.relative_to(here) if path.is_relative_to(here) else path)

    def _path(self, key: str) -> Path:
        return path_below(self.root, checked_key(key))


def _of_folder(lease: Lease | None) -> FolderLease | None:
    if not (lease is None or isinstance(lease, FolderLease)):
        raise TypeError(f"the lease on {lease.item} is another store's")
    return lease


def _stat(told: os.stat_result) -> Stat:
    return Stat(told.st_size, f"{told.st_mtime_ns}-{told.st_size}", time.time() - told.st_mtime)


def _write(path: Path, data: bytes, durable: bool) -> None:
    with path.open("xb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def _move(staged: Path, target: Path) -> list[Path]:
    """Renames a file into place and says which folders got a new entry by it."""
    grown, tries = [target.parent], 0
    while True:
        try:
            grown += _make_folder(target.parent)
            staged.replace(target)
            return grown
        except FileNotFoundError:
            # A `delete` may have found the folder empty, or a successor may have taken the file.
            tries += 1
            if tries == _TRIES or not staged.exists():
                raise


def _withdraw(path: Path, lease: FolderLease) -> None:
    """Removes a file, if there is one, by way of the lease's folder."""
    staged = lease.folder / uuid.uuid4().hex
    try:
        staged.touch()  # so that no folder, which a rename would carry off, can take its place
        path.replace(staged)
    except OSError as error:
        lease.check(error, staged)
        if error.errno != errno.ENOENT:
            raise
    finally:
        with contextlib.suppress(OSError):  # what is left goes with the lease
            staged.unlink()


def _make_folder(folder: Path) -> list[Path]:
    """Makes a folder with its parents and says which folders got a new entry by it."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            path.mkdir()
    return [path.parent for path in missing]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
