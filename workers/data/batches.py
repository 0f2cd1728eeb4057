"""Batches of an epoch: a fresh order, and augmentation drawn for each image (Section A.1).

All draws come from (seed, epoch, purpose) on the CPU, so that every device trains on the same
images and a resumed trial goes on as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from workers.data.catalog import Dataset
from workers.data.images import Data, Images
from workers.draws import generator


def training_batches(
    data: Data, batch_size: int, seed: int, epoch: int, cutout: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """The epoch's training images in a fresh order, shifted, mirrored and normalised.

    Args:
        data: On the device.
        batch_size: The last batch takes what is left.
        seed: The trial's.
        epoch: From 1.
        cutout: Side in pixels of the square that is blanked in each image (Section A.4).

    Yields:
        Images float [B, C, H, W], channels last in memory, and labels int64 [B].
    """
    about, images = data.about, data.train
    device = images.pixels.device
    count = len(images)
    order = torch.randperm(count, generator=generator(seed, epoch, "order")).to(device)
    draws = generator(seed, epoch, "augmentation")
    shifts = torch.randint(2 * about.padding + 1, (count, 2), generator=draws).to(device)
    flips = (torch.rand(count, generator=draws) < 0.5).to(device) if about.flip else None
    centres = None
    if cutout:
        draws = generator(seed, epoch, "cutout")
        centres = torch.randint(about.size, (count, 2), generator=draws).to(device)
    padding = [about.padding] * 4
    for chosen in order.split(batch_size):
        pixels = torch.nn.functional.pad(images.pixels[chosen], padding)
        pixels = _crop(pixels, shifts[chosen], about.size)
        if flips is not None:
            pixels = torch.where(flips[chosen, None, None, None], pixels.flip(3), pixels)
        pixels = normalise(pixels, about)
        if centres is not None:
            pixels = cut_out(pixels, centres[chosen], cutout)
        yield pixels, images.labels[chosen]


def evaluation_batches(
    images: Images, about: Dataset, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """All images of a split in their order, normalised; shapes as in `training_batches`."""
    for start in range(0, len(images), batch_size):
        chosen = slice(start, start + batch_size)
        yield normalise(images.pixels[chosen], about), images.labels[chosen]


def normalise(pixels: Tensor, about: Dataset) -> Tensor:
    """Bytes [N, C, H, W] to floats of mean 0 and deviation 1, channels last in memory."""
    mean, std = (_of_bytes(statistic, pixels.device) for statistic in (about.mean, about.std))
    return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)


@lru_cache
@torch.inference_mode(False)
def _of_bytes(statistic: tuple[float, ...], device: torch.device) -> Tensor:
    """A statistic of each channel in bytes, [C, 1, 1]; kept, as a GPU would wait for each copy."""
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
    return images.masked_fill(square, 0)


def _crop(padded: Tensor, shifts: Tensor, size: int) -> Tensor:
    """Cuts a window of `size` out of each image [N, C, P, P] at its own shift [N, 2]."""
    number, channels = padded.shape[:2]
    along = torch.arange(size, device=padded.device)
    rows = (shifts[:, 0, None] + along)[:, None, :, None]  # [N, 1, size, 1]
    columns = (shifts[:, 1, None] + along)[:, None, None, :]  # [N, 1, 1, size]
    image = torch.arange(number, device=padded.device)[:, None, None, None]
    channel = torch.arange(channels, device=padded.device)[None, :, None, None]
    return padded[image, channel, rows, columns]
