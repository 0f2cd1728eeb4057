"""What the operating system refuses, told as an error of the store with its cure."""

from __future__ import annotations

import errno
from pathlib import Path

from results_schema.errors import StoreError, StoreFull

_FULL = {
    errno.ENOSPC: "free some space there: nothing written so far is lost",
    errno.EDQUOT: "free some of your quota: nothing written so far is lost",
}
_CURES = {
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


def unfit(error: OSError, path: Path) -> StoreError:
    """The error to raise when something of the store could not be read or written."""
    number, what = error.errno or 0, error.strerror or str(error)
    if number in _FULL:
        return StoreFull(what, where=str(path), fix=_FULL[number])
    fix = _CURES.get(number, "mend the store's file system, then launch again")
    return StoreError(what, where=str(path), fix=fix)
