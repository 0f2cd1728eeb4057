"""Places among rivals, against counting, and their error rates."""

from itertools import product

import numpy as np
import pytest

from orchestrator.paper.statistics.samples import placing


def test_p_is_the_share_of_equally_likely_places():
    rivals = [np.array([1.0, 2, 3, 4]), np.array([1.0, 2])]
    found = placing([3.5, 1.5], rivals)  # beats 3 of 4 and 1 of 2
    sums = [a + b for a, b in product(range(5), range(3))]
    assert found.p == pytest.approx(sum(s >= 4 for s in sums) / 15)
    assert found.p_against == pytest.approx(sum(s <= 4 for s in sums) / 15)
    assert found.value == pytest.approx(4 / 6)
    assert found.low < 4 / 6 < found.high


def test_a_tie_counts_half_and_for_nobody():
    found = placing([2.0], [np.array([1.0, 2, 3])])
    assert found.value == 0.5
    assert found.p == pytest.approx(3 / 4)  # as if it beat one of three
    assert found.p_against == pytest.approx(3 / 4)


def test_five_cells_once_can_never_decide_and_fourteen_can_hardly():
    five, fourteen = (placing([99.0], [np.arange(float(n))]) for n in (4, 13))
    assert (five.p, five.power) == (pytest.approx(0.2), 0)
    assert fourteen.p == pytest.approx(1 / 14)
    assert placing([99.0] * 3, [np.arange(4.0)] * 3).p == pytest.approx(1 / 125)


def test_ties_are_lost_where_the_claim_is_tested():
    tied = placing([1.0, 1.0], [np.array([0.0, 1.0]), np.array([0.0, 1.0])])
    assert tied.value == 0.75
    # Two of four surely beaten: so many or more come in 6 of 9 ways.
    assert tied.p == pytest.approx(6 / 9)
    assert tied.p_against == pytest.approx(1)


def test_error_rate_and_power_are_as_told():
    rng = np.random.default_rng(0)
    rivals = rng.standard_normal((2_000, 4, 13))
    for lead, low, high in ((0, 0.03, 0.055), (1, 0.5, 0.6)):
        mine = lead + rng.standard_normal((2_000, 4))
        found = [
            placing(list(one), list(them)) for one, them in zip(mine[:300], rivals, strict=False)
        ]
        rate = np.mean([one.p <= 0.05 for one in found])
        assert low - 0.03 <= rate <= high + 0.04
    assert 0.5 <= found[0].power <= 0.6
