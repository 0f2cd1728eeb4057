"""Jonckheere and Terpstra's test: does an outcome rise from each width level to the next?"""

from __future__ import annotations

import numpy as np

from orchestrator.paper.statistics.correlation import fisher_interval, told
from orchestrator.paper.statistics.outcome import NOTHING, Outcome
from orchestrator.paper.statistics.permutation import rearrangements, tails
from orchestrator.paper.statistics.studies import correlated, detected, ranked

_ALMOST = 1 - 1e-6
"""Stands for a perfect trend, of which Fisher's z is infinite."""

_PAIRS_AT_ONCE = 2_000_000


def jonckheere(levels: np.ndarray, y: np.ndarray, strata: np.ndarray) -> Outcome:
    """Share of the pairs of unequal level whose outcomes are in the levels' order, less the rest.

    That is Somers' D of the outcome on the level, pooled over strata; 1 is a perfect trend. Its
    interval is Fisher's, with the variance that rearrangements within strata have. The power is
    that of normal pairs that correlate by `studies.RHO`, of which the level is the coarser order.

    Args:
        levels: Of width, for one, [n].
        y: The outcome, [n].
        strata: Pairs are formed within a stratum alone, [n].
    """
    keep = told(levels, y, strata)
    levels, y, strata = levels[keep], y[keep], strata[keep]
    low, high = np.nonzero((levels[:, None] < levels) & (strata[:, None] == strata))
    if not len(low):
        return NOTHING
    ways = rearrangements(strata)

    def somers(outcomes: np.ndarray) -> np.ndarray:
        parts = np.array_split(outcomes, 1 + outcomes.shape[0] * len(low) // _PAIRS_AT_ONCE)
        # Compared and not subtracted, since two infinite outcomes tie.
        agree = [(y[:, high] > y[:, low]).mean(axis=1) for y in parts]
        oppose = [(y[:, high] < y[:, low]).mean(axis=1) for y in parts]
        return np.concatenate(agree) - np.concatenate(oppose)

    value, null = float(somers(y[None])[0]), somers(y[ways.order])
    found = tails(value, null, exact=ways.exact)
    # Fisher's z has no known variance with so many ties, so that without a trend serves.
    spread = float((np.arctanh(np.clip(null, -_ALMOST, _ALMOST)) ** 2).mean())
    interval = fisher_interval(value, 1, spread)
    power = detected(somers, ranked(correlated(levels, strata), strata), ways)
    return Outcome(value, *interval, *found, power, ways.exact, len(y))
