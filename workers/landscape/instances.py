"""The images that a landscape is measured on, and the arithmetic of a pass over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from results_schema.errors import DataError, SpecError
from results_schema.surface import SurfaceSpec
from workers.data.batches import Data, normalise
from workers.draws import derive

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs and targets to the loss of each instance."""
Row = dict[str, Any]
"""Columns of `tables.POINTS` or `tables.SURFACES`."""


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Compute float32 as float32 on a GPU too, and draw the same noise at every point.

    Noise is an operation of some cells (`workers.network.operations`), drawn for each batch. All
    other settings stay as they are.
    """
    # cuDNN takes TF32 for convolutions by default, whose 10 bits of mantissa a contour would show.
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(derive(0, "forward", 0))
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


class Instances:
    """The images that a landscape is measured on, whole on their device, in batches.

    Args:
        images: [N, C, H, W], normalised; inputs [N, …] of any other network.
        labels: int64 [N]; targets [N, …] of another loss.
        dtype: Type of the arithmetic, that of the images from here on.
        batch: Most images of a batch.
        loss: Maps outputs and targets of a batch to the loss of each instance, [n]; the
            cross-entropy in nats by default.

    Raises:
        DataError: There is no image, or not one label for each.
        SpecError: A batch holds less than one image.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        batch: int,
        loss: Loss | None = None,
    ) -> None:
        if not len(images) or len(images) != len(labels):
            what = f"a landscape over {len(images)} images with {len(labels)} labels"
            raise DataError(what, fix="give at least one image, and a label for each")
        if batch < 1:
            raise SpecError(f"a batch of {batch} images", fix="use at least 1")
        if images.is_floating_point():
            images = images.to(dtype)
        if images.dim() == 4:
            images = images.to(memory_format=torch.channels_last)
        self.images, self.labels, self.dtype, self._loss = images, labels, dtype, loss
        self._batches = math.ceil(len(labels) / batch)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # Batches are as equal as possible, so that none is left with a single image.
        yield from zip(
            self.images.tensor_split(self._batches),
            self.labels.tensor_split(self._batches),
            strict=True,
        )

    def part(self, start: int, stop: int, dtype: torch.dtype) -> Instances:
        """Return some of the instances, in one batch of another type."""
        images, labels = self.images[start:stop], self.labels[start:stop]
        return Instances(images, labels, dtype=dtype, batch=stop - start, loss=self._loss)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the summed loss of a batch, in float64."""
        if self._loss is None:
            return summed_loss(outputs, labels)
        each = self._loss(outputs, labels)
        if not isinstance(each, Tensor) or each.shape != labels.shape[:1]:
            shape = list(each.shape) if isinstance(each, Tensor) else type(each).__name__
            what = f"the loss of {len(labels)} instances is {shape}, not [{len(labels)}]"
            raise SpecError(what, fix="return one number for each, as with reduction='none'")
        return each.double().sum()

    def run(self, batch: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Row:
        """Return the mean loss and the accuracy, infinite or NaN where they overflow.

        The accuracy is NaN under another loss than the cross-entropy.

        Args:
            batch: Maps images and labels to logits [n, classes] and their `loss`.
        """
        sums = torch.zeros(2, dtype=torch.float64, device=self.labels.device)  # loss, correct
        with exact(sums.device):
            for images, labels in self:
                logits, loss = batch(images, labels)
                counted = self._loss is None
                correct = (logits.argmax(1) == labels).sum() if counted else loss * math.nan
                sums += torch.stack([loss.detach(), correct.detach()])
        loss, accuracy = (sums / len(self)).tolist()
        return {"loss": loss, "accuracy": accuracy}


def summed_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of a batch in nats, summed in float64.

    The gradient at an instance is then that of its own loss, and a mean over all instances does not
    depend on the size of a batch.
    """
    return functional.cross_entropy(logits.double(), labels, reduction="sum")


def select_instances(spec: SurfaceSpec, data: Data) -> tuple[Tensor, Tensor]:
    """Return the images that a surface is measured on, normalised [N, C, H, W], and labels [N]."""
    images = data.test if spec.split == "test" else data.train
    chosen = subset(spec.subset_seed, spec.subset or len(images), len(images))
    chosen = chosen.to(images.labels.device)
    return normalise(images.pixels[chosen], data.about), images.labels[chosen]


def subset(seed: int, size: int, total: int) -> Tensor:
    """Return the indices of a random subset of `size`, int64 on the CPU, rising; at most all.

    The paper does not state over how many instances it took a variance; one subset for all points
    of a surface makes them comparable.

    Raises:
        SpecError: The size is below 1.
    """
    if size < 1:
        raise SpecError(f"a subset of {size} instances", fix="use at least 1")
    if size >= total:
        return torch.arange(total)
    draws = torch.Generator().manual_seed(derive(seed, "subset"))
    return torch.randperm(total, generator=draws)[:size].sort().values
