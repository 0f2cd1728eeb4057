"""The outcome of a test, permutation within strata, simulated power and Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import permutations, product
from math import factorial, prod
from typing import Any, NamedTuple

import numpy as np

ALPHA = 0.05
"""Level of every test, on each side by itself, and 1 − the confidence of every interval."""


class Outcome(NamedTuple):
    """What a test found; NaN stands for what it cannot determine.

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
"""The outcome of values that are too few, or too alike, for a test."""


def holm(p: Sequence[float]) -> list[float]:
    """P-values adjusted so that one rejection under true nulls is as rare as without the others.

    Args:
        p: Of each claim of the family.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()


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


RHO = 0.47
"""The correlation that `power` is about; with 13 cells it is found in 44 % of studies."""

STUDIES = 2_000

_STUDY_SEED = 13
_SHARED = 8
_MANY = 1_000


def correlated(x: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Outcomes that correlate by `RHO` with a normal trait, of which x is the order.

    Args:
        x: In whose order the trait is within a stratum, [n]; where x ties, chance decides.
        strata: The stratum of each, [n].

    Returns:
        Normal outcomes, [`STUDIES`, n].
    """
    rng = np.random.default_rng(_STUDY_SEED)
    scores, noise = rng.standard_normal((2, STUDIES, len(x)))
    for stratum in np.unique(strata):
        mine = np.flatnonzero(strata == stratum)
        scores[:, mine[x[mine].argsort(kind="stable")]] = np.sort(scores[:, mine], axis=1)
    return RHO * scores + math.sqrt(1 - RHO**2) * noise


def bent(part: np.ndarray, degrees: int) -> np.ndarray:
    """Outcomes of which `part` explains the share `RHO`² that nothing else explains.

    Args:
        part: A trait freed of all else that is allowed for, [n].
        degrees: Of freedom that are left when all else is allowed for, at least 1.

    Returns:
        Normal outcomes, [`STUDIES`, n].
    """
    noise = np.random.default_rng(_STUDY_SEED).standard_normal((STUDIES, len(part)))
    return RHO * math.sqrt(degrees / float(part @ part)) * part + math.sqrt(1 - RHO**2) * noise


def ranked(outcomes: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Ranks without ties of each study, scaled as `correlation.stratum_ranks`; [studies, n]."""
    ranks = np.empty_like(outcomes)
    for stratum in np.unique(strata):
        mine = strata == stratum
        ranks[:, mine] = (outcomes[:, mine].argsort(axis=1).argsort(axis=1) + 0.5) / mine.sum()
    return ranks - 0.5


def detected(
    statistic: Callable[[np.ndarray], np.ndarray], outcomes: np.ndarray, ways: Rearrangements
) -> float:
    """The share of studies in which a test by rearrangement finds the effect at `ALPHA`.

    What the statistic comes to by chance differs little from study to study, so one null serves
    all: the first few studies are rearranged, each in its share of the ways where they are many.

    Args:
        statistic: Of each row of outcomes, [k, n] to [k].
        outcomes: Of each study, [studies, n].
        ways: To rearrange them.
    """
    step = _SHARED if len(ways.order) >= _MANY else 1
    parts = [outcomes[i][ways.order[i % step :: step]] for i in range(_SHARED)]
    null = np.sort(np.concatenate([statistic(part) for part in parts]))
    larger = len(null) - np.searchsorted(null, statistic(outcomes) - 1e-9)
    return float((larger / len(null) <= ALPHA).mean())
