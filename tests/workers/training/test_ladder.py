"""Which numbers of trials side by side are tried: as many as may be best, and no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.training.packing import MEMORY_LIMIT, PackSpeed, search_pack_sizes


def tried(
    speeds: dict[int, float], most: int = 64, *, each: float = 0.01, fits: int = 99
) -> list[int]:
    """The sizes tried on a device of these speeds, each trial of which takes such a share."""
    order: list[int] = []

    def measure(trials: int) -> PackSpeed | None:
        order.append(trials)
        if trials > fits:
            return None
        return PackSpeed(trials, speeds.get(trials, max(speeds.values())), each * trials)

    search_pack_sizes(measure, most)
    return order


def test_it_stops_where_it_gets_no_better_and_looks_half_way_beside_the_best():
    assert tried({1: 100, 2: 160, 4: 150}) == [1, 2, 4, 3]
    assert tried({1: 100, 2: 160, 4: 220, 8: 222}) == [1, 2, 4, 8, 6]
    assert tried({1: 100, 2: 160, 4: 220, 8: 200}) == [1, 2, 4, 8, 3, 6]
    assert tried({1: 100, 2: 101}) == [1, 2]
    assert tried({1: 100, 2: 70}) == [1, 2]


def test_memory_that_runs_out_ends_it():
    assert tried({1: 100, 2: 160, 4: 220}, fits=2) == [1, 2, 4, 3]
    assert tried({1: 100}, fits=0) == [1]
    assert search_pack_sizes(lambda trials: None, 8) == []


def test_memory_that_is_nearly_full_ends_it():
    each = (MEMORY_LIMIT + 0.01) / 4
    assert tried({1: 100, 2: 160, 4: 220, 3: 200}, each=each) == [1, 2, 4, 3]
    assert tried({1: 100}, each=0.9) == [1]


@pytest.mark.parametrize(("most", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3])])
def test_no_more_are_tried_than_are_wanted(most, expected):
    assert tried({1: 100, 2: 200, 3: 300, 4: 400}, most) == expected


@given(
    speeds=st.lists(st.floats(1, 1e6), min_size=64, max_size=64),
    most=st.integers(1, 64),
    fits=st.integers(0, 64),
    each=st.floats(0.005, 0.5),
)
def test_it_always_ends_and_tries_nothing_twice(speeds, most, fits, each):
    order = tried(dict(enumerate(speeds, 1)), most, each=each, fits=fits)
    assert len(order) == len(set(order)) <= 9
    assert order[0] == 1
    assert max(order) <= most
