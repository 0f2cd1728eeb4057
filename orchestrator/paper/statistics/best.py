"""Does the best of many variants lead its base, the choice of the best allowed for?

The power is that at a lead of one variant of every set, by `LEAD` standard deviations over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from orchestrator.paper.statistics.outcome import ALPHA, NOTHING, Outcome

LEAD = 3.0
"""The lead, in standard deviations over seeds, whose detection `power` tells."""

_DRAWS = 20_000
_SEED = 41


class Set(NamedTuple):
    """A base and its variants.

    Attributes:
        base: Outcomes of its seeds, finite, [n].
        variants: Outcomes of each variant's seeds, [n] each.
    """

    base: np.ndarray
    variants: Sequence[np.ndarray]

    @property
    def lead(self) -> float:
        """Of the best variant's mean over the base's."""
        return float(max(run.mean() for run in self.variants) - self.base.mean())


def best_lead(sets: Sequence[Set]) -> Outcome:
    """Dunnett's test of the best variant of every set, p corrected for the number of sets.

    Args:
        sets: Variants with a single seed are left out, and so are sets in which then no variant is
            left, the base has a single seed, or no seed differs from another.

    Returns:
        The largest lead; of its interval the lower end alone. The claim is that some variant
        leads; that none does, no test of seeds can show, so `p_against` is 1.
    """
    usable = [Set(base, [run for run in runs if len(run) > 1]) for base, runs in sets]
    usable = [one for one in usable if _tells(one)]
    if not usable:
        return NOTHING
    least, low = 1.0, -math.inf
    for base, variants in usable:
        test: Any = stats.dunnett(
            *variants, control=base, alternative="greater", rng=np.random.default_rng(0)
        )
        least = min(least, float(test.pvalue.min()))
        low = max(low, float(test.confidence_interval(1 - ALPHA).low.max()))
    value = max(one.lead for one in usable)
    p = min(1.0, len(usable) * least)
    seeds = sum(len(run) for base, variants in usable for run in (base, *variants))
    return Outcome(value, low, math.nan, p, 1.0, _power(usable), n=seeds)


def _tells(one: Set) -> bool:
    runs = (one.base, *one.variants)
    return len(one.base) > 1 and bool(one.variants) and any(np.ptp(run) for run in runs)


def _power(sets: Sequence[Set]) -> float:
    rng = np.random.default_rng(_SEED)
    missed = 1.0
    for base, variants in sets:
        null, led = _largest(rng, len(base), [len(run) for run in variants])
        critical = np.quantile(null, 1 - ALPHA / len(sets))
        missed *= float((led <= critical).mean())
    return 1 - missed


def _largest(rng: Any, base: int, variants: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The largest t of a set's variants over studies: without any lead, and if the first leads."""
    sizes = np.array(variants)
    means = rng.standard_normal((_DRAWS, len(sizes))) / np.sqrt(sizes)
    against = rng.standard_normal((_DRAWS, 1)) / math.sqrt(base)
    free = base + int(sizes.sum()) - len(sizes) - 1
    spread = np.sqrt(rng.chisquare(free, (_DRAWS, 1)) / free)
    scale = spread * np.sqrt(1 / sizes + 1 / base)
    lead = LEAD * (np.arange(len(sizes)) == 0)
    null, led = ((means + shift - against) / scale for shift in (0.0, lead))
    return null.max(axis=1), led.max(axis=1)
