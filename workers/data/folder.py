"""Where data sets are on this machine, and how they get there: cached, decoded or downloaded.

Each published data set has one file of decoded arrays, `<name>-v<preprocessing>.safetensors`, which
is written aside and renamed, so that it is whole or missing; its content is verified whenever it
is read, and a damaged file counts as a missing one. Every process of a machine maps the same pages.

Where the file is missing, one process of the machine decodes the archive in the folder, or
downloads it first, while the others wait for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import math
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from results_schema.errors import DataError
from workers.data.catalog import Dataset, Split, describe, is_synthetic
from workers.data.sources import SOURCES, Source

VARIABLE = "NAS_SWEEP_DATA"
"""Environment variable that names the folder."""

DEFAULT = "~/.cache/nas-sweep/data"

_PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn"}
_ELSEWHERE = f"set {VARIABLE} to a folder that can hold the data sets"


def locate(folder: str | Path | None = None) -> Path:
    """Return the data folder: the one given, else what NAS_SWEEP_DATA names, else the default."""
    return Path(folder or os.environ.get(VARIABLE) or DEFAULT).expanduser().absolute()


def arrays(source: Source, folder: str | Path | None = None) -> Split:
    """Return a data set's arrays, verified and mapped into memory; writing to them changes no file.

    Raises:
        DataError: The archive is damaged, or neither there nor to be had; or the cached file can't
            be read.
    """
    root = locate(folder)
    split = _read(root, source.about)
    if split is None:
        _require(source.package, source.about.name)
        with _locked(root, source.about.name):
            # Another process may have built it while this one waited.
            split = _read(root, source.about)
            if split is None:
                _decode(source, root)
                split = _read(root, source.about)
    if split is None:
        path = cached(root, source.about)
        raise DataError("is damaged as soon as it is written", where=str(path), fix=_ELSEWHERE)
    return split


def ready(name: str, folder: str | Path | None = None) -> None:
    """Check in a moment that a data set of the catalog is there or can be had; download nothing.

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
    """Check as `ready` does, for a source that the catalog need not have."""
    root, about = locate(folder), source.about
    if cached(root, about).exists():
        return
    _require(source.package, about.name)
    # Opening the lock shows that the folder can be written; a decoding process may hold it long.
    with _locked(root, about.name, wait=False):
        pass
    path = root / source.archive.file
    needed = sum(math.prod(shape) * dtype.itemsize for dtype, shape in _layout(about).values())
    if path.exists():
        source.archive.check_size(path)
    else:
        needed += source.archive.size
        source.archive.check_offer(root)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DataError(
            f"{about.name} needs {needed:,} bytes, and {free:,} are free",
            where=str(root),
            fix=f"free some disk space, or {_ELSEWHERE}",
        )


def cached(root: Path, about: Dataset) -> Path:
    """Return the path of a data set's decoded arrays."""
    return root / f"{about.name}-v{about.preprocessing}.safetensors"


def _layout(about: Dataset) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Return type and shape of each array, in the order of the file.

    Labels come first: eight divides the header's length, and so the place of each of them.
    """
    image = (about.channels, about.size, about.size)
    return {
        "train_labels": (np.dtype(np.int64), (about.train,)),
        "test_labels": (np.dtype(np.int64), (about.test,)),
        "train_pixels": (np.dtype(np.uint8), (about.train, *image)),
        "test_pixels": (np.dtype(np.uint8), (about.test, *image)),
    }


def _header(about: Dataset, digest: str) -> tuple[bytes, dict[str, slice]]:
    """Return the header of a safetensors file, and the bytes of each array behind it.

    The header follows from the catalog and the digest alone, so that a reader compares all of it.
    """
    places, start = {}, 0
    metadata = {"name": about.name, "preprocessing": str(about.preprocessing), "sha256": digest}
    header: dict[str, Any] = {"__metadata__": metadata}
    for name, (dtype, shape) in _layout(about).items():
        stop = start + math.prod(shape) * dtype.itemsize
        kind = {"int64": "I64", "uint8": "U8"}[dtype.name]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, stop]}
        places[name] = slice(start, stop)
        start = stop
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, places


def _write(root: Path, about: Dataset, split: Split) -> None:
    """Write the cached file; the caller holds the data set's lock.

    Raises:
        OSError: It could not be written; nothing is left that `_read` would take.
    """
    target = cached(root, about)
    # A lock may not reach other machines that share the folder, so each writes a file of its own
    # and the last rename wins: both hold the same bytes, and a mapped file outlives its name.
    aside = root / f".{target.name}-{platform.node()}"
    digest = hashlib.sha256()
    try:
        # "wb" also empties what a killed process left here.
        with aside.open("wb") as file:
            # A file cut off here has no digest yet, so it could not be taken for a whole one.
            file.write(_header(about, "0" * 64)[0])
            for name, (dtype, _) in _layout(about).items():
                data = np.ascontiguousarray(getattr(split, name), dtype).data.cast("B")
                digest.update(data)
                file.write(data)
            file.seek(0)
            file.write(_header(about, digest.hexdigest())[0])
            # Some file systems report a full disk only here, and a rename may outrun the data.
            file.flush()
            os.fsync(file.fileno())
        aside.rename(target)
    finally:
        aside.unlink(missing_ok=True)


def _read(root: Path, about: Dataset) -> Split | None:
    """Return the cached arrays; None where there are none, or where one bit of them differs.

    Raises:
        DataError: The file can't be read.
    """
    path = cached(root, about)
    try:
        # Copy on write: a process that writes to an array gets a page of its own.
        content = np.memmap(path, np.uint8, mode="c")
    except (FileNotFoundError, NotADirectoryError, ValueError):  # an empty file can't be mapped
        return None
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror}", where=str(path)) from error
    # A digest is 64 bytes wherever it stands, so any gives the header's length.
    size = len(_header(about, "0" * 64)[0])
    header, places = _header(about, hashlib.sha256(content[size:].data).hexdigest())
    last = max(place.stop for place in places.values())
    if content[:size].tobytes() != header or len(content) != size + last:
        return None
    return Split(
        **{
            name: content[size:][places[name]].view(dtype).reshape(shape)
            for name, (dtype, shape) in _layout(about).items()
        }
    )


def _decode(source: Source, root: Path) -> None:
    path = root / source.archive.file
    try:
        if not path.exists():
            source.archive.download(root)
        _write(root, source.about, source.read(path))
    except OSError as error:
        raise _unwritable(root, error) from error


@contextmanager
def _locked(root: Path, name: str, *, wait: bool = True) -> Iterator[None]:
    """Make the folder and hold the data set's lock, which ends with the process at the latest."""
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
        fix=f"free some disk space or fix its permissions, or {_ELSEWHERE}",
    )


def _require(package: str, name: str) -> None:
    if package and importlib.util.find_spec(package) is None:
        raise DataError(
            f"{name} can't be read without {_PACKAGES.get(package, package)}",
            fix=f"pip install {_PACKAGES.get(package, package)}",
        )
