"""Laws of sums under rearrangement, the intervals that invert them, and Holm's correction."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from orchestrator.paper.statistics.laws import Bell, Discrete, holm, outcome, rearranged


def test_holm_agrees_with_a_worked_example_and_keeps_the_order_given():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.5]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


small = st.lists(st.integers(0, 3), min_size=2, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(small, min_size=1, max_size=2), st.data())
def test_the_law_counts_every_rearrangement_within_strata(strata, data):
    parts = []
    for a in strata:
        b = data.draw(st.lists(st.integers(0, 3), min_size=len(a), max_size=len(a)))
        parts.append((np.array(a, dtype=float), np.array(b, dtype=float)))
    law = rearranged(parts)
    sums = [
        sum(float(a @ np.array(b)) for (a, _), b in zip(parts, orders, strict=True))
        for orders in product(*(permutations(b) for _, b in parts))
    ]
    apart = np.array(sums) - sums[0]
    assert law.exact
    tails = np.mean(apart >= -1e-9), np.mean(apart <= 1e-9)
    assert law.tails(sums[0]) == pytest.approx(tails)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=3, max_size=9, unique=True), st.data())
def test_an_interval_leaves_out_no_effect_just_when_p_is_below_its_level(values, data):
    places = np.array(sorted(values), dtype=float)
    weights = np.array(
        data.draw(st.lists(st.integers(1, 60), min_size=len(places), max_size=len(places)))
    )
    law = Discrete(places, weights / weights.sum())
    null = float(law.values @ law.chances)
    for value in places:
        found = outcome(law, float(value), null=null, n=3)
        assert places[0] <= found.low <= found.high <= places[-1]
        outside = not found.low <= null <= found.high
        assert outside == (found.p < 0.05) or abs(found.p - 0.05) < 1e-6


def test_the_end_of_an_interval_is_where_the_value_has_that_tail():
    law = Discrete.of(np.arange(14.0))
    low = law.end(13.0, 0.025, upper=False)
    chances = np.exp(np.log(_tilt(law, low)) * np.arange(14))
    assert chances[-1] / chances.sum() == pytest.approx(0.025, abs=1e-4)
    assert law.end(13.0, 0.025, upper=True) == 13


def _tilt(law, mean):
    """Return the factor between neighbours of a geometric law on 0 to 13 with a mean."""
    low, middle, high = 1e-6, 1.0, 1e6
    for _ in range(200):
        middle = (low * high) ** 0.5
        weights = middle ** np.arange(14.0)
        low, high = (middle, high) if weights @ law.values / weights.sum() < mean else (low, middle)
    return middle


@pytest.mark.parametrize("r", [-0.8, 0.0, 0.3, 0.55, 0.9, 1.0])
@pytest.mark.parametrize("n", [9, 13, 60])
def test_a_bell_has_students_tails_and_an_interval_that_inverts_them(r, n):
    law = Bell(1 / (n - 1), largest=1 - 6 / n**3)
    found = outcome(law, r, n=n)
    if r < 1:
        t = r * np.sqrt((n - 2) / (1 - r * r))
        assert found.p == pytest.approx(2 * stats.t.sf(abs(t), n - 2), rel=1e-6)
    assert -1 < found.low <= min(r, 1 - 6 / n**3) <= found.high < 1
    assert (found.low > 0 or found.high < 0) == (found.p < 0.05)


def test_the_least_effect_is_found_as_often_as_promised():
    law = Discrete.of(np.arange(53) / 52)
    effect = law.least_effect(0.05, 0.8, 1.0)
    assert 0.9 < effect < 1
    assert law.least_effect(0.01, 0.8, 1.0) == np.inf
    bell = Bell(1 / 51)
    assert bell.least_effect(0.05, 0.8, 4.0) < bell.least_effect(0.05, 0.8, 1.0) < 0.42
    assert bell.least_effect(0.01, 0.8, 1.0) > bell.least_effect(0.05, 0.8, 1.0) > 0.36


@pytest.mark.parametrize("r", [0.0, 0.3, 0.6])
def test_the_ends_of_a_bell_have_the_variance_of_bonett_and_wright(r):
    n = 40
    found = outcome(Bell(1 / (n - 1)), r, n=n)
    # Scaled so that p is 5 % just where an end is 0; of r = 0 it is Fisher's.
    own = stats.norm.isf(found.p / 2)
    spread = np.arctanh(r) / own if r else 1 / np.sqrt(n - 3)
    for end, sign in ((found.low, -1), (found.high, 1)):
        reach = stats.norm.isf(0.025) * spread * np.sqrt(1 + end**2 / 2)
        assert np.arctanh(end) == pytest.approx(np.arctanh(r) + sign * reach)


def test_many_arrangements_have_the_moments_of_the_rearranged_sum():
    rng = np.random.default_rng(4)
    parts = [(rng.standard_normal(n), rng.standard_normal(n) + 1) for n in (9, 14)]
    law = rearranged(parts)
    assert isinstance(law, Bell)
    drawn = [[a @ rng.permutation(b) for _ in range(20_000)] for a, b in parts]
    sums = np.sum(drawn, axis=0)
    assert law.null == pytest.approx(sums.mean(), abs=0.05)
    assert law.variance * law.reach**2 == pytest.approx(sums.var(), rel=0.03)
    # What two neighbours' exchange takes from Spearman's correlation of all values, halved.
    assert 1 - law.largest == pytest.approx(12 / (23**3 - 23) / 2, rel=0.01)


def test_values_on_no_grid_are_counted_one_by_one():
    values = np.sqrt(np.arange(1.0, 7.0))
    law = rearranged([(np.array([1.0, 1, 0, 0, 0, 0]), values)])
    assert law.exact
    assert law.tails(values[-2:].sum())[0] == pytest.approx(1 / 15)


def test_the_opposite_direction():
    found = outcome(Discrete.of(np.arange(53) / 52), 1.0, null=0.5, n=53)
    turned = found.turned()
    assert (turned.value, turned.low, turned.p) == (0.0, 0.0, found.p)
    assert turned.high == pytest.approx(1 - found.low)
    assert (turned.finder, turned.opposite) == (found.finder, found.finder)
    assert found.low > 0.5 > turned.high
