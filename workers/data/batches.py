"""A data set as tensors on the device, and the batches of an epoch made of it (Section A.1).

Pixels are held as bytes and normalised when a batch is made. The order of an epoch and each image's
augmentation come from (seed, epoch, purpose) and are drawn on the CPU, so that every device trains
on the same images and a resumed trial continues as an undisturbed one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from results_schema.errors import DataError, SpecError
from results_schema.plugins import registry
from results_schema.trial import Recipe
from workers.data.catalog import Dataset, Split, describe
from workers.data.folder import arrays
from workers.draws import generator

AUGMENTATIONS = registry("augmentation")

_LOADING = threading.Lock()


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


@dataclass(frozen=True)
class Data:
    """A data set on a device.

    Attributes:
        about: Its entry in the catalog; `about.train` counts the held-out images too.
        train: Training images.
        test: Test images.
        validation: Held-out training images, if any are.
    """

    about: Dataset
    train: Images
    test: Images
    validation: Images | None = None

    def prepared(self, recipe: Recipe) -> Data:
        """Return the same images, to be normalised, mirrored and cropped as a recipe has it."""
        about = self.about.normalised_by(recipe.statistics)
        given = {"flip": recipe.flip, "padding": recipe.padding}
        changes: dict[str, Any] = {key: one for key, one in given.items() if one is not None}
        return replace(self, about=replace(about, **changes))


def load(name: str, device: torch.device, validation: float = 0.0) -> Data:
    """Return a data set of the catalog on a device, kept for the next trial that needs it.

    `validation` is the share of the training images to hold out.

    Raises:
        SpecError: The catalog has no such data set, or the share holds out none or all.
        DataError: It is not on this machine and can't be had, or is not as in the catalog.
    """
    # Trials side by side want the same images; without the lock each would load them.
    with _LOADING:
        return _loaded(name, device, validation)


@lru_cache(maxsize=2)
def _loaded(name: str, device: torch.device, validation: float) -> Data:
    about = describe(name)
    return on_device(about, arrays(about), device, validation)


def on_device(about: Dataset, split: Split, device: torch.device, validation: float = 0.0) -> Data:
    """Return a data set's arrays on a device; on a CPU they are shared if no image is held out.

    Raises:
        DataError: Their shapes are not as in the catalog.
        SpecError: The share that is to be held out takes all images, or not one.
    """

    def images(pixels: np.ndarray, labels: np.ndarray, count: int) -> Images:
        expected = (count, about.channels, about.size, about.size)
        if pixels.shape != expected or len(labels) != count:
            raise DataError(
                f"{about.name} has images of shape {pixels.shape}, not {expected}",
                fix="get the data set again",
            )
        return Images(
            torch.as_tensor(pixels, dtype=torch.uint8).to(device),
            torch.as_tensor(labels, dtype=torch.int64).to(device),
        )

    pixels, labels = split.train_pixels, split.train_labels
    test = images(split.test_pixels, split.test_labels, about.test)
    count = about.held_out(validation)
    if not count or len(labels) != about.train:
        return Data(about, images(pixels, labels, about.train), test)
    held = held_out(labels, count)
    train = images(pixels[~held], labels[~held], about.train - count)
    return Data(about, train, test, images(pixels[held], labels[held], count))


def held_out(labels: np.ndarray, count: int, purpose: str = "validation") -> np.ndarray:
    """Return which training images a split holds out, of each class in proportion.

    The draw depends on the labels and the count alone, so that all seeds validate on the same
    images. Of a class of n images, count · n / N are held out, rounded up or down.
    """
    order = torch.randperm(len(labels), generator=generator(0, 0, purpose)).numpy()
    # An image's place among those of its class in that order, from 0 to 1: the first ones of every
    # class come first.
    place = np.empty(len(labels))
    for label in np.unique(labels):
        own = order[labels[order] == label]
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
    chosen = order[np.argsort(place[order], kind="stable")[:count]]
    held = np.zeros(len(labels), bool)
    held[chosen] = True
    return held


def training_batches(
    data: Data,
    batch_size: int,
    seed: int,
    epoch: int,
    cutout: int = 0,
    augmentation: Sequence[str] = (),
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the epoch's training images in a fresh order, shifted, mirrored and normalised.

    Args:
        data: On the device.
        batch_size: The last batch takes what is left.
        seed: The trial's.
        epoch: From 1.
        cutout: Side in pixels of the square that is blanked in each image (Section A.4).
        augmentation: Names of further changes, made before the cutout.

    Yields:
        Images float [B, C, H, W], channels last in memory, and labels int64 [B].
    """
    about, images = data.about, data.train
    device = images.pixels.device
    count = len(images)
    # All draws of the epoch at once: an image's augmentation depends on its number and not on the
    # batch it falls into, so that the batch size changes no draw.
    order = torch.randperm(count, generator=generator(seed, epoch, "order")).to(device)
    draws = generator(seed, epoch, "augmentation")
    shifts = torch.randint(2 * about.padding + 1, (count, 2), generator=draws).to(device)
    flips = (torch.rand(count, generator=draws) < 0.5).to(device) if about.flip else None
    centres = None
    if cutout:
        draws = generator(seed, epoch, "cutout")
        centres = torch.randint(about.size, (count, 2), generator=draws).to(device)
    changes = [
        (name, AUGMENTATIONS[name].resolve(), generator(seed, epoch, f"augmentation {name}"))
        for name in augmentation
    ]
    padding = [about.padding] * 4
    for chosen in order.split(batch_size):
        # Bytes until the last step: a quarter of the memory to move, and zeros pad to black.
        pixels = torch.nn.functional.pad(images.pixels[chosen], padding)  # [B, C, P, P]
        pixels = _crop(pixels, shifts[chosen], about.size)
        if flips is not None:
            pixels = torch.where(flips[chosen, None, None, None], pixels.flip(3), pixels)
        pixels = normalise(pixels, about)
        for name, change, draws in changes:
            pixels = _changed(name, change, pixels, draws)
        # After normalising, as the square has the mean colour then.
        if centres is not None:
            pixels = cut_out(pixels, centres[chosen], cutout)
        yield pixels, images.labels[chosen]


def evaluation_batches(
    images: Images, about: Dataset, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all images of a split in their order, normalised; shapes as in `training_batches`."""
    for start in range(0, len(images), batch_size):
        chosen = slice(start, start + batch_size)
        yield normalise(images.pixels[chosen], about), images.labels[chosen]


def _changed(
    name: str, change: Callable[..., Tensor], pixels: Tensor, draws: torch.Generator
) -> Tensor:
    found = change(pixels, draws)
    if found.shape != pixels.shape or found.dtype != pixels.dtype:
        made = f"{found.dtype} of shape {tuple(found.shape)}"
        what = f"augmentation {name} makes {made} of {pixels.dtype} of {tuple(pixels.shape)}"
        raise SpecError(what, fix="return images of the same shape and type")
    return found.contiguous(memory_format=torch.channels_last)


def normalise(pixels: Tensor, about: Dataset) -> Tensor:
    """Map bytes [N, C, H, W] to floats of mean 0 and deviation 1, channels last in memory."""
    mean, std = (_in_bytes(statistic, pixels.device) for statistic in (about.mean, about.std))
    return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)


@lru_cache
@torch.inference_mode(False)  # a tensor made in inference mode could not be used in training later
def _in_bytes(statistic: tuple[float, ...], device: torch.device) -> Tensor:
    """Return a statistic of each channel in bytes, [C, 1, 1]; kept, as a GPU waits for copies."""
    return torch.tensor(statistic).mul_(255).view(-1, 1, 1).to(device)


def cut_out(images: Tensor, centres: Tensor, side: int) -> Tensor:
    """Blank a square in each image, cut at the border; 0 is the mean colour after normalising.

    Args:
        images: [N, C, H, W].
        centres: Row and column of each square's centre, [N, 2]. An even side reaches one pixel
            further before the centre than behind it, as in the published code.
        side: In pixels, at least 1.
    """
    first = centres - side // 2
    inside = [
        (along >= first[:, axis, None]) & (along < first[:, axis, None] + side)
        for axis, size in enumerate(images.shape[2:])
        for along in [torch.arange(size, device=images.device)]
    ]  # whether each row, and each column, is in the square: [N, H], [N, W]
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    # Unlike masked_fill, it keeps channels last in memory.
    return torch.where(square, 0, images)


def _crop(padded: Tensor, shifts: Tensor, size: int) -> Tensor:
    """Cut a window of `size` out of each image [N, C, P, P] at its own shift [N, 2]."""
    windows = padded.unfold(2, size, 1).unfold(3, size, 1)  # [N, C, row, column, size, size]
    image = torch.arange(len(padded), device=padded.device)
    return windows[image, :, shifts[:, 0], shifts[:, 1]]  # [N, C, size, size]
