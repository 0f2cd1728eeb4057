"""Decoded data sets on disk: arrays to map into memory, and what verifies them.

A set lies in a folder of its own, `<name>-v<preprocessing>`, which is written aside and renamed,
so that it is whole or not there. Every process of a machine maps the same pages.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from results_schema.errors import DataError
from workers.data.catalog import Dataset

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Training pixels uint8 [N, C, H, W] and labels int64 [N], then the test set's."""

_ARRAYS = ("train_pixels", "train_labels", "test_pixels", "test_labels")
_ABOUT = "about.json"


def place(root: Path, about: Dataset) -> Path:
    """The folder of a decoded set; it is there only when it is whole."""
    return root / f"{about.name}-v{about.preprocessing}"


def size(about: Dataset) -> int:
    """Bytes of its arrays."""
    return (about.train + about.test) * (about.channels * about.size**2 + 8)


def write(root: Path, about: Dataset, split: Split) -> None:
    """Keeps a decoded set; the caller holds its lock.

    Raises:
        OSError: It could not be written; nothing is left that `read` would take.
    """
    target = place(root, about)
    # Where a lock does not reach other machines, each still writes into a folder of its own.
    aside = root / f".{target.name}-{platform.node()}"
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
    aside.mkdir()
    try:
        arrays = {
            name: _write_array(aside / f"{name}.npy", array)
            for name, array in zip(_ARRAYS, split, strict=True)
        }
        with (aside / _ABOUT).open("wb") as file:
            file.write(json.dumps({**_identity(about), "arrays": arrays}, indent=1).encode())
            _sync(file)
        try:
            aside.rename(target)
        except OSError:
            if not target.is_dir():  # else another machine was quicker
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read(root: Path, about: Dataset) -> Split:
    """A decoded set, every byte verified, mapped into memory; writing to it changes no file.

    Raises:
        DataError: A file is missing, damaged, or not as the catalog describes it.
    """
    folder = place(root, about)
    fix = f"delete {folder}; the next run decodes the archive again"
    try:
        said = json.loads((folder / _ABOUT).read_bytes())
        digests = {name: said["arrays"][name]["sha256"] for name in _ARRAYS}
        sound = said == {**_identity(about), "arrays": said["arrays"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"can't be read: {error}", where=str(folder / _ABOUT), fix=fix) from error
    if not sound:
        raise DataError("belongs to another data set", where=str(folder / _ABOUT), fix=fix)
    first, second, third, fourth = (
        _read_array(folder / f"{name}.npy", name, digests[name], about, fix) for name in _ARRAYS
    )
    return first, second, third, fourth


def _identity(about: Dataset) -> dict[str, Any]:
    return {"name": about.name, "preprocessing": about.preprocessing}


def _write_array(path: Path, array: np.ndarray) -> dict[str, Any]:
    """Writes an .npy file; `numpy.save` says nothing if the disk fills with its last bytes."""
    array = np.ascontiguousarray(array)
    header = io.BytesIO()
    npy.write_array_header_1_0(header, npy.header_data_from_array_1_0(array))
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in (header.getvalue(), array.data.cast("B")):
            digest.update(part)
            file.write(part)
        _sync(file)
    return {"shape": array.shape, "dtype": array.dtype.name, "sha256": digest.hexdigest()}


def _read_array(path: Path, name: str, digest: str, about: Dataset, fix: str) -> np.ndarray:
    try:
        found = _sha256(path)
        if found != digest:
            raise DataError("is damaged: its SHA-256 does not hold", where=str(path), fix=fix)
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"can't be read: {error}", where=str(path), fix=fix) from error
    split, content = name.split("_")
    count = about.train if split == "train" else about.test
    pixels = (count, about.channels, about.size, about.size)
    shape, dtype = (pixels, "uint8") if content == "pixels" else ((count,), "int64")
    if array.shape != shape or array.dtype != dtype:
        raise DataError(
            f"is {array.dtype} {array.shape}, not {dtype} {shape}", where=str(path), fix=fix
        )
    return array


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
