"""Where data sets are on this machine, and how they get there: cached, decoded or downloaded.

Each published data set has one file of decoded arrays, `<name>-v<preprocessing>.safetensors`, which
is written aside and renamed, so that it is whole or missing; its content is verified whenever it
is read, and a damaged file counts as a missing one. Every process of a machine maps the same pages.

Where the file is missing, one process of the machine decodes the archive in the folder, or
downloads it first, while the others wait for it. A download resumes after a break and is kept only
if its MD5 is the published one. `torchvision.datasets.utils` starts each download from nothing,
waits forever on a silent server and turns to plain HTTP when the disk is full, so the standard
library is used here.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import math
import os
import platform
import shutil
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException
from io import BufferedReader
from pathlib import Path
from urllib.error import URLError

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from results_schema.errors import DataError
from workers.data.catalog import Archive, Dataset, Split

VARIABLE = "NAS_SWEEP_DATA"
"""Environment variable that names the folder."""

DEFAULT = "~/.cache/nas-sweep/data"

TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""

_TRIES = 3
_BLOCK = 1 << 20
_NETWORK_ERRORS = URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError
_PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn"}
_ELSEWHERE = f"set {VARIABLE} to a folder that can hold the data sets"


def locate(folder: str | Path | None = None) -> Path:
    """Return the data folder: the one given, else what NAS_SWEEP_DATA names, else the default."""
    return Path(folder or os.environ.get(VARIABLE) or DEFAULT).expanduser().absolute()


def arrays(about: Dataset, folder: str | Path | None = None) -> Split:
    """Return a data set's arrays; those of an archive are verified and mapped into memory.

    Writing to them changes no file.

    Raises:
        DataError: The archive is damaged, or neither there nor to be had; or the cached file can't
            be read.
    """
    if about.archive is None and not about.sha256:
        return about.make()
    root = locate(folder)
    split = _read(root, about)
    if split is None:
        _require(about)
        with _locked(root, about.name):
            # Another process may have built it while this one waited.
            split = _read(root, about)
            if split is None:
                _make(about, root)
                split = _read(root, about)
    if split is None:
        path = str(_cached(root, about))
        raise DataError("is damaged as soon as it is written", where=path, fix=_ELSEWHERE)
    return split


def check_ready(about: Dataset, folder: str | Path | None = None) -> None:
    """Check in a moment that a data set is there or can be had; download nothing.

    Raises:
        DataError: It can't be had, and what to do about it.
    """
    root, archive = locate(folder), about.archive
    if archive is None and not about.sha256:
        return _require(about)
    if _cached(root, about).exists():
        return None
    _require(about)
    # Opening the lock shows that the folder can be written; a decoding process may hold it long.
    with _locked(root, about.name, wait=False):
        pass
    if archive is None:
        return None
    path = root / archive.file
    shapes = _shapes(about).values()
    needed = sum(math.prod(shape) * np.dtype(kind).itemsize for kind, shape in shapes)
    if path.exists():
        with _open(path) as file:
            _check_size(archive, file)
    else:
        needed += archive.size
        check_offer(archive, root)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DataError(
            f"{about.name} needs {needed:,} bytes, and {free:,} are free",
            where=str(root),
            fix=f"free some disk space, or {_ELSEWHERE}",
        )
    return None


def check_offer(archive: Archive, root: Path) -> None:
    """Ask the server for an archive's size, not for the archive.

    Raises:
        DataError: The server can't be reached or offers something else.
    """
    request = urllib.request.Request(archive.url, method="HEAD")
    with _network(archive, root), urllib.request.urlopen(request, timeout=10) as answer:
        size = answer.headers.get("Content-Length")
    if size != str(archive.size):
        raise _refused(archive, f"the server offers {size} bytes, not {archive.size}", root)


def download(archive: Archive, root: Path) -> None:
    """Put an archive into a folder; a broken download leaves its part for the next call.

    Raises:
        DataError: The server can't be reached or offers something else.
        OSError: The folder can't be written.
    """
    part = root / f"{archive.file}.part"
    for left in reversed(range(_TRIES)):
        try:
            with _network(archive, root):
                _resume(archive, part)
            break
        except DataError:
            if not left:
                raise
    with part.open("rb") as file:
        found = _md5(file)
    if found != archive.md5:
        # Every further try would resume from these bytes, so they are not kept.
        part.unlink()
        raise _refused(archive, f"the download has MD5 {found}, not {archive.md5}", root)
    part.rename(root / archive.file)


def read_archive(about: Dataset, archive: Archive, path: Path) -> Split:
    """Return the arrays of the archive at a path, once its size and MD5 are the published ones.

    Raises:
        DataError: It is not the published file, or holds something else; the error names it.
    """
    with _open(path) as file:
        _check_size(archive, file)
        # Hashing and reading the same open file leaves no moment to swap it in between.
        found = _md5(file)
        if found != archive.md5:
            raise _unpublished(archive, f"is damaged: its MD5 is {found}", path)
        file.seek(0)
        try:
            return about.make(file)
        except DataError as error:
            raise DataError(error.what, where=str(path), fix=error.fix) from error


def _resume(archive: Archive, part: Path) -> None:
    with part.open("ab") as file:
        if file.tell() > archive.size:
            file.truncate(file.seek(0))
        # Asking for a range behind the end is an error to a server, so a full part is not sent.
        if file.tell() == archive.size:
            return
        request = urllib.request.Request(archive.url)
        request.add_header("Range", f"bytes={file.tell()}-")
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            if answer.status != HTTPStatus.PARTIAL_CONTENT:
                file.truncate(file.seek(0))  # the server can only begin at the first byte
            # A server that sends more than was published cannot fill the disk.
            while block := answer.read(min(_BLOCK, archive.size - file.tell())):
                file.write(block)
        if file.tell() < archive.size:
            raise HTTPException(f"broke off after {file.tell():,} bytes")


@contextmanager
def _network(archive: Archive, root: Path) -> Iterator[None]:
    try:
        yield
    except _NETWORK_ERRORS as error:
        what = f"can't be downloaded: {getattr(error, 'reason', error)}"
        raise _refused(archive, what, root) from error


def _refused(archive: Archive, what: str, root: Path) -> DataError:
    return DataError(what, where=archive.url, fix=_by_hand(archive, root))


def _unpublished(archive: Archive, what: str, path: Path) -> DataError:
    advice = _by_hand(archive, path.parent)
    fix = f"delete it, and the next run downloads it, or {advice}"
    return DataError(what, where=str(path), fix=fix)


def _by_hand(archive: Archive, root: Path) -> str:
    """Return how to get an archive without this program."""
    file, url, size, md5, pickled = archive
    advice = f"put {file} ({size:,} bytes, MD5 {md5}) from {url} into {root}"
    if pickled and (root / pickled).exists():
        advice += f"; {pickled} is not read, as unpickling runs the code in a file"
    return advice


def _check_size(archive: Archive, file: BufferedReader) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size != archive.size:
        what = "is incomplete" if size < archive.size else "is another file"
        what += f": it has {size:,} bytes, not {archive.size:,}"
        raise _unpublished(archive, what, Path(file.name))


def _open(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror}", where=str(path)) from error


def _md5(file: BufferedReader) -> str:
    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _cached(root: Path, about: Dataset) -> Path:
    return root / f"{about.name}-v{about.preprocessing}.safetensors"


def _shapes(about: Dataset) -> dict[str, tuple[str, tuple[int, ...]]]:
    image = (about.channels, about.size, about.size)
    return {
        "train_pixels": ("uint8", (about.train, *image)),
        "train_labels": ("int64", (about.train,)),
        "test_pixels": ("uint8", (about.test, *image)),
        "test_labels": ("int64", (about.test,)),
    }


def _metadata(about: Dataset, split: Split) -> dict[str, str]:
    version = str(about.preprocessing)
    return {"name": about.name, "preprocessing": version, "sha256": sha256(split)}


def sha256(split: Split) -> str:
    """Return the SHA-256 of a data set's arrays, without their shapes."""
    digest = hashlib.sha256()
    for part in split:
        digest.update(part.data.cast("B"))
    return digest.hexdigest()


def _write(root: Path, about: Dataset, split: Split) -> None:
    """Write the cached file; the caller holds the data set's lock."""
    target = _cached(root, about)
    # A lock may not reach other machines that share the folder, so each writes a file of its own
    # and the last rename wins: both hold the same arrays, and a mapped file outlives its name.
    aside = root / f".{target.name}-{platform.node()}"
    types = [dtype for dtype, _ in _shapes(about).values()]
    split = Split(*map(np.ascontiguousarray, split, types))
    try:
        # This also empties what a killed process left here.
        save_file(split._asdict(), aside, _metadata(about, split))
        # Some file systems report a full disk only here, and a rename may outrun the data.
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.rename(target)
    finally:
        aside.unlink(missing_ok=True)


def _read(root: Path, about: Dataset) -> Split | None:
    """Return the cached arrays; None where there are none, or where one bit of them differs."""
    path, shapes = _cached(root, about), _shapes(about)
    try:
        # As torch's tensors, because those are mapped, and copied on write.
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            split = Split(*(file.get_tensor(name).numpy() for name in shapes))
    except (FileNotFoundError, NotADirectoryError, SafetensorError, TypeError):
        return None
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror or error}", where=str(path)) from error
    found = [(part.dtype.name, part.shape) for part in split]
    sound = found == list(shapes.values()) and metadata == _metadata(about, split)
    sound = sound and about.sha256 in ("", metadata["sha256"])
    return split if sound else None


def kept(about: Dataset) -> Path:
    """Return the path of the file that has a data set's decoded arrays, once they are there."""
    return _cached(locate(), about)


def keep(about: Dataset, split: Split) -> None:
    """Write a data set's decoded arrays, unless they are there.

    Raises:
        DataError: The folder can't be written.
    """
    root = locate()
    with _locked(root, about.name):
        if _read(root, about) is None:
            with _writing(root):
                _write(root, about, split)


def note(path: Path, text: str) -> None:
    """Write a small file of the data folder at once; raise `DataError` if it can't be written."""
    with _writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}-{platform.node()}-{os.getpid()}")
        aside.write_text(text)
        aside.rename(path)


def _make(about: Dataset, root: Path) -> None:
    with _writing(root):
        archive = about.archive
        if archive is None:
            return _write(root, about, about.make())
        path = root / archive.file
        if not path.exists():
            download(archive, root)
        return _write(root, about, read_archive(about, archive, path))


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
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


def _unwritable(root: Path, error: Exception) -> DataError:
    fix = f"free some disk space or fix its permissions, or {_ELSEWHERE}"
    reason = getattr(error, "strerror", None) or error
    return DataError(f"can't be written: {reason}", where=str(root), fix=fix)


def _require(about: Dataset) -> None:
    if about.package and importlib.util.find_spec(about.package) is None:
        package = _PACKAGES.get(about.package, about.package)
        what = f"{about.name} can't be read without {package}"
        raise DataError(what, fix=f"pip install {package}")
