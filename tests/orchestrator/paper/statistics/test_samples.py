"""Means, shares, ranks, orders and the best of many against scipy and known laws."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats
from scipy.stats import dunnett

from orchestrator.paper.statistics.samples import (
    Set,
    against_chances,
    best_lead,
    equivalent,
    flipped,
    odds,
    page,
    paired,
    placing,
    share,
    student,
)

stats: Any = scipy_stats  # without types of its results

TABLE_1 = np.array([0.20, 0.27, 0.63, 0.26, 0.58])
"""What adapted cells gain on CIFAR-100, in points."""


def test_five_architectures_have_p_of_one_in_32_at_best():
    found = flipped(TABLE_1)
    assert (found.p, found.exact) == (1 / 32, True)
    assert found.value == pytest.approx(0.388)
    student: Any = stats.ttest_1samp(TABLE_1, 0, alternative="greater")
    assert paired(TABLE_1).p == pytest.approx(student.pvalue)
    assert found.low == pytest.approx(0.388 - 2.7764 * np.std(TABLE_1, ddof=1) / 5**0.5, abs=1e-4)
    assert flipped(-np.array([0.2, 0.3])).p == 1


def test_few_pairs_can_never_tell():
    assert flipped(np.array([1.0, 2, 3, 4])).power == 0
    assert flipped(np.array([1.0])).power == 0
    assert np.isnan(student(np.array([1.0]))).all()


@pytest.mark.parametrize("n", [5, 12, 20])
def test_flips_and_intervals_have_their_nominal_rates(n):
    rng = np.random.default_rng(n)
    studies = {5: 2_000, 12: 300, 20: 150}[n]
    found = [flipped(row) for row in rng.standard_normal((studies, n))]
    assert abs(np.mean([one.low <= 0 <= one.high for one in found]) - 0.95) < 0.04
    wrong = np.mean([one.p <= 0.05 for one in found])
    assert 0.005 <= wrong <= 0.1


def test_power_of_flips_is_what_happens():
    rng = np.random.default_rng(1)
    found = [flipped(row) for row in 1 + rng.standard_normal((400, 8))]
    assert np.mean([one.p <= 0.05 for one in found]) == pytest.approx(found[0].power, abs=0.06)


def test_equivalence():
    alike = equivalent(np.array([0.01, -0.02, 0.0, 0.015]), 0.1)
    apart = equivalent(np.array([1.01, 0.98, 1.0, 1.015]), 0.1)
    unclear = equivalent(np.array([-1.0, 1.0, 0.5]), 0.1)
    assert alike.p < 0.01 < alike.p_against
    assert apart.p_against < 0.01 < apart.p
    assert min(unclear.p, unclear.p_against) > 0.05
    assert unclear.power == 0
    assert equivalent(np.array([0.0]), 1.0).p == 1


def test_equivalence_is_rarely_claimed_at_the_margin():
    rng = np.random.default_rng(2)
    found = [equivalent(row, 1.0) for row in 1.0 + 0.3 * rng.standard_normal((1_000, 6))]
    assert np.mean([one.p <= 0.05 for one in found]) == pytest.approx(0.05, abs=0.02)
    assert not math.isnan(found[0].low)


def test_share_against_one_half():
    found = share(5, 5)
    assert found.p == pytest.approx(1 / 32)
    assert found.p_against == 1
    assert (found.low, found.high) == (pytest.approx(0.025 ** (1 / 5)), 1)
    assert found.power == pytest.approx(0.9**5)
    assert share(1, 1).power == 0


def test_intervals_of_shares_cover_at_least_as_often_as_they_say():
    rng = np.random.default_rng(0)
    for truth in (0.5, 0.9):
        counts = rng.binomial(12, truth, 2_000)
        ends = {count: share(count, 12) for count in set(counts.tolist())}
        covered = np.mean([ends[c].low <= truth <= ends[c].high for c in counts.tolist()])
        assert covered >= 0.94


def test_fishers_tea():
    found = odds((3, 1), (1, 3))
    assert found.p == pytest.approx(17 / 70)
    assert found.value == pytest.approx(6.41, abs=0.01)
    assert found.low < 1 < found.high


def test_nothing_of_either_kind_has_no_odds():
    found = odds((0, 5), (0, 5))
    assert math.isnan(found.value)
    assert (found.p, found.p_against) == (1, 1)
    assert odds((5, 0), (0, 5)).value == math.inf


def test_power_of_odds_counts_every_table():
    # Of groups of 2 and 2 the one table that p ≤ 0.05 could belong to has p = 1/6.
    assert odds((2, 0), (0, 2)).power == 0
    # Of 3 and 3 it has p = 1/20: all so, and none.
    assert odds((1, 2), (1, 2)).power == pytest.approx(0.75**3 * 0.75**3)


def test_sets_against_chance_and_the_opposite_claim():
    more = against_chances(3, [0.2, 0.3, 0.5])
    assert more.p == pytest.approx(0.2 * 0.3 * 0.5)
    assert more.power == pytest.approx(0.9**3)  # none but three of three is rarer than 1 in 20
    fewer = against_chances(0, [13 / 14, 13 / 14], fewer=True)
    assert fewer.p == pytest.approx(1 / 14**2)
    assert (fewer.value, fewer.p_against) == (0, pytest.approx(1))
    # One of two would not do: p = 27/196.
    assert fewer.power == pytest.approx(0.9**2)
    assert against_chances(0, [13 / 14], fewer=True).power == 0


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


@pytest.mark.parametrize("blocks", [2, 3, 5])
def test_it_is_pages_exact_test(blocks):
    rng = np.random.default_rng(blocks)
    values = rng.standard_normal((blocks, 3)) + np.array([0, 0.5, 1])
    exact = stats.page_trend_test(values, method="exact")
    assert page(values).p == pytest.approx(exact.pvalue)


def test_a_kept_order_and_its_reverse():
    kept = page(np.array([[1.0, 2, 3], [-math.inf, 0, 1]]))
    assert (kept.value, kept.p) == (1, pytest.approx(1 / 36))
    reverse = page(np.array([[3.0, 2, 1]] * 2))
    assert (reverse.value, reverse.p_against) == (-1, pytest.approx(1 / 36))


def test_ties_count_for_neither():
    tied = page(np.array([[1.0, 1, 1]]))
    assert (tied.value, tied.p) == (0, tied.p_against)


def test_power_is_what_happens():
    rng = np.random.default_rng(0)
    found = [page(rng.standard_normal((3, 3)) + np.arange(3)) for _ in range(400)]
    assert np.mean([one.p <= 0.05 for one in found]) == pytest.approx(found[0].power, abs=0.08)


def drawn(seed: int, *, seeds: int = 3, variants: int = 4, lead: float = 0.0) -> Set:
    rng = np.random.default_rng(seed)
    runs = rng.standard_normal((variants, seeds))
    runs[0] += lead
    return Set(rng.standard_normal(seeds), list(runs))


def test_one_set_is_dunnetts_test_of_its_best_variant():
    one = drawn(1, lead=3)
    found = best_lead([one])
    test = dunnett(*one.variants, control=one.base, alternative="greater", rng=0)
    assert found.p == pytest.approx(min(test.pvalue), rel=0.05)
    assert found.value == max(run.mean() for run in one.variants) - one.base.mean()
    assert found.low < found.value
    assert (found.p_against, found.n) == (1, 15)
    assert math.isnan(found.high)


def test_p_is_corrected_for_the_sets_and_shifts_of_both_do_not_count():
    one = drawn(1, lead=3)
    moved = Set(one.base + 7, [run + 7 for run in one.variants])
    assert best_lead([one, moved]).p == pytest.approx(2 * best_lead([one]).p, rel=1e-6)
    assert best_lead([one] * 50).p <= 1


def test_more_seeds_tell_more_and_more_rivals_less():
    few, many = best_lead([drawn(2)]).power, best_lead([drawn(2, seeds=6)]).power
    crowd = best_lead([drawn(2, variants=13)]).power
    assert 0.05 < crowd < few < many <= 1


@pytest.mark.parametrize(
    "useless",
    [
        [],
        [Set(np.array([0.5]), [np.array([0.6, 0.7])])],
        [Set(np.array([0.5, 0.6]), [np.array([0.6])])],
        [Set(np.array([0.5, 0.5]), [np.array([0.5, 0.5])])],
    ],
)
def test_single_seeds_and_seeds_that_do_not_differ_tell_nothing(useless):
    found = best_lead(useless)
    assert found.n == 0
    assert found.p == 1
    usable = drawn(3)
    assert best_lead([*useless, usable]).p == best_lead([usable]).p
