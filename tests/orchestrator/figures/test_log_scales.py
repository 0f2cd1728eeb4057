"""A logarithmic scale for several panels."""

import math

import numpy as np
import pytest

from orchestrator.figures.log_scales import round_numbers, round_up, shared_scale, tell_all


def test_it_spans_all_panels():
    scale = shared_scale([np.array([[0.5, 3.0]]), np.array([0.2, 80.0])])
    assert scale == (pytest.approx(0.2), 80.0, False)


def test_a_wild_panel_or_corner_flattens_nothing():
    tame = [np.array([0.2, 40.0])] * 3
    assert shared_scale([*tame, np.array([5.0, 2.5e23])]) == (pytest.approx(0.2), 2000.0, True)
    scale = shared_scale([*tame, np.array([1e-30, 1.0])])
    assert scale
    assert 1e-6 < scale.low < 1e-3


def test_what_is_no_positive_number_counts_for_nothing():
    scale = shared_scale([np.array([math.nan, math.inf, 0.0, -1.0, 1.0, 2.0]), np.empty((0, 0))])
    assert scale == (1.0, 2.0, False)
    assert shared_scale([np.array([math.nan, math.inf, 0.0])]) is None
    assert shared_scale([]) is None


def test_one_value_alone_has_a_range():
    scale = shared_scale([np.array([1.0])])
    assert scale
    assert scale.low < 1 < scale.high


@pytest.mark.parametrize("high", [0.3, 2.0, 100.0, 1e4, 1e6])
def test_lines_lie_within_and_are_not_too_many(high):
    scale = shared_scale([np.array([0.2, high])])
    assert scale
    first, last = scale.lines
    assert math.log10(scale.low) - 1e-6 <= first < last <= math.log10(scale.high) + 1e-6
    assert 5 <= (last - first) / scale.step + 1 <= 21


def test_round_numbers():
    assert round_numbers(0.1, 2000) == [0.1, 1, 10, 100, 1000]
    assert round_numbers(0.4, 30) == [0.5, 1, 2, 5, 10, 20]
    assert round_numbers(1.1, 1.5) == [1.1, 1.2, 1.3, 1.4, 1.5]
    assert [round_up(number) for number in (1, 1.1, 2, 4, 0.06)] == [1, 2, 2, 5, 0.1]


def test_numbers_of_one_axis_are_told_alike():
    assert tell_all([0.5, 1, 2000, 100_000]) == ["0.5", "1", "2,000", "100,000"]
    assert tell_all([1e5, 1e6, 2e7]) == ["10⁵", "10⁶", "2·10⁷"]
    assert tell_all([1e-4, 0.01, 1]) == ["10⁻⁴", "10⁻²", "10⁰"]
    assert tell_all([1, 100, 1000], most=1e3) == ["10⁰", "10²", "10³"]
