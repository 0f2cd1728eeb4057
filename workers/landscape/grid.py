"""The points of a surface, and the order in which they are measured: from coarse to fine.

A part of a surface, in this order, is a coarser picture of the whole plane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from results_schema.errors import SpecError


@dataclass(frozen=True)
class GridPoint:
    """One point of a grid: the indices of its coordinates, and these in units of w₁ and w₂."""

    row: int
    column: int
    alpha: float
    beta: float
    level: int  # of its first appearance, from 0; see `Grid.points`

    def place(self) -> dict[str, float]:
        """Return its columns of `tables.POINTS`."""
        return {"row": self.row, "column": self.column, "alpha": self.alpha, "beta": self.beta}


@dataclass(frozen=True)
class Grid:
    """Evenly spaced points from minus to plus the extent along both axes.

    Attributes:
        rows: Number of alphas, odd, so that the middle one is 0.
        columns: Number of betas, odd.

    Raises:
        SpecError: There is no point, or none at the centre, or the extent is no positive number.
    """

    rows: int
    columns: int
    extent: float = 1.0

    def __post_init__(self) -> None:
        for name in ("rows", "columns"):
            number = getattr(self, name)
            if number < 1:
                raise SpecError(f"a grid with {name} = {number}", fix="use at least 1")
            if number % 2 == 0:
                what = f"a grid with {name} = {number} has no point at the centre"
                raise SpecError(what, fix="use an odd number")
        if not 0 < self.extent < math.inf:
            raise SpecError(f"a grid with extent = {self.extent}", fix="use a number above 0")

    @property
    def alphas(self) -> list[float]:
        """The alpha of each row, rising."""
        return _coordinates(self.rows, self.extent)

    @property
    def betas(self) -> list[float]:
        """The beta of each column, rising."""
        return _coordinates(self.columns, self.extent)

    def points(self) -> list[GridPoint]:
        """Return every point once, in the order of measuring.

        Level 0 is the centre. Level 1 adds the ends of both axes, and each level then halves the
        gaps of the one before, so that it holds all earlier ones and covers the plane. Within a
        level points are in the order of rows.
        """
        alphas, betas = self.alphas, self.betas
        rows, columns = _levels(self.rows), _levels(self.columns)
        found = [
            GridPoint(row, column, alphas[row], betas[column], max(rows[row], columns[column]))
            for row in range(self.rows)
            for column in range(self.columns)
        ]
        return sorted(found, key=lambda point: point.level)


def _coordinates(count: int, extent: float) -> list[float]:
    if count == 1:
        return [0.0]
    # Integers first, so that the centre is 0 exactly and both halves mirror each other.
    return [extent * (2 * index - count + 1) / (count - 1) for index in range(count)]


def _levels(count: int) -> list[int]:
    """Return the level of each index along an axis."""
    length = count // 2
    levels = {0: 0, length: 1 if length else 0}
    level = 2
    while len(levels) <= length:
        gaps = pairwise(sorted(levels))
        levels |= {(near + far) // 2: level for near, far in gaps if far - near > 1}
        level += 1
    return [levels[abs(index - length)] for index in range(count)]
