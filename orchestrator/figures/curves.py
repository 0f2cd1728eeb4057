"""Edges of a drawn graph: smooth curves between the rims of two nodes, each with its arrowhead."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]

PIECES = 24
"""Straight pieces of a curve between two of its points."""

HEAD = 8.0
"""Length of an arrowhead."""

HALF_HEAD = 3.2
"""Half its width."""

ARRIVE = 0.75
"""Slope of a curve at a node, as a share of the straight line's: 1 is straight, 0 is level."""


@dataclass(frozen=True)
class Arrow:
    """A curve and the triangle at its end, as points.

    Attributes:
        line: From the source's rim to the base of the head.
        head: Its tip, at the target's rim, and its two other corners.
    """

    line: tuple[Point, ...]
    head: tuple[Point, Point, Point]


def draw_arrow(
    path: Sequence[Point],
    source: Callable[[Point], bool],
    target: Callable[[Point], bool],
    bulge: float = 0.0,
) -> Arrow:
    """A smooth arrow through points.

    Args:
        path: From the source's centre to the target's, ever further right.
        source: Whether the source covers a point.
        target: Whether the target covers a point.
        bulge: How far the middle is pushed upwards, to tell parallel edges apart.
    """
    curve = _smooth(path, bulge)
    start = next((i for i, point in enumerate(curve) if not source(point)), 1)
    end = next((i for i, point in enumerate(curve) if i > start and target(point)), len(curve) - 1)
    begin = _rim(curve[start - 1], curve[start], source)
    tip = _rim(curve[end], curve[end - 1], target)
    base = end - 1
    while base > start and math.dist(curve[base], tip) < HEAD:
        base -= 1
    foot = curve[base]
    length = math.dist(tip, foot) or 1.0
    along = ((tip[0] - foot[0]) / length, (tip[1] - foot[1]) / length)
    back = (tip[0] - HEAD * along[0], tip[1] - HEAD * along[1])
    side = (-HALF_HEAD * along[1], HALF_HEAD * along[0])
    corners = tuple((back[0] + s * side[0], back[1] + s * side[1]) for s in (1, -1))
    return Arrow((begin, *curve[start : base + 1], back), (tip, corners[0], corners[1]))


def _rim(within: Point, beyond: Point, covers: Callable[[Point], bool]) -> Point:
    """Where a straight piece of a curve leaves a node."""
    for _ in range(8):
        half = ((within[0] + beyond[0]) / 2, (within[1] + beyond[1]) / 2)
        within, beyond = (half, beyond) if covers(half) else (within, half)
    return beyond


def _smooth(path: Sequence[Point], bulge: float) -> list[Point]:
    """Cubic pieces between the points; each is passed in the mean direction of its two chords."""
    chords = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(path)]
    slopes = [
        ARRIVE * chords[0],
        *((a + b) / 2 for a, b in pairwise(chords)),
        ARRIVE * chords[-1],
    ]
    points: list[Point] = []
    for ((x, y), (u, v)), (m, n) in zip(pairwise(path), pairwise(slopes), strict=True):
        third = (u - x) / 3
        controls = (y, y + m * third, v - n * third, v)
        points += [(x + t * (u - x), _bezier(controls, t)) for t in _steps(not points)]
    left, width = path[0][0], path[-1][0] - path[0][0]
    return [(x, y + bulge * 4 * (s := (x - left) / width) * (1 - s)) for x, y in points]


def _steps(first: bool) -> list[float]:
    return [i / PIECES for i in range(0 if first else 1, PIECES + 1)]


def _bezier(controls: tuple[float, float, float, float], t: float) -> float:
    a, b, c, d = controls
    return (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
