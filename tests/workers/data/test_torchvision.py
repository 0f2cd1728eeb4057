"""Augmentation beside torchvision's, by which the published code augments."""

import itertools

import torch
from torchvision.transforms import functional

from workers.data.batches import evaluation_batches, training_batches
from workers.data.catalog import describe
from workers.data.images import Data, Images

ABOUT = describe("cifar10")
COUNT = 6


def photographs() -> Images:
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (COUNT, 3, 32, 32), generator=draws, dtype=torch.uint8)
    return Images(pixels, torch.arange(COUNT))


def normal(image: torch.Tensor) -> torch.Tensor:
    """Scaled to [0, 1] and normalised, as ToTensor and Normalize do."""
    return functional.normalize(image.float() / 255, list(ABOUT.mean), list(ABOUT.std))


def test_every_training_image_is_one_that_torchvision_may_draw():
    source = photographs()
    [(batch, labels)] = training_batches(Data(ABOUT, source, source), COUNT, seed=3, epoch=1)
    for image, number in zip(batch, labels, strict=True):
        padded = functional.pad(source.pixels[number], [4])
        windows = [
            functional.crop(padded, top, left, 32, 32)
            for top, left in itertools.product(range(9), range(9))
        ]
        possible = torch.stack(
            [normal(w) for w in windows + [functional.hflip(w) for w in windows]]
        )
        distances = (possible - image).abs().amax((1, 2, 3))
        assert (distances < 1e-5).sum() == 1


def test_test_images_are_normalised_as_by_torchvision():
    source = photographs()
    [(batch, _)] = evaluation_batches(source, ABOUT, COUNT)
    expected = torch.stack([normal(pixels) for pixels in source.pixels])
    torch.testing.assert_close(batch, expected, rtol=0, atol=1e-5)
