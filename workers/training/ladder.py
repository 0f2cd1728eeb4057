"""How many trials side by side are worth trying: more while it pays and they fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

GAIN = 0.03
"""Share of images a second that twice as many trials must add for more to be tried."""
FULL = 0.85
"""Share of a device's memory beyond which trials are too many: other cells may need some more."""


class Rung(NamedTuple):
    """What so many trials side by side came to.

    Attributes:
        trials: How many.
        images_per_second: That they trained in all.
        memory: Share of the device's memory that was in use at the peak.
    """

    trials: int
    images_per_second: float
    memory: float


def climb(measure: Callable[[int], Rung | None], most: int) -> list[Rung]:
    """Measures 1, 2, 4, … trials until that gains nothing, then half-way beside the best.

    Args:
        measure: Tells what a number of trials came to; None if they found no memory.
        most: Trials to try at most, from 1.

    Returns:
        What was measured, in that order; nothing if even one trial found no memory.
    """
    tried: list[int] = []
    rungs: list[Rung] = []

    def attempt(trials: int) -> Rung | None:
        tried.append(trials)
        rung = measure(trials)
        rungs.extend([rung] if rung else [])
        return rung

    fastest, trials = 0.0, 1
    while trials not in tried and (rung := attempt(trials)) and rung.memory <= FULL:
        if rung.images_per_second < fastest * (1 + GAIN):
            break
        fastest, trials = rung.images_per_second, min(2 * trials, most)
    fitting = [rung for rung in rungs if rung.memory <= FULL]
    if fitting:
        best = max(fitting, key=lambda rung: rung.images_per_second).trials
        below = max((size for size in tried if size < best), default=best)
        above = min((size for size in tried if size > best), default=best)
        for trials in ((below + best) // 2, (best + above) // 2):
            if trials not in tried:
                attempt(trials)
    return rungs
