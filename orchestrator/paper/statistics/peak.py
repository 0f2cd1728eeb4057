"""Does an outcome rise and then fall, with an optimum between the extremes?

Among few noisy values one is always the largest, so a peak that is seen proves nothing: each
statistic here is held against what rearranged outcomes yield, the choice of its peak included. The
power of each is that at outcomes whose partial correlation with −x², x allowed for, is
`studies.RHO`.
"""

from __future__ import annotations

import math

import numpy as np

from orchestrator.paper.statistics.correlation import fisher_interval
from orchestrator.paper.statistics.outcome import NOTHING, Outcome
from orchestrator.paper.statistics.permutation import rearrangements, tails
from orchestrator.paper.statistics.studies import bent, detected


def quadratic(x: np.ndarray, y: np.ndarray, strata: np.ndarray) -> Outcome:
    """Partial correlation of y with −x², x allowed for, pooled over strata.

    Args:
        x: Width, [n].
        y: Finite outcome, on a scale that strata share, [n].
        strata: The base of each, [n]; those with fewer than 3 levels of x are left out.
    """
    x, y, strata = _usable(x, y, strata, levels=3)
    if not len(x):
        return NOTHING
    bend, projector = _bend(x, strata)
    ways = rearrangements(strata)

    def correlate(values: np.ndarray) -> np.ndarray:
        rests = values @ projector
        lengths = np.sqrt((rests**2).sum(axis=-1) * (bend @ bend))
        return np.divide(rests @ bend, lengths, out=np.zeros_like(lengths), where=lengths > 1e-12)

    value = float(correlate(y[None])[0])
    found = tails(value, correlate(y[ways.order]), exact=ways.exact)
    free = len(x) - 2 * len(np.unique(strata))
    interval = fisher_interval(value, free - 2, 1.0)
    power = detected(correlate, bent(bend, free), ways)
    return Outcome(value, *interval, *found, power, ways.exact, len(x))


def two_lines(x: np.ndarray, y: np.ndarray, strata: np.ndarray) -> Outcome:
    """Simonsohn's (2018) two lines: one that rises up to a break and one that falls after it.

    Of every break between the levels of x, the smaller t of the two slopes (the right one's
    turned) is taken, then the largest over breaks, then the mean over strata. Rearranged outcomes
    choose their breaks likewise.

    Args:
        x: Width, [n].
        y: Finite outcome, [n].
        strata: The base of each, [n]; those with fewer than 4 levels of x are left out.
    """
    x, y, strata = _usable(x, y, strata, levels=4)
    if not len(x):
        return NOTHING
    ways = rearrangements(strata)
    names = np.unique(strata)

    def weigh(outcomes: np.ndarray) -> np.ndarray:
        each = [_best_break(x[strata == name], outcomes[:, strata == name]) for name in names]
        return np.mean(each, axis=0)

    value = float(weigh(y[None])[0])
    found = tails(value, weigh(y[ways.order]), exact=ways.exact)
    outcomes = bent(_bend(x, strata)[0], len(x) - 2 * len(names))
    power = detected(weigh, outcomes, ways)
    return Outcome(value, math.nan, math.nan, *found, power, ways.exact, len(x))


def interior_chance(x: np.ndarray) -> float:
    """P(the largest of outcomes without any effect is at neither the least nor the largest x)."""
    return float(((x > x.min()) & (x < x.max())).mean())


def _bend(x: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """−x² freed of what is linear in x within strata, [n], and what frees others so, [n, n]."""
    bend, projector = np.empty(len(x)), np.zeros((len(x), len(x)))
    for stratum in np.unique(strata):
        mine = strata == stratum
        line = np.column_stack([np.ones(mine.sum()), x[mine]])
        rest = np.eye(int(mine.sum())) - line @ np.linalg.pinv(line)
        projector[np.ix_(mine, mine)] = rest
        bend[mine] = rest @ -((x[mine] - x[mine].mean()) ** 2)
    return bend, projector


def _usable(
    x: np.ndarray, y: np.ndarray, strata: np.ndarray, *, levels: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    keep = np.isfinite(x) & np.isfinite(y)
    for stratum in np.unique(strata):
        mine = keep & (strata == stratum)
        if len(np.unique(x[mine])) < levels or mine.sum() < levels + 2:
            keep &= strata != stratum
    return x[keep], y[keep], strata[keep]


def _best_break(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The statistic of each row of y, [k, n]; [k]."""
    levels = np.unique(x)
    best = np.full(len(y), -np.inf)
    for place in levels[1:-1]:
        # Interrupted at the break, so that each side has its slope and its level.
        after = x > place
        design = np.column_stack(
            [np.where(after, 0, x - place), np.where(after, x - place, 0), ~after, after]
        ).astype(float)
        if np.linalg.matrix_rank(design) < 4:
            continue
        inverse = np.linalg.inv(design.T @ design)
        slopes = y @ design @ inverse
        rests = y - slopes @ design.T
        spread = np.sqrt((rests**2).sum(axis=1) / max(len(x) - 4, 1)) + 1e-12
        left = slopes[:, 0] / (spread * math.sqrt(inverse[0, 0]))
        right = -slopes[:, 1] / (spread * math.sqrt(inverse[1, 1]))
        best = np.maximum(best, np.minimum(left, right))
    return np.where(np.isfinite(best), best, 0.0)
