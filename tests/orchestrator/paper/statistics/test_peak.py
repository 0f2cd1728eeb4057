"""Peaks: found where planted, and no oftener than told where there are none."""

import math

import numpy as np
import pytest
from scipy import stats

from orchestrator.paper.statistics.association import interior_chance, quadratic, two_lines

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
