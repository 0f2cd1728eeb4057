"""Where data sets lie on this machine, and how they come there: found, decoded or downloaded.

Decoded arrays are used as they lie. Else one process of the machine decodes the archive that lies
there, or downloads it first, while the others wait for it.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from results_schema.errors import DataError
from workers.data import archives, decoded, download
from workers.data.catalog import describe, is_synthetic
from workers.data.decoded import Split
from workers.data.sources import SOURCES, Source

VARIABLE = "NAS_SWEEP_DATA"
"""Environment variable that names the folder."""
DEFAULT = "~/.cache/nas-sweep/data"

_PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn"}
_ELSEWHERE = f"set {VARIABLE} to a folder that can hold the data sets"


def locate(folder: str | Path | None = None) -> Path:
    """The data folder: the one given, else what NAS_SWEEP_DATA names, else the default."""
    return Path(folder or os.environ.get(VARIABLE) or DEFAULT).expanduser().absolute()


def arrays(source: Source, folder: str | Path | None = None) -> Split:
    """The data set's arrays, verified and mapped into memory.

    Args:
        source: Where it comes from.
        folder: See `locate`.

    Raises:
        DataError: It is damaged, or neither there nor to be had.
    """
    root, about = locate(folder), source.about
    if not decoded.place(root, about).exists():
        _require(source.package, about.name)
        with _alone(root, about.name):
            if not decoded.place(root, about).exists():
                _decode(source, root)
    return decoded.read(root, about)


def ready(name: str, folder: str | Path | None = None) -> None:
    """Checks in a moment that a data set is there or can be had; reads and downloads nothing.

    Args:
        name: Of any data set in the catalog.
        folder: See `locate`.

    Raises:
        SpecError: The catalog has no such data set.
        DataError: It can't be had, and what to do about it.
    """
    describe(name)
    if name in SOURCES:
        check(SOURCES[name], folder)
    elif not is_synthetic(name):
        _require("sklearn", name)


def check(source: Source, folder: str | Path | None = None) -> None:
    """`ready` for a source that the catalog need not know."""
    root, about = locate(folder), source.about
    if decoded.place(root, about).exists():
        return
    _require(source.package, about.name)
    with _alone(root, about.name, wait=False):
        pass
    path = root / source.archive.file
    needed = decoded.size(about)
    if path.exists():
        source.archive.check_size(path)
    else:
        needed += source.archive.size
        download.check_offer(source.archive, root)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DataError(
            f"{about.name} needs {needed:,} bytes, and {free:,} are free",
            where=str(root),
            fix=f"make room, or {_ELSEWHERE}",
        )


def _decode(source: Source, root: Path) -> None:
    path = root / source.archive.file
    try:
        if not path.exists():
            download.download(source.archive, root)
        with archives.open_verified(path, source.archive) as file:
            decoded.write(root, source.about, source.decode(file, source.about))
    except OSError as error:
        raise _unwritable(root, error) from error


@contextmanager
def _alone(root: Path, name: str, *, wait: bool = True) -> Iterator[None]:
    """Makes the folder and holds the data set's lock, which ends with the process at the latest."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / f".{name}.lock").open("w")
        if wait:
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        raise _unwritable(root, error) from error
    with file:
        yield


def _unwritable(root: Path, error: OSError) -> DataError:
    return DataError(
        f"can't be written: {error.strerror or error}",
        where=str(root),
        fix=f"make room or mend its permissions, or {_ELSEWHERE}",
    )


def _require(package: str, name: str) -> None:
    if package and importlib.util.find_spec(package) is None:
        raise DataError(
            f"{name} can't be read without {_PACKAGES.get(package, package)}",
            fix=f"pip install {_PACKAGES.get(package, package)}",
        )
