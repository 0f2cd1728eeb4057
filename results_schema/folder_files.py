"""Access to what is below a store's folder, step by step and without following a link.

Whoever can write a store could put a link into it that leads another user's commands to any folder.
Looking for links before a path is used leaves time to put one there in between. So each folder is
opened from its parent's descriptor with O_NOFOLLOW, and a file is used by its name in a descriptor.
The store's own folder may be a link, as its user named it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from results_schema import layout
from results_schema.errors import CorruptData, LinkRefused, StoreError, store_error

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
# Without O_NONBLOCK, opening a named pipe that somebody put there would wait for its writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
GONE = {errno.ENOENT, errno.ESTALE, errno.ENOTDIR}
"""What a system answers when something on the path is no more."""
FILLED = {errno.ENOTEMPTY, errno.EEXIST}
"""What it answers when a folder is not empty."""
_NO_FOLDER = {errno.ELOOP, errno.EMLINK, errno.ENOTDIR}
"""What it answers to O_NOFOLLOW on a link."""
_PATIENCE = 5.0
"""Seconds for which to keep emptying a folder into which another process writes."""


@contextlib.contextmanager
def opened(root: Path, folder: str = "") -> Iterator[int]:
    """Open a folder for the length of the context, and return its descriptor.

    Args:
        root: The store's folder.
        folder: Path of the folder below it, with forward slashes; the root itself if empty.

    Raises:
        LinkRefused: A link is on the path.
        OSError: The folder can't be opened.
    """
    handle, where = os.open(root, _FOLDER), root
    try:
        for name in folder.split("/") if folder else ():
            where /= name
            inner = _open_folder(handle, name, where)
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def entered(at: int, name: str, where: Path) -> Iterator[int]:
    """Open a folder inside an opened one; see `opened`.

    Args:
        at: Descriptor of the outer folder.
        name: Name of the inner one.
        where: Path of the inner one, for errors.
    """
    handle = _open_folder(at, name, where)
    try:
        yield handle
    finally:
        os.close(handle)


def make_folders(root: Path, folder: str) -> list[Path]:
    """Make a folder with its parents, and return the folders that got a new entry by it.

    Raises:
        LinkRefused: A link is on the path.
        OSError: A folder can't be made, or another process removes it again and again.
    """
    grown = [] if root.is_dir() else _make_root(root)
    handle, where = os.open(root, _FOLDER), root
    try:
        for name in folder.split("/"):
            try:
                inner = _open_folder(handle, name, where / name)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=handle)
                    grown.append(where)
                inner = _open_folder(handle, name, where / name)
            os.close(handle)
            handle, where = inner, where / name
    finally:
        os.close(handle)
    return grown


def sync_folder(root: Path, path: Path) -> None:
    """Make a folder's entries survive a power cut: the root's, one's below it, or one's above."""
    if path.is_relative_to(root):
        inside = "" if path == root else path.relative_to(root).as_posix()
        with opened(root, inside) as at:
            os.fsync(at)
        return
    handle = os.open(path, _FOLDER)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_file(at: int, name: str, where: Path, *, most: int | None = None) -> bytes:
    """Return the bytes of a file in an opened folder.

    Raises:
        StoreError: It is a link, a folder or no regular file.
        CorruptData: It has more bytes than `most`; none is read.
        OSError: It can't be read.
    """
    try:
        handle = os.open(name, _FILE, dir_fd=at)
    except OSError as error:
        if error.errno in _NO_FOLDER:
            refuse_link(at, name, where)
        raise
    try:
        found = check_file(os.fstat(handle), where)
        if most is not None and found.st_size > most:
            raise CorruptData(f"it has {found.st_size} bytes, not {most} at most", where=str(where))
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def write_file(at: int, name: str, data: bytes, *, durable: bool = False, new: bool = True) -> None:
    """Write a file in an opened folder.

    Args:
        at: Descriptor of the folder.
        name: Name of the file.
        data: Its bytes.
        durable: Whether they must survive a power cut, given that the folder's entries do.
        new: Whether the file must not exist; otherwise its bytes are replaced.

    Raises:
        OSError: It can't be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_EXCL if new else os.O_TRUNC)
    with os.fdopen(os.open(name, flags, 0o666, dir_fd=at), "wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def look(at: int, name: str) -> os.stat_result:
    """Return the status of an entry of an opened folder, of a link that of the link itself.

    Raises:
        OSError: There is no such entry, or the status can't be read.
    """
    return os.stat(name, dir_fd=at, follow_symlinks=False)


def exists(at: int, name: str) -> bool:
    """Return whether an opened folder has an entry, be it a link; False if that can't be seen."""
    try:
        look(at, name)
    except OSError:
        return False
    return True


def check_file(found: os.stat_result, where: Path) -> os.stat_result:
    """Return the status of a regular file.

    Raises:
        LinkRefused: It is a link's.
        StoreError: It is a folder's, or that of a device, pipe or socket.
    """
    if stat.S_ISREG(found.st_mode):
        return found
    if stat.S_ISLNK(found.st_mode):
        raise _link(where)
    kind = "a folder is in the place of this file" if stat.S_ISDIR(found.st_mode) else _SPECIAL
    raise StoreError(kind, where=str(where), fix="move it out of the store, then launch again")


_SPECIAL = "a device, pipe or socket is in the place of this file"


def refuse_link(at: int, name: str, where: Path) -> None:
    """Return if an entry of an opened folder is no link, or there is no such entry.

    Raises:
        LinkRefused: It is one.
    """
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISLNK(look(at, name).st_mode):
            raise _link(where)


def remove_tree(at: int, name: str) -> None:
    """Remove an entry of an opened folder, with all that is in it if it is a folder.

    Another process may still be writing into it. Links are removed themselves, and their targets
    stay.

    Raises:
        OSError: It can't be removed.
    """
    end = time.monotonic() + _PATIENCE
    while (mode := _mode(at, name)) is not None:
        try:
            if stat.S_ISDIR(mode):
                shutil.rmtree(name, dir_fd=at)
            else:
                os.unlink(name, dir_fd=at)
        except OSError as error:
            # `rmtree` raises an error without a number if a link took the folder's place.
            passing = error.errno is None or error.errno in GONE | FILLED | {errno.EBUSY}
            if not passing or time.monotonic() > end:
                raise


def path_below(root: Path, key: str) -> Path:
    """Return the path of a key, for people and other programs: they open it on their own.

    Raises:
        LinkRefused: A link is on it.
    """
    path = root
    for name in key.split("/"):
        path /= name
        if path.is_symlink():
            raise _link(path)
    return path


def _open_folder(at: int, name: str, where: Path) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
    except OSError as error:
        if error.errno in _NO_FOLDER:
            refuse_link(at, name, where)
        raise


def _mode(at: int, name: str) -> int | None:
    try:
        return look(at, name).st_mode
    except OSError as error:
        if error.errno in GONE:
            return None
        raise


def _make_root(root: Path) -> list[Path]:
    missing: list[Path] = []
    while not root.exists():
        missing.append(root)
        root = root.parent
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            path.mkdir()
    return [path.parent for path in missing]


def _link(where: Path) -> LinkRefused:
    return LinkRefused(
        "this is a link, and a store has none: it could lead anywhere",
        where=str(where),
        fix="put there what it leads to; --store itself may be a link",
    )


STAGING = ".staging"
"""Where files are written that no lease covers, before they are renamed into place."""
STAGED = "staged files"
NEVER_TAKEN = "leases never taken"
EMPTY = "empty folders of leases"
LINKS = "links among the leases"

_LEASES = layout.LEASES.rstrip("/")
_ITEM = re.compile(layout.NAME)


@dataclass(frozen=True)
class Abandoned:
    """A file, link or folder that nobody needs.

    Attributes:
        kind: One of this module's constants.
        path: Path below the store's folder.
        size: Bytes of the files in it.
    """

    kind: str
    path: str
    size: int


def abandoned_files(root: Path, old: float) -> list[Abandoned]:
    """Return what may be removed.

    Args:
        root: The store's folder.
        old: Seconds after which nobody is still writing a staged file or taking a lease.

    Raises:
        StoreError: It can't be read, or a link is in the place of one of the two folders.
    """
    found = [*_staged(root, old), *_among_leases(root, old)]
    order = [STAGED, NEVER_TAKEN, EMPTY, LINKS]
    return sorted(found, key=lambda one: (order.index(one.kind), one.path))


def remove_abandoned(root: Path, leftover: Abandoned) -> None:
    """Remove what `leftovers` has just returned; what can't be removed is found again later."""
    folder, _, name = leftover.path.rpartition("/")
    with contextlib.suppress(OSError, LinkRefused), opened(root, folder) as at:
        if leftover.kind == EMPTY:
            os.rmdir(name, dir_fd=at)  # fails if the lease has been taken
        elif leftover.kind != LINKS or stat.S_ISLNK(look(at, name).st_mode):
            remove_tree(at, name)


def _staged(root: Path, old: float) -> Iterator[Abandoned]:
    for at, name in _entries(root, STAGING):
        size, age = _measure(at, name)
        if age > old:
            yield Abandoned(STAGED, f"{STAGING}/{name}", size)


def _among_leases(root: Path, old: float) -> Iterator[Abandoned]:
    for at, name in _entries(root, _LEASES):
        path = f"{_LEASES}/{name}"
        if name.startswith(".new-"):
            size, age = _measure(at, name)
            if age > old:
                yield Abandoned(NEVER_TAKEN, path, size)
        elif _ITEM.fullmatch(name):
            tokens = _tokens(at, name, root / path)
            if tokens == []:
                yield Abandoned(EMPTY, path, 0)
            links = [path] if tokens is None else [f"{path}/{t}" for t, link in tokens if link]
            yield from (Abandoned(LINKS, link, 0) for link in links)


def _tokens(at: int, item: str, where: Path) -> list[tuple[str, bool]] | None:
    """The entries of an item's folder, and which are links; None if the item itself is a link."""
    try:
        with entered(at, item, where) as inner, os.scandir(inner) as entries:
            return [(entry.name, entry.is_symlink()) for entry in entries]
    except LinkRefused:
        return None
    except OSError as error:
        if error.errno in GONE:
            return [("", False)]  # given back meanwhile, or a file
        raise store_error(error, where) from error


def _entries(root: Path, folder: str) -> Iterator[tuple[int, str]]:
    """The names in a folder, each with the folder's descriptor; none if there is no folder."""
    try:
        with opened(root, folder) as at:
            with os.scandir(at) as entries:
                names = sorted(entry.name for entry in entries)
            for name in names:
                yield at, name
    except OSError as error:
        if error.errno not in GONE:
            raise store_error(error, root / folder) from error


def _measure(at: int, name: str) -> tuple[int, float]:
    """Bytes of an entry, and seconds since anything in it changed; 0 if it changes just now.

    The time of a folder itself changes only when something is put into it.
    """
    try:
        own = look(at, name)
        size, newest = 0 if stat.S_ISDIR(own.st_mode) else own.st_size, own.st_mtime
        if stat.S_ISDIR(own.st_mode):
            for _, folders, files, inner in os.fwalk(name, onerror=_raise, dir_fd=at):
                for one in (*folders, *files):
                    found = look(inner, one)
                    newest = max(newest, found.st_mtime)
                    size += 0 if stat.S_ISDIR(found.st_mode) else found.st_size
    except OSError:
        return 0, 0.0
    return size, time.time() - newest


def _raise(error: OSError) -> None:
    raise error
