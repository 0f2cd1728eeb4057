"""Ranges, ticks, logarithmic scales and places of labels."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.figures.scales import (
    END_LABEL_HEIGHT,
    Box,
    choose_end_labels,
    focus_range,
    format_axis,
    log_ticks,
    place_label,
    round_up,
    shared_scale,
    spread_end_labels,
    ticks,
)

PERCENT = st.floats(0, 100)
HEIGHT = st.floats(0, 200)


@given(st.lists(PERCENT), st.lists(PERCENT, min_size=1))
def test_a_range_holds_what_it_must_and_a_margin(values, always):
    low, high = focus_range(values, always)
    assert low < min(always)
    assert max(always) < high
    assert high - low >= 1


@given(st.lists(st.floats(90, 95), min_size=4), st.floats(0, 60))
def test_one_value_far_away_changes_nothing(values, far):
    assert focus_range([*values, *values, far]) == focus_range([*values, *values])


def test_values_that_spread_evenly_are_all_shown():
    assert focus_range(range(0, 101, 10)) == (-10, 110)


@given(st.floats(-100, 100), st.floats(0.001, 200))
def test_ticks_are_round_within_the_range_and_not_too_many(low, span):
    numbers, decimals = ticks(low, low + span)
    assert 2 <= len(numbers) <= 8
    assert all(low - 1e-9 <= number <= low + span + 1e-9 for number in numbers)
    written = [f"{number:.{decimals}f}" for number in numbers]
    assert len(set(written)) == len(numbers)
    assert [float(number) for number in written] == pytest.approx(numbers, abs=1e-12)


def test_a_name_is_placed_where_no_point_is():
    panel = Box(0, 0, 300, 200)
    points = [(float(x), 110.0) for x in range(0, 300, 20)]
    box = place_label(100, 60, 17, panel, points)
    assert box.top == 100
    free = [point for point in points if point[0] < 150]
    box = place_label(100, 60, 17, panel, [*free, *((x, y - 20) for x, y in points)])
    assert (box.bottom, box.right) == (100, 300)


@given(HEIGHT, st.lists(st.tuples(st.floats(0, 300), HEIGHT)))
def test_a_name_stays_in_its_panel_and_beside_its_line(line, points):
    assume(17 <= line <= 183)
    box = place_label(line, 60, 17, Box(0, 0, 300, 200), points)
    assert line in (box.bottom, box.top)
    assert 0 <= box.left < box.right <= 300


@given(st.lists(HEIGHT, max_size=12).map(sorted))
def test_names_keep_their_order_and_never_overlap(wanted):
    spots = spread_end_labels(wanted, 0, 200)
    assert len(spots) == len(wanted)
    assert all(b - a >= END_LABEL_HEIGHT - 1e-6 for a, b in pairwise(spots))
    assert all(-1e-6 <= spot <= 200 + 1e-6 for spot in spots)
    if all(b - a >= END_LABEL_HEIGHT for a, b in pairwise(wanted)):
        assert spots == pytest.approx(wanted)


@given(st.lists(HEIGHT, min_size=1, max_size=60), st.data())
def test_where_space_is_short_the_first_is_named_still(heights, data):
    first = data.draw(st.integers(0, len(heights) - 1))
    chosen = choose_end_labels(heights, first, 190)
    assert first in chosen
    assert len(chosen) <= 190 // END_LABEL_HEIGHT
    assert [heights[i] for i in chosen] == sorted(heights[i] for i in chosen)


TAME = [np.array([0.2, 40.0])] * 3


@pytest.mark.parametrize(
    ("panels", "expected"),
    [
        ([np.array([[0.5, 3.0]]), np.array([0.2, 80.0])], (0.2, 80, False)),
        ([*TAME, np.array([5.0, 2.5e23])], (0.2, 2000, True)),
        ([*TAME, np.array([1e-30, 1.0])], (2e-5, 40, False)),
        ([np.array([math.nan, math.inf, 0, -1, 1, 2]), np.empty((0, 0))], (1, 2, False)),
        ([np.array([1.0])], (1 / 1.1, 1.1, False)),
        ([np.array([math.nan, math.inf, 0.0])], None),
        ([], None),
    ],
)
def test_a_scale_spans_all_panels_but_what_is_wild_or_no_positive_number(panels, expected):
    assert shared_scale(panels) == (expected and pytest.approx(expected))


@pytest.mark.parametrize("high", [0.3, 2.0, 100.0, 1e4, 1e6])
def test_contour_lines_are_within_and_not_too_many(high):
    scale = shared_scale([np.array([0.2, high])])
    assert scale
    first, last = scale.lines
    assert math.log10(scale.low) - 1e-6 <= first < last <= math.log10(scale.high) + 1e-6
    assert 5 <= (last - first) / scale.step + 1 <= 21


def test_ticks_and_numbers_of_a_logarithmic_axis():
    assert log_ticks(0.1, 2000) == [0.1, 1, 10, 100, 1000]
    assert log_ticks(0.4, 30) == [0.5, 1, 2, 5, 10, 20]
    assert log_ticks(1.1, 1.5) == [1.1, 1.2, 1.3, 1.4, 1.5]
    assert [round_up(number) for number in (1, 1.1, 2, 4, 0.06)] == [1, 2, 2, 5, 0.1]
    assert format_axis([0.5, 1, 2000, 100_000]) == ["0.5", "1", "2,000", "100,000"]
    assert format_axis([1e5, 1e6, 2e7]) == ["10⁵", "10⁶", "2·10⁷"]
    assert format_axis([1e-4, 0.01, 1]) == ["10⁻⁴", "10⁻²", "10⁰"]
    assert format_axis([1, 100, 1000], most=1e3) == ["10⁰", "10²", "10³"]
