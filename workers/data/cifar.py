"""CIFAR-10 and CIFAR-100, from their authors' binary archives: nothing is unpickled.

A record is one image: its label (CIFAR-100: the coarse label, then the fine one), then the red,
green and blue plane, row by row, a byte each. Format, sizes and MD5s:
https://www.cs.toronto.edu/~kriz/cifar.html (Krizhevsky 2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from results_schema.errors import DataError
from workers.data.archives import Archive, read_tar
from workers.data.catalog import Dataset
from workers.data.decoded import Split

CIFAR10 = Archive(
    file="cifar-10-binary.tar.gz",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    size=170_052_171,
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    pickled="cifar-10-python.tar.gz",
)
CIFAR100 = Archive(
    file="cifar-100-binary.tar.gz",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    size=168_513_733,
    md5="03b5dce01913d631647c71ecec9e9cb8",
    pickled="cifar-100-python.tar.gz",
)


def decode_cifar10(file: BinaryIO, about: Dataset) -> Split:
    """The images of CIFAR-10's binary archive.

    Args:
        file: The archive, open at its start.
        about: What it must hold.

    Raises:
        DataError: It holds something else.
    """
    folder = "cifar-10-batches-bin"
    train = [f"{folder}/data_batch_{number}.bin" for number in range(1, 6)]
    return _decode(file, about, train, f"{folder}/test_batch.bin", label_bytes=1)


def decode_cifar100(file: BinaryIO, about: Dataset) -> Split:
    """The images of CIFAR-100's binary archive, with fine labels; as `decode_cifar10`."""
    folder = "cifar-100-binary"
    return _decode(file, about, [f"{folder}/train.bin"], f"{folder}/test.bin", label_bytes=2)


def _decode(
    file: BinaryIO, about: Dataset, train: Sequence[str], test: str, label_bytes: int
) -> Split:
    shape = (about.channels, about.size, about.size)
    record = label_bytes + int(np.prod(shape))
    members = read_tar(file, {*train, test}, (about.train + about.test) * record)

    def images(names: Sequence[str], count: int) -> tuple[np.ndarray, np.ndarray]:
        for name in names:
            if len(members[name]) % record:
                raise DataError(
                    f"{name} has {len(members[name]):,} bytes, no multiple of {record}",
                    where=file.name,
                )
        rows = np.concatenate([np.frombuffer(members[name], np.uint8) for name in names])
        rows = rows.reshape(-1, record)
        labels = rows[:, label_bytes - 1].astype(np.int64)
        if len(rows) != count:
            raise DataError(
                f"{' and '.join(names)} have {len(rows)} images, not {count}", where=file.name
            )
        if labels.max() >= about.classes:
            image = int(labels.argmax())
            raise DataError(
                f"image {image} of {names[0]} has label {labels[image]}, "
                f"not one below {about.classes}",
                where=file.name,
            )
        return np.ascontiguousarray(rows[:, label_bytes:]).reshape(-1, *shape), labels

    return *images(train, about.train), *images([test], about.test)
