"""Page's test against SciPy's, and its power by doing."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from orchestrator.paper.statistics.samples import page

stats: Any = scipy_stats  # it tells no types of its results


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
