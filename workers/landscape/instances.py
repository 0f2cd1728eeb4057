"""The images that a landscape is measured on, whole on the device."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from results_schema.errors import DataError, SpecError
from workers.draws import derive


class Instances:
    """Images and labels in batches.

    Args:
        images: [N, C, H, W], normalised.
        labels: int64 [N].
        dtype: That the images are cast to.
        batch: Most images of a batch. Batches are as equal as can be, so that none is left with
            a single image.
        layout: Of the images in memory.

    Raises:
        DataError: There is no image, or not one label for each.
        SpecError: A batch holds less than one image.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        dtype: torch.dtype,
        batch: int,
        layout: torch.memory_format = torch.channels_last,
    ) -> None:
        if not len(images) or len(images) != len(labels):
            raise DataError(
                f"a landscape over {len(images)} images with {len(labels)} labels",
                fix="give at least one image, and a label for each",
            )
        if batch < 1:
            raise SpecError(f"a batch of {batch} images", fix="use at least 1")
        self.images = images.to(dtype, memory_format=layout)
        self.labels = labels
        self._batches = math.ceil(len(labels) / batch)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(
            self.images.tensor_split(self._batches),
            self.labels.tensor_split(self._batches),
            strict=True,
        )


def subset(seed: int, size: int, total: int) -> Tensor:
    """Indices of a random subset, int64 on the CPU, rising; of all if it is as large as the whole.

    The paper does not say over how many instances it took a variance; one subset for all points of
    a surface makes them comparable.

    Args:
        seed: Of the draw.
        size: Number of indices wanted.
        total: Number of instances to choose from.

    Raises:
        SpecError: The size is below 1.
    """
    if size < 1:
        raise SpecError(f"a subset of {size} instances", fix="use at least 1")
    if size >= total:
        return torch.arange(total)
    draws = torch.Generator().manual_seed(derive(seed, "subset"))
    return torch.randperm(total, generator=draws)[:size].sort().values
