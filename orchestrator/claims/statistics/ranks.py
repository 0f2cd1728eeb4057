"""How often one cell is the first of its rivals: exact, by counting the places it could have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from orchestrator.claims.statistics.correlation import ALPHA

LEAD = 1.0
"""Standard deviations of a rival by which the one is ahead, where `power` tells its detection."""

_STUDIES = 2_000
_SEED = 14


class Placing(NamedTuple):
    """Where the one stands among its rivals.

    Attributes:
        beaten: Share of all rivals that it beats, ties as half.
        low: Lower end of that share's 95 % interval (Clopper and Pearson), given the one.
        high: Upper end.
        p: P(places at least as good in sum), were every place as likely.
        p_against: P(places at most as good).
        power: P(p ≤ 0.05) if it is `LEAD` ahead.
    """

    beaten: float
    low: float
    high: float
    p: float
    p_against: float
    power: float


def placing(one: Sequence[float], rivals: Sequence[np.ndarray]) -> Placing:
    """Places of the one in several groups, more being better.

    Args:
        one: Its value in each group.
        rivals: Their values in each group, at least one.
    """
    sizes = [len(group) for group in rivals]
    beaten = [
        float((group < value).sum() + (group == value).sum() / 2)
        for value, group in zip(one, rivals, strict=True)
    ]
    chances = _chances(sizes)
    total = sum(beaten)
    wins = stats.binomtest(round(total), sum(sizes)).proportion_ci(1 - ALPHA, "exact")
    return Placing(
        total / sum(sizes),
        float(wins.low),
        float(wins.high),
        # Half a win, of a tie, does not count for the one and not against it.
        float(chances[math.floor(total) :].sum()),
        float(chances[: math.ceil(total) + 1].sum()),
        _power(sizes, chances),
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
