"""How many trials share a GPU: from what was measured and what is owed, and nothing else."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from math import ceil

import numpy as np

from orchestrator.execution.items import alike
from orchestrator.planning import estimate
from results_schema.trial import TrialSpec
from workers.training.packing import MEMORY_LIMIT, PackSpeed

SLACK = 0.03
"""What more time a smaller pack may take: with fewer trials a failure costs less."""
MOST = 16
"""Trials that are tried side by side at most."""


def best_size(rungs: Sequence[PackSpeed], owed: int, slots: int) -> int:
    """The smallest pack that fits and ends the plan within 3 % of the soonest.

    With much owed that is the smallest whose images a second are within 3 % of the most; near a
    plan's tail, packs that would leave devices idle lose.

    Args:
        rungs: What was measured.
        owed: Number of trials.
        slots: Number of packs that run side by side.

    Returns:
        A size that was measured; 1 if none fits.
    """
    fitting = sorted(rung.trials for rung in rungs if rung.memory <= MEMORY_LIMIT)
    speed = interpolated(rungs)
    takes = {size: makespan(owed, slots, size, speed) for size in fitting}
    soonest = min(takes.values(), default=0.0)
    return next((size for size in fitting if takes[size] * (1 - SLACK) <= soonest), 1)


def share(waiting: int, free: int, slots: int, largest: int) -> int:
    """How many trials the next pack takes, so that the last packs are of about one size.

    Args:
        waiting: Trials not yet offered.
        free: Packs that can start at once, the next among them; none if it has to wait.
        slots: Packs that run side by side.
        largest: Trials of a pack at most.
    """
    places = free if free > 0 else slots
    beyond = max(0, waiting - largest * places)
    places += slots * ceil(beyond / (largest * slots))
    return max(1, ceil(waiting / places))


def at_once(share: float | str, pack: int | None, gpus: int, cores: int) -> int:
    """How many trials of a launch run side by side on one machine, at most.

    Args:
        share: Of a GPU for each process, or "auto".
        pack: Trials of a process, as asked for.
        gpus: Of the machine, or 0 to train on its CPU.
        cores: Of the machine.
    """
    if not gpus:
        return cores
    if isinstance(share, str):
        return gpus * (pack or MOST)
    return min(cores, max(1, int(gpus / share))) * (pack or 1)


def makespan(owed: int, slots: int, largest: int, speed: Callable[[int], float]) -> float:
    """When the last of some equal trials ends, if packs are offered by `share`.

    Args:
        owed: Number of trials.
        slots: Packs that run side by side.
        largest: Trials of a pack at most.
        speed: Trials a unit of time that a pack of a size gets done.
    """
    ends = [0.0] * slots
    while owed > 0:
        now = heapq.heappop(ends)
        size = share(owed, 1 + sum(end <= now for end in ends), slots, largest)
        heapq.heappush(ends, now + size / speed(size))
        owed -= size
    return max(ends)


def interpolated(rungs: Sequence[PackSpeed]) -> Callable[[int], float]:
    """Images a second by the size of a pack, straight between the sizes that were measured."""
    known = sorted((rung.trials, rung.images_per_second) for rung in rungs)
    sizes, speeds = zip(*known, strict=True) if known else ((1,), (1.0,))
    return lambda size: float(np.interp(size, sizes, speeds))


def typical(specs: Sequence[TrialSpec]) -> TrialSpec:
    """The trial to measure packs with: the largest of those alike that take the most time.

    Args:
        specs: What is owed, at least one.
    """
    groups: list[list[TrialSpec]] = []
    for spec in specs:
        group = next((group for group in groups if alike(group[0], spec)), None)
        if group is None:
            groups.append([spec])
        else:
            group.append(spec)
    most = max(groups, key=lambda group: sum(estimate.seconds(spec, "cuda") for spec in group))
    return max(most, key=estimate.multiply_adds)
