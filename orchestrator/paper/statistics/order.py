"""Page's test: do treatments keep a stated order in block after block?"""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np

from orchestrator.paper.statistics.correlation import stratum_ranks
from orchestrator.paper.statistics.means import student
from orchestrator.paper.statistics.outcome import ALPHA, Outcome

STEP = 1.0
"""Standard deviations between neighbours of the order where `power` tells its detection."""

_STUDIES = 2_000
_SEED = 16


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
    rng = np.random.default_rng(_SEED)
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
