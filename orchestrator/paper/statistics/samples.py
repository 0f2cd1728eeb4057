"""Tests of few values: means, shares, the rank of one among rivals, an order, the best of many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.stats.contingency import odds_ratio

from orchestrator.paper.statistics.association import stratum_ranks
from orchestrator.paper.statistics.testing import ALPHA, DRAWS, MOST_EXACT, NOTHING, Outcome, tails

LARGE = 1.0
"""Mean in standard deviations that `power` is about."""

_FLIP_SEED = 15


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
        signs = np.random.default_rng(_FLIP_SEED).choice([-1, 1], (DRAWS, n))
    found = tails(float(values.mean()), signs @ values / n, exact=exact)
    # No flip is rarer than 1 in 2ⁿ, so fewer than five pairs are never significant.
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
    """Test whether a mean is within ±margin: two one-sided t-tests (Schuirmann, 1987).

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


OFTEN = 0.9
"""True share that `power` is about."""

APART = (0.75, 0.25)
"""True shares of two groups that `power` is about: an odds ratio of 9."""


def share(count: int, runs: int) -> Outcome:
    """The share of runs that are so, and whether it is more than half.

    Args:
        count: Runs that are so.
        runs: All runs, at least one.

    Returns:
        The effect is the share, with Clopper and Pearson's interval; p is of half the runs being
        so. The power is that at a true share of `OFTEN`.
    """
    chance: Any = stats.binom(runs, 0.5)
    interval = stats.binomtest(count, runs).proportion_ci(1 - ALPHA, "exact")
    counts = np.arange(runs + 1)
    found = chance.sf(counts - 1) <= ALPHA
    often: Any = stats.binom(runs, OFTEN)
    power = float(often.pmf(counts)[found].sum())
    return Outcome(
        count / runs,
        float(interval.low),
        float(interval.high),
        float(chance.sf(count - 1)),
        float(chance.cdf(count)),
        power,
        exact=True,
        n=runs,
    )


def against_chances(count: int, chances: Sequence[float], *, fewer: bool = False) -> Outcome:
    """The share of sets that are so, against what chance alone makes of each.

    Args:
        count: Sets that are so.
        chances: Of each set to be so without any effect; sets are independent.
        fewer: Whether the claim is that fewer are so than by chance, and not more.

    Returns:
        The effect is the share, with Clopper and Pearson's interval; p is exact. The power is that
        at a true share of `OFTEN`, or of 1 − `OFTEN` where fewer are claimed.
    """
    n = len(chances)
    interval = stats.binomtest(count, n).proportion_ci(1 - ALPHA, "exact")
    pmf = np.ones(1)
    for chance in chances:
        pmf = np.convolve(pmf, [1 - chance, chance])
    more, less = pmf[::-1].cumsum()[::-1], pmf.cumsum()
    tail, truth = (less, 1 - OFTEN) if fewer else (more, OFTEN)
    often: Any = stats.binom(n, truth)
    outcome = Outcome(
        count / n,
        float(interval.low),
        float(interval.high),
        float(more[count]),
        float(less[count]),
        float(often.pmf(np.arange(n + 1))[tail <= ALPHA].sum()),
        exact=True,
        n=n,
    )
    return outcome.turned() if fewer else outcome


def odds(one: tuple[int, int], other: tuple[int, int]) -> Outcome:
    """Whether a thing is likelier in one group than in another.

    Args:
        one: How many of it are so, and how many are not.
        other: Likewise.

    Returns:
        The effect is the conditional odds ratio, p Fisher's. The power is that at true shares of
        `APART`, exact for groups of these sizes.
    """
    table = np.array([one, other])
    more: Any = stats.fisher_exact(table, alternative="greater")
    less: Any = stats.fisher_exact(table, alternative="less")
    found = odds_ratio(table, kind="conditional")
    interval = found.confidence_interval(1 - ALPHA)
    value = float(found.statistic)
    ends = (float(interval.low), float(interval.high))
    if math.isnan(value):
        ends = (math.nan, math.nan)
    p, power = (float(more.pvalue), float(less.pvalue)), _odds_power(sum(one), sum(other))
    return Outcome(value, *ends, *p, power, exact=True, n=int(table.sum()))


def _odds_power(one: int, other: int) -> float:
    """Over every table that groups of these sizes can come to."""
    ours, theirs = np.arange(one + 1)[:, None], np.arange(other + 1)
    chance: Any = stats.hypergeom
    p = chance.sf(ours - 1, one + other, ours + theirs, one)
    drawn: Any = stats.binom
    weights = drawn.pmf(ours, one, APART[0]) * drawn.pmf(theirs, other, APART[1])
    return float(weights[p <= ALPHA + 1e-12].sum())


LEAD = 1.0
"""Standard deviations of a rival by which the one is ahead, that `power` is about."""

_STUDIES = 2_000
_PLACING_SEED = 14


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
        _placing_power(sizes, chances),
        exact=True,
        n=len(sizes),
    )


def _chances(sizes: Sequence[int]) -> np.ndarray:
    """P(so many rivals beaten in all groups together); [sum of sizes + 1]."""
    chances = np.ones(1)
    for size in sizes:
        chances = np.convolve(chances, np.full(size + 1, 1 / (size + 1)))
    return chances


def _placing_power(sizes: Sequence[int], chances: np.ndarray) -> float:
    rng = np.random.default_rng(_PLACING_SEED)
    beaten = np.zeros(_STUDIES, dtype=int)
    for size in sizes:
        mine = LEAD + rng.standard_normal((_STUDIES, 1))
        beaten += (rng.standard_normal((_STUDIES, size)) < mine).sum(axis=1)
    p = chances[::-1].cumsum()[::-1]
    return float((p[beaten] <= ALPHA).mean())


STEP = 1.0
"""Standard deviations between neighbours of the order that `power` is about."""

_PAGE_SEED = 16


def page(values: np.ndarray) -> Outcome:
    """Whether values rise along each row.

    Args:
        values: [blocks, k], of k ≤ 6 treatments in the order stated; may be infinite.

    Returns:
        The effect is the mean over blocks of Spearman's correlation with the stated order, its
        interval Student's over blocks; ties count against it. The power is that at neighbours
        `STEP` apart.
    """
    blocks, k = values.shape
    place = np.arange(k) - (k - 1) / 2
    ranks = np.stack([stratum_ranks(row, np.zeros(k)) * k for row in values])
    each = ranks @ place
    whole = float(place @ place)
    # Of one block: 2·Σ place·rank is an integer, so sums convolve exactly.
    sums = [round(2 * float(np.array(p) @ place)) for p in permutations(place)]
    least = min(sums)
    one = np.bincount(np.array(sums) - least) / math.factorial(k)
    chances = np.ones(1)
    for _ in range(blocks):
        chances = np.convolve(chances, one)
    total = 2 * float(each.sum()) - blocks * least
    p = chances[::-1].cumsum()[::-1]
    rng = np.random.default_rng(_PAGE_SEED)
    drawn = STEP * np.arange(k) + rng.standard_normal((_STUDIES, blocks, k))
    found = ((drawn.argsort(axis=2).argsort(axis=2) - (k - 1) / 2) @ place).sum(axis=1)
    places = np.rint(2 * found).astype(int) - blocks * least
    return Outcome(
        float(each.mean()) / whole,
        *student(each / whole),
        float(p[math.floor(total + 1e-9)]),
        float(chances[: math.ceil(total - 1e-9) + 1].sum()),
        float((p[places] <= ALPHA).mean()),
        exact=True,
        n=blocks,
    )


BEST_LEAD = 3.0
"""The lead, in standard deviations over seeds, that `power` is about."""

_BEST_DRAWS = 20_000
_BEST_SEED = 41


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
    return Outcome(value, low, math.nan, p, 1.0, _best_power(usable), n=seeds)


def _tells(one: Set) -> bool:
    runs = (one.base, *one.variants)
    return len(one.base) > 1 and bool(one.variants) and any(np.ptp(run) for run in runs)


def _best_power(sets: Sequence[Set]) -> float:
    rng = np.random.default_rng(_BEST_SEED)
    missed = 1.0
    for base, variants in sets:
        null, led = _largest(rng, len(base), [len(run) for run in variants])
        critical = np.quantile(null, 1 - ALPHA / len(sets))
        missed *= float((led <= critical).mean())
    return 1 - missed


def _largest(rng: Any, base: int, variants: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The largest t of a set's variants over studies: without any lead, and if the first leads."""
    sizes = np.array(variants)
    means = rng.standard_normal((_BEST_DRAWS, len(sizes))) / np.sqrt(sizes)
    against = rng.standard_normal((_BEST_DRAWS, 1)) / math.sqrt(base)
    free = base + int(sizes.sum()) - len(sizes) - 1
    spread = np.sqrt(rng.chisquare(free, (_BEST_DRAWS, 1)) / free)
    scale = spread * np.sqrt(1 / sizes + 1 / base)
    lead = BEST_LEAD * (np.arange(len(sizes)) == 0)
    null, led = ((means + shift - against) / scale for shift in (0.0, lead))
    return null.max(axis=1), led.max(axis=1)
