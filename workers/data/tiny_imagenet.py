"""Tiny-ImageNet-200, from the zip of Stanford's CS231n; the validation set serves as test set.

`wnids.txt` names the classes, whose sorted order gives their labels. Training images lie at
`train/<class>/images/*.JPEG`, and `val/val_annotations.txt` gives each validation image's class.
Some images are grey; they become colour images of three equal planes. The size and the MD5 are
those of the published file; its publishers state neither.
"""

from __future__ import annotations

import io
import re
import zipfile
from typing import BinaryIO

import numpy as np

from results_schema.errors import DataError
from workers.data.archives import Archive, open_zip
from workers.data.catalog import Dataset
from workers.data.decoded import Split

TINY_IMAGENET = Archive(
    file="tiny-imagenet-200.zip",
    url="https://cs231n.stanford.edu/tiny-imagenet-200.zip",
    size=248_100_043,
    md5="90528d7ca1a48142e341f4ef8d21d0de",
)
_ROOT = "tiny-imagenet-200"


def decode_tiny_imagenet(file: BinaryIO, about: Dataset) -> Split:
    """The images of the zip, about 1.4 GB in memory; needs Pillow.

    Args:
        file: The archive, open at its start.
        about: What it must hold.

    Raises:
        DataError: It holds something else.
    """
    size = (about.train + about.test) * about.channels * about.size**2
    with open_zip(file, size) as archive:
        classes = _read(archive, "wnids.txt").decode().split()
        if not len(classes) == len(set(classes)) == about.classes:
            raise DataError(
                f"wnids.txt names {len(set(classes))} classes in {len(classes)} words, "
                f"not {about.classes}",
                where=file.name,
            )
        labels = {name: label for label, name in enumerate(sorted(classes))}
        train = _training(archive, labels, about.train // about.classes)
        test = _validation(archive, labels)
        if len(test) != about.test:
            raise DataError(
                f"val_annotations.txt names {len(test)} images, not {about.test}", where=file.name
            )
        return *_images(archive, train, about), *_images(archive, test, about)


def _training(
    archive: zipfile.ZipFile, labels: dict[str, int], count: int
) -> list[tuple[str, int]]:
    """Members and labels of the training images, by class and then by name."""
    found: dict[str, list[str]] = {name: [] for name in labels}
    for member in archive.namelist():
        if image := re.fullmatch(rf"{_ROOT}/(train/([^/]+)/images/[^/]+\.JPEG)", member):
            found.setdefault(image[2], []).append(image[1])
    for name, members in found.items():
        if name not in labels or len(members) != count:
            expected = count if name in labels else "none, for wnids.txt doesn't name it"
            raise DataError(
                f"class {name} has {len(members)} training images, not {expected}",
                where=str(archive.filename),
            )
    return [(member, labels[name]) for name in labels for member in sorted(found[name])]


def _validation(archive: zipfile.ZipFile, labels: dict[str, int]) -> list[tuple[str, int]]:
    """Members and labels of the validation images, as val_annotations.txt lists them."""
    found: dict[str, int] = {}
    text = _read(archive, "val/val_annotations.txt").decode()
    for number, line in enumerate(text.splitlines(), start=1):
        image, name = (*line.split(), "", "")[:2]
        member = f"val/images/{image}"
        if name not in labels or member in found:
            why = "an image that came before" if member in found else "no class of wnids.txt"
            raise DataError(
                f"line {number} of val_annotations.txt names {why}: {line[:80]!r}",
                where=str(archive.filename),
            )
        found[member] = labels[name]
    return list(found.items())


def _images(
    archive: zipfile.ZipFile, members: list[tuple[str, int]], about: Dataset
) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.empty((len(members), about.channels, about.size, about.size), np.uint8)
    for image, (member, _) in zip(pixels, members, strict=True):
        data = _read(archive, member)
        try:
            image[:] = _decode_jpeg(data, about.size)
        except ValueError as error:
            raise DataError(f"{member} {error}", where=str(archive.filename)) from error
    return pixels, np.array([label for _, label in members], np.int64)


def _decode_jpeg(data: bytes, size: int) -> np.ndarray:
    """The pixels of a JPEG, [3, size, size].

    Raises:
        ValueError: It is none, or of another size, which is known before memory is taken for it.
    """
    from PIL import Image

    bomb = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if image.size == (size, size):
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
            what = f"is {image.width}×{image.height}, not {size}×{size}"
    except (OSError, SyntaxError, *bomb) as error:
        what = f"is no sound JPEG: {error}"
    raise ValueError(what)


def _read(archive: zipfile.ZipFile, member: str) -> bytes:
    try:
        return archive.read(f"{_ROOT}/{member}")
    except KeyError as error:
        raise DataError(f"lacks {_ROOT}/{member}", where=str(archive.filename)) from error
