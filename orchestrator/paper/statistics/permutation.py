"""Rearrangements within strata: the null hypothesis that a stratum's cells could swap outcomes."""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations, product
from math import factorial, prod
from typing import NamedTuple

import numpy as np

DRAWS = 9_999
"""Random rearrangements; with the observed one, p is a multiple of 1/10,000."""

MOST_EXACT = 20_000
"""Rearrangements that are enumerated instead of drawn."""

_SEED = 20_200_426
_ROUNDING = 1e-9


class Rearrangements(NamedTuple):
    """Ways to reorder n values within their strata.

    Attributes:
        order: Positions to take values from, [k, n].
        exact: Whether these are all there are, the observed order among them.
    """

    order: np.ndarray
    exact: bool


class Tails(NamedTuple):
    """One-sided p-values of a statistic: of one at least as large, of one at most as large."""

    above: float
    below: float


def rearrangements(strata: np.ndarray) -> Rearrangements:
    """Every rearrangement within strata, or 9,999 random ones where there are too many.

    Args:
        strata: The stratum of each value, [n]; drawn alike for alike strata, so that a result
            comes out the same each time.
    """
    _, labels = np.unique(strata, return_inverse=True)
    return _rearrangements(tuple(labels.ravel().tolist()))


@lru_cache(maxsize=64)
def _rearrangements(labels: tuple[int, ...]) -> Rearrangements:
    groups = [np.flatnonzero(np.array(labels) == label) for label in sorted(set(labels))]
    total = prod(factorial(len(group)) for group in groups)
    rng = np.random.default_rng(_SEED)
    exact = total <= MOST_EXACT
    order = np.empty((total if exact else DRAWS, len(labels)), dtype=np.int32)
    if exact:
        ways = product(*(list(permutations(group)) for group in groups))
        columns = np.concatenate(groups) if groups else np.empty(0, int)
        for row, way in enumerate(ways):
            order[row, columns] = np.concatenate(way)
    else:
        for group in groups:
            order[:, group] = rng.permuted(np.tile(group, (DRAWS, 1)), axis=1)
    order.setflags(write=False)
    return Rearrangements(order, exact)


def tails(observed: float, null: np.ndarray, *, exact: bool) -> Tails:
    """The p-values of a statistic against its values under rearrangement.

    Args:
        observed: As the data are.
        null: Under each rearrangement, [k].
        exact: Whether the observed order is among them; else it is added, so that p is never 0.
    """
    if not len(null) or not np.isfinite(observed):
        return Tails(1.0, 1.0)
    slack = _ROUNDING * max(1.0, abs(observed))
    above = int((null >= observed - slack).sum())
    below = int((null <= observed + slack).sum())
    extra = 0 if exact else 1
    return Tails((above + extra) / (len(null) + extra), (below + extra) / (len(null) + extra))
