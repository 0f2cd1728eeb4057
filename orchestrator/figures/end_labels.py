"""Names at the right ends of curves, spread so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence

HEIGHT = 13
"""Least distance of two names, in pixels."""


def choose(heights: Sequence[float], first: int, room: float) -> list[int]:
    """Which curves can be named where room is short: evenly chosen by height.

    Args:
        heights: Of the curves' ends, in pixels.
        first: The curve that is named in any case.
        room: Height of the panel, in pixels.

    Returns:
        Places in `heights`, by height.
    """
    order = sorted(range(len(heights)), key=heights.__getitem__)
    most = max(1, int(room // HEIGHT))
    if len(order) <= most:
        return order
    others = [i for i in order if i != first]
    steps = max(most - 1, 1)
    chosen = {others[round(k * (len(others) - 1) / max(steps - 1, 1))] for k in range(most - 1)}
    return [i for i in order if i == first or i in chosen]


def spread(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """The heights nearest to the wanted ones, in their order, `HEIGHT` apart and within the ends.

    Args:
        wanted: Rising.
        low: Least height.
        high: Largest height; names that do not fit reach beyond it.
    """
    # Without their distances the heights need only rise: pools of equal heights, each the mean.
    pools: list[tuple[float, int]] = []
    for place, height in enumerate(wanted):
        pools.append((height - HEIGHT * place, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools[-2:]
            pools[-2:] = [((m * a + n * b) / (m + n), m + n)]
    top = max(low, high - HEIGHT * (len(wanted) - 1))
    level = [min(max(height, low), top) for height, count in pools for _ in range(count)]
    return [height + HEIGHT * place for place, height in enumerate(level)]
