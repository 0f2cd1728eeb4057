"""Comparison of named cells, of a base with its variants, and of means and shares with a value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, special, stats

from orchestrator.paper.statistics.laws import (
    ALPHA,
    NOTHING,
    Discrete,
    Law,
    Outcome,
    deviate,
    outcome,
    rearranged,
    t_end,
    t_tail,
    two_sided,
)

Runs = Sequence[np.ndarray]
"""Outcomes of one cell, or of several that are alike, in each stratum, [n] each; may be empty."""


def superiority(ones: Runs, others: Runs) -> Outcome:
    """Test P(one surpasses another), ties as half, by rearrangement within strata.

    The effect is the mean over strata that have both. Of one base and its variants in each stratum
    it is the mean share of variants that a base surpasses, and each of a base's places is as likely
    without an effect.

    Args:
        ones: Their outcomes by stratum; more is better, infinite ones have the outermost ranks.
        others: Outcomes of the others.
    """
    law, value, n = _superiority(ones, others)
    return outcome(law, value, null=0.5, n=n) if law else NOTHING


def _superiority(ones: Runs, others: Runs) -> tuple[Law | None, float, int]:
    """Return the law of the effect, the effect and the number of runs; None without a stratum."""
    pairs = [(a, b) for a, b in zip(ones, others, strict=True) if len(a) and len(b)]
    parts, value = [], 0.0
    for mine, theirs in pairs:
        ranks = stats.rankdata(np.concatenate([mine, theirs]))
        scale = len(mine) * len(theirs) * len(pairs)
        scores = (ranks - (len(mine) + 1) / 2) / scale
        parts.append((np.repeat([1.0, 0.0], [len(mine), len(theirs)]), scores))
        value += float(scores[: len(mine)].sum())
    law = rearranged(parts, 0.5) if parts else None
    return law, value, sum(len(a) + len(b) for a, b in pairs)


def first(ones: Runs, rivals: Sequence[Runs]) -> Outcome:
    """Test whether one cell surpasses every rival: each must be surpassed (intersection–union).

    The effect is P(it surpasses the rival that it surpasses least often). The opposite, that some
    rival surpasses it, is corrected for their number.

    Args:
        ones: Outcomes of its runs by stratum; more is better.
        rivals: Those of each rival.
    """
    tested = [_superiority(ones, runs) for runs in rivals]
    pairs = [(law, value) for law, value, _ in tested if law]
    k = len(rivals)
    if not pairs or len(pairs) < k:
        return NOTHING
    above, below = zip(*(law.tails(value) for law, value in pairs), strict=True)

    def finder(level: float, power: float, times: float) -> float:
        return max(law.least_effect(level, _each(power, k), times) for law, _ in pairs)

    def opposite(level: float, power: float, times: float) -> float:
        return min(law.least_effect(level / k, power, times) for law, _ in pairs)

    return Outcome(
        min(value for _, value in pairs),
        min(law.end(value, ALPHA / 2, upper=False) for law, value in pairs),
        min(law.end(value, ALPHA / 2 / k, upper=True) for law, value in pairs),
        two_sided(max(above), min(1.0, k * min(below))),
        null=0.5,
        least_p=min(1.0, 2 * max(law.least for law, _ in pairs)),
        n=sum(n for _, _, n in tested),
        exact=all(law.exact for law, _ in pairs),
        finder=finder,
        opposite=opposite,
    )


def _each(power: float, k: int) -> float:
    """Return the power of each of k comparisons with one cell that together all have `power`.

    Their errors correlate by ½, as half of each is the cell's.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(40)

    def excess(end: float) -> float:
        together = special.ndtr(math.sqrt(2) * end - points) ** k
        return float(weights @ together / weights.sum()) - power

    root: Any = optimize.brentq(excess, -8, 8)
    return float(special.ndtr(root))


def placing_in_space(values: Sequence[float], laws: Sequence[Discrete]) -> Outcome:
    """Test the mean place of cells, each among all of its space, against cells drawn from it.

    Args:
        values: Share of its space that each cell surpasses, ties as half.
        laws: The law of that share for a cell drawn from each one's space.
    """
    # On a grid, where the law of a sum is a product of Fourier transforms.
    n = len(values)
    size = 1 << (n * _GRID).bit_length()  # lengths with large factors take long
    spectrum = np.ones(1)
    for law in laws:
        places = np.rint(law.values * _GRID).astype(int)
        spectrum = spectrum * np.fft.rfft(np.bincount(places, law.chances), size)
    chances = np.fft.irfft(spectrum, size)[: n * _GRID + 1]
    places = np.flatnonzero(chances > _NEGLIGIBLE)
    mean_law = Discrete(places / (_GRID * n), chances[places])
    value = float(np.rint(np.array(values) * _GRID).mean() / _GRID)
    return outcome(mean_law, value, null=0.5, n=n)


_GRID, _NEGLIGIBLE = 1_000, 1e-15


def mean(values: np.ndarray, null: float = 0.0) -> Outcome:
    """Test a mean against a value by Student's t.

    Of each architecture's mean over as many seeds this is the test of a mixed model in which
    architectures differ at random.

    Args:
        values: Finite, [n]; at least two that differ, or the outcome is without a test.
        null: The mean that is no effect.
    """
    n = len(values)
    if n < 2 or np.ptp(values) < 1e-12:
        return Outcome(float(values.mean()) if n else math.nan, null=null, n=n)
    value, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n)
    reach = t_end(ALPHA / 2, n - 1) * error
    p = 2 * t_tail(abs(value - null) / error, n - 1)

    def finder(level: float, power: float, times: float) -> float:
        more = n * times - 1
        return null + (t_end(level / 2, more) + t_end(1 - power, more)) * error / math.sqrt(times)

    return Outcome(value, value - reach, value + reach, p, null, 0.0, n, False, finder)


def share(count: int, runs: int, null: float = 0.5) -> Outcome:
    """Test a share of independent runs exactly, with Clopper and Pearson's interval.

    Args:
        count: Runs that are so.
        runs: All runs, at least one.
        null: The share that is no effect.
    """
    chance: Any = stats.binom(runs, null)
    interval = stats.binomtest(count, runs).proportion_ci(1 - ALPHA, "exact")
    ends = float(interval.low), float(interval.high)
    p = two_sided(float(chance.sf(count - 1)), float(chance.cdf(count)))
    least = 2 * min(float(chance.pmf(0)), float(chance.pmf(runs)))

    def finder(level: float, power: float, times: float) -> float:
        many = round(runs * times)
        needed = np.flatnonzero(stats.binom.sf(np.arange(many + 1) - 1, many, null) <= level / 2)
        if not len(needed):
            return math.inf
        return float(stats.beta.ppf(power, needed[0], many - needed[0] + 1))

    return Outcome(count / runs, *ends, p, null, min(1.0, least), runs, True, finder)


class Contrast(NamedTuple):
    """A difference of means, its standard error and degrees of freedom."""

    value: float
    error: float
    free: float

    def tail(self, size: float) -> float:
        """Return the probability that the error alone exceeds a size."""
        return t_tail(size / self.error, self.free)

    def reach(self, tail: float) -> float:
        """Return the size that the error alone exceeds with a probability."""
        return t_end(tail, self.free) * self.error

    def least(self, tail: float, power: float, times: float) -> float:
        """Return the least difference found by a tail, with so many times the data."""
        more = self.free * times
        return (t_end(tail, more) + t_end(1 - power, more)) * self.error / math.sqrt(times)


def contrasts(ones: Runs, others: Sequence[Runs]) -> list[Contrast]:
    """Return each other cell's mean less the one's, averaged over strata that have both.

    The error is pooled over runs of one cell in one stratum. Cells without a common stratum are
    left out, and so are all if no cell has two runs in a stratum or none differ.
    """
    cells = [*ones, *(runs for other in others for runs in other)]
    free = sum(len(runs) - 1 for runs in cells if len(runs))
    squares = sum(float(((runs - runs.mean()) ** 2).sum()) for runs in cells if len(runs))
    if free < 1 or squares < 1e-24:
        return []
    found = []
    for other in others:
        pairs = [(a, b) for a, b in zip(ones, other, strict=True) if len(a) and len(b)]
        if pairs:
            apart = sum(float(b.mean() - a.mean()) for a, b in pairs) / len(pairs)
            weight = sum(1 / len(a) + 1 / len(b) for a, b in pairs) / len(pairs) ** 2
            found.append(Contrast(apart, math.sqrt(weight * squares / free), free))
    return found


def best_lead(sets: Sequence[Sequence[Contrast]]) -> Outcome:
    """Test whether the best of all variants leads its base.

    That some variant leads is corrected for all variants (Bonferroni); that none does is their
    intersection. The interval has the same correction.

    Args:
        sets: Variants less their base, for each base.
    """
    every = [one for each in sets for one in each]
    if not every:
        return NOTHING
    k = len(every)
    above = min(1.0, k * min(one.tail(one.value) for one in every))
    below = max(one.tail(-one.value) for one in every)

    def finder(level: float, power: float, times: float) -> float:
        return max(one.least(level / 2 / k, power, times) for one in every)

    def opposite(level: float, power: float, times: float) -> float:
        return max(one.least(level / 2, _each(power, k), times) for one in every)

    return Outcome(
        max(one.value for one in every),
        max(one.value - one.reach(ALPHA / 2 / k) for one in every),
        max(one.value + one.reach(ALPHA / 2) for one in every),
        two_sided(above, below),
        least_p=0.0,
        n=k,
        finder=finder,
        opposite=opposite,
    )


def largest_difference(every: Sequence[Contrast], margin: float) -> Outcome:
    """Test whether all differences are within ±margin; the effect is the largest, in magnitude.

    Equality needs each difference to be within (intersection–union of two one-sided tests each);
    that some difference is beyond is corrected for their number. `null` is the margin: equality
    lies below.

    Args:
        every: The differences.
        margin: The magnitude that is as good as none.
    """
    if not every:
        return NOTHING
    k = len(every)
    within = max(one.tail(margin - abs(one.value)) for one in every)
    beyond = 2 * k * min(one.tail(abs(one.value) - margin) for one in every)
    return Outcome(
        max(abs(one.value) for one in every),
        max(0.0, *(abs(one.value) - one.reach(ALPHA / 4 / k) for one in every)),
        max(abs(one.value) + one.reach(ALPHA / 2) for one in every),
        two_sided(within, min(1.0, beyond)),
        margin,
        0.0,
        k,
    )


def odds_ratio(tables: Sequence[tuple[int, int, int, int]]) -> Outcome:
    """Test a common odds ratio over strata exactly, given the margins of each 2×2 table.

    Args:
        tables: Of each stratum: of one group how many are so and how many are not, then of the
            other.

    Returns:
        The conditional estimate of the ratio with its exact interval; 0 and infinity where the
        counts are as extreme as they can be.
    """
    kept = [t for t in tables if min(t[0] + t[1], t[2] + t[3], t[0] + t[2], t[1] + t[3]) > 0]
    if not kept:
        return NOTHING
    start, place, found = 0, 0, np.ones(1)
    for a, b, c, d in kept:
        least, most = max(0, a - d), min(a + b, a + c)
        start, place = start + least, place + a - least
        support = np.arange(least, most + 1)
        ways: Any = special.comb(a + b, support) * special.comb(c + d, a + c - support)
        found = np.convolve(found, ways / ways.sum())
    logs, places = np.log(found), np.arange(len(found))

    def law(log_odds: float) -> np.ndarray:
        # Fisher's noncentral hypergeometric laws, whose sum they are in one tilt.
        weights = logs + log_odds * places
        chances = np.exp(weights - weights.max())
        return chances / chances.sum()

    def at_least(log_odds: float) -> float:
        return float(law(log_odds)[place:].sum())

    def at_most(log_odds: float) -> float:
        return float(law(log_odds)[: place + 1].sum())

    def solve(gap: Any, least: float = -_MOST_ODDS) -> float:
        root: Any = optimize.brentq(gap, least, _MOST_ODDS, xtol=1e-6)
        return math.exp(root)

    none, counts = law(0.0), start + places
    value, low, high = 0.0, 0.0, math.inf
    if place > 0:
        low = solve(lambda g: at_least(g) - ALPHA / 2)
        value = math.inf
    if place < len(none) - 1:
        high = solve(lambda g: at_most(g) - ALPHA / 2)
        value = solve(lambda g: law(g) @ counts - counts[place]) if place else 0.0
    p = two_sided(at_least(0.0), at_most(0.0))
    spread = math.sqrt(float((counts - none @ counts) ** 2 @ none))

    def finder(level: float, power: float, times: float) -> float:
        def short(log_odds: float) -> float:
            chances = law(log_odds)
            own = math.sqrt(float((counts - chances @ counts) ** 2 @ chances))
            needed = deviate(level / 2) * spread + deviate(1 - power) * own
            # An exact test of counts needs half a count more.
            return needed * math.sqrt(times) + 0.5 - times * float((chances - none) @ counts)

        return math.inf if short(_MOST_ODDS) > 0 else solve(short, 0.0)

    least = min(1.0, 2 * float(min(none[0], none[-1])))
    n = sum(sum(table) for table in kept)
    return Outcome(value, low, high, p, 1.0, least, n, True, finder)


_MOST_ODDS = 12.0
"""Logarithm of the largest odds ratio that counts as finite."""
