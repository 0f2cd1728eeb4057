"""Where each published data set comes from, and how its archive becomes arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from workers.data.archives import Archive
from workers.data.catalog import DATASETS, Dataset
from workers.data.cifar import CIFAR10, CIFAR100, decode_cifar10, decode_cifar100
from workers.data.decoded import Split
from workers.data.tiny_imagenet import TINY_IMAGENET, decode_tiny_imagenet


@dataclass(frozen=True)
class Source:
    """A data set that is read from an archive.

    Attributes:
        about: What the catalog says of it.
        archive: The file it is published as.
        decode: From the open archive to arrays; raises `DataError` if it holds something else.
        package: What decoding needs beside NumPy: the name it is imported by, or "".
    """

    about: Dataset
    archive: Archive
    decode: Callable[[BinaryIO, Dataset], Split]
    package: str = ""


SOURCES = {
    source.about.name: source
    for source in (
        Source(DATASETS["cifar10"], CIFAR10, decode_cifar10),
        Source(DATASETS["cifar100"], CIFAR100, decode_cifar100),
        Source(DATASETS["tiny_imagenet"], TINY_IMAGENET, decode_tiny_imagenet, package="PIL"),
    )
}
