"""Augmentation of one image at a time on the CPU, as published loops have it (Section A.1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset as TorchDataset

from workers.data.catalog import Dataset
from workers.data.images import Images

Transform = Callable[[np.ndarray], Tensor]
"""From pixels uint8 [H, W, C] to a normalised image float32 [C, H, W]."""


def transform_for(about: Dataset) -> tuple[str, Transform]:
    """The name of the library that augments, and what it does to an image.

    A machine that has torch alone augments by a few calls of torch, which take less time than
    torchvision's, so that the loop is not made to look slower than it is.
    """
    try:
        return "torchvision", _by_torchvision(about)
    # A torchvision that was built for another torch fails with either.
    except (ImportError, RuntimeError):
        return "torch", _ByTorch(about)


class Augmented(TorchDataset[tuple[Tensor, int]]):
    """A split as `torch.utils.data.DataLoader` takes it."""

    def __init__(self, images: Images, transform: Transform) -> None:
        self.pixels = images.pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = images.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One augmented image and its label."""
        return self.transform(self.pixels[index]), self.labels[index]


def _by_torchvision(about: Dataset) -> Transform:
    from torchvision import transforms

    flip = [transforms.RandomHorizontalFlip()] if about.flip else []
    return transforms.Compose(
        [
            transforms.ToPILImage(),
            transforms.RandomCrop(about.size, padding=about.padding),
            *flip,
            transforms.ToTensor(),
            transforms.Normalize(list(about.mean), list(about.std)),
        ]
    )


class _ByTorch:
    """A class, because loaders may have to pickle it."""

    def __init__(self, about: Dataset) -> None:
        self.about = about
        self.mean = torch.tensor(about.mean).view(-1, 1, 1)
        self.std = torch.tensor(about.std).view(-1, 1, 1)

    def __call__(self, pixels: np.ndarray) -> Tensor:
        size, padding = self.about.size, self.about.padding
        image = functional.pad(torch.from_numpy(pixels).permute(2, 0, 1), [padding] * 4)
        top, left = torch.randint(2 * padding + 1, (2,)).tolist()
        image = image[:, top : top + size, left : left + size]
        if self.about.flip and torch.rand(()) < 0.5:
            image = image.flip(2)
        return (image.float() / 255 - self.mean) / self.std
