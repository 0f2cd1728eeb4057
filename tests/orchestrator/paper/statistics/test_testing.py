"""Permutation within strata, simulated power and Holm's correction."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.paper.statistics.association import (
    jonckheere,
    partial_association,
    quadratic,
    two_lines,
)
from orchestrator.paper.statistics.testing import (
    RHO,
    bent,
    correlated,
    detected,
    holm,
    ranked,
    rearrangements,
)


def test_a_textbook_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_it_never_lowers_a_p_nor_changes_their_order(values):
    found = holm(values)
    assert all(p <= q <= 1 for p, q in zip(values, found, strict=True))
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.array(found)[order]) >= 0).all()


DARTS = np.repeat([2.0, 2.5, 3.0, 3.5], [3, 5, 3, 2])
ONE = np.zeros(13)


def test_outcomes_correlate_as_named_with_the_order_of_x():
    x = np.arange(400.0)
    found = [np.corrcoef(x.argsort().argsort(), y)[0, 1] for y in correlated(x, np.zeros(400))]
    # An order correlates with the normal trait behind it by √(3/π).
    assert np.mean(found) == pytest.approx(RHO * math.sqrt(3 / math.pi), abs=0.01)


def test_a_part_explains_its_share():
    part = np.array([1.0, -1] * 100)
    found = [np.corrcoef(part, y)[0, 1] for y in bent(part, 199)]
    assert np.mean(found) == pytest.approx(RHO, abs=0.01)


def test_ranks_are_those_within_a_stratum():
    ranks = ranked(np.array([[9.0, 1, 5, 6]]), np.array([0, 0, 1, 1]))
    assert ranks.tolist() == [[0.25, -0.25, -0.25, 0.25]]


def test_what_no_rearrangement_can_show_has_no_power():
    ways = rearrangements(np.zeros(3))
    outcomes = np.tile([1.0, 2, 3], (20, 1))
    assert detected(lambda y: y @ np.arange(3.0), outcomes, ways) == 0


def test_a_large_effect_is_always_found_and_none_in_a_twentieth():
    rng = np.random.default_rng(0)
    ways, x = rearrangements(np.zeros(20)), np.arange(20.0)
    noise = rng.standard_normal((2_000, 20))
    assert detected(lambda y: y @ x, noise + x, ways) == 1
    assert detected(lambda y: y @ x, noise, ways) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("test", [quadratic, two_lines, jonckheere])
def test_power_grows_with_bases_and_is_of_the_design_alone(test):
    rng = np.random.default_rng(1)
    x, strata = np.tile(DARTS, 4), np.repeat(list("abcd"), 13)
    one = [test(DARTS, rng.standard_normal(13), ONE).power for _ in range(2)]
    four = test(x, rng.standard_normal(52), strata).power
    assert one[0] == one[1]
    assert 0.3 < one[0] < 0.6 < 0.85 < four < 1


def test_covariates_cost_power():
    rng = np.random.default_rng(2)
    y, others = rng.standard_normal(13), rng.standard_normal((13, 6))
    few, many = (partial_association(DARTS, y, others[:, :k], ONE).power for k in (1, 6))
    assert 0 < many < few < 0.6
