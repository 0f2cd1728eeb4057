"""Rank correlation that other traits of the cells do not explain."""

from __future__ import annotations

import numpy as np

from orchestrator.paper.statistics.correlation import degrees, fisher_interval, stratum_ranks, told
from orchestrator.paper.statistics.outcome import NOTHING, Outcome
from orchestrator.paper.statistics.permutation import rearrangements, tails
from orchestrator.paper.statistics.studies import bent, detected, ranked


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
        covariates: To be allowed for, [n, q]; without any nothing is told.
        strata: The stratum of each, [n].
    """
    keep = told(x, y, strata) & ~np.isnan(covariates).any(axis=1)
    keep[keep] = told(x[keep], y[keep], strata[keep])
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
