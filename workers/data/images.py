"""A data set as tensors on the device: pixels as bytes, normalised when a batch is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from results_schema.errors import DataError
from workers.data import embedded
from workers.data.catalog import Dataset, describe


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


_READERS: dict[str, Callable[[], embedded.Split]] = {
    "digits": embedded.digits,
    "digit_pairs": embedded.digit_pairs,
    "synthetic": embedded.synthetic,
}


@lru_cache(maxsize=2)
def load(name: str, device: torch.device) -> Data:
    """A data set on a device, kept for the next trial that needs it.

    Raises:
        SpecError: The catalog has no such data set.
        DataError: It is not on this machine, or not as the catalog describes it.
    """
    about = describe(name)
    if name not in _READERS:
        raise DataError(
            f"this release can't read {name!r}",
            fix=f"use one of {', '.join(_READERS)}, or --profile laptop, which puts a stand-in",
        )
    train, train_labels, test, test_labels = _READERS[name]()
    data = Data(about, Images.on(device, train, train_labels), Images.on(device, test, test_labels))
    shape = (about.channels, about.size, about.size)
    for split, count in ((data.train, about.train), (data.test, about.test)):
        if tuple(split.pixels.shape) != (count, *shape) or len(split.labels) != count:
            raise DataError(
                f"{name} has images of shape {tuple(split.pixels.shape)}, not {(count, *shape)}",
                fix="get the data set again",
            )
    return data
