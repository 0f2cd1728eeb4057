"""Temporary files of a launch: one folder that no other user can enter, removed when it ends.

The folder of a launch that was killed stays behind. The next launch removes it, and only such
folders: a folder belongs to a dead launch of this user if it holds a lock file that a launch on
this host has made and that no process keeps locked. The system releases a lock with its process,
so neither a reused process id nor a folder of another program can be mistaken for one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "nas-sweep-"
LOCK = "launch.lock"
"""Holds the host's name, as a folder for temporary files may be shared by hosts, locks not."""
FALLBACK = "/tmp"

_DEEPEST = "/nas-sweep-12345678/1/session_2026-11-29_07-53-12_235402_1234567/sockets/plasma_store"
"""Ray's longest path in such a folder; a Unix socket's is bounded by 107 or 103 bytes."""
LONGEST = (107 if sys.platform == "linux" else 103) - len(_DEEPEST)
"""Length of the path of a folder in which there is room for it."""


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder with mode 0700, and remove it when the context is left.

    It is made in the folder for temporary files, or in `/tmp` if that one's path is too long for
    the sockets of Ray. Folders of dead launches are removed from both.
    """
    usual = tempfile.gettempdir()
    for place in {usual, FALLBACK}:
        remove_dead(Path(place))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=usual if fits(usual) else FALLBACK))
    try:
        with _locked(folder):
            try:
                yield folder
            finally:
                _empty(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fits(place: str) -> bool:
    """Return whether Ray's sockets have short enough paths in a folder that is made here."""
    return len(os.fsencode(place)) <= LONGEST


def remove_dead(place: Path) -> None:
    """Remove the folders that dead launches of this user on this host have left here."""
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX):
                with contextlib.suppress(OSError):
                    _remove_if_dead(Path(entry.path))


def _remove_if_dead(folder: Path) -> None:
    about = folder.lstat()
    # A folder that others may write could have been filled by them.
    if not _ours(about, stat.S_IFDIR) or about.st_mode & 0o077:
        return
    with os.fdopen(os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)) as lock:
        if not _ours(os.fstat(lock.fileno()), stat.S_IFREG) or lock.read() != socket.gethostname():
            return
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises OSError while its launch lives
        _empty(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _ours(about: os.stat_result, kind: int) -> bool:
    return stat.S_IFMT(about.st_mode) == kind and about.st_uid == os.getuid()


def _empty(folder: Path) -> None:
    """Remove everything but the lock, so that a removal that is cut off can be repeated."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    staged = folder / f".{LOCK}"
    with staged.open("x") as lock:
        lock.write(socket.gethostname())
        lock.flush()
        # A file system without locks leaves the folder without a lock file: it is never swept.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            staged.rename(folder / LOCK)  # only now, when it is locked
        yield
