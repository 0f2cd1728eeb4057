"""A data set as tensors on the device: pixels as bytes, normalised when a batch is made."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from results_schema.errors import DataError
from workers.data import embedded
from workers.data.catalog import Dataset, describe, is_synthetic
from workers.data.decoded import Split
from workers.data.folder import arrays
from workers.data.sources import SOURCES


@dataclass(frozen=True)
class Images:
    """A split of a data set.

    Attributes:
        pixels: uint8 [N, channels, size, size].
        labels: int64 [N], from 0.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def on(cls, device: torch.device, pixels: np.ndarray, labels: np.ndarray) -> Images:
        """NumPy arrays of these shapes, moved to the device."""
        return cls(
            torch.as_tensor(pixels, dtype=torch.uint8).to(device),
            torch.as_tensor(labels, dtype=torch.int64).to(device),
        )


@dataclass(frozen=True)
class Data:
    """A data set on a device: what the catalog says of it, its training and its test images."""

    about: Dataset
    train: Images
    test: Images

    def normalised_by(self, statistics: str) -> Data:
        """The same images, to be normalised as `Dataset.normalised_by` says."""
        return replace(self, about=self.about.normalised_by(statistics))


_EMBEDDED: dict[str, Callable[[], Split]] = {
    "digits": embedded.digits,
    "digits_32": embedded.digits_32,
    "digit_pairs": embedded.digit_pairs,
    "digit_pairs_32": embedded.digit_pairs_32,
    "digit_scenes": embedded.digit_scenes,
}


_LOADING = threading.Lock()


def load(name: str, device: torch.device, folder: str | Path | None = None) -> Data:
    """A data set on a device, kept for the next trial that needs it.

    Args:
        name: As the catalog has it.
        device: Where to hold it.
        folder: Where data sets lie, see `workers.data.folder.locate`.

    Raises:
        SpecError: The catalog has no such data set.
        DataError: It is not on this machine and can't be had, or is not as the catalog says.
    """
    with _LOADING:  # trials side by side want the same images: they come once
        return _loaded(name, device, folder)


@lru_cache(maxsize=2)
def _loaded(name: str, device: torch.device, folder: str | Path | None) -> Data:
    about = describe(name)
    if name in SOURCES:
        split = arrays(SOURCES[name], folder)
    elif is_synthetic(name):
        split = embedded.synthetic(about)
    else:
        split = _EMBEDDED[name]()
    return on_device(about, split, device)


def on_device(about: Dataset, split: Split, device: torch.device) -> Data:
    """Arrays of a data set on a device; on a CPU they stay where they lie.

    Raises:
        DataError: Their shapes are not as the catalog says.
    """
    train, train_labels, test, test_labels = split
    data = Data(about, Images.on(device, train, train_labels), Images.on(device, test, test_labels))
    shape = (about.channels, about.size, about.size)
    for images, count in ((data.train, about.train), (data.test, about.test)):
        if tuple(images.pixels.shape) != (count, *shape) or len(images) != count:
            raise DataError(
                f"{about.name} has images of shape {tuple(images.pixels.shape)}, "
                f"not {(count, *shape)}",
                fix="get the data set again",
            )
    return data
