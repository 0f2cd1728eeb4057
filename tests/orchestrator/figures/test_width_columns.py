"""Panels in columns by width."""

from itertools import pairwise
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.figures.width_columns import MOST_COLUMNS, by_width


class Cell(NamedTuple):
    name: int
    width: float


def cells(*widths):
    return [Cell(name, width) for name, width in enumerate(widths)]


def test_figure_17_has_four_columns_the_base_with_the_widest():
    widths = (3.5, 2, 2, 2, 2.5, 2.5, 2.5, 2.5, 2.5, 3, 3, 3, 3.5, 3.5)
    placed, spots = by_width(cells(*widths))
    columns = {c: [p.name for p, s in zip(placed, spots, strict=True) if s[1] == c]
               for c in range(1, 5)}  # fmt: skip
    assert columns == {1: [1, 2, 3], 2: [4, 5, 6, 7, 8], 3: [9, 10, 11], 4: [0, 12, 13]}


@given(st.lists(st.sampled_from([1, 1.5, 2, 2.5, 3, 3.5, 4, 5]), min_size=1, max_size=30))
def test_widths_rise_to_the_right_in_few_columns_without_gaps(widths):
    placed, spots = by_width(cells(*widths))
    assert sorted(p.name for p in placed) == list(range(len(widths)))
    assert list(spots) == sorted(set(spots))
    count = max(column for _, column in spots)
    assert count == min(MOST_COLUMNS, len(set(widths)))
    for column in range(1, count + 1):
        inside = [row for row, c in spots if c == column]
        assert inside == list(range(1, len(inside) + 1))
    found = [{p.width for p, s in zip(placed, spots, strict=True) if s[1] == column}
             for column in range(1, count + 1)]  # fmt: skip
    assert all(max(left) < min(right) for left, right in pairwise(found))
