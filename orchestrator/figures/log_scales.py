"""One logarithmic scale for several panels: its ends, its contour lines, its round numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.figures.scales import ticks

MOST_FOLD = 1e4
"""How many times the smallest number of a middling panel still has a colour."""

STEPS = (0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
"""Distances of two contour lines, in decades."""

MOST_LINES = 20


class LogScale(NamedTuple):
    """Ends of a scale, as numbers and not as their logarithms.

    Attributes:
        low: Above 0.
        high: Above `low`.
        cut: Whether larger finite numbers are left out.
    """

    low: float
    high: float
    cut: bool

    @property
    def range(self) -> tuple[float, float]:
        """log₁₀ of both ends."""
        return math.log10(self.low), math.log10(self.high)

    @property
    def step(self) -> float:
        """Distance of two contour lines, in decades; `MOST_LINES` of them at most."""
        low, high = self.range
        return next((step for step in STEPS if (high - low) / step <= MOST_LINES), STEPS[-1])

    @property
    def lines(self) -> tuple[float, float]:
        """log₁₀ of the first and the last contour line, both multiples of `step`."""
        low, high = self.range
        first = math.ceil(low / self.step - 1e-9)
        return first * self.step, max(first, math.floor(high / self.step + 1e-9)) * self.step


def shared_scale(panels: Iterable[np.ndarray]) -> LogScale | None:
    """A scale for all panels on which neither a basin nor its walls are flattened.

    It begins at the smallest number above 0, rounded down to 1, 2 or 5 times a power of ten, and
    ends at the largest, but at most at `MOST_FOLD` times the median over panels of each panel's
    smallest, rounded up likewise. A minority of wild panels thus moves neither end by much; the
    low end is about a millionth of the high one at least.

    Args:
        panels: Numbers of any shape. What is not finite or not above 0 counts for nothing.

    Returns:
        The scale, None if there is no number to show.
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


def round_up(number: float) -> float:
    """The next of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(number))
    enough = number * (1 - 1e-9)
    return next(float(f"{base * power:.0e}") for base in (1, 2, 5, 10) if base * power >= enough)


def round_numbers(low: float, high: float) -> list[float]:
    """Numbers to tell along a logarithmic axis: powers of ten, or with 2 and 5, or evenly apart."""
    decades = math.log10(high / low)
    bases: Sequence[int] = (1,) if decades >= 3 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [float(f"{base}e{power}") for power in powers for base in bases]
    found = [number for number in found if low * (1 - 1e-9) <= number <= high * (1 + 1e-9)]
    return found if len(found) > 2 else ticks(low, high, 5)[0]


def tell(number: float, most: float = 1e6) -> str:
    """A number along an axis: as it is from 0.001 to below `most`, else by its power of ten."""
    if number == 0 or 1e-3 <= abs(number) < most:
        return f"{number:,g}" if abs(number) < 1e4 else f"{number:,.0f}"
    mantissa, _, power = f"{number:.2e}".partition("e")
    mantissa = f"{float(mantissa):g}"
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if mantissa == "1" else f"{mantissa}·10{raised}"


def tell_all(numbers: Iterable[float], most: float = 1e6) -> list[str]:
    """The numbers of one axis as `tell` has them: all by their powers of ten if one of them is."""
    numbers = list(numbers)
    powers = any(number and not 1e-3 <= abs(number) < most for number in numbers)
    return [tell(number, 0 if powers else most) for number in numbers]
