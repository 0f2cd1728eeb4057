"""Trends and peaks against scipy and known shapes."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from orchestrator.paper.statistics.association import (
    partial_trend,
    peak,
    stratum_ranks,
    trend,
)

stats: Any = scipy.stats  # whose results have no stubs

DARTS = np.repeat([2.0, 2.5, 3.0, 3.5], [3, 5, 3, 2])
"""Widths of the variants of DARTS, as Table 2 has them."""
ONE = np.zeros(13)


def test_one_stratum_is_spearman_with_its_exact_two_sided_p():
    x, y = np.array([1.0, 1, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 6, 6])
    found = trend(x, y, np.zeros(6))
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)
    exact = stats.permutation_test(
        (x,), lambda a: stats.spearmanr(a, y).statistic, permutation_type="pairings",
        alternative="greater", n_resamples=np.inf,
    )  # fmt: skip
    assert (found.exact, found.null) == (True, 0)
    assert found.p == pytest.approx(2 * exact.pvalue)


def test_many_cells_agree_with_scipy():
    rng = np.random.default_rng(1)
    x = rng.standard_normal(40)
    y = 0.3 * x + rng.standard_normal(40)
    found, theirs = trend(x, y, np.zeros(40)), stats.spearmanr(x, y)
    assert (found.value, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_levels_of_bases_count_for_nothing():
    # Within each base y falls; the bases' levels alone would make it rise.
    x, y = np.array([1.0, 2, 3, 11, 12, 13]), np.array([3.0, 2, 1, 33, 32, 31])
    assert trend(x, y, np.array([0, 0, 0, 1, 1, 1])).value == pytest.approx(-1)
    assert trend(x, y, np.zeros(6)).value > 0


def test_infinite_and_missing_outcomes():
    y = np.array([-np.inf, -np.inf, 1, 2, np.nan, 5, *range(6, 13)])
    found = trend(np.arange(13.0), y, ONE)
    assert found.n == 12
    assert found.value > 0.98
    assert math.isnan(trend(np.arange(3.0), np.full(3, 0.5), np.zeros(3)).value)
    assert math.isnan(trend(np.full(3, 1.0), np.arange(3.0), np.zeros(3)).value)


def test_partial_correlation_is_that_of_residual_ranks():
    rng = np.random.default_rng(2)
    covariates = rng.standard_normal((30, 2))
    x = covariates[:, 0] + rng.standard_normal(30)
    y = covariates[:, 0] + rng.standard_normal(30)
    found = partial_trend(x, y, np.zeros(30), covariates)
    design = np.column_stack([np.ones(30), *(stats.rankdata(c) for c in covariates.T)])
    rests = [
        r - design @ np.linalg.lstsq(design, r, rcond=None)[0]
        for r in (stats.rankdata(x), stats.rankdata(y))
    ]
    theirs = stats.pearsonr(*rests).statistic
    assert found.value == pytest.approx(theirs)
    t = theirs * math.sqrt(26 / (1 - theirs**2))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 26))
    assert math.isnan(partial_trend(x, y, np.zeros(30), covariates[:, :0]).value)


BASES = np.repeat(np.arange(4), 13)
SHAPES = {
    "flat": lambda u: 0 * u,
    "rise": lambda u: 2 * u,
    "plateau": lambda u: 2 * np.minimum(u, 0.4),
    "peak": lambda u: -8 * (u - 0.5) ** 2,
    "valley": lambda u: 8 * (u - 0.5) ** 2,
}


@pytest.mark.parametrize(
    ("shape", "sign"), [("flat", 0), ("plateau", 0), ("rise", -1), ("peak", 1), ("valley", -1)]
)
def test_a_peak_is_neither_a_plateau_nor_a_trend(shape, sign):
    x = np.tile(DARTS, 4)
    noise = 0.15 * np.random.default_rng(5).standard_normal(52)
    y = stratum_ranks(SHAPES[shape](stratum_ranks(x, BASES) + 0.5) + noise, BASES) + 0.5
    found: Any = peak(x, y, BASES)
    assert found.n == 52
    assert (found.low > 0) - (found.high < 0) == sign
    assert (found.p < 0.05) == (sign != 0)
    assert found.finder(0.05, 0.8, 4.0) == pytest.approx(found.finder(0.05, 0.8, 1.0) / 2)


def test_a_peak_needs_three_levels_and_an_error():
    assert math.isnan(peak(np.repeat([1.0, 2], 5), np.arange(10.0), np.zeros(10)).value)
    assert math.isnan(peak(np.arange(5.0), np.arange(5.0), np.zeros(5)).value)
    assert math.isnan(peak(DARTS, np.ones(13), ONE).value)


def test_a_peak_of_three_levels_is_the_lesser_of_two_t_tests():
    x, free = np.repeat([1.0, 2, 3], 4), 9
    y = np.array([0.1, 0.5, 0.2, 0.4, 1.1, 0.9, 1.4, 1.0, 0.2, 0.8, 0.3, 0.9]) / 2
    found: Any = peak(x, y, np.zeros(12))
    means = y.reshape(3, 4).mean(axis=1)
    lead = means[1] - means[[0, 2]].max()
    error = math.sqrt(y.reshape(3, 4).var(axis=1, ddof=1).mean() / 2)
    p = 2 * stats.t.sf(lead / error, free)
    assert found.value == pytest.approx(lead)
    assert found.p == pytest.approx(p, rel=0.15)  # by simulation, as is the lower end
    assert found.low == pytest.approx(lead - stats.t.isf(0.025, free) * error, abs=0.02)
    assert found.high == pytest.approx(lead + stats.t.isf(0.0125, free) * error)
    needed = (stats.t.isf(0.025, free) + stats.t.isf(0.1, free)) * error
    assert found.finder(0.05, 0.8, 1.0) == pytest.approx(needed, rel=0.02)
    valley: Any = peak(x, -y, np.zeros(12))
    lesser = means[1] - means[[0, 2]].min()
    assert valley.value == pytest.approx(-lesser)
    assert valley.p == pytest.approx(2 * 2 * stats.t.sf(lesser / error, free))


def test_a_partial_correlation_needs_three_degrees_of_freedom():
    x, y, covariates = np.random.default_rng(3).standard_normal((3, 6))
    found = partial_trend(x, y, np.zeros(6), covariates[:, None])
    assert (found.n, found.p < 1) == (6, True)
    fewer = partial_trend(x, y, np.repeat([0, 1], 3), np.column_stack([covariates, x**2]))
    assert math.isnan(fewer.value)
    assert math.isnan(partial_trend(x, x**3, np.zeros(6), x[:, None]).value), "nothing is left"
