"""Shares of runs, exact however few they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from scipy.stats.contingency import odds_ratio

from orchestrator.claims.statistics.outcome import ALPHA, Outcome

OFTEN = 0.9
"""True share whose detection `power` tells."""


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


def against_chances(count: int, chances: Sequence[float]) -> Outcome:
    """The share of sets that are so, against what chance alone makes of each.

    Args:
        count: Sets that are so.
        chances: Of each set to be so without any effect; sets are independent.

    Returns:
        The effect is the share, with Clopper and Pearson's interval; p is exact.
    """
    interval = stats.binomtest(count, len(chances)).proportion_ci(1 - ALPHA, "exact")
    counts = np.ones(1)
    for chance in chances:
        counts = np.convolve(counts, [1 - chance, chance])
    return Outcome(
        count / len(chances),
        float(interval.low),
        float(interval.high),
        float(counts[count:].sum()),
        float(counts[: count + 1].sum()),
        exact=True,
        n=len(chances),
    )


def odds(one: tuple[int, int], other: tuple[int, int]) -> Outcome:
    """Whether a thing is likelier in one group than in another.

    Args:
        one: How many of it are so, and how many are not.
        other: Likewise.

    Returns:
        The effect is the conditional odds ratio, p Fisher's.
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
    return Outcome(value, *ends, float(more.pvalue), float(less.pvalue), exact=True)
