"""Jonckheere's trend against counting pairs, and against SciPy's τ."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from orchestrator.paper.statistics.association import jonckheere

stats: Any = scipy_stats  # it tells no types of its results


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


def test_its_error_rate_is_nominal():
    rng = np.random.default_rng(5)
    levels, strata = np.repeat([1.0, 2, 3], [2, 2, 3]), np.zeros(7)
    p = np.array([jonckheere(levels, rng.standard_normal(7), strata).p for _ in range(400)])
    # Of a discrete exact test: at most nominal, and near it.
    assert stats.binomtest(int((p <= 0.05).sum()), 400, 0.05, "greater").pvalue > 1e-3
    assert (p <= 0.1).sum() > 15
