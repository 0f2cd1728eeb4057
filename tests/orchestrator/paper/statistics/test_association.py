"""Rank correlation, partial correlation, trend and peak against scipy and known laws."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from orchestrator.paper.statistics.association import (
    association,
    degrees,
    fisher_interval,
    interior_chance,
    jonckheere,
    partial_association,
    quadratic,
    stratum_ranks,
    two_lines,
)
from orchestrator.paper.statistics.testing import DRAWS, rearrangements

stats: Any = scipy_stats  # without types of its results

TABLE_2_DARTS = np.repeat([2.0, 2.5, 3.0, 3.5], [3, 5, 3, 2])
STUDIES = 4_000


def compatible(count, studies, share):
    """Whether so many of so many have a chance of more than 1 in 1,000 under this share."""
    return stats.binomtest(int(count), studies, share).pvalue > 1e-3


def test_one_stratum_is_spearman_with_its_exact_p():
    x, y = np.array([1.0, 1, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 6, 6])
    found = association(x, y, np.zeros(6))
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)
    exact = stats.permutation_test(
        (x,), lambda a: stats.spearmanr(a, y).statistic, permutation_type="pairings",
        alternative="greater", n_resamples=np.inf,
    )  # fmt: skip
    assert found.exact
    assert found.p == pytest.approx(exact.pvalue)


def test_many_cells_agree_with_scipys_p():
    rng = np.random.default_rng(1)
    x = rng.standard_normal(40)
    y = 0.3 * x + rng.standard_normal(40)
    found = association(x, y, np.zeros(40))
    assert found.p == pytest.approx(stats.spearmanr(x, y, alternative="greater").pvalue, abs=0.01)
    assert found.p + found.p_against == pytest.approx(1, abs=0.01)


def test_levels_of_bases_count_for_nothing():
    # Within each base y falls; the bases' levels alone would make it rise.
    x = np.array([1.0, 2, 3, 11, 12, 13])
    y = np.array([3.0, 2, 1, 33, 32, 31])
    assert association(x, y, np.array([0, 0, 0, 1, 1, 1])).value == pytest.approx(-1)
    assert association(x, y, np.zeros(6)).value > 0


def test_infinities_rank_outermost_and_nan_is_left_out():
    x = np.array([1.0, 2, 3, 4, 5])
    y = np.array([-math.inf, 1, math.nan, 3, math.inf])
    found = association(x, y, np.zeros(5))
    assert (found.value, found.n) == (pytest.approx(1), 4)


@pytest.mark.parametrize("y", [[], [math.nan] * 3, [1.0, 1, 1]])
def test_nothing_to_correlate_is_nan_and_no_evidence(y):
    x = np.arange(len(y), dtype=float)
    found = association(x, np.array(y, dtype=float), np.zeros(len(y)))
    assert math.isnan(found.value)
    assert (found.p, found.p_against, found.n) == (1, 1, 0)


def test_too_few_cells_have_no_interval():
    assert np.isnan(fisher_interval(0.5, degrees(np.zeros(2)))).all()


def test_the_same_data_give_the_same_numbers():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 20))
    strata = np.repeat(["<script>", "b"], 10)
    assert association(x, y, strata) == association(x, y, strata)


@pytest.mark.parametrize(
    ("per_base", "bases", "expected"), [(13, 1, 0.44), (60, 1, 0.98), (13, 4, 0.93)]
)
def test_power_is_that_of_the_design(per_base, bases, expected):
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, per_base * bases))
    strata = np.repeat(np.arange(bases), per_base)
    assert association(x, y, strata).power == pytest.approx(expected, abs=0.035)


def studies(n, bases, rho, x=None):
    """Ranks [studies, n] of x and y of normal populations, within bases."""
    rng = np.random.default_rng(7)
    strata = np.repeat(np.arange(bases), n // bases)
    x = rng.standard_normal((STUDIES, n)) if x is None else np.tile(x, (STUDIES, 1))
    y = rho * x + math.sqrt(1 - rho**2) * rng.standard_normal((STUDIES, n))
    ranked = []
    for values in (x, y):
        split = values.reshape(STUDIES, bases, n // bases)
        ranks = stats.rankdata(split, axis=2)
        ranked.append((ranks - ranks.mean(axis=2, keepdims=True)).reshape(STUDIES, n))
    a, b = ranked
    r = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return a, b, r, strata


@pytest.mark.parametrize(("n", "bases"), [(13, 1), (52, 4), (60, 1)])
@pytest.mark.parametrize("rho", [0.0, 0.33])
def test_intervals_cover_the_truth_as_often_as_they_say(n, bases, rho):
    *_, r, strata = studies(n, bases, rho)
    # Mean of Spearman's correlation in samples of this size (Moran, 1948).
    m = n // bases
    truth = 6 / math.pi / (m + 1) * (math.asin(rho) + (m - 2) * math.asin(rho / 2))
    ends = np.array([fisher_interval(value, degrees(strata)) for value in r])
    covered = ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).sum()
    assert compatible(covered, STUDIES, 0.95)


def test_no_effect_is_called_one_as_often_as_alpha_says():
    a, b, _, strata = studies(13, 1, 0.0, TABLE_2_DARTS)
    order = rearrangements(strata).order
    null = np.sort((b[0])[order] @ a[0])
    p = (len(null) - np.searchsorted(null, (a * b).sum(axis=1) - 1e-9) + 1) / (len(null) + 1)
    found = [association(TABLE_2_DARTS, y, strata).p for y in b[:3]]
    assert found == pytest.approx(p[:3], abs=0.02)  # the shortcut is the same test
    assert compatible((p <= 0.05).sum(), STUDIES, 0.05)
    assert compatible((p <= 0.2).sum(), STUDIES, 0.2)


def test_ranks_are_centred_within_strata():
    ranks = stratum_ranks(np.array([5.0, 5, 9, 1]), np.array([0, 0, 1, 1]))
    assert ranks.tolist() == [0, 0, 0.25, -0.25]


def test_rearrangements_stay_within_strata():
    strata = np.repeat([0, 1], 8)
    order, exact = rearrangements(strata)
    assert (len(order), exact) == (DRAWS, False)
    assert (np.sort(order[:, :8]) == np.arange(8)).all()
    few = rearrangements(np.array([0, 0, 1, 1, 1]))
    assert (len(few.order), few.exact) == (12, True)
    assert len({tuple(row) for row in few.order.tolist()}) == 12


def test_it_is_the_correlation_of_the_residuals():
    rng = np.random.default_rng(0)
    z, x, y = rng.standard_normal((3, 30))
    x, y = x + z, y + z
    found = partial_association(x, y, z[:, None], np.zeros(30))
    rx, ry, rz = (stats.rankdata(v) for v in (x, y, z))
    xy, xz, yz = (np.corrcoef(a, b)[0, 1] for a, b in ((rx, ry), (rx, rz), (ry, rz)))
    expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high


def test_what_a_covariate_explains_is_no_effect_and_what_it_does_not_is_one():
    rng = np.random.default_rng(1)
    z = rng.standard_normal(60)
    strata = np.repeat([0, 1, 2], 20)
    x = z + 0.5 * rng.standard_normal(60)
    explained = partial_association(x, z + 0.5 * rng.standard_normal(60), z[:, None], strata)
    own = partial_association(x, x + 0.3 * rng.standard_normal(60), z[:, None], strata)
    assert explained.p > 0.05
    assert own.p < 0.001


def test_constant_and_repeated_covariates_fall_away():
    x, y = np.arange(8.0), np.array([1.0, 0, 3, 2, 5, 4, 7, 6])
    plain = partial_association(x, y, np.ones((8, 2)), np.zeros(8))
    assert plain.value == pytest.approx(stats.spearmanr(x, y).statistic)
    z = np.array([3.0, 1, 4, 1, 5, 9, 2, 6])
    once, twice = (partial_association(x, y, np.stack([z] * k, 1), np.zeros(8)) for k in (1, 2))
    assert once.value == pytest.approx(twice.value)
    assert once.p == twice.p


@pytest.mark.parametrize("n", [0, 1, 3])
def test_too_few_cells_say_nothing(n):
    x = np.arange(n, dtype=float)
    found = partial_association(x, x, x[:, None] ** 2, np.zeros(n))
    assert math.isnan(found.value)
    assert found.p == 1


def test_without_covariates_there_is_no_correlation():
    x = np.arange(9.0)
    assert math.isnan(partial_association(x, x, np.empty((9, 0)), np.zeros(9)).value)


def test_the_error_rate_of_the_partial_correlation_is_nominal():
    rng = np.random.default_rng(2)
    strata = np.zeros(7)
    p = []
    for _ in range(400):
        z, x, y = rng.standard_normal((3, 7))
        p.append(partial_association(x + z, y + z, z[:, None], strata).p)
    assert 8 <= (np.array(p) <= 0.05).sum() <= 36


def test_without_ties_it_is_kendalls_tau_with_its_exact_p():
    x, y = np.array([1.0, 2, 3, 4, 5, 6]), np.array([2.0, 1, 3, 6, 4, 5])
    found = jonckheere(x, y, np.zeros(6))
    exact = stats.kendalltau(x, y, method="exact", alternative="greater")
    assert found.value == pytest.approx(exact.statistic)
    assert found.p == pytest.approx(exact.pvalue)


def test_pairs_of_one_level_or_of_two_bases_do_not_count():
    levels, y = np.array([1.0, 1, 2, 1, 2]), np.array([1.0, 9, 5, 70, 60])
    # Pairs: (1, 5) agrees, (9, 5) does not, (70, 60) does not.
    assert jonckheere(levels, y, np.array([0, 0, 0, 1, 1])).value == pytest.approx(-1 / 3)


def test_infinite_outcomes_tie_among_themselves():
    found = jonckheere(np.array([1.0, 2, 3]), np.array([1, math.inf, math.inf]), np.zeros(3))
    assert found.value == pytest.approx(2 / 3)


def test_the_error_rate_of_the_trend_is_nominal():
    rng = np.random.default_rng(5)
    levels, strata = np.repeat([1.0, 2, 3], [2, 2, 3]), np.zeros(7)
    p = np.array([jonckheere(levels, rng.standard_normal(7), strata).p for _ in range(400)])
    # Of a discrete exact test: at most nominal, and near it.
    assert stats.binomtest(int((p <= 0.05).sum()), 400, 0.05, "greater").pvalue > 1e-3
    assert (p <= 0.1).sum() > 15


DARTS = np.repeat([2.0, 2.5, 3.0, 3.5], [3, 5, 3, 2])
ONE = np.zeros(13)


@pytest.mark.parametrize("test", [quadratic, two_lines])
@pytest.mark.parametrize(("sign", "sided"), [(1, "p"), (-1, "p_against")])
def test_a_peak_and_a_valley(test, sign, sided):
    rng = np.random.default_rng(0)
    x = np.tile(DARTS, 2)
    y = -sign * 3 * np.abs(x - 2.75) + 0.3 * rng.standard_normal(26)
    found = test(x, y, np.repeat(["a", "b"], 13))
    assert getattr(found, sided) < 0.01
    assert found.n == 26


def test_a_straight_rise_is_no_peak():
    rng = np.random.default_rng(1)
    y = 3 * DARTS + 0.3 * rng.standard_normal(13)
    assert quadratic(DARTS, y, ONE).p > 0.05
    assert two_lines(DARTS, y, ONE).p > 0.05


def test_the_quadratic_is_the_partial_correlation():
    rng = np.random.default_rng(2)
    y = rng.standard_normal(13)
    design = np.column_stack([np.ones(13), DARTS])
    rests = [v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (-(DARTS**2), y)]
    correlation = stats.pearsonr(*rests)[0]
    assert quadratic(DARTS, y, ONE).value == pytest.approx(correlation)


@pytest.mark.parametrize("test", [quadratic, two_lines])
def test_error_rates_are_nominal(test):
    rng = np.random.default_rng(3)
    x = np.array([1.0, 1, 2, 2, 3, 3, 4, 4])
    p = [test(x, y, np.zeros(8)).p for y in rng.standard_normal((250, 8))]
    assert stats.binomtest(int((np.array(p) <= 0.05).sum()), 250, 0.05).pvalue > 1e-3


@pytest.mark.parametrize("test", [quadratic, two_lines])
def test_too_few_widths_say_nothing(test):
    found = test(np.array([1.0, 1, 2, 2]), np.arange(4.0), np.zeros(4))
    assert math.isnan(found.value)
    assert (found.p, found.n) == (1, 0)


def test_without_an_effect_most_sets_peak_inside_and_most_have_a_run_above_the_base():
    rng = np.random.default_rng(4)
    runs = rng.standard_normal((20_000, 14))
    best = DARTS[runs[:, 1:].argmax(axis=1)]
    inside = ((best > 2) & (best < 3.5)).mean()
    assert interior_chance(DARTS) == pytest.approx(0.615, abs=0.001)
    assert inside == pytest.approx(0.615, abs=0.015)
    assert (runs[:, 1:].max(axis=1) > runs[:, 0]).mean() == pytest.approx(0.93, abs=0.01)
