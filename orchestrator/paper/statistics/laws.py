"""Outcomes of tests, the laws of statistics under rearrangement, and Holm's correction.

A law is that of a statistic if nothing but chance is at work. It gives both tails of an observed
value and the ends of the interval that inverts the same test, so that an interval leaves out the
value of no effect just when p is below 1 − its level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, permutations
from typing import Any

import numpy as np
from scipy import optimize, special

ALPHA = 0.05
"""Level of every two-sided test, and 1 − the confidence of every interval."""

POWER = 0.8
"""Probability of finding an effect, for the least effect that a finding names."""

MOST_ARRANGEMENTS = 50_000
"""Of the values of one stratum, up to which they are enumerated."""

MOST_SUMS = 100_000
"""Distinct sums over strata up to which their law is kept."""

_ROUNDING = 1e-9
_STEEPEST = 14.0
"""asinh of the steepest exponential tilt of a law whose values lie within (−1, 1)."""

Finder = Callable[[float, float, float], float]
"""Least effect that is found: of the test's level, the power, and how many times the data."""


@dataclass(frozen=True)
class Outcome:
    """What a test found; NaN stands for what cannot be determined.

    Attributes:
        value: The effect; see the test.
        low: Lower end of its 95 % interval, which inverts the test.
        high: Upper end.
        p: Two-sided.
        null: The value without an effect.
        least_p: The smallest p that so many data can have.
        n: Values that were used.
        exact: Whether p counts all arrangements or is computed from an exact law.
        finder: See `Finder`; None if the test has none.
        opposite: The same for an effect in the opposite direction, if that is another.
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = 1.0
    null: float = 0.0
    least_p: float = 1.0
    n: int = 0
    exact: bool = False
    finder: Finder | None = None
    opposite: Finder | None = None

    def turned(self) -> Outcome:
        """Return the same for the opposite direction, effects mirrored at the null."""
        double = 2 * self.null
        return replace(
            self,
            value=double - self.value,
            low=double - self.high,
            high=double - self.low,
            finder=self.opposite or self.finder,
            opposite=self.finder,
        )


NOTHING = Outcome()
"""The outcome of values that are too few, or too alike, for a test."""


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for a family of claims by Holm's method."""
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()


def t_tail(value: float, free: float) -> float:
    """Return the probability that Student's t exceeds a value."""
    return float(special.stdtr(free, -value))


def t_end(tail: float, free: float) -> float:
    """Return the value that Student's t exceeds with a probability."""
    return float(-special.stdtrit(free, tail))


def deviate(tail: float) -> float:
    """Return the value that a standard normal one exceeds with a probability."""
    return float(-special.ndtri(tail))


def two_sided(above: float, below: float) -> float:
    """Return the p-value of two tails."""
    return min(1.0, 2 * min(above, below))


@dataclass(frozen=True)
class Discrete:
    """A law of few values, without an effect.

    Effects are means of the law tilted exponentially, p(v)·exp(θv): the arrangements that agree
    with the claim are likelier, in the way that adds no other assumption. Without a tilt it is the
    law of the test, and its mean the value without an effect.

    Attributes:
        values: Distinct, in rising order, [k].
        chances: Their probabilities, [k].
        exact: Whether it is no approximation.
    """

    values: np.ndarray
    chances: np.ndarray
    exact: bool = True

    @classmethod
    def of(cls, values: np.ndarray, chances: np.ndarray | None = None) -> Discrete:
        """Return the law of values, by default equally likely; equal ones merge."""
        if chances is None:
            chances = np.full(len(values), 1 / len(values))
        scale = max(1.0, float(np.abs(values).max()))
        order = np.argsort(values, kind="stable")
        ordered = values[order]
        new = np.concatenate([[True], np.diff(ordered) > _ROUNDING * scale])
        return cls(ordered[new], np.add.reduceat(chances[order], np.flatnonzero(new)))

    def __add__(self, other: Discrete) -> Discrete:
        """Return the law of the sum of two independent values."""
        values = np.add.outer(self.values, other.values).ravel()
        return Discrete.of(values, np.multiply.outer(self.chances, other.chances).ravel())

    def tails(self, value: float) -> tuple[float, float]:
        """Return the probabilities of a value at least, and of one at most as large."""
        at_least, at_most = self._sides(value)
        above, below = (float(self.chances[side].sum()) for side in (at_least, at_most))
        return min(above, 1.0), min(below, 1.0)

    @property
    def least(self) -> float:
        """The smaller of the least probabilities that both tails can have."""
        return float(min(self.chances[0], self.chances[-1]))

    def end(self, value: float, tail: float, *, upper: bool) -> float:
        """Return the effect at which `value`, or one farther from it, has probability `tail`."""
        beyond = self._sides(value)[upper]
        if beyond.all():
            return float(self.values[-1] if upper else self.values[0])
        # At a tilt far against the value its tail is near 0, far with it near 1.
        along = -_STEEPEST if upper else _STEEPEST
        return self._mean_where(beyond, tail, -along, along)

    def least_effect(self, level: float, power: float, times: float) -> float:
        """Return the effect found with a power at a two-sided level, in so many times the data."""
        if times != 1:
            return self._with_more(level, power, times)
        above = self.chances[::-1].cumsum()[::-1]
        found = 2 * above <= level * (1 + _ROUNDING)
        return self._mean_where(found, power, 0.0, _STEEPEST) if found.any() else math.inf

    def _sides(self, value: float) -> tuple[np.ndarray, np.ndarray]:
        """Return which values are at least, and which at most as large, but for rounding; [k]."""
        slack = _ROUNDING * max(1.0, float(np.abs(self.values).max()))
        return self.values >= value - slack, self.values <= value + slack

    def _mean_where(self, some: np.ndarray, chance: float, low: float, high: float) -> float:
        """Return the mean at the tilt, between two, that gives some values this probability."""

        def excess(tilt: float) -> float:
            return float(self._tilted(tilt)[some].sum()) - chance

        return float(self._tilted(_root(excess, low, high)) @ self.values)

    def _with_more(self, level: float, power: float, times: float) -> float:
        """Return the least effect if the statistic is a mean over so many times the data."""

        def moments(tilt: float) -> tuple[float, float]:
            chances = self._tilted(tilt)
            mean = float(chances @ self.values)
            return mean, math.sqrt(float(chances @ (self.values - mean) ** 2))

        null, spread = moments(0.0)

        def excess(tilt: float) -> float:
            mean, own = moments(tilt)
            needed = deviate(level / 2) * spread + deviate(1 - power) * own
            return (mean - null) * math.sqrt(times) - needed

        return moments(_root(excess, 0.0, _STEEPEST))[0]

    def _tilted(self, tilt: float) -> np.ndarray:
        middle = (self.values[0] + self.values[-1]) / 2
        half = max(float(self.values[-1] - self.values[0]) / 2, 1e-300)
        logs = math.sinh(tilt) * (self.values - middle) / half + np.log(self.chances)
        weights = np.exp(logs - logs.max())
        return weights / weights.sum()


@dataclass(frozen=True)
class Bell:
    """The law of a correlation of many values, and of what is linear in one.

    Tails are those of Student's t, the correlation's variance under rearrangement given. The
    interval is Fisher's, with the variance of Bonett and Wright (2000), 1 + ρ²/2 times that without
    an effect, taken at its ends, and scaled to invert the same test.

    Attributes:
        variance: Of the correlation under rearrangement.
        null: The statistic at a correlation of 0.
        reach: The statistic at a correlation of 1, less `null`.
        most: How far from `null` it can be.
        largest: The largest correlation that counts as below 1: one pair of neighbours exchanged.
    """

    variance: float
    null: float = 0.0
    reach: float = 1.0
    most: float = 1.0
    largest: float = 1 - 1e-6
    exact: bool = False
    least: float = 0.0

    def tails(self, value: float) -> tuple[float, float]:
        """See `Discrete`."""
        r = self._correlation(value)
        free = max(1 / self.variance - 1, 1.0)
        t = r * math.sqrt(free / (1 - r * r))
        return t_tail(t, free), t_tail(-t, free)

    def end(self, value: float, tail: float, *, upper: bool) -> float:
        """See `Discrete`."""
        r, (above, below) = self._correlation(value), self.tails(value)
        z, own = math.atanh(r), deviate(min(above, below))
        without = 1 / math.sqrt(max(1 / self.variance - 2, 1.0))
        spread = abs(z) / own if own > 1e-3 else without
        reach = deviate(tail) * spread * (1 if upper else -1)
        end = z
        for _ in range(60):
            end = z + reach * math.sqrt(1 + math.tanh(end) ** 2 / 2)
        return self._effect(end)

    def least_effect(self, level: float, power: float, times: float) -> float:
        """See `Discrete`."""
        spread = 1 / math.sqrt(max((1 / self.variance + 1) * times - 3, 1.0))
        level_part, power_part = map(deviate, (level / 2, 1 - power))
        end = 0.0
        for _ in range(60):
            end = spread * (level_part + power_part * math.sqrt(1 + math.tanh(end) ** 2 / 2))
        return self._effect(end)

    def _effect(self, z: float) -> float:
        return self.null + min(max(self.reach * math.tanh(z), -self.most), self.most)

    def _correlation(self, value: float) -> float:
        r = (value - self.null) / self.reach
        return min(max(r, -self.largest), self.largest)


Law = Discrete | Bell
"""The law of a statistic without an effect."""


def outcome(law: Law, value: float, *, null: float = 0.0, n: int) -> Outcome:
    """Return the two-sided test of a value and the interval that inverts it, if there is a test."""
    low = high = math.nan
    if law.least < 0.5:  # else all arrangements are alike
        low, high = (law.end(value, ALPHA / 2, upper=upper) for upper in (False, True))
    p, least_p = two_sided(*law.tails(value)), min(1.0, 2 * law.least)
    return Outcome(value, low, high, p, null, least_p, n, law.exact, law.least_effect)


def _root(excess: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function that rises from `low` to `high` is 0, or the end nearest to that."""
    if excess(high) <= 0 or excess(low) >= 0:
        return high if excess(high) <= 0 else low
    root: Any = optimize.brentq(excess, low, high, xtol=1e-13)
    return root


def rearranged(parts: Sequence[tuple[np.ndarray, np.ndarray]], most: float = 1.0) -> Law:
    """Return the law of Σ a·b over strata if b is rearranged within each.

    It is exact while each stratum has few arrangements, and else a `Bell`.

    Args:
        parts: The columns a and b of each stratum, [n].
        most: How far the sum can be from that without an effect.
    """
    law = _count_arrangements(parts)
    if law is not None:
        return law
    variance, null, reach = 0.0, 0.0, 0.0
    for a, b in parts:
        null += float(a.sum() * b.mean())
        spread = float(((a - a.mean()) ** 2).sum() * ((b - b.mean()) ** 2).sum())
        variance += spread / max(len(a) - 1, 1)
        reach += math.sqrt(spread)
    size = sum(len(a) for a, _ in parts)
    return Bell(min(variance / reach**2, 0.99), null, reach, most, 1 - 6 / size**3)


def _count_arrangements(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Discrete | None:
    law = Discrete(np.zeros(1), np.ones(1))
    for a, b in parts:
        # It depends on neither's order, and studies of one design differ in that alone.
        own = _law_of_orders(np.sort(a).tobytes(), np.sort(b).tobytes())
        if own is None or len(own.values) * len(law.values) > MOST_SUMS * 10:
            return None
        law = law + own
        if len(law.values) > MOST_SUMS:
            return None
    return law


@lru_cache(maxsize=256)
def _law_of_orders(first: bytes, second: bytes) -> Discrete | None:
    """Return the law of a·b if b is rearranged; None if there are too many arrangements."""
    a, b = np.frombuffer(first), np.frombuffer(second)
    levels, place = np.unique(a, return_inverse=True)
    n = len(a)
    if len(levels) == 1:
        return Discrete.of(np.array([levels[0] * b.sum()]))
    if len(levels) == 2:
        few = int(place.sum())
        if math.comb(n, few) > MOST_ARRANGEMENTS:
            return None
        sums, chances = _sums_of(b, few)
        return Discrete.of(levels[0] * b.sum() + (levels[1] - levels[0]) * sums, chances)
    if math.factorial(n) > MOST_ARRANGEMENTS:
        return None
    return Discrete.of(b[_orders(n)] @ a)


def _sums_of(values: np.ndarray, few: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums that so many of the values can have, and the probability of each.

    Ranks lie on a grid whatever their scale, so sums are counted value by value.
    """
    apart = (values - values[0]) / max(float(np.diff(values).max()), 1e-300)
    grid = next(
        (m for m in range(1, 4 * len(values)) if np.allclose(m * apart, np.rint(m * apart))), 0
    )
    if not grid:
        sums = values[list(combinations(range(len(values)), few))].sum(axis=1)
        return sums, np.full(len(sums), 1 / len(sums))
    places = np.rint(grid * apart).astype(int)
    ways = np.zeros((few + 1, int(places[len(values) - few :].sum()) + 1))
    ways[0, 0] = 1
    for place in places:
        ways[1:, place:] += ways[:-1, : ways.shape[1] - place]
    found = np.flatnonzero(ways[few])
    unit = float(np.diff(values).max()) / grid
    return few * values[0] + unit * found, ways[few][found] / ways[few].sum()


@lru_cache(maxsize=16)
def _orders(n: int) -> np.ndarray:
    return np.array(list(permutations(range(n))), dtype=np.intp)
