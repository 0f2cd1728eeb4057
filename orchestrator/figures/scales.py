"""Where things stand along an axis: ranges, ticks, one logarithmic scale of several panels, labels.

Positions of labels are in pixels, upwards and to the right from the lower left corner of a panel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.output.text import raised

MOST_FOLD = 1e4
"""How many times the smallest number of a median panel still has a colour."""

STEPS = (0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
"""Distances of two contour lines to choose from, in decades."""

MOST_LINES = 20

END_LABEL_HEIGHT = 13
"""Least distance of two labels at the ends of curves, in pixels."""


def focus_range(
    values: Sequence[float], always: Sequence[float] = (), least: float = 1.0
) -> tuple[float, float]:
    """Return the range that shows the differences of most values, with a margin of a tenth.

    A value is left out if it is more than three interquartile ranges, and more than five times
    `least`, beyond the quartiles.

    Args:
        values: Values that the panel shows; may be empty.
        always: Values that are within the range in any case.
        least: Smallest span without the margins, so that noise is not blown up.
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
    """Return round numbers from low to high, at most `most` steps, and the decimals they need."""
    power = math.floor(math.log10((high - low) / most))
    steps = [base * 10.0**exponent for exponent in (power, power + 1) for base in (1, 2, 5)]
    step = next(step for step in steps if (high - low) / step <= most)
    numbers = range(math.ceil(low / step), math.floor(high / step) + 1)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [round(number * step, decimals) for number in numbers], decimals


class LogScale(NamedTuple):
    """Ends of a logarithmic scale, as numbers and not as their logarithms."""

    low: float  # above 0
    high: float  # above `low`
    cut: bool  # whether larger finite numbers are left out

    @property
    def range(self) -> tuple[float, float]:
        """log₁₀ of both ends."""
        return math.log10(self.low), math.log10(self.high)

    @property
    def step(self) -> float:
        """Distance of two contour lines in decades, such that there are at most `MOST_LINES`."""
        low, high = self.range
        return next((step for step in STEPS if (high - low) / step <= MOST_LINES), STEPS[-1])

    @property
    def lines(self) -> tuple[float, float]:
        """log₁₀ of the first and the last contour line, both multiples of `step`."""
        low, high = self.range
        first = math.ceil(low / self.step - 1e-9)
        return first * self.step, max(first, math.floor(high / self.step + 1e-9)) * self.step


def shared_scale(panels: Iterable[np.ndarray]) -> LogScale | None:
    """Return a scale of all panels on which neither a basin nor its walls are flattened.

    It begins at the smallest number above 0, rounded down to 1, 2 or 5 times a power of ten, and
    ends at the largest, but at most at `MOST_FOLD` times the median over panels of each panel's
    smallest, rounded up likewise. A minority of wild panels thus moves neither end by much; the
    low end is at least about a millionth of the high one.

    Numbers that are not finite or not above 0 are ignored; None if no other is left.
    """
    shown = [p[np.isfinite(p) & (p > 0)] for p in (np.asarray(p, float) for p in panels)]
    shown = [panel for panel in shown if panel.size]
    if not shown:
        return None
    smallest = [float(panel.min()) for panel in shown]
    largest = max(float(panel.max()) for panel in shown)
    most = round_up(MOST_FOLD * float(np.median(smallest)))
    high = min(most, largest)
    low = 1 / round_up(1 / max(min(smallest), 1e-6 * high))
    if high < 1.05 * low:
        low, high = low / 1.1, high * 1.1
    return LogScale(low, high, cut=largest > most)


def evenly(count: int, most: int) -> np.ndarray:
    """Return at most so many positions among `count`, evenly apart, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def round_up(number: float) -> float:
    """Return the next of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(number))
    enough = number * (1 - 1e-9)
    return next(float(f"{base * power:.0e}") for base in (1, 2, 5, 10) if base * power >= enough)


def log_ticks(low: float, high: float) -> list[float]:
    """Return ticks of a logarithmic axis: powers of ten, or with 2 and 5, or evenly apart."""
    decades = math.log10(high / low)
    bases: Sequence[int] = (1,) if decades >= 3 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [float(f"{base}e{power}") for power in powers for base in bases]
    found = [number for number in found if low * (1 - 1e-9) <= number <= high * (1 + 1e-9)]
    return found if len(found) > 2 else ticks(low, high, 5)[0]


def format_number(number: float, most: float = 1e6) -> str:
    """Return plain digits for 0.001 to below `most`, else a number by its power of ten."""
    if number == 0 or 1e-3 <= abs(number) < most:
        return f"{number:,g}" if abs(number) < 1e4 else f"{number:,.0f}"
    mantissa, _, power = f"{number:.2e}".partition("e")
    mantissa = f"{float(mantissa):g}"
    ten = f"10{raised(int(power))}"
    return ten if mantissa == "1" else f"{mantissa}·{ten}"


def format_axis(numbers: Sequence[float], most: float = 1e6) -> list[str]:
    """Return the numbers of one axis: all by their powers of ten if one needs it."""
    powers = any(number and not 1e-3 <= abs(number) < most for number in numbers)
    return [format_number(number, 0 if powers else most) for number in numbers]


class Box(NamedTuple):
    """A rectangle, in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def covers(self, x: float, y: float, margin: float = 0.0) -> bool:
        """Return whether a point is inside, or closer than `margin` to it."""
        inside_x = self.left - margin < x < self.right + margin
        return inside_x and self.bottom - margin < y < self.top + margin

    def middle_points(self, step: float) -> list[tuple[float, float]]:
        """Return points along its horizontal middle line, `step` apart."""
        middle = (self.bottom + self.top) / 2
        return [(float(x), middle) for x in np.arange(self.left, self.right, step)]


def place_label(
    line: float, width: float, height: float, panel: Box, taken: Sequence[tuple[float, float]]
) -> Box:
    """Return where on a horizontal line its label covers the fewest points.

    Of equally good places it is the one above the line and furthest right.

    Args:
        line: Height of the line.
        width: Width of the label.
        height: Height of the label.
        panel: Rectangle that the label must not leave.
        taken: Points that the label should not cover.
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
    return min(boxes, key=lambda box: sum(box.covers(x, y, margin=6) for x, y in taken))


def choose_end_labels(heights: Sequence[float], first: int, available: float) -> list[int]:
    """Return positions of curves with a label at their end: all, or evenly chosen by height.

    `heights` are those of the curves' ends, `first` is the position of a curve that is labelled in
    any case, and `available` is the height of the panel.
    """
    order = sorted(range(len(heights)), key=heights.__getitem__)
    most = max(1, int(available // END_LABEL_HEIGHT))
    if len(order) <= most:
        return order
    others = [i for i in order if i != first]
    chosen = {others[round(k * (len(others) - 1) / max(most - 2, 1))] for k in range(most - 1)}
    return [i for i in order if i == first or i in chosen]


def spread_end_labels(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Return heights nearest to the wanted ones, which rise, such that labels do not overlap.

    Labels that do not fit between `low` and `high` reach beyond `high`.
    """
    if not wanted:
        return []
    # Without their distances the heights need only rise.
    steps = END_LABEL_HEIGHT * np.arange(len(wanted))
    level = rising((np.array(wanted) - steps).tolist(), [1.0] * len(wanted))
    return (np.clip(level, low, max(low, high - steps[-1])) + steps).tolist()


def rising(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the nearest sequence that never falls, by weighted squares (pooling violators).

    SciPy's `isotonic_regression` is the same, and takes longer to import than a cell to draw.
    """
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, u, m), (b, w, n) = pools[-2:]
            pools[-2:] = [((a * u + b * w) / (u + w), u + w, m + n)]
    return [value for value, _, count in pools for _ in range(count)]
