"""Published data sets: the archive each comes as, and how its bytes become arrays.

CIFAR is read from its authors' binary archives, so that nothing is unpickled. Tiny-ImageNet-200 is
read from the zip of Stanford's CS231n, image by image, so that nothing is extracted.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from results_schema.errors import DataError
from workers.data.archives import Archive, open_zip, read_tar
from workers.data.catalog import DATASETS, Dataset, Split

_ROOT = "tiny-imagenet-200"


@dataclass(frozen=True)
class Source:
    """A data set that is read from an archive.

    Attributes:
        about: Its entry in the catalog.
        archive: The file it is published as.
        decode: Turns the archive, open at its start, into what the entry describes.
        package: What decoding needs beside NumPy: the name it is imported by, or "".
    """

    about: Dataset
    archive: Archive
    decode: Callable[[BinaryIO, Dataset], Split]
    package: str = ""

    def read(self, path: Path) -> Split:
        """Return the arrays of the archive at a path, once it is verified.

        Raises:
            DataError: It is not the published file, or holds something else; the error names it.
        """
        with self.archive.open(path) as file:
            try:
                return self.decode(file, self.about)
            except DataError as error:
                raise DataError(error.what, where=str(path), fix=error.fix) from error


def decode_cifar10(file: BinaryIO, about: Dataset) -> Split:
    """Return the images of CIFAR-10's binary archive, which must hold what `about` describes."""
    folder = "cifar-10-batches-bin"
    train = [f"{folder}/data_batch_{number}.bin" for number in range(1, 6)]
    return _decode_cifar(file, about, train, f"{folder}/test_batch.bin", label_bytes=1)


def decode_cifar100(file: BinaryIO, about: Dataset) -> Split:
    """Return the images of CIFAR-100's binary archive with their fine labels."""
    folder = "cifar-100-binary"
    return _decode_cifar(file, about, [f"{folder}/train.bin"], f"{folder}/test.bin", label_bytes=2)


def _decode_cifar(
    file: BinaryIO, about: Dataset, train: Sequence[str], test: str, label_bytes: int
) -> Split:
    """Return the records of an archive as arrays.

    A record is one image: its label (CIFAR-100: the coarse label, then the fine one), then the red,
    green and blue plane, row by row, a byte each (https://www.cs.toronto.edu/~kriz/cifar.html).
    """
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


def decode_tiny_imagenet(file: BinaryIO, about: Dataset) -> Split:
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
    """Return members and labels of the training images, by class and then by name."""
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
    """Return members and labels of the validation images, as val_annotations.txt lists them."""
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
    """Return the pixels of a JPEG, [3, size, size]."""
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


CIFAR10 = Source(
    DATASETS["cifar10"],
    Archive(
        file="cifar-10-binary.tar.gz",
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        size=170_052_171,
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        pickled="cifar-10-python.tar.gz",
    ),
    decode_cifar10,
)
CIFAR100 = Source(
    DATASETS["cifar100"],
    Archive(
        file="cifar-100-binary.tar.gz",
        url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        size=168_513_733,
        md5="03b5dce01913d631647c71ecec9e9cb8",
        pickled="cifar-100-python.tar.gz",
    ),
    decode_cifar100,
)
TINY_IMAGENET = Source(
    DATASETS["tiny_imagenet"],
    # Size and MD5 are those of the published file; its publishers state neither.
    Archive(
        file="tiny-imagenet-200.zip",
        url="https://cs231n.stanford.edu/tiny-imagenet-200.zip",
        size=248_100_043,
        md5="90528d7ca1a48142e341f4ef8d21d0de",
    ),
    decode_tiny_imagenet,
    package="PIL",
)

SOURCES = {source.about.name: source for source in (CIFAR10, CIFAR100, TINY_IMAGENET)}
"""Every data set that is read from an archive."""
