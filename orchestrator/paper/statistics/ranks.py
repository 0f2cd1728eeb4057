"""How often one cell is the first of its rivals: exact, by counting the places it could have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from orchestrator.paper.statistics.outcome import ALPHA, Outcome

LEAD = 1.0
"""Standard deviations of a rival by which the one is ahead, where `power` tells its detection."""

_STUDIES = 2_000
_SEED = 14


def placing(one: Sequence[float], rivals: Sequence[np.ndarray]) -> Outcome:
    """Places of the one in several groups, more being better.

    Args:
        one: Its value in each group.
        rivals: Their values in each group, at least one.

    Returns:
        The effect is the share of all rivals that it beats, ties as half, with Clopper and
        Pearson's interval, given the one; p is of the places' sum, were every place as likely. The
        power is that at a lead of `LEAD`.
    """
    sizes = [len(group) for group in rivals]
    pairs = list(zip(one, rivals, strict=True))
    wins = sum(int((group < value).sum()) for value, group in pairs)
    ties = sum(int((group == value).sum()) for value, group in pairs)
    chances = _chances(sizes)
    total = wins + ties / 2
    interval = stats.binomtest(round(total), sum(sizes)).proportion_ci(1 - ALPHA, "exact")
    return Outcome(
        total / sum(sizes),
        float(interval.low),
        float(interval.high),
        # A tie counts as lost where the claim is tested, and as won where its opposite is.
        float(chances[wins:].sum()),
        float(chances[: wins + ties + 1].sum()),
        _power(sizes, chances),
        exact=True,
        n=len(sizes),
    )


def _chances(sizes: Sequence[int]) -> np.ndarray:
    """P(so many rivals beaten in all groups together); [sum of sizes + 1]."""
    chances = np.ones(1)
    for size in sizes:
        chances = np.convolve(chances, np.full(size + 1, 1 / (size + 1)))
    return chances


def _power(sizes: Sequence[int], chances: np.ndarray) -> float:
    rng = np.random.default_rng(_SEED)
    beaten = np.zeros(_STUDIES, dtype=int)
    for size in sizes:
        mine = LEAD + rng.standard_normal((_STUDIES, 1))
        beaten += (rng.standard_normal((_STUDIES, size)) < mine).sum(axis=1)
    p = chances[::-1].cumsum()[::-1]
    return float((p[beaten] <= ALPHA).mean())
