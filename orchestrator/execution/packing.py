"""How many trials share a GPU: measured on one, and balanced against what remains to be trained."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from orchestrator.planning import estimate
from orchestrator.planning.plan import Work
from results_schema.plugins import computing
from results_schema.trial import TrialSpec

if TYPE_CHECKING:
    from workers.training.packing import PackSpeed

SLACK = 0.03
"""Share by which a smaller pack may take longer: with fewer trials a failure costs less."""
MAX_PACK = 16
"""Trials that are measured side by side at most."""


def alike(one: Work, other: Work) -> bool:
    """Return whether two can run side by side in one process: trials that use a device alike.

    A program has a process to itself: it draws from the process's generators.
    """
    if not (isinstance(one, TrialSpec) and isinstance(other, TrialSpec)):
        return False
    return _arithmetic(one) == _arithmetic(other)


def _arithmetic(spec: TrialSpec) -> tuple[Any, ...]:
    # Cells, learning rates and seeds may differ. All else is equal, so that steps of one shape and
    # one arithmetic run side by side, as they were measured, and end at about the same time.
    return spec.dataset, spec.preprocessing, spec.precision, spec.network, spec.recipe


def next_pack_size(waiting: int, free: int, slots: int, largest: int) -> int:
    """Return how many trials the next pack takes, so that the last packs are of about one size.

    Args:
        waiting: Number of trials not yet offered.
        free: Number of packs that can start at once, the next among them; 0 if it has to wait.
        slots: Number of packs that run side by side.
        largest: Number of trials of a pack at most.
    """
    # Packs that can't start now are spread over all slots, in as few rounds as hold everything.
    places = free if free > 0 else slots
    beyond = max(0, waiting - largest * places)
    places += slots * ceil(beyond / (largest * slots))
    return max(1, ceil(waiting / places))


def best_size(measured: Sequence[PackSpeed], count: int, slots: int) -> int:
    """Return the smallest pack that fits and ends `count` trials within 3 % of the soonest.

    With many trials that is the smallest whose images a second are within 3 % of the most; near
    a plan's end, packs that would leave devices idle lose. It is 1 if no measured pack fits.
    """
    from workers.training.packing import MEMORY_LIMIT  # torch, like the next

    fitting = sorted(one.trials for one in measured if one.memory <= MEMORY_LIMIT)
    speed = interpolate_speeds(measured)
    durations = {size: makespan(count, slots, size, speed) for size in fitting}
    soonest = min(durations.values(), default=0.0)
    return next((size for size in fitting if durations[size] * (1 - SLACK) <= soonest), 1)


def makespan(count: int, slots: int, largest: int, speed: Callable[[int], float]) -> float:
    """Return when the last of `count` equal trials ends, if `next_pack_size` sizes their packs.

    `speed` returns how many trials a pack of a size completes per unit of time.
    """
    ends = [0.0] * slots
    # The slot that is free first takes the next pack, as the queue offers it.
    while count > 0:
        now = heapq.heappop(ends)
        size = next_pack_size(count, 1 + sum(end <= now for end in ends), slots, largest)
        heapq.heappush(ends, now + size / speed(size))
        count -= size
    return max(ends)


def interpolate_speeds(measured: Sequence[PackSpeed]) -> Callable[[int], float]:
    """Return images a second by the size of a pack, linear between the sizes measured."""
    known = sorted((one.trials, one.images_per_second) for one in measured)
    sizes, speeds = zip(*known, strict=True) if known else ((1,), (1.0,))
    return lambda size: float(np.interp(size, sizes, speeds))


def typical_trial(specs: Sequence[TrialSpec]) -> TrialSpec:
    """Return the trial to measure packs with: the largest of the alike ones that take longest."""
    groups = defaultdict[Any, list[TrialSpec]](list)
    for spec in specs:
        groups[_arithmetic(spec)].append(spec)
    most = max(groups.values(), key=lambda group: sum(estimate.seconds(s, "cuda") for s in group))
    return max(most, key=estimate.multiply_adds)


def measure_pack_size(
    specs: Sequence[TrialSpec],
    gpus: int,
    deterministic: bool,
    stopping: Callable[[], bool],
    console: Console,
    device: str = "cuda",
) -> int:
    """Return how many trials a GPU of the cluster is to train side by side, measured on one.

    A failure of the measurement is printed, and then each trial gets a GPU: the trials themselves
    will report what is wrong.

    Args:
        specs: Trials to train, at least one.
        gpus: Number of packs that run side by side.
        deterministic: Whether the trials are to be trained deterministically.
        stopping: Returns whether the launch stops, which ends the wait for the measurement.
        console: Where to print the measurements.
        device: Device to measure on; nothing else may run there.
    """
    if len(specs) <= gpus:
        return 1
    # The queue imports this module, and its tests have no use for the seconds that Ray takes.
    import ray
    from ray.exceptions import RayError

    from orchestrator.execution.trainable import measure_packs

    spec = typical_trial(specs)
    console.print(f"measuring how many trials share a GPU, with {spec.trial_id}", markup=False)
    most = min(MAX_PACK, -(-len(specs) // gpus))
    # A process of its own per measurement: memory that runs out there must not reach a trial.
    remote: Any = ray.remote(num_cpus=1, num_gpus=1, max_calls=1, max_retries=0)
    plugins = [plugin.sent() for plugin in computing()]
    running = remote(measure_packs).remote(
        spec, plugins=plugins, device=device, deterministic=deterministic, most=most
    )
    while not ray.wait([running], timeout=0.5)[0]:
        if stopping():
            ray.cancel(running, force=True)
            return 1
    try:
        measured = ray.get(running)
    except RayError as error:
        reason = str(error).strip().splitlines()[-1]
        console.print(f"  that failed, so each has a GPU: {reason}", markup=False, style="yellow")
        return 1
    for one in measured:
        speed = f"{one.images_per_second:,.0f} images/s in all, {one.memory:.0%} of the memory"
        console.print(f"  {one.trials}: {speed}", highlight=False)
    size = best_size(measured, len(specs), gpus)
    console.print(f"  {size} side by side" if size > 1 else "  one at a time", highlight=False)
    return size
