"""How the bytes of published archives become arrays; each function takes an open archive.

CIFAR is read from its authors' binary archives, so that nothing is unpickled. Tiny-ImageNet-200 is
read from the zip of Stanford's CS231n, image by image, so that nothing is extracted. Pillow decodes
it, as torchvision's decoder can't refuse a vast image by its header, before it takes memory.
"""

from __future__ import annotations

import gzip
import io
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath, PureWindowsPath
from typing import BinaryIO

import numpy as np

from results_schema.errors import DataError
from workers.data.catalog import Dataset, Split

_ROOT = "tiny-imagenet-200"

_SLACK = 1 << 20
"""Bytes allowed beside the images: readmes, names of classes, headers."""

_REPLACE = "this is not the published archive: delete it, and the next run downloads it"

_READ_ERRORS = EOFError, NotImplementedError, OSError, UnicodeError, zlib.error


def cifar10(file: BinaryIO, about: Dataset) -> Split:
    """Return the images of CIFAR-10's binary archive, which must hold what `about` describes."""
    folder = "cifar-10-batches-bin"
    train = [f"{folder}/data_batch_{number}.bin" for number in range(1, 6)]
    return _cifar(file, about, train, f"{folder}/test_batch.bin", label_bytes=1)


def cifar100(file: BinaryIO, about: Dataset) -> Split:
    """Return the images of CIFAR-100's binary archive with their fine labels."""
    folder = "cifar-100-binary"
    return _cifar(file, about, [f"{folder}/train.bin"], f"{folder}/test.bin", label_bytes=2)


def _cifar(
    file: BinaryIO, about: Dataset, train: Sequence[str], test: str, label_bytes: int
) -> Split:
    # A record is one image: its label (CIFAR-100: the coarse label, then the fine one), then its
    # planes, row by row, a byte each (https://www.cs.toronto.edu/~kriz/cifar.html).
    shape = (about.channels, about.size, about.size)
    record = label_bytes + int(np.prod(shape))
    members = read_tar(file, {*train, test}, (about.train + about.test) * record)

    def images(names: Sequence[str], count: int) -> tuple[np.ndarray, np.ndarray]:
        # Checked by member: two wrong lengths could add up to a right one, every record shifted.
        for name in names:
            if len(members[name]) % record:
                raise DataError(f"{name} has {len(members[name]):,} bytes, no multiple of {record}")
        rows = np.concatenate([np.frombuffer(members[name], np.uint8) for name in names])
        rows = rows.reshape(-1, record)  # [N, label_bytes + C · H · W]
        labels = rows[:, label_bytes - 1].astype(np.int64)
        if len(rows) != count:
            raise DataError(f"{' and '.join(names)} have {len(rows)} images, not {count}")
        if labels.max() >= about.classes:
            image = int(labels.argmax())
            raise DataError(
                f"image {image} of {names[0]} has label {labels[image]}, "
                f"not one below {about.classes}",
            )
        return np.ascontiguousarray(rows[:, label_bytes:]).reshape(-1, *shape), labels

    return Split(*images(train, about.train), *images([test], about.test))


def tiny_imagenet(file: BinaryIO, about: Dataset) -> Split:
    """Return the images of Tiny-ImageNet's zip, about 1.4 GB in memory; needs Pillow.

    `wnids.txt` names the classes, whose sorted order gives their labels. Training images are at
    `train/<class>/images/*.JPEG`, and `val/val_annotations.txt` gives each validation image's
    class; the validation set serves as test set. Grey images get three equal planes.
    """
    size = (about.train + about.test) * about.channels * about.size**2
    with open_zip(file, size) as archive:
        classes = _read(archive, "wnids.txt").decode().split()
        if not len(classes) == len(set(classes)) == about.classes:
            raise DataError(
                f"wnids.txt names {len(set(classes))} classes in {len(classes)} words, "
                f"not {about.classes}",
            )
        labels = {name: label for label, name in enumerate(sorted(classes))}
        train = _training_members(archive, labels, about.train // about.classes)
        test = _validation_members(archive, labels)
        if len(test) != about.test:
            raise DataError(f"val_annotations.txt names {len(test)} images, not {about.test}")
        return Split(*_images(archive, train, about), *_images(archive, test, about))


def _training_members(
    archive: zipfile.ZipFile, labels: dict[str, int], count: int
) -> list[tuple[str, int]]:
    found: dict[str, list[str]] = {name: [] for name in labels}
    for member in archive.namelist():
        if image := re.fullmatch(rf"{_ROOT}/(train/([^/]+)/images/[^/]+\.JPEG)", member):
            found.setdefault(image[2], []).append(image[1])
    for name, members in found.items():
        if name not in labels or len(members) != count:
            expected = count if name in labels else "none, for wnids.txt doesn't name it"
            raise DataError(f"class {name} has {len(members)} training images, not {expected}")
    return [(member, labels[name]) for name in labels for member in sorted(found[name])]


def _validation_members(archive: zipfile.ZipFile, labels: dict[str, int]) -> list[tuple[str, int]]:
    found: dict[str, int] = {}
    text = _read(archive, "val/val_annotations.txt").decode()
    for number, line in enumerate(text.splitlines(), start=1):
        image, name = (*line.split(), "", "")[:2]
        member = f"val/images/{image}"
        if name not in labels or member in found:
            why = "an image that came before" if member in found else "no class of wnids.txt"
            raise DataError(f"line {number} of val_annotations.txt names {why}: {line[:80]!r}")
        found[member] = labels[name]
    return list(found.items())


def _images(
    archive: zipfile.ZipFile, members: list[tuple[str, int]], about: Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels uint8 [N, C, H, W] and labels int64 [N]."""
    # Filled in place: a list of images would hold the data set twice.
    pixels = np.empty((len(members), about.channels, about.size, about.size), np.uint8)
    for image, (member, _) in zip(pixels, members, strict=True):
        image[:] = _decode_jpeg(member, _read(archive, member), about.size)
    return pixels, np.array([label for _, label in members], np.int64)


def _decode_jpeg(member: str, data: bytes, size: int) -> np.ndarray:
    from PIL import Image

    bomb = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            # The header alone gives the size, so a vast image is refused before it takes memory.
            if image.size == (size, size):
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
            what = f"is {image.width}×{image.height}, not {size}×{size}"
    except (OSError, SyntaxError, *bomb) as error:
        what = f"is no valid JPEG: {error}"
    raise DataError(f"{member} {what}")


def _read(archive: zipfile.ZipFile, member: str) -> bytes:
    try:
        return archive.read(f"{_ROOT}/{member}")
    except KeyError as error:
        raise DataError(f"lacks {_ROOT}/{member}") from error


def read_tar(file: BinaryIO, wanted: Collection[str], most: int) -> dict[str, memoryview]:
    """Return the wanted members of a gzipped tar of at most about `most` bytes unpacked.

    Raises:
        DataError: A member is missing or refused (`_check_members`), or the archive can't be read.
    """
    where, most = file.name, most + _SLACK
    with _reading(where):
        with gzip.open(file) as unpacked:
            # Bounded as a whole: tarfile itself reads names and sparse maps of any length.
            data = memoryview(unpacked.read(most + _SLACK + 1))
        if len(data) > most + _SLACK:
            raise DataError("unpacks to more than the data set", where=where, fix=_REPLACE)
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            members = [member for member in archive if not member.isdir()]
    kinds = [(each.name, each.isreg() and not each.issparse(), each.size) for each in members]
    names = _check_members(kinds, where, most)
    found = {
        name: data[member.offset_data : member.offset_data + member.size]
        for name, member in zip(names, members, strict=True)
        if name in wanted
    }
    if missing := sorted(set(wanted) - set(found)):
        raise DataError(f"lacks {', '.join(missing)}", where=where, fix=_REPLACE)
    return found


@contextmanager
def open_zip(file: BinaryIO, most: int) -> Iterator[zipfile.ZipFile]:
    """Open a zip of at most about `most` bytes unpacked; errors in reading become `DataError`.

    Raises:
        DataError: A member is refused (`_check_members`), or the archive can't be read.
    """
    with _reading(file.name), zipfile.ZipFile(file) as archive:
        kinds = []
        for member in archive.infolist():
            # Only archives made on Unix record what kind of file a member is.
            plain = stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG)
            encrypted = member.flag_bits & 1
            if not member.is_dir():
                kinds.append((member.filename, plain and not encrypted, member.file_size))
        _check_members(kinds, file.name, most + _SLACK)
        yield archive


def _check_members(members: Sequence[tuple[str, bool, int]], where: str, most: int) -> list[str]:
    """Check names, kinds and sizes before a byte is read; return names in their plainest spelling.

    A verified archive is the published one, but a mistaken checksum must not fill the memory.
    """
    names: dict[str, None] = {}
    total = 0
    for member, plain, size in members:
        # Windows' separators too, as a zip made there has them and a path is joined there.
        path = PurePosixPath(member.replace("\\", "/"))
        total += size
        if path.is_absolute() or PureWindowsPath(member).drive or ".." in path.parts:
            what = "is outside the archive"
        elif not plain:
            what = "is no plain file, or encrypted"
        elif str(path) in names:
            what = "comes twice"
        elif total > most:
            what = f"makes it unpack to more than {most:,} bytes"
        else:
            names[str(path)] = None
            continue
        raise DataError(f"member {member!r} {what}", where=where, fix=_REPLACE)
    return list(names)


@contextmanager
def _reading(where: str) -> Iterator[None]:
    try:
        yield
    except (*_READ_ERRORS, tarfile.TarError, zipfile.BadZipFile) as error:
        raise DataError(f"can't be read: {error}", where=where, fix=_REPLACE) from error
