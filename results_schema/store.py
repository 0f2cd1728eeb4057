"""The store: put, get, list and delete behind everything that is kept.

A put is atomic: the bytes are written aside, on the same file system, and renamed into place, so
that a reader sees the old file or the new one and never a torn one. A put under a lease is staged
in the lease's own folder; when the lease has been taken over that folder is gone, the rename
fails, and the writer learns that it is superseded (`results_schema.lease`). A delete under a lease
goes the other way: the file is renamed into that folder, and removed there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import uuid
from pathlib import Path
from typing import Protocol

from results_schema import layout, surface_tables, tables
from results_schema.errors import CorruptData, MissingKey, StoreError
from results_schema.faults import unfit
from results_schema.lease import Lease, Leases
from results_schema.links import path_below

_KEY = re.compile(f"{layout.NAME}(/{layout.NAME})*")
_TRIES = 100
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class Store(Protocol):
    """What every store can do. Keys are relative paths with forward slashes (`layout`)."""

    leases: Leases

    def put(
        self, key: str, data: bytes, *, lease: Lease | None = None, durable: bool = False
    ) -> None:
        """Replaces what lies under the key, atomically.

        Args:
            key: Where.
            data: What.
            lease: If given, write only while this lease holds.
            durable: Whether the bytes must survive a power cut from here on.

        Raises:
            Superseded: The lease has been taken over; nothing was written.
            StoreError: It could not be written; what was there before still is.
        """
        ...

    def get(self, key: str, *, most: int | None = None) -> bytes:
        """The bytes under the key.

        Args:
            key: Where.
            most: How many there may be: of more, none is read, lest they fill the memory.

        Raises:
            MissingKey: There are none.
            CorruptData: There are more than there may be.
            StoreError: They could not be read.
        """
        ...

    def has(self, key: str) -> bool:
        """Whether anything lies under the key."""
        ...

    def list(self, prefix: str) -> list[str]:
        """All keys below a folder's key, which ends in a slash; sorted; empty if there is none.

        What other programs leave there under a name that is no key, such as `.DS_Store`, is
        left out.
        """
        ...

    def delete(self, key: str, *, lease: Lease | None = None) -> None:
        """Removes what lies under the key, if anything does.

        Args:
            key: Where.
            lease: If given, remove only while this lease holds.

        Raises:
            Superseded: The lease has been taken over; nothing was removed.
            StoreError: It could not be removed.
        """
        ...

    def locate(self, key: str) -> str:
        """Where a person finds what lies under the key."""
        ...


class LocalStore:
    """A store in a folder, local or shared (NFS)."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()
        self.leases = Leases(self.root / layout.LEASES)

    def __repr__(self) -> str:
        return f"LocalStore({str(self.root)!r})"

    def put(
        self, key: str, data: bytes, *, lease: Lease | None = None, durable: bool = False
    ) -> None:
        """See `Store.put`."""
        target = self._path(key)
        folder = lease.folder if lease else self.root / ".staging"
        staged = folder / uuid.uuid4().hex
        try:
            grown = _make_folder(folder) if lease is None else []
            _write(staged, data, durable)
            grown += _move(staged, target)
            if durable:
                for parent in grown:
                    _sync_folder(parent)
        except OSError as error:
            if lease is not None:
                lease.check(error, staged)
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

    def list(self, prefix: str) -> list[str]:
        """See `Store.list`."""
        if not (prefix.endswith("/") and _KEY.fullmatch(prefix[:-1])):
            raise StoreError(f"{prefix!r} is no folder's key", fix="name one, such as trials/")
        found: list[str] = []
        folders = [prefix]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.root / folder) as entries:
                    for entry in entries:
                        key = folder + entry.name
                        if not _KEY.fullmatch(key):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(key + "/")
                        else:
                            found.append(key)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise unfit(error, self.root / folder) from error
        return sorted(found)

    def delete(self, key: str, *, lease: Lease | None = None) -> None:
        """See `Store.delete`."""
        path = self._path(key)
        try:
            if lease is None:
                path.unlink(missing_ok=True)
            else:
                _withdraw(path, lease)
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
        if not _KEY.fullmatch(key):
            raise StoreError(
                f"{key!r} is no key", fix="use names of letters, digits and ._@+- between slashes"
            )
        return path_below(self.root, key)


def open_store(location: str | Path) -> LocalStore:
    """The store at a location, made ready: its tables exist, if only without rows.

    Args:
        location: A folder, made if it is not there.

    Raises:
        StoreError: It can't be made, read or written, or is no folder path.
    """
    if "://" in str(location) or not str(location):
        raise StoreError(
            "a store is a folder",
            where=str(location),
            fix="use --store with a path, such as results",
        )
    store = LocalStore(location)
    for folder, schema in (
        (layout.METRICS, tables.METRICS),
        (layout.TRIALS, tables.TRIALS),
        (layout.MEMBERS, tables.MEMBERS),
        (layout.SURFACES, surface_tables.SURFACES),
        (layout.POINTS, surface_tables.POINTS),
        (layout.WANTED, surface_tables.WANTED),
    ):
        empty = tables.to_parquet([], schema)
        try:
            current = store.get(layout.schema(folder)) == empty
        except MissingKey:
            current = False
        if not current:
            store.put(layout.schema(folder), empty, durable=True)
    return store


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


def _withdraw(path: Path, lease: Lease) -> None:
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
