"""Shares of runs, exact however few they are."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.stats.contingency import odds_ratio

from orchestrator.claims.statistics.correlation import ALPHA

OFTEN = 0.9
"""True share whose detection `Share.power` tells."""


class Share(NamedTuple):
    """A share of runs against one half.

    Attributes:
        value: The share.
        low: Lower end of its 95 % interval (Clopper and Pearson).
        high: Upper end.
        p: P(at least as many), were half the runs so.
        p_against: P(at most as many).
        power: P(p ≤ 0.05) if `OFTEN` is true.
    """

    value: float
    low: float
    high: float
    p: float
    p_against: float
    power: float


class Odds(NamedTuple):
    """Two shares against each other: conditional odds ratio, 95 % interval, Fisher's exact p."""

    value: float
    low: float
    high: float
    p: float
    p_against: float


def share(count: int, runs: int) -> Share:
    """The share of runs that are so, and whether it is more than half.

    Args:
        count: Runs that are so.
        runs: All runs, at least one.
    """
    chance: Any = stats.binom(runs, 0.5)
    interval = stats.binomtest(count, runs).proportion_ci(1 - ALPHA, "exact")
    counts = np.arange(runs + 1)
    found = chance.sf(counts - 1) <= ALPHA
    often: Any = stats.binom(runs, OFTEN)
    power = float(often.pmf(counts)[found].sum())
    return Share(
        count / runs,
        float(interval.low),
        float(interval.high),
        float(chance.sf(count - 1)),
        float(chance.cdf(count)),
        power,
    )


def odds(one: tuple[int, int], other: tuple[int, int]) -> Odds:
    """Whether a thing is likelier in one group than in another.

    Args:
        one: How many of it are so, and how many are not.
        other: Likewise.
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
    return Odds(value, *ends, float(more.pvalue), float(less.pvalue))
