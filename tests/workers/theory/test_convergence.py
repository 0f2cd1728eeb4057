"""The right side of Theorem 4.1 by hand, and step by step."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results_schema.errors import SpecError
from workers.theory.convergence import bound, weighted

POSITIVE = st.floats(1e-3, 1e3)


def test_the_bound_by_hand():
    found = bound(3.0, 1.0, 2.0, 5.0, [0.1, 0.4])
    assert found.start == pytest.approx(2 * 2 / 0.5)
    assert found.noise == pytest.approx(2 * 5 * (0.01 + 0.16) / 0.5)
    assert found.value == found.start + found.noise
    assert found.within == 1


@given(st.lists(st.tuples(POSITIVE, st.integers(1, 5)), min_size=1, max_size=6), POSITIVE, POSITIVE)
def test_an_epoch_of_steps_is_its_steps_one_by_one(epochs, smoothness, variance):
    rates, counts = zip(*epochs, strict=True)
    each = [rate for rate, count in epochs for _ in range(count)]
    together = bound(1, 0, smoothness, variance, rates, counts)
    apart = bound(1, 0, smoothness, variance, each)
    assert together == pytest.approx(apart)
    total = math.fsum(each)
    wanted = 2 / total + smoothness * variance * math.fsum(r * r for r in each) / total
    assert together.value == pytest.approx(wanted)


def test_a_rate_of_1_over_l_is_too_large():
    found = bound(1, 0, 4, 0, [0.1, 0.25, 0.3], [1, 2, 1])
    assert found.within == 0.25


@pytest.mark.parametrize(
    "wrong",
    [
        {"rates": []},
        {"rates": [0.1, 0]},
        {"rates": [-0.1]},
        {"rates": [math.nan]},
        {"f_star": 2},
        {"smoothness": 0},
        {"variance": -1},
        {"f0": math.nan},
    ],
)
def test_what_cannot_be_is_refused(wrong):
    given = {"f0": 1, "f_star": 0, "smoothness": 1, "variance": 1, "rates": [0.1]} | wrong
    with pytest.raises(SpecError):
        bound(**given)


def test_w_r_is_drawn_by_the_rates():
    assert weighted([1, 3], [10, 2]) == pytest.approx(4)
