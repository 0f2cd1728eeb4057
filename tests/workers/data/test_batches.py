"""Batches: augmentation beside torchvision's, and data sets kept on a device."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import functional

from results_schema.errors import DataError, SpecError
from results_schema.trial import Recipe
from workers.data import batches
from workers.data.batches import (
    Data,
    Images,
    cut_out,
    evaluation_batches,
    held_out,
    load,
    normalise,
    on_device,
    training_batches,
)
from workers.data.catalog import DATASETS, Dataset, Split, describe
from workers.draws import generator

CPU = torch.device("cpu")
ABOUT = replace(
    describe("cifar10"),
    size=6,
    train=60,
    test=9,
    padding=2,
    mean=(0.25, 0.5, 0.125),
    std=(0.5, 0.25, 0.125),
)


def images(count: int, about: Dataset = ABOUT) -> Images:
    """Seeded noise that is nowhere black, as padding is."""
    draws = torch.Generator().manual_seed(count)
    shape = (count, 3, about.size, about.size)
    pixels = torch.randint(1, 256, shape, generator=draws, dtype=torch.uint8)
    return Images(pixels, torch.arange(count))


def data(count: int = 60, *, flip: bool = True) -> Data:
    return Data(replace(ABOUT, flip=flip), images(count), images(9))


def epoch_of(
    source: Data, *, seed: int = 0, epoch: int = 1, batch_size: int = 16
) -> tuple[Tensor, Tensor]:
    found = list(training_batches(source, batch_size, seed, epoch))
    return torch.cat([pixels for pixels, _ in found]), torch.cat([labels for _, labels in found])


def normal(pixels: Tensor) -> Tensor:
    """Scaled to [0, 1] and normalised, as ToTensor and Normalize do."""
    return functional.normalize(pixels.float() / 255, list(ABOUT.mean), list(ABOUT.std))


def windows(source: Data) -> Tensor:
    """All that RandomCrop and RandomHorizontalFlip may draw of each image: [N, 50, C, H, W].

    The first 25 are not mirrored, and go row by row.
    """
    size, padded = ABOUT.size, functional.pad(source.train.pixels, [ABOUT.padding])
    places = [(top, left) for top in range(5) for left in range(5)]
    cropped = [normal(functional.crop(padded, *place, size, size)) for place in places]
    return torch.stack([*cropped, *map(functional.hflip, cropped)], dim=1)


def drawn(source: Data, **how: int) -> list[tuple[int, int]]:
    """The number of each image of an epoch, by its label, and which of its windows it is."""
    pixels, labels = epoch_of(source, **how)
    apart = (windows(source)[labels] - pixels[:, None]).abs().amax((2, 3, 4))
    assert ((apart < 1e-5).sum(1) == 1).all()
    return list(zip(labels.tolist(), apart.argmin(1).tolist(), strict=True))


@pytest.mark.parametrize("flip", [True, False])
def test_an_epoch_has_every_image_once_as_torchvision_may_draw_it(flip: bool):
    """With a border of black pixels, from which the mean is subtracted too."""
    found = drawn(data(flip=flip))
    assert sorted(number for number, _ in found) == list(range(60))
    assert [number for number, _ in found] != list(range(60))
    mirrored = sum(window >= 25 for _, window in found)
    assert 10 < mirrored < 50 if flip else not mirrored


def test_shifts_and_flips_are_uniform_and_drawn_for_each_image():
    counts = torch.zeros(50, dtype=torch.float64)
    for epoch in range(1, 26):
        for _, window in drawn(data(), epoch=epoch):
            counts[window] += 1
    expected = counts.sum() / 50
    assert ((counts - expected) ** 2 / expected).sum() < 85.4, "chi-square, once in a thousand"


def test_epochs_and_seeds_have_orders_and_draws_of_their_own_whatever_the_batch_size():
    before = torch.get_rng_state()
    first = drawn(data(), seed=3, epoch=5)
    assert first == drawn(data(), seed=3, epoch=5, batch_size=7)
    for other in (drawn(data(), seed=3, epoch=6), drawn(data(), seed=4, epoch=5)):
        assert [number for number, _ in first] != [number for number, _ in other]
        assert sorted(first) != sorted(other)
    assert torch.equal(before, torch.get_rng_state())


def test_batches_are_channels_last_floats_and_the_last_takes_what_is_left():
    found = [pixels for pixels, _ in training_batches(data(), 16, 0, 1, cutout=2)]
    assert [len(pixels) for pixels in found] == [16, 16, 16, 12]
    for pixels in found:
        assert pixels.dtype == torch.float32
        assert pixels.is_contiguous(memory_format=torch.channels_last)


def test_evaluation_takes_all_images_in_their_order_as_torchvision_normalises_them():
    source = images(9)
    found = list(evaluation_batches(source, ABOUT, 4))
    assert [len(labels) for _, labels in found] == [4, 4, 1]
    assert torch.equal(torch.cat([labels for _, labels in found]), source.labels)
    expected = torch.stack([normal(pixels) for pixels in source.pixels])
    torch.testing.assert_close(
        torch.cat([pixels for pixels, _ in found]), expected, rtol=0, atol=2e-6
    )


def naive(image: Tensor, row: int, column: int, side: int) -> Tensor:
    """One image, its square found by clamping the four borders."""
    image, before = image.clone(), side // 2
    height, width = image.shape[1:]
    top, bottom = max(row - before, 0), min(row - before + side, height)
    left, right = max(column - before, 0), min(column - before + side, width)
    image[:, top:bottom, left:right] = 0
    return image


@given(st.integers(1, 40), st.integers(0, 2**31))
def test_each_image_loses_its_own_square(side: int, seed: int):
    draws = torch.Generator().manual_seed(seed)
    pixels = torch.rand(5, 3, 12, 10, generator=draws) + 1
    centres = torch.randint(10, (5, 2), generator=draws)
    expected = [naive(i, int(c[0]), int(c[1]), side) for i, c in zip(pixels, centres, strict=True)]
    assert torch.equal(cut_out(pixels, centres, side), torch.stack(expected))


def cut_epoch(cutout: int, count: int, epoch: int = 1) -> Tensor:
    """An epoch of white 32×32 images, which are nowhere 0 but in the square."""
    about = describe("cifar10")
    white = Images(
        torch.full((count, 3, 32, 32), 255, dtype=torch.uint8),
        torch.zeros(count, dtype=torch.int64),
    )
    source = Data(about, white, white)
    return torch.cat([x for x, _ in training_batches(source, 1000, 0, epoch, cutout)])


def test_centres_are_uniform_over_the_pixels_so_squares_are_often_cut_at_the_border():
    blank = (cut_epoch(16, 4000) == 0).all(1)  # [N, 32, 32]
    # A centre at distance d < 8 of the border leaves 8 + d rows, every other one 16.
    for lengths in (blank.any(2).sum(1), blank.any(1).sum(1)):
        share = torch.bincount(lengths, minlength=17).double()[8:] / len(lengths)
        expected = torch.tensor([1.0] + [2.0] * 7 + [17.0]).double() / 32
        assert (share - expected).abs().max() < 4 * (0.25 / len(lengths)) ** 0.5


def test_cutout_leaves_the_other_draws_alone():
    plain, cut = cut_epoch(0, 200), cut_epoch(16, 200)
    outside = cut != 0
    assert torch.equal(plain[outside], cut[outside])
    assert not torch.equal(cut_epoch(16, 200, epoch=2), cut)


def test_a_data_set_is_kept_on_its_device_for_the_next_trial():
    data = load("digits", CPU)
    assert load("digits", CPU) is data
    assert data.train.pixels.shape == (1440, 1, 16, 16)
    assert (data.train.pixels.dtype, data.test.labels.dtype) == (torch.uint8, torch.int64)
    assert (len(data.train), len(data.test)) == (1440, 357)
    assert data.about is DATASETS["digits"]
    batches._loaded.cache_clear()
    assert load("digits", CPU) is not data


def test_an_unknown_data_set_is_met_with_the_nearest():
    with pytest.raises(SpecError, match=r"unknown data set 'digit'\n  did you mean digits"):
        load("digit", CPU)


def test_images_may_be_normalised_as_those_of_another_data_set():
    data = load("digits", CPU)
    other = data.prepared(Recipe(statistics="digits_32"))
    assert other.train is data.train
    assert (other.about.mean, other.about.std) == ((0.3054,), (0.3234,))
    assert other.about.padding == data.about.padding
    assert data.prepared(Recipe()).about == data.about
    with pytest.raises(SpecError, match="cifar10 has statistics of 3 channels"):
        data.prepared(Recipe(statistics="cifar10"))


def test_a_recipe_may_mirror_and_crop_otherwise_than_the_data_set():
    data = load("digits", CPU).prepared(Recipe(flip=True, padding=0))
    assert (data.about.flip, data.about.padding) == (True, 0)
    [(pixels, labels)] = training_batches(data, len(data.train), 0, 1)
    whole = normalise(data.train.pixels, data.about).flatten(1)
    mirrored = normalise(data.train.pixels.flip(3), data.about).flatten(1)
    order = torch.randperm(len(labels), generator=generator(0, 1, "order"))
    same = [(pixels.flatten(1) == each[order]).all(1) for each in (whole, mirrored)]
    assert (same[0] | same[1]).all()
    assert 0.4 < same[1].float().mean() < 0.6


@given(st.lists(st.integers(0, 4), min_size=2, max_size=200).map(np.array), st.floats(0.01, 0.99))
def test_a_validation_split_takes_of_each_class_its_share(labels: np.ndarray, share: float):
    count = min(max(round(share * len(labels)), 1), len(labels) - 1)
    held = held_out(labels, count)
    assert held.sum() == count
    assert (held == held_out(labels, count)).all()
    for label in set(labels.tolist()):
        own = labels == label
        assert abs(held[own].sum() - count * own.sum() / len(labels)) <= 1 + 1e-9


def test_images_held_out_are_not_trained_on():
    whole, split = load("digits", CPU), load("digits", CPU, validation=0.1)
    assert split.validation is not None
    assert (len(split.train), len(split.validation), len(split.test)) == (1296, 144, 357)
    parts = torch.cat([split.train.pixels, split.validation.pixels]).flatten(1)
    assert sorted(parts.tolist()) == sorted(whole.train.pixels.flatten(1).tolist())
    with pytest.raises(SpecError, match=r"validation 0\.0001 holds out 0 of 1440"):
        load("digits", CPU, validation=0.0001)


@pytest.mark.parametrize("part", range(4))
def test_a_data_set_of_another_size_is_refused(part: int):
    about = describe("synthetic_10x1x8_4")
    parts = [*about.make()]
    parts[part] = parts[part][:-1]
    with pytest.raises(DataError, match=about.name):
        on_device(about, Split(*parts), CPU)
