"""Association of two columns within strata: rank correlations, and a peak at a middle value."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from orchestrator.figures.evidence import shares_below
from orchestrator.paper.statistics.laws import (
    ALPHA,
    NOTHING,
    Bell,
    Outcome,
    outcome,
    rearranged,
    t_end,
    t_tail,
    two_sided,
)


def trend(x: ArrayLike, y: ArrayLike, strata: ArrayLike) -> Outcome:
    """Test Spearman's correlation of x and y, pooled over strata, by rearrangement within them.

    Ranks are taken within each stratum, so differences between strata count for nothing; strata
    weigh by their size. Infinite outcomes have the outermost ranks, ties their mean rank.

    Args:
        x: What is to explain, [n]; those that are NaN, in x or y, are left out.
        y: The outcome, [n].
        strata: The stratum of each, [n].
    """
    x, y, strata = _arrays(x, y, strata)
    keep = usable(x, y, strata)
    x, y, strata = x[keep], y[keep], strata[keep]
    if not len(x):
        return NOTHING
    a, b = stratum_ranks(x, strata), stratum_ranks(y, strata)
    a /= math.sqrt(float(a @ a) * float(b @ b))
    names = np.unique(strata)
    law = rearranged([(a[strata == name], b[strata == name]) for name in names])
    return outcome(law, float(a @ b), n=len(x))


def partial_trend(x: ArrayLike, y: ArrayLike, strata: ArrayLike, covariates: np.ndarray) -> Outcome:
    """Test Spearman's partial correlation within strata by Student's t.

    The ranks of x and y are freed of what is linear in the covariates' ranks. Covariates that are
    constant within strata fall away.

    Args:
        x: What is to explain, [n].
        y: The outcome, [n].
        strata: The stratum of each, [n].
        covariates: To be allowed for, [n, q]; without any the outcome is `NOTHING`.
    """
    x, y, strata = _arrays(x, y, strata)
    keep = usable(x, y, strata) & ~np.isnan(covariates).any(axis=1)
    keep[keep] = usable(x[keep], y[keep], strata[keep])
    x, y, covariates, strata = x[keep], y[keep], covariates[keep], strata[keep]
    if len(x) < 2 or not covariates.shape[1]:
        return NOTHING
    others = np.column_stack([stratum_ranks(column, strata) for column in covariates.T])
    rank = int(np.linalg.matrix_rank(others))
    free = len(x) - len(np.unique(strata)) - rank
    if free < 3:
        return NOTHING
    basis = np.linalg.svd(others, full_matrices=False)[0][:, :rank]
    a, b = (v - (v @ basis) @ basis.T for v in (stratum_ranks(x, strata), stratum_ranks(y, strata)))
    scale = math.sqrt(float(a @ a) * float(b @ b))
    if scale < 1e-12:
        return NOTHING
    return outcome(Bell(1 / free), float(a @ b) / scale, n=len(x))


def _arrays(x: ArrayLike, y: ArrayLike, strata: ArrayLike) -> tuple[np.ndarray, ...]:
    return np.asarray(x, dtype=float), np.asarray(y, dtype=float), np.asarray(strata)


def usable(x: np.ndarray, y: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Return which values are usable: no NaN, in a stratum where both x and y vary; shape [n]."""
    keep = ~(np.isnan(x) | np.isnan(y))
    names, codes = np.unique(strata, return_inverse=True)
    for values in (x, y):
        ends = np.full((2, len(names)), math.inf)
        np.minimum.at(ends[0], codes[keep], values[keep])
        np.minimum.at(ends[1], codes[keep], -values[keep])
        keep &= (ends[0] != -ends[1])[codes]
    return keep


def stratum_ranks(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Return mid-ranks within each stratum, scaled to within (−½, ½) and to have mean 0; [n]."""
    return shares_below(values, np.unique(strata, return_inverse=True)[1]) - 0.5


_CUTS = (0.2, 0.35, 0.5, 0.65, 0.8)
"""Shares of a stratum's cells, by rank of x, between which a middle begins or ends."""

_NULL_DRAWS = 20_000
_NULL_SEED = 20_200_426


def peak(x: ArrayLike, y: ArrayLike, strata: ArrayLike) -> Outcome:
    """Test whether outcomes of middle x exceed both those of smaller and those of larger x.

    For every middle (an interval of ranks of x within strata) the lesser of its two leads is taken,
    and the largest of these over middles is the effect. If the outcome rises or falls with x
    throughout, whatever its shape, one of each middle's leads is at most 0: the best is then no
    larger by chance than the best lead of a flat curve over one side, which is the null, for the
    worse side. Hence a plateau is no peak. The error is that of cells of equal x; the opposite is
    tested as the intersection of all middles.

    Args:
        x: Width, [n].
        y: Finite outcome, on a scale that strata share, [n].
        strata: The base of each, [n]; those with fewer than 3 levels of x are left out.
    """
    x, y, strata = _arrays(x, y, strata)
    keep = np.isfinite(x) & np.isfinite(y)
    for stratum in np.unique(strata):
        mine = keep & (strata == stratum)
        if len(np.unique(x[mine])) < 3:
            keep &= strata != stratum
    x, y, strata = x[keep], y[keep], strata[keep]
    rest, free = y.copy(), len(x)
    for name in np.unique(strata):
        for level in np.unique(x[strata == name]):
            mine = (strata == name) & (x == level)
            rest[mine] -= y[mine].mean()
            free -= 1
    sides = _leads(x, strata) if free > 1 else np.empty(0)
    if not sides.size:
        return NOTHING
    error = math.sqrt(float(rest @ rest) / free)
    if error < 1e-12:
        return NOTHING
    sizes = np.linalg.norm(sides, axis=2)
    leads = np.stack([side @ y for side in sides])
    largest = float((leads / (error * sizes)).min(axis=0).max())
    null = _largest_leads(sides.tobytes(), sides.shape, free)
    above = 1 - int(np.searchsorted(null, largest)) / len(null)
    below = min(1.0, 2 * t_tail(-largest, free))
    reach = float(np.quantile(null, 1 - ALPHA / 2)) * error * sizes
    margin = t_end(ALPHA / 4, free) * error * sizes

    def finder(level: float, power: float, times: float) -> float:
        needed = float(np.quantile(null, 1 - level / 2)) + t_end((1 - power) / 2, free)
        return needed * error * float(sizes.max(axis=0).min()) / math.sqrt(times)

    return Outcome(
        float(leads.min(axis=0).max()),
        max(-1.0, float((leads - reach).min(axis=0).max())),
        min(1.0, float((leads + margin).min(axis=0).max())),
        two_sided(max(above, 1 / len(null)), below),
        least_p=2 / len(null),
        n=len(x),
        finder=finder,
    )


def _leads(x: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Return weights of each middle's mean less that of smaller, and of larger x; [2, k, n].

    Differences are formed within strata, and averaged by their size.
    """
    ranks = stratum_ranks(x, strata) + 0.5
    found: dict[bytes, np.ndarray] = {}
    for start, end in combinations(_CUTS, 2):
        both = np.zeros((2, len(x)))
        for name in np.unique(strata):
            mine = strata == name
            parts = [mine & (ranks < start), mine & (ranks > end)]
            middle = mine & (ranks >= start) & (ranks <= end)
            if middle.any() and parts[0].any() and parts[1].any():
                for weights, part in zip(both, parts, strict=True):
                    weights += mine.sum() * (middle / middle.sum() - part / part.sum())
        if both.any():
            both /= np.abs(both[0]).sum() / 2
            found.setdefault(both[0].round(9).tobytes(), both)
    return np.stack([*found.values()], axis=1) if found else np.empty((2, 0, len(x)))


@lru_cache(maxsize=64)
def _largest_leads(weights: bytes, shape: tuple[int, ...], free: int) -> np.ndarray:
    """Return the largest t of either side's leads of flat outcomes, the worse side's, sorted."""
    sides = np.frombuffer(weights).reshape(shape)
    rng = np.random.default_rng(_NULL_SEED)
    errors = rng.standard_normal((_NULL_DRAWS, shape[2]))
    scale = np.sqrt(rng.chisquare(free, _NULL_DRAWS) / free)
    worst = np.zeros(_NULL_DRAWS)
    for side in sides:
        unit = side / np.linalg.norm(side, axis=1, keepdims=True)
        worst = np.maximum(worst, np.sort((errors @ unit.T).max(axis=1) / scale))
    return worst
