"""Augmentation against the plainest statement of it, and the statistics of its draws."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from workers.data.batches import evaluation_batches, normalise, training_batches
from workers.data.catalog import Dataset
from workers.data.images import Data, Images

ABOUT = Dataset(
    name="numbered",
    description="every pixel tells which image, row and column it comes from",
    preprocessing=1,
    classes=7,
    channels=3,
    size=6,
    train=200,
    test=90,
    padding=2,
    flip=False,
    mean=(0.25, 0.5, 0.125),
    std=(0.5, 0.25, 0.125),
)


def numbered(count: int) -> Images:
    """Channel 0 tells the image, 1 the row, 2 the column, each from 1: 0 is padding alone."""
    pixels = torch.zeros(count, 3, 6, 6, dtype=torch.uint8)
    pixels[:, 0] = torch.arange(1, count + 1)[:, None, None]
    pixels[:, 1] = torch.arange(1, 7)[:, None]
    pixels[:, 2] = torch.arange(1, 7)
    return Images(pixels, torch.arange(count) % 7)


def data(*, flip: bool = False, count: int = 200) -> Data:
    about = replace(ABOUT, flip=flip, train=count)
    return Data(about, numbered(count), numbered(90))


def pixels_of(batch: Tensor) -> Tensor:
    """Normalised images back as whole numbers."""
    mean, std = torch.tensor(ABOUT.mean), torch.tensor(ABOUT.std)
    values = (batch * std[:, None, None] + mean[:, None, None]) * 255
    torch.testing.assert_close(values, values.round(), atol=1e-3, rtol=0)
    return values.round().long()


def epoch_of(source: Data, *, seed: int = 0, epoch: int = 1, batch_size: int = 64):
    batches = list(training_batches(source, batch_size, seed, epoch))
    return pixels_of(torch.cat([images for images, _ in batches])), torch.cat(
        [labels for _, labels in batches]
    )


def identify(image: Tensor) -> tuple[int, int, int, bool]:
    """The number, shifts and flip of an augmented image, read off its pixels alone."""
    number = int(image[0].max()) - 1
    row, column = (int(axis) for axis in image[0].nonzero()[0])
    inside = image[2][row]
    seen = inside[inside > 0]
    flipped = bool(seen[0] > seen[-1])
    shift_down = 2 - row + int(image[1, row, column]) - 1
    if flipped:
        return number, shift_down, 2 - (5 - int(inside.nonzero()[-1])) + int(seen[-1]) - 1, True
    return number, shift_down, 2 - column + int(seen[0]) - 1, False


def crop(image: Tensor, down: int, right: int, flipped: bool) -> Tensor:
    """The window of the zero-padded image, pixel by pixel."""
    result = torch.zeros_like(image)
    for row in range(6):
        for column in range(6):
            y, x = row + down - 2, column + right - 2
            if 0 <= y < 6 and 0 <= x < 6:
                result[:, row, 5 - column if flipped else column] = image[:, y, x]
    return result


@pytest.mark.parametrize("flip", [False, True])
def test_every_image_is_a_crop_of_its_zero_padded_self(flip: bool):
    source = data(flip=flip)
    images, labels = epoch_of(source)
    seen = set()
    for image, label in zip(images, labels, strict=True):
        number, down, right, flipped = identify(image)
        original = source.train.pixels[number].long()
        assert torch.equal(image, crop(original, down, right, flipped))
        assert label == source.train.labels[number]
        seen.add(number)
    assert seen == set(range(200)), "an epoch has every image exactly once"


def test_shifts_are_uniform_and_drawn_for_each_image():
    drawn = [identify(i) for epoch in range(1, 26) for i in epoch_of(data(), epoch=epoch)[0]]
    counts = Counter((down, right) for _, down, right, _ in drawn)
    assert set(counts) == {(down, right) for down in range(5) for right in range(5)}
    expected = len(drawn) / 25
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_square < 51.2, "24 degrees of freedom exceed this once in a thousand"
    # Were shifts drawn for a batch, each of its images would have the same.
    assert len({shift[1:3] for shift in drawn[:64]}) > 15


def test_only_flipping_data_sets_flip_and_about_half_of_their_images():
    assert not any(identify(image)[3] for image in epoch_of(data())[0])
    flips = sum(
        identify(image)[3]
        for epoch in range(1, 11)
        for image in epoch_of(data(flip=True), epoch=epoch)[0]
    )
    assert 1000 - 100 < flips < 1000 + 100, "4.5 standard deviations of 2,000 fair draws"


def test_epochs_have_orders_and_draws_of_their_own():
    def order(**kwargs: int) -> list[tuple[int, int, int, bool]]:
        return [identify(image) for image in epoch_of(data(flip=True), **kwargs)[0]]

    first = order(seed=3, epoch=5)
    assert first == order(seed=3, epoch=5)
    for other in (order(seed=3, epoch=6), order(seed=4, epoch=5)):
        assert [image[0] for image in first] != [image[0] for image in other]
        assert sorted(first) != sorted(other)


def test_the_batch_size_changes_neither_order_nor_draws():
    wide, narrow = (epoch_of(data(flip=True), batch_size=size)[0] for size in (200, 7))
    assert torch.equal(wide, narrow)


def test_draws_leave_the_process_own_random_state_alone():
    before = torch.get_rng_state()
    epoch_of(data(flip=True))
    assert torch.equal(before, torch.get_rng_state())


def test_the_last_batch_takes_what_is_left():
    sizes = [len(labels) for _, labels in training_batches(data(), 64, 0, 1)]
    assert sizes == [64, 64, 64, 8]


def test_normalising_is_exact_and_channels_last():
    pixels = torch.randint(256, (5, 3, 6, 6), dtype=torch.uint8)
    normal = normalise(pixels, ABOUT)
    assert normal.dtype == torch.float32
    assert normal.is_contiguous(memory_format=torch.channels_last)
    for channel, (mean, std) in enumerate(zip(ABOUT.mean, ABOUT.std, strict=True)):
        exact = (pixels[:, channel].double() / 255 - mean) / std
        torch.testing.assert_close(normal[:, channel].double(), exact, rtol=0, atol=2e-6)


def test_padding_is_black_before_normalising():
    """As in the published code: a border of zeros, then the mean is subtracted from it too."""
    batch = torch.cat([images for images, _ in training_batches(data(), 64, 0, 1)])
    border = pixels_of(batch)[:, 0] == 0
    assert border.any()
    for channel, (mean, std) in enumerate(zip(ABOUT.mean, ABOUT.std, strict=True)):
        assert (batch[:, channel][border] == (0 - mean) / std).all()


def test_evaluation_takes_all_images_as_they_are():
    source = numbered(90)
    big = Images(source.pixels.repeat(12, 1, 1, 1), source.labels.repeat(12))
    batches = list(evaluation_batches(big, ABOUT, 500))
    assert [len(labels) for _, labels in batches] == [500, 500, 80]
    assert torch.equal(pixels_of(torch.cat([images for images, _ in batches])), big.pixels.long())
    assert torch.equal(torch.cat([labels for _, labels in batches]), big.labels)
