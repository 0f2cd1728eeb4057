"""Tests of association within strata: rank correlation, partial correlation, trend and peak."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from orchestrator.paper.statistics.testing import (
    ALPHA,
    NOTHING,
    Outcome,
    bent,
    correlated,
    detected,
    ranked,
    rearrangements,
    tails,
)


def association(x: np.ndarray, y: np.ndarray, strata: np.ndarray) -> Outcome:
    """Spearman's correlation of x and y pooled over strata.

    Ranks are taken within each stratum, so differences between strata count for nothing; strata
    weigh by their size. Infinite outcomes have the outermost ranks. The interval is Fisher's with
    the variance of Bonett and Wright (2000), a degree of freedom lost for each stratum's mean. The
    power is that of normal pairs that correlate by `studies.RHO`, with the ties of these x.

    Args:
        x: What is to explain, [n]; those that are NaN, in x or y, are left out.
        y: The outcome, [n].
        strata: The stratum of each, [n].
    """
    keep = usable(x, y, strata)
    x, y, strata = x[keep], y[keep], strata[keep]
    if not len(x):
        return NOTHING
    a, b = stratum_ranks(x, strata), stratum_ranks(y, strata)
    ways = rearrangements(strata)
    scale = math.sqrt(float(a @ a) * float(b @ b))
    value = float(a @ b) / scale
    null = b[ways.order] @ a / scale
    found = tails(value, null, exact=ways.exact)
    low, high = fisher_interval(value, degrees(strata))
    outcomes = ranked(correlated(a, strata), strata)
    power = detected(lambda ranks: ranks @ a, outcomes, ways)
    return Outcome(value, low, high, *found, power, ways.exact, len(x))


def usable(x: np.ndarray, y: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Which values are usable: no NaN, in a stratum where both x and y vary; shape [n]."""
    keep = ~(np.isnan(x) | np.isnan(y))
    for stratum in np.unique(strata):
        mine = keep & (strata == stratum)
        if len(np.unique(x[mine])) < 2 or len(np.unique(y[mine])) < 2:
            keep &= strata != stratum
    return keep


def stratum_ranks(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Mid-ranks within each stratum, scaled to within (−½, ½) and to have mean 0; [n]."""
    ranks = np.empty(len(values))
    for stratum in np.unique(strata):
        mine = strata == stratum
        ranks[mine] = (stats.rankdata(values[mine]) - 0.5) / mine.sum() - 0.5
    return ranks


def degrees(strata: np.ndarray, covariates: int = 0) -> int:
    """The divisor of Fisher's variance: n − 2, less what further strata and covariates cost.

    With n − 3, which suits the normal correlation, 96 % of intervals of 13 cells hold the truth.
    """
    return len(strata) - len(np.unique(strata)) - covariates - 1


def fisher_interval(value: float, degrees: int, factor: float | None = None) -> tuple[float, float]:
    """The 95 % interval of a correlation; NaN without degrees of freedom.

    Args:
        value: The correlation.
        degrees: See `degrees`.
        factor: Of the variance of Fisher's z; None for Spearman's, 1 + ρ²/2.
    """
    if degrees < 1 or not math.isfinite(value):
        return math.nan, math.nan
    factor = 1 + value**2 / 2 if factor is None else factor
    reach = float(stats.norm.isf(ALPHA / 2)) * math.sqrt(factor / degrees)
    centre = math.atanh(max(-1 + 1e-9, min(1 - 1e-9, value)))
    return math.tanh(centre - reach), math.tanh(centre + reach)


def partial_association(
    x: np.ndarray, y: np.ndarray, covariates: np.ndarray, strata: np.ndarray
) -> Outcome:
    """Spearman's partial correlation within strata, tested by Freedman and Lane's permutation.

    The ranks of x and y are freed of what is linear in the covariates' ranks; the residuals of y
    are rearranged. Covariates that are constant within strata fall away. The power is that at a
    partial correlation of `studies.RHO`.

    Args:
        x: What is to explain, [n].
        y: The outcome, [n].
        covariates: To be allowed for, [n, q]; without any the outcome is `NOTHING`.
        strata: The stratum of each, [n].
    """
    keep = usable(x, y, strata) & ~np.isnan(covariates).any(axis=1)
    keep[keep] = usable(x[keep], y[keep], strata[keep])
    x, y, covariates, strata = x[keep], y[keep], covariates[keep], strata[keep]
    none = NOTHING._replace(n=len(x))
    if len(x) < 2 or not covariates.shape[1]:
        return none
    others = np.column_stack([stratum_ranks(column, strata) for column in covariates.T])
    rank = int(np.linalg.matrix_rank(others))
    free = degrees(strata, rank)
    if free < 1:
        return none
    basis = np.linalg.svd(others, full_matrices=False)[0][:, :rank]
    a, b = (_rest(stratum_ranks(values, strata), basis) for values in (x, y))
    if min(a @ a, b @ b) < 1e-12:
        return none
    ways = rearrangements(strata)

    def correlate(rests: np.ndarray) -> np.ndarray:
        rests = _rest(rests, basis)
        lengths = np.sqrt((rests**2).sum(axis=1) * (a @ a))
        return np.divide(rests @ a, lengths, out=np.zeros_like(lengths), where=lengths > 1e-12)

    value = float(correlate(b[None])[0])
    found = tails(value, correlate(b[ways.order]), exact=ways.exact)
    interval = fisher_interval(value, free)
    rests = _rest(ranked(bent(a, free + 1), strata), basis)
    power = detected(correlate, rests, ways)
    return Outcome(value, *interval, *found, power, ways.exact, len(x))


def _rest(values: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """What the columns of the basis, [n, q], leave of each row; [k, n] or [n]."""
    return values - (values @ basis) @ basis.T


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
    keep = usable(levels, y, strata)
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
