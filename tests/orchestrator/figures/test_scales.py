"""Ranges, ticks and places of names."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.figures.scales import Box, focus_range, place_label, ticks

PERCENT = st.floats(0, 100)


@given(st.lists(PERCENT), st.lists(PERCENT, min_size=1))
def test_a_range_has_what_it_must_have_and_room_around_it(values, always):
    low, high = focus_range(values, always)
    assert low < min(always)
    assert max(always) < high
    assert high - low >= 1


@given(st.lists(st.floats(90, 95), min_size=4), st.floats(0, 60))
def test_one_value_far_away_changes_nothing(values, far):
    assert focus_range([*values, *values, far]) == focus_range([*values, *values])


def test_values_that_spread_evenly_are_all_shown():
    low, high = focus_range(range(0, 101, 10))
    assert low < 0
    assert high > 100


@given(st.floats(-100, 100), st.floats(0.001, 200))
def test_ticks_are_round_within_the_range_and_not_too_many(low, span):
    numbers, decimals = ticks(low, low + span)
    assert 2 <= len(numbers) <= 8
    assert all(low - 1e-9 <= number <= low + span + 1e-9 for number in numbers)
    written = [f"{number:.{decimals}f}" for number in numbers]
    assert len(set(written)) == len(numbers)
    assert [float(number) for number in written] == pytest.approx(numbers, abs=1e-12)


def test_a_name_goes_where_no_mark_is():
    panel = Box(0, 0, 300, 200)
    marks = [(float(x), 110.0) for x in range(0, 300, 20)]
    box = place_label(100, 60, 17, panel, marks)
    assert box.top == 100
    free = [mark for mark in marks if mark[0] < 150]
    box = place_label(100, 60, 17, panel, [*free, *((x, y - 20) for x, y in marks)])
    assert (box.bottom, box.right) == (100, 300)


@given(st.floats(0, 200), st.lists(st.tuples(st.floats(0, 300), st.floats(0, 200))))
def test_a_name_stays_in_its_panel_and_beside_its_line(line, marks):
    assume(17 <= line <= 183)
    box = place_label(line, 60, 17, Box(0, 0, 300, 200), marks)
    assert line in (box.bottom, box.top)
    assert box.left >= 0
    assert box.right <= 300
