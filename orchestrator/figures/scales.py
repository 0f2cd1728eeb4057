"""Where things go along an axis: the range worth showing, its ticks, the place for a name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """A rectangle in pixels, upwards from the axis."""

    left: float
    bottom: float
    right: float
    top: float

    def holds(self, x: float, y: float, room: float = 0.0) -> bool:
        """Whether a point lies within, or closer than `room` to it."""
        inside_x = self.left - room < x < self.right + room
        return inside_x and self.bottom - room < y < self.top + room

    def spots(self, step: float) -> list[tuple[float, float]]:
        """Points along its middle, `step` apart."""
        middle = (self.bottom + self.top) / 2
        return [(float(x), middle) for x in np.arange(self.left, self.right, step)]


def focus_range(
    values: Sequence[float], always: Sequence[float] = (), least: float = 1.0
) -> tuple[float, float]:
    """The range that shows the differences of most values, with a margin of a tenth.

    A value is left out if it lies more than three interquartile ranges, and more than five
    times `least`, beyond the quartiles.

    Args:
        values: What the panel shows; may be empty.
        always: Values that are shown in any case.
        least: The smallest span without the margins, so that noise is not blown up.
    """
    inside = [value for value in always if np.isfinite(value)]
    finite = np.array([value for value in values if np.isfinite(value)])
    if len(finite):
        low, high = np.quantile(finite, [0.25, 0.75])
        reach = max(3 * (high - low), 5 * least)
        inside += [float(v) for v in finite if low - reach <= v <= high + reach]
    low, high = (min(inside), max(inside)) if inside else (0.0, 0.0)
    span = max(high - low, least)
    extra = (span - (high - low)) / 2 + span / 10
    return low - extra, high + extra


def ticks(low: float, high: float, most: int = 7) -> tuple[list[float], int]:
    """Round numbers from low to high, `most` steps at most, and the decimals that they need."""
    power = math.floor(math.log10((high - low) / most))
    steps = [base * 10.0**exponent for exponent in (power, power + 1) for base in (1, 2, 5)]
    step = next(step for step in steps if (high - low) / step <= most)
    numbers = range(math.ceil(low / step), math.floor(high / step) + 1)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [round(number * step, decimals) for number in numbers], decimals


def place_label(
    line: float, width: float, height: float, panel: Box, taken: Sequence[tuple[float, float]]
) -> Box:
    """Where on a horizontal line its name covers the fewest marks, all in pixels.

    Of places that are equally good it is the one above the line and furthest right.

    Args:
        line: Height of the line.
        width: Of the name.
        height: Of the name.
        panel: What the name must stay in, upwards and downwards.
        taken: Where the marks are.
    """
    lefts = np.arange(max(panel.right - width, panel.left), panel.left - 1, -8)
    boxes = [
        Box(float(left), bottom, float(left) + width, bottom + height)
        for bottom in (line, line - height)
        if panel.bottom <= bottom and bottom + height <= panel.top
        for left in lefts
    ]
    if not boxes:
        return Box(panel.left, line, panel.left + width, line + height)
    return min(boxes, key=lambda box: sum(box.holds(x, y, room=6) for x, y in taken))
