"""Files below a store's folder, reached without following a link.

Whoever can write a store could put a link into it that leads another user's commands to any folder.
Looking for links before a path is used leaves time to put one there in between. So each folder is
opened from its parent's descriptor with O_NOFOLLOW, and a file is used by its name in a descriptor.
The store's own folder may be a link, as its user named it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from results_schema.errors import LinkRefused, StoreError, check_size

STAGING = ".staging"
"""Where files are written that no lease covers, before they are renamed into place."""
NEW_LEASE = ".new-"
"""How the name of a folder begins that is renamed to an item's to take its lease."""

GONE = {errno.ENOENT, errno.ESTALE, errno.ENOTDIR}
"""Errors of a path of which a part no longer exists."""
FILLED = {errno.ENOTEMPTY, errno.EEXIST}
"""Errors of a folder that is not empty."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
# Without O_NONBLOCK, opening a named pipe that somebody put there would wait for its writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_IS_LINK = {errno.ELOOP, errno.EMLINK, errno.ENOTDIR}
"""Errors of O_NOFOLLOW on a link, some of which have other causes too."""
_PATIENCE = 5.0
"""Seconds for which to keep emptying a folder into which another process writes."""


@dataclass(frozen=True)
class Folder:
    """An opened folder. All methods raise `OSError` where the system refuses.

    Attributes:
        handle: Its descriptor.
        path: Its path, for errors.
    """

    handle: int
    path: Path

    @contextlib.contextmanager
    def entered(self, name: str) -> Iterator[Folder]:
        """Open a folder in this one for the length of the context, unless it is a link."""
        inner = self.open(name, _FOLDER | os.O_NOFOLLOW)
        try:
            yield Folder(inner, self.path / name)
        finally:
            os.close(inner)

    def open(self, name: str, flags: int) -> int:
        """Return the descriptor of an entry, or raise `LinkRefused`."""
        try:
            return os.open(name, flags, dir_fd=self.handle)
        except OSError as error:
            if error.errno in _IS_LINK:
                self.refuse_link(name)
            raise

    def links(self) -> dict[str, bool]:
        """Return the names of all entries, and of each whether it is a link."""
        with os.scandir(self.handle) as entries:
            return {entry.name: entry.is_symlink() for entry in entries}

    def status(self, name: str) -> os.stat_result:
        """Return the status of an entry, for a link that of the link itself."""
        return os.stat(name, dir_fd=self.handle, follow_symlinks=False)

    def exists(self, name: str) -> bool:
        """Return whether there is an entry of this name, be it a link."""
        try:
            self.status(name)
        except OSError as error:
            if error.errno in GONE:
                return False
            raise
        return True

    def refuse_link(self, name: str) -> None:
        """Raise `LinkRefused` if an entry is a link."""
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISLNK(self.status(name).st_mode):
                raise _link(self.path / name)

    def file_status(self, name: str, handle: int | None = None) -> os.stat_result:
        """Return the status of a file, by its descriptor if it is open.

        Raises:
            StoreError: It is a link, a folder, or a device, pipe or socket.
        """
        found = self.status(name) if handle is None else os.fstat(handle)
        if stat.S_ISREG(found.st_mode):
            return found
        if stat.S_ISLNK(found.st_mode):
            raise _link(self.path / name)
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device, pipe or socket"
        raise StoreError(
            f"{kind} is in the place of this file",
            where=str(self.path / name),
            fix="move it out of the store, then launch again",
        )

    def read(self, name: str, *, most: int | None = None) -> bytes:
        """Return the bytes of a file.

        Raises:
            StoreError: It is a link, a folder or no regular file.
            CorruptData: It has more bytes than `most`; none is read.
        """
        handle = self.open(name, _FILE)
        try:
            check_size(self.file_status(name, handle).st_size, most, str(self.path / name))
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(handle)

    def write(self, name: str, data: bytes, *, durable: bool = False, new: bool = True) -> None:
        """Write a file.

        Args:
            name: Name of the file.
            data: Its bytes.
            durable: Whether they must survive a power cut, given that the folder's entries do.
            new: Whether the file must not exist; otherwise its bytes are replaced.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_EXCL if new else os.O_TRUNC)
        with os.fdopen(os.open(name, flags, 0o666, dir_fd=self.handle), "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())

    def move(self, name: str, target: Folder, new: str) -> None:
        """Rename a file into another folder, over a file that may be there but not over a link."""
        target.refuse_link(new)
        os.replace(name, new, src_dir_fd=self.handle, dst_dir_fd=target.handle)

    def remove(self, name: str) -> None:
        """Remove an entry, with all that is in it if it is a folder; never a link's target.

        Another process may still be writing into it.
        """
        end = time.monotonic() + _PATIENCE
        while self.exists(name):
            try:
                if stat.S_ISDIR(self.status(name).st_mode):
                    shutil.rmtree(name, dir_fd=self.handle)
                else:
                    os.unlink(name, dir_fd=self.handle)
            except OSError as error:
                # `rmtree` raises an error without a number if a link took the folder's place.
                passing = error.errno is None or error.errno in GONE | FILLED | {errno.EBUSY}
                if not passing or time.monotonic() > end:
                    raise


@contextlib.contextmanager
def opened(root: Path, folder: str = "", made: list[Path] | None = None) -> Iterator[Folder]:
    """Open a folder for the length of the context.

    Args:
        root: The store's folder.
        folder: Path of the folder below it, with forward slashes; the root itself if empty.
        made: If given, missing folders are made, and those that got a new entry by it are added.

    Raises:
        LinkRefused: A link is on the path.
        OSError: The folder can't be opened or made.
    """
    if made is not None and (missing := [p for p in (root, *root.parents) if not p.exists()]):
        root.mkdir(parents=True, exist_ok=True)
        made += [path.parent for path in missing]
    with contextlib.ExitStack() as outer:
        at = Folder(os.open(root, _FOLDER), root)
        outer.callback(os.close, at.handle)
        for name in folder.split("/") if folder else ():
            try:
                at = outer.enter_context(at.entered(name))
            except FileNotFoundError:
                if made is None:
                    raise
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=at.handle)
                    made.append(at.path)
                at = outer.enter_context(at.entered(name))
        yield at


def sync_folder(root: Path, path: Path) -> None:
    """Make a folder's entries survive a power cut: the root's, one's below it, or one's above."""
    inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else ""
    with opened(root if inside else path, inside) as at:
        os.fsync(at.handle)


def path_below(root: Path, key: str) -> Path:
    """Return the path of a key, for people and other programs, which open it on their own.

    Raises:
        LinkRefused: A link is on it.
    """
    path = root
    for name in key.split("/"):
        path /= name
        if path.is_symlink():
            raise _link(path)
    return path


def _link(where: Path) -> LinkRefused:
    return LinkRefused(
        "this is a link, and a store has none: it could lead anywhere",
        where=str(where),
        fix="put there what it leads to; --store itself may be a link",
    )
