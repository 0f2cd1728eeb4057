"""Batches: augmentation as published and beside torchvision's, and data sets kept on a device."""

import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import functional

from results_schema.errors import DataError, SpecError
from workers.data import batches, embedded
from workers.data.batches import (
    Data,
    Images,
    cut_out,
    evaluation_batches,
    load,
    normalise,
    training_batches,
)
from workers.data.catalog import DATASETS, Dataset, describe

ABOUT = Dataset(
    name="numbered",
    description="every pixel encodes its image, row and column",
    source="",
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
    """Channel 0 is the image, 1 the row, 2 the column, each from 1: 0 is padding alone."""
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
    found = list(training_batches(source, batch_size, seed, epoch))
    return pixels_of(torch.cat([images for images, _ in found])), torch.cat(
        [labels for _, labels in found]
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
    found = list(evaluation_batches(big, ABOUT, 500))
    assert [len(labels) for _, labels in found] == [500, 500, 80]
    assert torch.equal(pixels_of(torch.cat([images for images, _ in found])), big.pixels.long())
    assert torch.equal(torch.cat([labels for _, labels in found]), big.labels)


def naive(image: torch.Tensor, row: int, column: int, side: int) -> torch.Tensor:
    """One image, its square found by clamping the four borders."""
    image, before = image.clone(), side // 2
    height, width = image.shape[1:]
    top, bottom = max(row - before, 0), min(row - before + side, height)
    left, right = max(column - before, 0), min(column - before + side, width)
    image[:, top:bottom, left:right] = 0
    return image


@given(st.integers(1, 40), st.integers(0, 2**31))
def test_each_image_loses_its_own_square(side, seed):
    draws = torch.Generator().manual_seed(seed)
    images = torch.rand(5, 3, 12, 12, generator=draws) + 1
    centres = torch.randint(12, (5, 2), generator=draws)
    expected = [naive(i, int(c[0]), int(c[1]), side) for i, c in zip(images, centres, strict=True)]
    assert torch.equal(cut_out(images, centres, side), torch.stack(expected))


@pytest.mark.parametrize("side", range(1, 9))
def test_a_square_away_from_the_border_has_the_side_that_was_asked_for(side):
    blank = cut_out(torch.ones(1, 1, 12, 12), torch.tensor([[5, 6]]), side)[0, 0] == 0
    assert blank.any(0).sum() == blank.any(1).sum() == side
    assert blank.sum() == side**2


def cut_epoch(cutout: int, count: int = 20_000, epoch: int = 1) -> torch.Tensor:
    """An epoch of white 32×32 images, which are nowhere 0 but in the square."""
    about = describe("cifar10")
    white = Images(
        torch.full((count, 3, 32, 32), 255, dtype=torch.uint8),
        torch.zeros(count, dtype=torch.int64),
    )
    source = Data(about, white, white)
    return torch.cat([x for x, _ in training_batches(source, 1000, 0, epoch, cutout)])


def test_centres_are_uniform_over_the_pixels_so_squares_are_often_cut_at_the_border():
    blank = (cut_epoch(16) == 0).all(1)  # [N, 32, 32]
    rows, columns = blank.any(2).sum(1), blank.any(1).sum(1)
    # A centre at distance d < 8 of the border leaves 8 + d rows, every other one 16.
    for lengths in (rows, columns):
        share = torch.bincount(lengths, minlength=17).double()[8:] / len(lengths)
        expected = torch.tensor([1.0] + [2.0] * 7 + [17.0]).double() / 32
        assert (share - expected).abs().max() < 4 * (0.25 / len(lengths)) ** 0.5
    mean = blank.double().mean((1, 2)).mean()
    assert abs(mean - (14 * 14) / 32**2) < 2e-3, "mean side is (8 + 2·(9+…+15) + 17·16) / 32 = 14"


def test_without_cutout_nothing_is_blanked_and_the_other_draws_stay_the_same():
    plain, cut = cut_epoch(0, 500), cut_epoch(16, 500)
    outside = cut != 0
    assert torch.equal(plain[outside], cut[outside])
    assert not torch.equal(cut_epoch(16, 500, epoch=2), cut)


CIFAR = describe("cifar10")
PHOTOGRAPHS = 6


def photographs() -> Images:
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (PHOTOGRAPHS, 3, 32, 32), generator=draws, dtype=torch.uint8)
    return Images(pixels, torch.arange(PHOTOGRAPHS))


def normal(image: torch.Tensor) -> torch.Tensor:
    """Scaled to [0, 1] and normalised, as ToTensor and Normalize do."""
    return functional.normalize(image.float() / 255, list(CIFAR.mean), list(CIFAR.std))


def test_every_training_image_is_one_that_torchvision_may_draw():
    source = photographs()
    [(batch, labels)] = training_batches(Data(CIFAR, source, source), PHOTOGRAPHS, seed=3, epoch=1)
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
    [(batch, _)] = evaluation_batches(source, CIFAR, PHOTOGRAPHS)
    expected = torch.stack([normal(pixels) for pixels in source.pixels])
    torch.testing.assert_close(batch, expected, rtol=0, atol=1e-5)


CPU = torch.device("cpu")


def test_digits_are_bytes_and_labels_on_the_device():
    data = load("digits", CPU)
    assert data.train.pixels.shape == (1440, 1, 16, 16)
    assert data.train.pixels.dtype == torch.uint8
    assert data.test.labels.dtype == torch.int64
    assert (len(data.train), len(data.test)) == (1440, 357)
    assert data.about is DATASETS["digits"]


def test_a_data_set_is_kept_for_the_next_trial():
    assert load("digits", CPU) is load("digits", CPU)


def test_an_unknown_data_set_is_met_with_the_nearest():
    with pytest.raises(SpecError, match=r"unknown data set 'digit'\n  did you mean digits"):
        load("digit", CPU)


def test_images_may_be_normalised_as_those_of_another_data_set():
    data = load("digits", CPU)
    other = data.normalised_by("digits_32")
    assert other.train is data.train
    assert (other.about.mean, other.about.std) == ((0.3054,), (0.3234,))
    assert other.about.padding == data.about.padding
    assert data.normalised_by("own").about == data.about
    with pytest.raises(SpecError, match="cifar10 has statistics of 3 channels"):
        data.normalised_by("cifar10")


def test_a_data_set_of_another_size_is_refused(monkeypatch: pytest.MonkeyPatch):
    (pixels, labels), test = embedded._sources()
    monkeypatch.setattr(embedded, "_sources", lambda: ((pixels[:-1], labels[:-1]), test))
    batches._loaded.cache_clear()
    with pytest.raises(DataError, match=r"\(1439, 1, 16, 16\), not \(1440, 1, 16, 16\)"):
        load("digits", CPU)
