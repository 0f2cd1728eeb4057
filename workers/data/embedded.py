"""Data sets that need no download: scikit-learn's digits, pictures of them, synthetic images.

Everything here is drawn from frozen NumPy `RandomState` streams, so that a data set is the same on
every machine; a change must raise its `preprocessing` in the catalog.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from results_schema.errors import DataError
from workers.data.catalog import Dataset, Split

_TRAIN = 1440
"""Digits that training images are made of; test images are made of the others."""


def digits(about: Dataset) -> Split:
    """Return images of single handwritten digits."""
    (train, labels), (test, test_labels) = _sources()
    return Split(_scale(train, about.size), labels, _scale(test, about.size), test_labels)


def digit_pairs(about: Dataset) -> Split:
    """Return pairs of digits side by side, labels 00 to 99.

    A test pair is made of digits that no training pair has.
    """
    stream = np.random.RandomState(1)
    train, test = _sources()
    return Split(
        *_pair(*train, about.train, stream, about.size),
        *_pair(*test, about.test, stream, about.size),
    )


def digit_scenes(about: Dataset) -> Split:
    """Return scenes [N, 1, 64, 64]: a crowd of one digit beside another's.

    A crowd is eight handwritten samples in four rows. Labels are 10 · left + right, and 100 more
    where the scene is dark on light; all 200 are equally frequent. Test scenes are made of digits
    that no training scene has.
    """
    stream = np.random.RandomState(2)
    train, test = _sources()
    return Split(*_scenes(*train, about.train, stream), *_scenes(*test, about.test, stream))


def synthetic(about: Dataset) -> Split:
    """Return seeded noise with a blob placed by class, in the shape of the catalog's entry."""
    stream = np.random.RandomState(0)
    return Split(*_blobs(about, about.train, stream), *_blobs(about, about.test, stream))


def _sources() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the digits, [N, 8, 8] with values 0 to 16, split by a frozen permutation."""
    table = _read_table()
    images, labels = table[:, :64].reshape(-1, 8, 8), table[:, 64].astype(np.int64)
    order = np.random.RandomState(0).permutation(len(images))
    train, test = order[:_TRAIN], order[_TRAIN:]
    return (images[train], labels[train]), (images[test], labels[test])


def _read_table() -> np.ndarray:
    """Return scikit-learn's table of digits, uint8 [1797, 65]: 64 pixels and a label."""
    # Importing sklearn.datasets, which reads the same file, takes longer than a trial's epochs.
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("the digits come with scikit-learn", fix="install scikit-learn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        return np.loadtxt(path, delimiter=",", dtype=np.uint8)
    except (OSError, ValueError) as error:
        raise DataError(str(error), where=str(path), fix="install scikit-learn again") from error


def _pair(
    images: np.ndarray, labels: np.ndarray, count: int, stream: np.random.RandomState, size: int
) -> tuple[np.ndarray, np.ndarray]:
    left, right = stream.randint(len(images), size=(2, count))
    pairs = np.concatenate([images[left], images[right]], axis=2)  # [count, 8, 16]
    return _scale(pairs, size), 10 * labels[left] + labels[right]


def _scenes(
    images: np.ndarray, labels: np.ndarray, count: int, stream: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    classes = stream.permutation(np.arange(count) % 200)
    left, right, inverted = classes // 10 % 10, classes % 10, classes // 100
    shown = np.stack([left, left, right, right], axis=1)[:, None]  # [count, 1, 4]
    # A sample of a digit is its first place among the images sorted by label, plus a random offset.
    by_digit = images[np.argsort(labels, kind="stable")]
    samples = np.bincount(labels, minlength=10)
    first = np.cumsum(samples) - samples
    chosen = first[shown] + stream.random_sample((count, 4, 4)) * samples[shown]
    # [count, row, column, 8, 8] to [count, 4 · 8, 4 · 8].
    crowds = by_digit[chosen.astype(int)].swapaxes(2, 3).reshape(count, 32, 32)
    scenes = _scale(crowds, 64)
    return np.where(inverted[:, None, None, None], 255 - scenes, scenes), classes


def _scale(images: np.ndarray, size: int) -> np.ndarray:
    """Return images [N, h, w] of values 0 to 16 scaled bilinearly to uint8 [N, 1, size, size]."""
    # In float64, whose rounding never changes a byte from one machine to another.
    scaled = functional.interpolate(
        torch.from_numpy(images).double()[:, None],
        size=(size, size),
        mode="bilinear",
        align_corners=False,
    )
    return (scaled * (255 / 16)).round().to(torch.uint8).numpy()


def _blobs(
    about: Dataset, count: int, stream: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    labels = stream.randint(about.classes, size=count)
    shape = (count, about.channels, about.size, about.size)
    pixels = stream.randint(160, size=shape, dtype=np.uint8)
    side = math.ceil(math.sqrt(about.classes))  # blobs stand in a grid of side × side
    blob = about.size // side
    for label in range(about.classes):
        row, column = divmod(label, side)
        rows = slice(blob * row, blob * (row + 1))
        window = pixels[labels == label, label % about.channels, rows]
        window[..., blob * column : blob * (column + 1)] += 90
        pixels[labels == label, label % about.channels, rows] = window
    return pixels, labels
