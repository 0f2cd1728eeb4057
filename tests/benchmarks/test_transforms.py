"""Both ways of the reference loop to augment an image draw from the same images."""

import itertools

import pytest
import torch
from torchvision.transforms import functional

from benchmarks import loops
from benchmarks.loops import Augmented, transform_for
from workers.data.batches import Images
from workers.data.catalog import describe

ABOUT = describe("synthetic_4x3x16_10")


def fail(about: object) -> None:
    raise RuntimeError("operator torchvision::nms does not exist")


@pytest.mark.parametrize("library", ["torchvision", "torch"])
def test_every_image_is_a_window_of_the_padded_one(monkeypatch: pytest.MonkeyPatch, library: str):
    if library == "torch":
        monkeypatch.setattr(loops, "_by_torchvision", fail)
    assert transform_for(ABOUT)[0] == library
    torch.manual_seed(0)
    pixels = torch.randint(256, (4, 3, 16, 16), dtype=torch.uint8)
    _, transform = transform_for(ABOUT)
    augmented = Augmented(Images(pixels, torch.arange(4)), transform)
    shifts = range(2 * ABOUT.padding + 1)
    seen, half = set(), 0
    for number in [0, 1, 2, 3] * 4:
        image, label = augmented[number]
        assert label == number
        padded = functional.pad(pixels[number].float() / 255, [ABOUT.padding])
        windows = [
            functional.crop(padded, top, left, 16, 16)
            for top, left in itertools.product(shifts, shifts)
        ]
        windows += [functional.hflip(window) for window in windows]
        half = len(windows) // 2
        expected = torch.stack(
            [functional.normalize(w, list(ABOUT.mean), list(ABOUT.std)) for w in windows]
        )
        [match] = ((expected - image).abs().amax((1, 2, 3)) < 1e-5).nonzero().flatten().tolist()
        seen.add(match)
    assert len(seen) > 10, "every image should get draws of its own"
    assert min(seen) < half <= max(seen), "some should be mirrored, and some not"
