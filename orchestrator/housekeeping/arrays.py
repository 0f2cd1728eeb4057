"""Surfaces as NumPy arrays."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd

NUMBERS = (
    "loss",
    "accuracy",
    "variance",
    "standard_error",
    "weights_variance",
    "weights_standard_error",
    "gradient_norm",
)
"""Columns of points that become arrays."""


def arrays(points: pd.DataFrame) -> dict[str, np.ndarray]:
    """The points of surfaces as arrays by name.

    Args:
        points: As `Results.points` returns them.

    Returns:
        For each surface `<surface id>/alpha` [n], `/beta` [m], and for each number that its kind
        has, such as `/loss`, an array [n, m]; NaN where no point was measured yet.
    """
    found: dict[str, np.ndarray] = {}
    distinct = points.drop_duplicates(["surface_id", "row", "column"])
    for name, surface in distinct.groupby("surface_id", sort=False):
        rows, columns = surface["row"].to_numpy(), surface["column"].to_numpy()
        shape = int(rows.max()) + 1, int(columns.max()) + 1
        for axis, index, size in (("alpha", rows, shape[0]), ("beta", columns, shape[1])):
            line = np.full(size, np.nan)
            line[index] = surface[axis]
            found[f"{name}/{axis}"] = line
        for column in NUMBERS:
            grid = np.full(shape, np.nan)
            grid[rows, columns] = surface[column]
            if not np.isnan(grid).all():
                found[f"{name}/{column}"] = grid
    return found


def to_npz(points: pd.DataFrame) -> bytes:
    """The arrays in one compressed `.npz`."""
    sink, named = io.BytesIO(), dict[str, Any](arrays(points))
    np.savez_compressed(sink, **named)
    return sink.getvalue()
