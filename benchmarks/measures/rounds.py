"""Loops timed in turns, so that a machine that is busy or hot for a while slows all of them."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from benchmarks.loops.setting import Loop, Setting


@dataclass(frozen=True)
class Speed:
    """Of a loop, in every round.

    Attributes:
        rates: Images a second, of all the loop's networks together.
        ratios: Times those of the first loop in the same round.
    """

    rates: list[float]
    ratios: list[float]

    @property
    def rate(self) -> float:
        """The median."""
        return statistics.median(self.rates)

    @property
    def ratio(self) -> float:
        """The median."""
        return statistics.median(self.ratios)


def in_turns(
    loops: dict[str, Loop], setting: Setting, rounds: int, until: float
) -> dict[str, Speed]:
    """Times an epoch of each loop in each round, every other round backwards.

    Args:
        loops: By name, warmed up; the first is what the others are measured against.
        setting: Theirs.
        rounds: How many, at most.
        until: Of `time.perf_counter`. No second round is begun that would end later, as far as the
            longest so far can tell.
    """
    images = len(setting.data().train)
    rates: dict[str, list[float]] = {name: [] for name in loops}
    longest = 0.0
    for number in range(rounds):
        start = time.perf_counter()
        if number and start + longest > until:
            break
        for name in reversed(loops) if number % 2 else loops:
            taken = seconds_of(loops[name], setting, number + 2)
            rates[name].append(images * loops[name].networks / taken)
        longest = max(longest, time.perf_counter() - start)
    first = next(iter(rates.values()))
    return {
        name: Speed(own, [one / base for one, base in zip(own, first, strict=True)])
        for name, own in rates.items()
    }


def seconds_of(loop: Loop, setting: Setting, number: int) -> float:
    """Of one epoch, from the first image to the last kernel."""
    setting.wait()
    start = time.perf_counter()
    loop.epoch(number, RATE)
    setting.wait()
    return time.perf_counter() - start


RATE = 0.025
"""The learning rate that is trained at (Section A.3)."""
