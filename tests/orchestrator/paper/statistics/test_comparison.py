"""Comparisons of cells, shares and means against scipy and counts by hand."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from orchestrator.paper.statistics.comparison import (
    best_lead,
    contrasts,
    first,
    largest_difference,
    mean,
    odds_ratio,
    placing_in_space,
    share,
    superiority,
)
from orchestrator.paper.statistics.laws import Discrete

stats: Any = scipy.stats  # whose results have no stubs


def test_a_place_among_rivals_is_uniform_without_an_effect():
    rivals = np.arange(13.0)
    one = superiority([np.array([12.5])], [rivals])
    assert (one.value, one.p, one.least_p) == pytest.approx((1, 2 / 14, 2 / 14))
    four = superiority([np.array([12.5])] * 4, [rivals] * 4)
    assert four.p == pytest.approx(2 / 14**4)
    assert 0.8 < four.low < four.high == pytest.approx(1)
    tied = superiority([np.array([3.0])], [np.full(5, 3.0)])
    assert (tied.value, tied.p, tied.least_p) == (0.5, 1, 1)
    assert math.isnan(tied.low)


def test_runs_of_two_cells_are_mann_whitney_within_strata():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(5) + 1, rng.standard_normal(6)
    found = superiority([a], [b])
    theirs = stats.mannwhitneyu(a, b, method="exact")
    assert (found.value, found.p) == pytest.approx((theirs.statistic / 30, theirs.pvalue))
    # A stratum that lacks one of both counts for nothing.
    assert superiority([a, a], [b, b[:0]]).p == found.p
    many = superiority([np.arange(12.0)], [np.arange(12.0) - 3])
    assert not many.exact
    theirs = stats.mannwhitneyu(np.arange(12.0), np.arange(12.0) - 3).statistic
    assert many.value == pytest.approx(theirs / 144)
    assert many.p > 0.05
    assert 0 < many.low < 0.5 < many.value < many.high < 1


def test_the_first_surpasses_every_rival_and_a_tie_with_one_is_enough_to_fail():
    low, middle, high = (np.arange(6.0) + shift for shift in (0, 10, 20))
    won = first([high], [[low], [middle]])
    least = 2 / math.comb(12, 6)
    assert (won.value, won.p, won.least_p) == pytest.approx((1, least, least))
    tied = first([high], [[low], [high + 0.5], [low]])
    assert tied.p > 0.5
    lost = first([low], [[middle], [low - 10]])
    assert lost.value == 0
    assert lost.p == pytest.approx(2 * 2 / math.comb(12, 6)), "corrected for two rivals"
    assert math.isnan(first([high], [[low], [low[:0]]]).value), "a rival without runs"


def test_means_shares_and_their_intervals_are_scipys():
    values = np.array([0.3, 0.1, 0.4, 0.2, -0.1])
    found, theirs = mean(values), stats.ttest_1samp(values, 0)
    interval = theirs.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((theirs.pvalue, *interval))
    assert math.isnan(mean(np.full(4, 0.3)).low) and mean(np.full(4, 0.3)).p == 1
    found, theirs = share(9, 10), stats.binomtest(9, 10)
    ends = theirs.proportion_ci(0.95, "exact")
    assert (found.p, found.low, found.high) == pytest.approx((theirs.pvalue, *ends))
    assert share(2, 2).least_p == pytest.approx(0.5)
    nine: Any = share(9, 10)
    least = nine.finder(0.05, 0.8, 1.0)
    assert stats.binom.sf(8, 10, least) == pytest.approx(0.8)


def test_contrasts_pool_the_error_over_runs_of_one_cell():
    rng = np.random.default_rng(1)
    base, a, b = rng.standard_normal((3, 4))
    [one] = contrasts([base], [[a]])
    theirs = stats.ttest_ind(a, base)
    assert (one.value / one.error, one.free) == pytest.approx((theirs.statistic, 6))
    two = contrasts([base, base + 5], [[a, a + 5], [b, b[:0]]])
    assert [c.free for c in two] == [15, 15]
    assert two[0].value == pytest.approx(one.value)
    assert contrasts([base[:1]], [[a[:1]]]) == []


def test_the_best_lead_is_corrected_for_all_variants_and_its_absence_needs_all():
    rng = np.random.default_rng(2)
    base, *variants = rng.standard_normal((6, 4)) * 0.1
    led = best_lead([contrasts([base], [[v + 2 * (i == 3)] for i, v in enumerate(variants)])])
    assert led.p < 0.001 and 1 < led.low < led.value < led.high
    behind = best_lead([contrasts([base], [[v - 2] for v in variants])])
    assert behind.p < 0.001 and behind.high < 0
    level = [base[::-1] + 0.01, *(v - 2 for v in variants[1:])]
    one_level = best_lead([contrasts([base], [[v] for v in level])])
    assert one_level.p > 0.1 and one_level.low < 0 < one_level.high
    alone = contrasts([base], [[variants[0]]])
    theirs = stats.ttest_ind(variants[0], base)
    found, ends = best_lead([alone]), theirs.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((theirs.pvalue, *ends))


def test_equality_needs_every_difference_within_the_margin():
    rng = np.random.default_rng(3)
    base, *others = rng.standard_normal((4, 6)) * 0.1
    equal = largest_difference(contrasts([base], [[v] for v in others]), 1.0)
    assert equal.p < 0.001 and equal.high < 1
    # Two that deviate in opposite directions do not make up for each other.
    apart = largest_difference(contrasts([base], [[others[0] + 2], [others[1] - 2]]), 1.0)
    assert apart.p < 0.001 and apart.low > 1
    [one] = contrasts([base], [[others[0]]])
    tests = [stats.t.sf((0.2 - sign * one.value) / one.error, one.free) for sign in (1, -1)]
    assert largest_difference([one], 0.2).p == pytest.approx(2 * max(tests))


def test_one_stratum_of_odds_is_fishers_and_strata_are_not_pooled():
    table = (6, 3, 2, 7)
    found = odds_ratio([table])
    more, less = (
        stats.fisher_exact([table[:2], table[2:]], alternative=side).pvalue
        for side in ("greater", "less")
    )
    theirs = stats.contingency.odds_ratio([table[:2], table[2:]])
    assert found.p == pytest.approx(2 * min(more, less))
    assert found.least_p == pytest.approx(2 * stats.hypergeom(18, 8, 9).pmf(0))
    ends = theirs.confidence_interval(0.95)
    assert (found.value, found.low, found.high) == pytest.approx(
        (theirs.statistic, *ends), rel=1e-4
    )
    # In each stratum the odds are 9 times as large; pooled they are about as large.
    strata = [(9, 1, 50, 50), (50, 50, 1, 9)]
    assert odds_ratio(strata).value == pytest.approx(9, rel=0.1)
    assert odds_ratio([(5, 0, 0, 5)]).value == math.inf
    assert odds_ratio([(0, 5, 5, 0)]).value == 0
    assert math.isnan(odds_ratio([(5, 0, 5, 0)]).value)


def test_places_in_a_space_are_convolved_exactly():
    law = Discrete.of(np.array([0.1, 0.4, 0.8]), np.array([0.2, 0.4, 0.4]))
    found = placing_in_space([0.8, 0.8], [law, law])
    assert (found.value, found.p) == pytest.approx((0.8, 2 * 0.16))
    assert placing_in_space([0.8] * 5, [law] * 5).p == pytest.approx(2 * 0.4**5)
