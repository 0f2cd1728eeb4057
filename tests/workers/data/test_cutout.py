"""Cutout against the plainest statement of it, and the distribution of its centres."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.data.batches import cut_out, training_batches
from workers.data.catalog import describe
from workers.data.images import Data, Images


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


def epoch_of(cutout: int, count: int = 20_000, epoch: int = 1) -> torch.Tensor:
    """An epoch of white 32×32 images, which are nowhere 0 but in the square."""
    about = describe("cifar10")
    white = Images(
        torch.full((count, 3, 32, 32), 255, dtype=torch.uint8),
        torch.zeros(count, dtype=torch.int64),
    )
    source = Data(about, white, white)
    return torch.cat([x for x, _ in training_batches(source, 1000, 0, epoch, cutout)])


def test_centres_are_uniform_over_the_pixels_so_squares_are_often_cut_at_the_border():
    blank = (epoch_of(16) == 0).all(1)  # [N, 32, 32]
    rows, columns = blank.any(2).sum(1), blank.any(1).sum(1)
    # A centre at distance d < 8 of the border leaves 8 + d rows, every other one 16.
    for lengths in (rows, columns):
        share = torch.bincount(lengths, minlength=17).double()[8:] / len(lengths)
        expected = torch.tensor([1.0] + [2.0] * 7 + [17.0]).double() / 32
        assert (share - expected).abs().max() < 4 * (0.25 / len(lengths)) ** 0.5
    mean = blank.double().mean((1, 2)).mean()
    assert abs(mean - (14 * 14) / 32**2) < 2e-3, "mean side is (8 + 2·(9+…+15) + 17·16) / 32 = 14"


def test_without_cutout_nothing_is_blanked_and_the_other_draws_stay_the_same():
    plain, cut = epoch_of(0, 500), epoch_of(16, 500)
    outside = cut != 0
    assert torch.equal(plain[outside], cut[outside])
    assert not torch.equal(epoch_of(16, 500, epoch=2), cut)
