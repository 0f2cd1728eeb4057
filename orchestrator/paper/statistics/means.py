"""Means of few values: is one above zero, or as good as zero?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import stats

from orchestrator.paper.statistics.outcome import ALPHA, Outcome
from orchestrator.paper.statistics.permutation import DRAWS, MOST_EXACT, tails

LARGE = 1.0
"""Mean in standard deviations whose detection `power` tells."""

_SEED = 15


def flipped(values: np.ndarray) -> Outcome:
    """Whether a mean of paired differences is above zero, by flipping their signs.

    Args:
        values: Finite, [n], n ≥ 1.
    """
    n = len(values)
    exact = 2**n <= MOST_EXACT
    if exact:
        signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    else:
        signs = np.random.default_rng(_SEED).choice([-1, 1], (DRAWS, n))
    found = tails(float(values.mean()), signs @ values / n, exact=exact)
    # No flip is rarer than 1 in 2ⁿ, so fewer than five pairs can never tell.
    power = _t_power(n) if 2.0**-n <= ALPHA else 0.0
    return Outcome(float(values.mean()), *student(values), *found, power, exact, n)


def paired(values: np.ndarray) -> Outcome:
    """Whether a mean of paired differences is above zero, by Student's t.

    Of each architecture's mean over as many seeds this is the test of a mixed model in which
    architectures differ at random in how much they gain.

    Args:
        values: Finite, [n], n ≥ 1.
    """
    n = len(values)
    if n < 2 or not np.ptp(values):
        return flipped(values)
    above: Any = stats.ttest_1samp(values, 0.0, alternative="greater")
    p = float(above.pvalue)
    return Outcome(float(values.mean()), *student(values), p, 1 - p, _t_power(n), n=n)


def equivalent(values: np.ndarray, margin: float) -> Outcome:
    """Whether a mean lies within ±margin: two one-sided t-tests (Schuirmann, 1987).

    Args:
        values: Finite, [n], n ≥ 1.
        margin: What is as good as zero.

    Returns:
        The claim is equivalence: p is the larger of both tests'. Its opposite is a mean beyond
        the margin, either way. The power is that at a mean of zero.
    """
    n, mean = len(values), float(values.mean())
    if n < 2:
        return Outcome(mean, math.nan, math.nan, 1.0, 1.0, 0.0, n=n)
    error = max(float(values.std(ddof=1)) / math.sqrt(n), 1e-300)
    t: Any = stats.t(n - 1)
    above, below = (mean + margin) / error, (margin - mean) / error
    p = max(float(t.sf(above)), float(t.sf(below)))
    against = min(1.0, 2 * min(float(t.cdf(above)), float(t.cdf(below))))
    critical = t.isf(ALPHA)
    reach = margin / error - critical
    power = max(0.0, 2 * float(t.cdf(reach)) - 1) if reach > 0 else 0.0
    return Outcome(mean, *student(values), p, against, power, n=n)


def student(values: np.ndarray) -> tuple[float, float]:
    """Student's 95 % interval of a mean; NaN for fewer than two values, or equal ones."""
    n = len(values)
    if n < 2 or not np.ptp(values):
        return math.nan, math.nan
    reach = float(stats.t.isf(ALPHA / 2, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n)
    return float(values.mean()) - reach, float(values.mean()) + reach


def _t_power(n: int) -> float:
    if n < 2:
        return 0.0
    return float(stats.nct.sf(stats.t.isf(ALPHA, n - 1), n - 1, LARGE * math.sqrt(n)))
