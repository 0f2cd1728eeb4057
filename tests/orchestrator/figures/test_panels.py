"""Panels in columns by width, and what panels share and differ in."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.figures.members import common, differing
from orchestrator.figures.panels import MOST_COLUMNS, places_by_width


def test_figure_17_has_four_columns_the_base_with_the_widest():
    widths = (3.5, 2, 2, 2, 2.5, 2.5, 2.5, 2.5, 2.5, 3, 3, 3, 3.5, 3.5)
    places = places_by_width(widths)
    columns = {c: [i for i, (_, column) in enumerate(places) if column == c] for c in range(1, 5)}
    assert columns == {1: [1, 2, 3], 2: [4, 5, 6, 7, 8], 3: [9, 10, 11], 4: [0, 12, 13]}
    assert [places[i][0] for i in columns[2]] == [1, 2, 3, 4, 5]


@given(st.lists(st.sampled_from([1, 1.5, 2, 2.5, 3, 3.5, 4, 5]), min_size=1, max_size=30))
def test_widths_rise_to_the_right_in_few_columns_without_gaps(widths):
    places = places_by_width(widths)
    assert len(set(places)) == len(widths)
    count = max(column for _, column in places)
    assert count == min(MOST_COLUMNS, len(set(widths)))
    for column in range(1, count + 1):
        inside = [row for row, c in places if c == column]
        assert inside == list(range(1, len(inside) + 1))
    found = [{width for width, place in zip(widths, places, strict=True) if place[1] == column}
             for column in range(1, count + 1)]  # fmt: skip
    assert all(max(left) < min(right) for left, right in pairwise(found))


def test_what_items_share_and_differ_in():
    items = [("DARTS", 1, ""), ("DARTS", 2, ""), ("DARTS", 2, "x")]
    describe = [lambda one, n=n: str(one[n]) for n in range(3)]
    assert common(items, *describe) == ["DARTS", "x"]
    assert differing(items, *describe) == [["1"], ["2"], ["2"]]
