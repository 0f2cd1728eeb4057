"""Panels in columns by the width of their cell, as in Figures 17 to 24."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Protocol, TypeVar

MOST_COLUMNS = 4


class Wide(Protocol):
    """What has a width."""

    @property
    def width(self) -> float:
        """Of the normal cell, in units of c."""
        ...


P = TypeVar("P", bound=Wide)


def by_width(panels: Sequence[P]) -> tuple[tuple[P, ...], tuple[tuple[int, int], ...]]:
    """The panels in reading order, and the row and column of each, counted from 1.

    Widths rise to the right. Of more than `MOST_COLUMNS`, neighbours share a column, so that the
    longest column is as short as can be. Within a column panels keep their order.
    """
    widths = sorted({panel.width for panel in panels})
    counts = [sum(panel.width == width for panel in panels) for width in widths]
    column_of = dict(zip(widths, _columns(counts), strict=True))
    filled: dict[int, int] = {}
    placed: list[tuple[int, int, P]] = []
    for panel in panels:
        column = column_of[panel.width]
        filled[column] = filled.get(column, 0) + 1
        placed.append((filled[column], column, panel))
    placed.sort(key=lambda place: place[:2])
    return tuple(panel for *_, panel in placed), tuple((row, col) for row, col, _ in placed)


def _columns(counts: Sequence[int]) -> list[int]:
    """The column of each group of a width, from 1."""
    number = min(MOST_COLUMNS, len(counts))
    cuts = min(
        ([0, *inner, len(counts)] for inner in combinations(range(1, len(counts)), number - 1)),
        key=lambda ends: sorted((sum(counts[a:b]) for a, b in pairwise(ends)), reverse=True),
    )
    return [column for column, (a, b) in enumerate(pairwise(cuts), start=1) for _ in range(a, b)]
