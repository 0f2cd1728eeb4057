"""Jonckheere and Terpstra's test: does an outcome rise from each width level to the next?"""

from __future__ import annotations

import numpy as np

from orchestrator.claims.statistics.correlation import fisher_interval, told
from orchestrator.claims.statistics.outcome import NOTHING, Outcome
from orchestrator.claims.statistics.permutation import rearrangements, tails

_ALMOST = 1 - 1e-6
"""Stands for a perfect trend, of which Fisher's z is infinite."""

_PAIRS_AT_ONCE = 2_000_000


def jonckheere(levels: np.ndarray, y: np.ndarray, strata: np.ndarray) -> Outcome:
    """Share of the pairs of unequal level whose outcomes are in the levels' order, less the rest.

    That is Somers' D of the outcome on the level, pooled over strata; 1 is a perfect trend. Its
    interval is Fisher's, with the variance that rearrangements within strata have.

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
    agrees = np.sign(np.where(y[None] == y[:, None], 0.0, np.where(y[None] > y[:, None], 1, -1)))
    value = float(agrees[low, high].mean())
    ways = rearrangements(strata)
    block = max(1, _PAIRS_AT_ONCE // len(low))
    null = np.concatenate(
        [
            agrees[part[:, low], part[:, high]].mean(axis=1)
            for part in (ways.order[i : i + block] for i in range(0, len(ways.order), block))
        ]
    )
    found = tails(value, null, exact=ways.exact)
    # Fisher's z has no known variance with so many ties, so that without a trend serves.
    spread = float((np.arctanh(np.clip(null, -_ALMOST, _ALMOST)) ** 2).mean())
    interval = fisher_interval(value, 1, spread)
    return Outcome(value, *interval, *found, exact=ways.exact, n=len(y))
