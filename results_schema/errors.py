"""The errors of nas-sweep: what is wrong, where, and how to fix it.

Every error that a user can cause derives from `NasSweepError`, so that the command line prints
it without a traceback and exits with the class's `exit_code`.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

_FIXES = {
    errno.ENOSPC: "free some space there: nothing written so far is lost",
    errno.EDQUOT: "free some of your quota: nothing written so far is lost",
    errno.EROFS: "the file system is read-only; use --store with a folder that can be written",
    errno.EACCES: "you may not write there; use --store with a folder of your own",
    errno.EPERM: "you may not write there; use --store with a folder of your own",
    errno.ENOTDIR: "a file is in the way; move it, or use --store with another folder",
    errno.EISDIR: "a folder is in the place of this file; move it out of the store",
    errno.ENAMETOOLONG: "use --store with a shorter path",
    errno.EXDEV: "keep all of a store on one file system",
    errno.ENOTEMPTY: "stop the worker that keeps writing there, then launch again",
    errno.EBUSY: "stop the worker that keeps writing there, then launch again",
}


class NasSweepError(Exception):
    """Base of all expected errors.

    Args:
        what: What is wrong, with the offending value.
        where: The file and line, key or path it was found at.
        fix: What the reader can do about it.
    """

    exit_code = 1
    # Of the failure of a trial or a surface, as the store records it.
    kind: Literal["full", "store", "data", "spec", "machine", "error"] = "error"

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)
        self.what, self.where, self.fix = what, where, fix

    def __reduce__(self) -> tuple[Any, ...]:
        # Without it, unpickling in another process would pass `where` and `fix` by position.
        return partial(type(self), where=self.where, fix=self.fix), (self.what,)

    def __str__(self) -> str:
        message = f"{self.where}: {self.what}" if self.where else self.what
        return f"{message}\n  {self.fix}" if self.fix else message


class SpecError(NasSweepError, ValueError):
    """A genotype, recipe or other part of a trial is not valid."""

    exit_code = 2
    kind = "spec"


class ConfigError(NasSweepError):
    """An experiment, profile or command line is not valid."""

    exit_code = 2


class StoreError(NasSweepError):
    """The store cannot be read or written: missing, read-only, full or corrupt."""

    exit_code = 3
    kind = "store"


class StoreFull(StoreError):
    """The store's disk or a quota is full; the store can be written again once there is space."""

    kind = "full"


class LinkRefused(StoreError):
    """A link is in the store, which could lead out of it."""


class MissingKey(StoreError, KeyError):
    """The store holds nothing under this key."""

    __str__ = NasSweepError.__str__


class CorruptData(StoreError):
    """A file of the store does not match its checksum or its schema."""


class DataError(NasSweepError):
    """A data set is missing, incomplete or damaged."""

    exit_code = 3
    kind = "data"


class MachineError(NasSweepError):
    """This machine lacks what was asked for: a GPU, a precision, a browser."""

    exit_code = 3
    kind = "machine"


class ProgramError(NasSweepError):
    """A program's own code has failed; `where` is the line that raised."""


class Superseded(NasSweepError):
    """Another worker has taken over this worker's item; it must write nothing more."""


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end: its handler raises this, so that all is left in order.

    Args:
        signum: The signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.exit_code = 128 + signum

    @classmethod
    def handle(cls, signum: int, frame: object) -> None:
        """Raise it: a handler for `signal.signal`."""
        raise cls(signum)


def exit_code(error: BaseException | None) -> int:
    """Return 143 after SIGTERM, 129 after SIGHUP, and 130 after Ctrl-C."""
    return error.exit_code if isinstance(error, Interrupted) else 130


def store_error(error: OSError, path: Path) -> StoreError:
    """Return the error to raise when the operating system refuses to read or write a store.

    Args:
        error: What it raised.
        path: The file or folder.
    """
    kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
    fix = _FIXES.get(error.errno or 0, "repair the store's file system, then launch again")
    return kind(error.strerror or str(error), where=str(path), fix=fix)


def suggest(word: object, known: Iterable[str], *, otherwise: str | None = None) -> str:
    """Return a fix for a misspelt name: the most similar names if there are any, and all of them.

    Args:
        word: The misspelt name; its case does not matter.
        known: The names that there are.
        otherwise: If given, the fix where no name is similar; the names are then not listed.
    """
    known = list(known)
    by_fold = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(str(word).casefold(), by_fold, n=3)
    near = f"did you mean {' or '.join(by_fold[fold] for fold in close)}?" if close else ""
    if otherwise is not None or not known:
        return near or otherwise or ""
    return f"{near} use {'one of ' if len(known) > 1 else ''}{', '.join(known)}".lstrip()


def check_size(size: int, most: int | None, where: str) -> None:
    """Raise `CorruptData` if something has more bytes than it may have."""
    if most is not None and size > most:
        raise CorruptData(f"it has {size} bytes, not {most} at most", where=where)
