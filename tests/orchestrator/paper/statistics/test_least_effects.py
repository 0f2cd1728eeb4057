"""The least effects that tests name are found with the power that was asked for."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from orchestrator.paper.statistics.comparison import best_lead, contrasts, mean, odds_ratio
from orchestrator.paper.statistics.laws import Bell, Discrete

stats: Any = scipy.stats  # whose results have no stubs


@pytest.mark.parametrize(("null", "times"), [(0.0, 1), (0.3, 4)])
def test_a_mean_has_the_power_of_the_noncentral_t(null, times):
    values = np.random.default_rng(0).standard_normal(20) + 0.1
    found: Any = mean(values, null)
    effect, free = found.finder(0.05, 0.8, float(times)) - null, 20 * times - 1
    shift = effect * math.sqrt(20 * times) / values.std(ddof=1)
    assert stats.nct.sf(stats.t.isf(0.025, free), free, shift) == pytest.approx(0.8, abs=0.01)


def runs(seed: int, cells: int) -> list[np.ndarray]:
    return [*np.random.default_rng(seed).standard_normal((cells, 8))]


def test_the_best_of_several_variants_is_found_at_its_corrected_level():
    base, *variants = runs(1, 6)
    apart = contrasts([base], [[one] for one in variants])
    found: Any = best_lead([apart])
    free, shift = apart[0].free, found.finder(0.05, 0.8, 1.0) / apart[0].error
    power = stats.nct.sf(stats.t.isf(0.025 / 5, free), free, shift)
    assert power == pytest.approx(0.8, abs=0.01)
    assert found.finder(0.05, 0.8, 9.0) < found.finder(0.05, 0.8, 1.0) / 2.9


def test_that_no_variant_leads_is_found_if_each_is_behind():
    base, *variants = runs(2, 6)
    apart = contrasts([base], [[one] for one in variants])
    found: Any = best_lead([apart])
    behind = found.opposite(0.05, 0.8, 1.0)
    # Studies in which all variants are as far behind; half of an error is the base's.
    rng, (error, free) = np.random.default_rng(3), apart[0][1:]
    ones = rng.standard_normal((20_000, 6)) * error / math.sqrt(2)
    estimated = error * np.sqrt(rng.chisquare(free, 20_000) / free)
    leads = ones[:, 1:] - ones[:, :1] - behind
    found_all = (leads.max(axis=1) / estimated < stats.t.ppf(0.025, free)).mean()
    assert found_all == pytest.approx(0.8, abs=0.015)


@pytest.mark.parametrize("times", [1, 4])
def test_odds_are_found_as_often_as_fishers_exact_test_finds_them(times):
    found: Any = odds_ratio([(40, 20, 30, 30)])
    odds = found.finder(0.05, 0.8, float(times))
    margins = 120 * times, 60 * times, 70 * times
    counts = np.arange(margins[2] + 1)
    rejected = stats.hypergeom.sf(counts - 1, *margins) <= 0.025
    power = stats.nchypergeom_fisher.pmf(counts, *margins, odds)[rejected].sum()
    assert power == pytest.approx(0.8, abs=0.04)  # counts come in steps
    few: Any = odds_ratio([(1, 1, 1, 1)])
    assert (few.least_p, few.finder(0.05, 0.8, 1.0)) == (pytest.approx(1 / 3), math.inf)


def test_a_discrete_law_of_more_data_is_that_of_their_mean():
    law = Discrete.of(np.arange(10) / 9)
    pair = law + law
    of_four = Discrete((pair + pair).values / 4, (pair + pair).chances)
    exact = of_four.least_effect(0.05, 0.8, 1.0)
    assert law.least_effect(0.05, 0.8, 4.0) == pytest.approx(exact, abs=0.02)
    assert law.least_effect(0.05, 0.8, 1.0) == math.inf, "its least two-sided p is 0.2"
    few = Discrete.of(np.arange(3.0))
    assert few.least_effect(0.05, 0.8, 2.0) == pytest.approx(2), "all there is, and not enough"


@pytest.mark.parametrize("times", [1, 4])
def test_a_correlation_is_found_with_the_variance_of_bonett_and_wright(times):
    n = 40
    effect = Bell(1 / (n - 1)).least_effect(0.05, 0.8, float(times))
    spread = math.sqrt(1 + effect**2 / 2)
    needed = stats.norm.ppf(0.975) + spread * stats.norm.ppf(0.8)
    assert math.atanh(effect) * math.sqrt(n * times - 3) == pytest.approx(needed)
