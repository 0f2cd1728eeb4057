"""Planes of numbers from the measured points of surfaces."""

import numpy as np
import pandas as pd
import pytest

from orchestrator.figures.surfaces import assemble
from workers.landscape.grid import Grid


def frame(grid, done=None):
    rows = [(p.row, p.column, p.alpha, p.beta, 10 * p.row + p.column) for p in grid.points()[:done]]
    return pd.DataFrame(rows, columns=["row", "column", "alpha", "beta", "loss"])


def test_rows_are_alphas_and_columns_are_betas_whatever_the_order_of_points():
    points = frame(Grid(3, 5, 0.5)).sample(frac=1, random_state=0)
    # A point named twice counts once.
    plane = assemble(pd.concat([points, points]), ["loss"])
    assert plane.alphas.tolist() == [-0.5, 0, 0.5]
    assert plane.betas.tolist() == [-0.5, -0.25, 0, 0.25, 0.5]
    assert plane.values["loss"].tolist() == [[10 * r + c for c in range(5)] for r in range(3)]


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize(
    ("done", "sides"), [(0, 0), (1, 1), (8, 1), (9, 3), (24, 3), (25, 5), (80, 5), (441, 21)]
)
def test_of_a_part_the_finest_full_level_is_kept(done, sides, given):
    plane = assemble(frame(Grid(21, 21), done), ["loss"], (21, 21) if given else None)
    expected = 0 if done == 1 and not given else sides
    assert plane.values["loss"].shape == (expected, expected)
    assert plane.empty == (expected == 0)
    if sides > 1:
        assert plane.alphas[[0, -1]].tolist() == [-1, 1]
        assert np.isfinite(plane.values["loss"]).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (5, 7)])
def test_any_shape_is_found_from_its_points(shape):
    plane = assemble(frame(Grid(*shape)), ["loss"])
    assert plane.values["loss"].shape == shape
    assert plane.flat == (1 in shape)
