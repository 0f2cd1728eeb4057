"""The measured points of a surface as a plane of numbers, whole or as far as it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from workers.landscape.grid import Grid


@dataclass(frozen=True, eq=False)
class Plane:
    """Numbers over evenly ordered step sizes.

    Attributes:
        alphas: Rising, float64 [R]; in units of w₁.
        betas: Rising, float64 [C]; in units of w₂.
        values: Column of the points to its numbers, float64 [R, C], NaN where it is null.
    """

    alphas: np.ndarray
    betas: np.ndarray
    values: dict[str, np.ndarray]

    @property
    def empty(self) -> bool:
        """Whether there is no point in it."""
        return not self.alphas.size

    @property
    def flat(self) -> bool:
        """Whether it has one row or one column alone, so that no contour can be drawn."""
        return min(self.alphas.size, self.betas.size) == 1


def assemble(
    points: pd.DataFrame, names: Sequence[str], shape: tuple[int, int] | None = None
) -> Plane:
    """The plane of one surface: its finest level that is measured in full.

    Points are measured from coarse to fine (`workers.landscape.grid`), so a surface that is not
    finished has a coarse plane already; points of a level that is not complete are left out.

    Args:
        points: Its rows of the table of points, in any order; of a point named twice the first
            counts.
        names: The columns whose numbers are wanted.
        shape: Numbers of alphas and betas in full; without it they are told by the points, whose
            level 1 holds the far ends of both axes.

    Returns:
        The plane, without points if not even the centre is measured.
    """
    points = points.drop_duplicates(["row", "column"])
    there = {(int(row), int(column)) for row, column in points[["row", "column"]].to_numpy()}
    if not there:
        return _part(points, names, set(), set())
    high, wide = shape or (1 + max(side) for side in zip(*there, strict=True))
    rows: set[int] = set()
    columns: set[int] = set()
    if len(there) == high * wide:
        # An earlier release measured grids of even sides too, which have no levels.
        return _part(points, names, set(range(high)), set(range(wide)))
    for _, level in groupby(Grid(high | 1, wide | 1).points(), key=lambda point: point.level):
        places = [(point.row, point.column) for point in level]
        if not there.issuperset(places):
            break
        rows |= {row for row, _ in places}
        columns |= {column for _, column in places}
    return _part(points, names, rows, columns)


def _part(points: pd.DataFrame, names: Sequence[str], rows: set[int], columns: set[int]) -> Plane:
    """The points in these rows and columns, all of which are there."""
    inside = points["row"].isin(list(rows)) & points["column"].isin(list(columns))
    kept: Any = points[inside]
    kept = kept.sort_values(["row", "column"])
    shape = (len(rows), len(columns))
    grids = {
        name: kept[name].to_numpy(dtype=float, na_value=np.nan).reshape(shape)
        for name in ("alpha", "beta", *names)
    }
    return Plane(
        grids["alpha"][:, :1].ravel(),
        grids["beta"][:1].ravel(),
        {name: grids[name] for name in names},
    )
