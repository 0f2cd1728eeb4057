"""Asks a GPU of the cluster how many trials it trains side by side best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from rich.console import Console

from orchestrator.execution import packing
from orchestrator.execution.queue import Queue
from results_schema.trial import TrialSpec
from workers.training.packing import measure_pack_sizes


def trials_side_by_side(
    specs: Sequence[TrialSpec],
    gpus: int,
    deterministic: bool,
    queue: Queue,
    console: Console,
    device: str = "cuda",
) -> int:
    """How many of some owed trials a GPU is to train side by side, measured on one.

    Whatever goes wrong while it is measured is told, and then each trial gets a GPU: the trials
    will say themselves what is wrong.

    Args:
        specs: What is owed, at least one trial.
        gpus: Number of packs that run side by side.
        deterministic: As the trials are to be trained.
        queue: If it is stopped meanwhile, nothing is waited for.
        console: Told what was measured.
        device: On which to measure, beside nothing else that Ray starts there.
    """
    if len(specs) <= gpus:
        return 1
    spec = packing.typical(specs)
    console.print(f"measuring how many trials share a GPU, with {spec.trial_id}", markup=False)
    most = min(packing.MOST, -(-len(specs) // gpus))
    remote: Any = ray.remote(num_cpus=1, num_gpus=1, max_calls=1, max_retries=0)
    running = remote(measure_pack_sizes).remote(
        spec, device=device, deterministic=deterministic, most=most
    )
    while not ray.wait([running], timeout=0.5)[0]:
        if queue.stopping:
            ray.cancel(running, force=True)
            return 1
    try:
        rungs = ray.get(running)
    except RayError as error:
        reason = str(error).strip().splitlines()[-1]
        console.print(f"  that failed, so each has a GPU: {reason}", markup=False, style="yellow")
        return 1
    for rung in rungs:
        console.print(
            f"  {rung.trials}: {rung.images_per_second:,.0f} images/s in all, "
            f"{rung.memory:.0%} of the memory",
            highlight=False,
        )
    size = packing.best_size(rungs, len(specs), gpus)
    console.print(f"  {size} side by side" if size > 1 else "  one at a time", highlight=False)
    return size
