"""What every test comes to: an effect, its interval, and how likely chance alone is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

ALPHA = 0.05
"""Level of every test, on each side by itself, and 1 − the confidence of every interval."""


class Outcome(NamedTuple):
    """What a test found; NaN stands for what it cannot tell.

    Attributes:
        value: The effect, see the test.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: P(an effect at least as large) by chance alone.
        p_against: P(one at most as large).
        power: P(p ≤ `ALPHA`) at an effect that the test's module names.
        exact: Whether p counts all there is to count.
        n: Values used, where some may be left out.
    """

    value: float
    low: float
    high: float
    p: float
    p_against: float
    power: float = math.nan
    exact: bool = False
    n: int = 0

    def on_scale(self, scale: Callable[[float], float]) -> Outcome:
        """The same with the effect and its interval on another scale, which rises."""
        return self._replace(value=scale(self.value), low=scale(self.low), high=scale(self.high))

    def turned(self) -> Outcome:
        """The same as evidence for the opposite of what was asked."""
        return self._replace(p=self.p_against, p_against=self.p)

    def numbers(self) -> dict[str, Any]:
        """As `Finding` names them."""
        return {
            "size": self.value,
            "low": self.low,
            "high": self.high,
            "p": self.p,
            "p_against": self.p_against,
            "power": self.power,
            "exact": self.exact,
        }


NOTHING = Outcome(math.nan, math.nan, math.nan, 1.0, 1.0)
"""Of values too few, or too alike, to tell anything."""
