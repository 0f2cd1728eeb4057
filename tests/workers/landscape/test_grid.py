from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results_schema.errors import SpecError
from workers.landscape.grid import Grid

SIDES = st.integers(0, 20).map(lambda half: 2 * half + 1)


@given(SIDES, SIDES)
def test_the_order_names_every_point_once_and_begins_at_the_centre(rows, columns):
    grid = Grid(rows, columns)
    points = grid.points()
    assert sorted((p.row, p.column) for p in points) == [
        (row, column) for row in range(rows) for column in range(columns)
    ]
    assert points == Grid(rows, columns).points()
    assert (points[0].alpha, points[0].beta) == (0, 0)
    assert [point.level for point in points] == sorted(point.level for point in points)
    assert points[0].level == 0
    assert all(p.alpha == grid.alphas[p.row] and p.beta == grid.betas[p.column] for p in points)


@given(SIDES, SIDES)
def test_each_level_is_a_grid_that_covers_the_plane(rows, columns):
    points = Grid(rows, columns).points()
    for level in range(1, points[-1].level + 1):
        known = [point for point in points if point.level <= level]
        some_rows, some_columns = ({getattr(p, side) for p in known} for side in ("row", "column"))
        assert len(known) == len(some_rows) * len(some_columns)
        assert {0, rows - 1} <= some_rows
        assert {0, columns - 1} <= some_columns
        for side in (sorted(some_rows), sorted(some_columns)):
            gaps = [after - before for before, after in pairwise(side)]
            assert not gaps or max(gaps) <= max(rows, columns) / 2**level + 2


def test_51_by_51_previews():
    points = Grid(51, 51).points()
    counts = [sum(p.level <= level for p in points) for level in range(7)]
    assert counts == [1, 9, 25, 81, 289, 1089, 2601]


def test_coordinates_reach_the_extents_and_0():
    grid = Grid(3, 5, extent=0.3)
    assert grid.alphas == [-0.3, 0, 0.3]
    assert grid.betas == pytest.approx([-0.3, -0.15, 0, 0.15, 0.3])
    [point] = Grid(1, 1).points()
    assert point.place() == {"row": 0, "column": 0, "alpha": 0, "beta": 0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, 3), "rows = 0"),
        ((3, -1), "columns = -1"),
        ((50, 51), "rows = 50 has no point at the centre"),
        ((51, 2), "columns = 2 has no point at the centre"),
        ((3, 3, 0.0), "extent = 0"),
        ((3, 3, float("nan")), "extent = nan"),
    ],
)
def test_impossible_grids_are_refused(arguments, said: str):
    with pytest.raises(SpecError, match=said):
        Grid(*arguments)
