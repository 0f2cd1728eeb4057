"""Shares of runs, exact however few they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from scipy.stats.contingency import odds_ratio

from orchestrator.paper.statistics.outcome import ALPHA, Outcome

OFTEN = 0.9
"""True share whose detection `power` tells."""

APART = (0.75, 0.25)
"""True shares of two groups whose detection `power` tells: an odds ratio of 9."""


def share(count: int, runs: int) -> Outcome:
    """The share of runs that are so, and whether it is more than half.

    Args:
        count: Runs that are so.
        runs: All runs, at least one.

    Returns:
        The effect is the share, with Clopper and Pearson's interval; p is of half the runs being
        so. The power is that at a true share of `OFTEN`.
    """
    chance: Any = stats.binom(runs, 0.5)
    interval = stats.binomtest(count, runs).proportion_ci(1 - ALPHA, "exact")
    counts = np.arange(runs + 1)
    found = chance.sf(counts - 1) <= ALPHA
    often: Any = stats.binom(runs, OFTEN)
    power = float(often.pmf(counts)[found].sum())
    return Outcome(
        count / runs,
        float(interval.low),
        float(interval.high),
        float(chance.sf(count - 1)),
        float(chance.cdf(count)),
        power,
        exact=True,
        n=runs,
    )


def against_chances(count: int, chances: Sequence[float], *, fewer: bool = False) -> Outcome:
    """The share of sets that are so, against what chance alone makes of each.

    Args:
        count: Sets that are so.
        chances: Of each set to be so without any effect; sets are independent.
        fewer: Whether the claim is that fewer are so than by chance, and not more.

    Returns:
        The effect is the share, with Clopper and Pearson's interval; p is exact. The power is that
        at a true share of `OFTEN`, or of 1 − `OFTEN` where fewer are claimed.
    """
    n = len(chances)
    interval = stats.binomtest(count, n).proportion_ci(1 - ALPHA, "exact")
    pmf = np.ones(1)
    for chance in chances:
        pmf = np.convolve(pmf, [1 - chance, chance])
    more, less = pmf[::-1].cumsum()[::-1], pmf.cumsum()
    tail, truth = (less, 1 - OFTEN) if fewer else (more, OFTEN)
    often: Any = stats.binom(n, truth)
    outcome = Outcome(
        count / n,
        float(interval.low),
        float(interval.high),
        float(more[count]),
        float(less[count]),
        float(often.pmf(np.arange(n + 1))[tail <= ALPHA].sum()),
        exact=True,
        n=n,
    )
    return outcome.turned() if fewer else outcome


def odds(one: tuple[int, int], other: tuple[int, int]) -> Outcome:
    """Whether a thing is likelier in one group than in another.

    Args:
        one: How many of it are so, and how many are not.
        other: Likewise.

    Returns:
        The effect is the conditional odds ratio, p Fisher's. The power is that at true shares of
        `APART`, exact for groups of these sizes.
    """
    table = np.array([one, other])
    more: Any = stats.fisher_exact(table, alternative="greater")
    less: Any = stats.fisher_exact(table, alternative="less")
    found = odds_ratio(table, kind="conditional")
    interval = found.confidence_interval(1 - ALPHA)
    value = float(found.statistic)
    ends = (float(interval.low), float(interval.high))
    if math.isnan(value):
        ends = (math.nan, math.nan)
    p, power = (float(more.pvalue), float(less.pvalue)), _odds_power(sum(one), sum(other))
    return Outcome(value, *ends, *p, power, exact=True, n=int(table.sum()))


def _odds_power(one: int, other: int) -> float:
    """Over every table that groups of these sizes can come to."""
    ours, theirs = np.arange(one + 1)[:, None], np.arange(other + 1)
    chance: Any = stats.hypergeom
    p = chance.sf(ours - 1, one + other, ours + theirs, one)
    drawn: Any = stats.binom
    weights = drawn.pmf(ours, one, APART[0]) * drawn.pmf(theirs, other, APART[1])
    return float(weights[p <= ALPHA + 1e-12].sum())
