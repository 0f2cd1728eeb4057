"""Data sets that need no download: scikit-learn's digits, pairs of them, and synthetic images.

Everything here is drawn from frozen NumPy `RandomState` streams, so that a data set is the same on
every machine; a change must raise its `preprocessing` in the catalog.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from results_schema.errors import DataError

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Training pixels uint8 [N, C, H, W] and labels [N], then the test set's."""

_TRAIN = 1440


def digits() -> Split:
    """1,440 training and 357 test images of handwritten digits, [N, 1, 16, 16]."""
    (train, labels), (test, test_labels) = _sources()
    return _scale(train), labels, _scale(test), test_labels


def digit_pairs() -> Split:
    """4,000 training and 1,000 test pairs of digits side by side, labels 00 to 99.

    A test pair is made of digits that no training pair has.
    """
    stream = np.random.RandomState(1)
    train, test = _sources()
    return *_pair(*train, 4000, stream), *_pair(*test, 1000, stream)


def synthetic() -> Split:
    """50,000 + 10,000 images [N, 3, 32, 32]: a coloured blob, placed by class, under noise."""
    stream = np.random.RandomState(0)
    return *_blobs(50_000, stream), *_blobs(10_000, stream)


def _sources() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The digits, [N, 8, 8] with values 0 to 16, split by a frozen permutation."""
    table = _read_table()
    images, labels = table[:, :64].reshape(-1, 8, 8), table[:, 64].astype(np.int64)
    order = np.random.RandomState(0).permutation(len(images))
    train, test = order[:_TRAIN], order[_TRAIN:]
    return (images[train], labels[train]), (images[test], labels[test])


def _read_table() -> np.ndarray:
    """scikit-learn's table of digits, uint8 [1797, 65]: 64 pixels and a label.

    `sklearn.datasets.load_digits` reads the same file, but importing it takes longer than a
    trial's first epochs.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("the digits come with scikit-learn", fix="install scikit-learn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        return np.loadtxt(path, delimiter=",", dtype=np.uint8)
    except (OSError, ValueError) as error:
        raise DataError(str(error), where=str(path), fix="install scikit-learn again") from error


def _pair(
    images: np.ndarray, labels: np.ndarray, count: int, stream: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    left, right = stream.randint(len(images), size=(2, count))
    pairs = np.concatenate([images[left], images[right]], axis=2)  # [count, 8, 16]
    return _scale(pairs), 10 * labels[left] + labels[right]


def _scale(images: np.ndarray) -> np.ndarray:
    """Images [N, h, w] of values 0 to 16, scaled bilinearly to uint8 [N, 1, 16, 16]."""
    scaled = functional.interpolate(
        torch.from_numpy(images).double()[:, None],
        size=(16, 16),
        mode="bilinear",
        align_corners=False,
    )
    return (scaled * (255 / 16)).round().to(torch.uint8).numpy()


def _blobs(count: int, stream: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    labels = stream.randint(10, size=count)
    pixels = stream.randint(160, size=(count, 3, 32, 32), dtype=np.uint8)
    for label in range(10):
        row, column = divmod(label, 4)
        window = pixels[labels == label, label % 3, 8 * row : 8 * row + 8]
        window[..., 8 * column : 8 * column + 8] += 90
        pixels[labels == label, label % 3, 8 * row : 8 * row + 8] = window
    return pixels, labels
