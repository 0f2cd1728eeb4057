"""What a device gets done with several trials side by side: images a second and memory.

It trains for real, as `pack` does, for a hundred steps and without a store.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from math import ceil

import torch

from results_schema.trial import Recipe, TrialSpec
from workers.data.images import Data, Images
from workers.training import device as devices
from workers.training.epoch import train_epoch
from workers.training.failures import classify
from workers.training.ladder import Rung, climb
from workers.training.setup import set_up
from workers.training.stopping import Stopping

STEPS = 100
"""Training steps of each trial that are timed, at least."""
TESTS = 5
"""Evaluation batches after each epoch: enough for evaluation to take the memory that it takes."""


def probe(
    spec: TrialSpec,
    *,
    device: str | None = None,
    deterministic: bool = False,
    most: int,
    steps: int = STEPS,
) -> list[Rung]:
    """Measures ever more trials side by side, until that gains nothing or their memory runs out.

    Args:
        spec: The trial; the others differ from it in their seeds.
        device: See `device.choose`, like the next.
        deterministic: As the trials are to be trained.
        most: Trials to try at most.
        steps: See `measure`.

    Raises:
        NasSweepError: As `loop.train` would meet it.
    """

    def attempt(trials: int) -> Rung | None:
        try:
            return measure(spec, trials, device=device, deterministic=deterministic, steps=steps)
        except Exception as error:
            if classify(error).kind != "memory":
                raise
            return None

    return climb(attempt, most)


def measure(
    spec: TrialSpec,
    trials: int,
    *,
    device: str | None = None,
    deterministic: bool = False,
    steps: int = STEPS,
    start: Callable[[], None] = lambda: None,
) -> Rung:
    """Trains some trials side by side, each in a thread: first to warm up, then timed.

    Args:
        spec: Of each, but for its seed.
        trials: How many.
        device: See `device.choose`, like the next.
        deterministic: As the trials are to be trained.
        steps: Each takes at least so many while it is timed.
        start: Called once all are warm, before they are timed.

    Raises:
        Exception: What the first trial that failed raised; the others were given up.
    """
    use = partial(devices.choose, device, deterministic=deterministic, precision=spec.precision)
    chosen = use()
    _forget_peak(chosen)
    warm = threading.Barrier(trials, start)
    with ThreadPoolExecutor(trials) as pool:
        running = [
            pool.submit(_train, replace(spec, seed=seed), use, steps, warm)
            for seed in range(trials)
        ]
    errors = [error for done in running if (error := done.exception())]
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    # All take as many steps, so that whoever is slowest sets the pace.
    return Rung(trials, trials * min(done.result() for done in running), _memory(chosen))


def _train(
    spec: TrialSpec, use: Callable[[], torch.device], steps: int, warm: threading.Barrier
) -> float:
    """Images a second of one of the trials, while all are trained."""
    try:
        device = use()  # for what holds for a thread alone, such as how many it may use itself
        with devices.alone(device):
            data, engine = set_up(spec, device)
            with closing(engine):
                data = _some(data, spec.recipe, steps)
                epochs = ceil(steps * spec.recipe.batch_size / len(data.train))
                stopping = Stopping()
                train_epoch(spec, 1, engine, data, device, stopping)
                engine.mark()
                warm.wait()
                rows = [train_epoch(spec, 1, engine, data, device, stopping) for _ in range(epochs)]
    except BaseException:
        warm.abort()  # or the others would wait for this one
        raise
    return len(rows) / sum(1 / row["images_per_second"] for row in rows)


def _some(data: Data, recipe: Recipe, steps: int) -> Data:
    """So many images that an epoch has these steps, if there are as many."""

    def first(images: Images, count: int) -> Images:
        return Images(images.pixels[:count], images.labels[:count])

    train = first(data.train, steps * recipe.batch_size)
    return replace(data, train=train, test=first(data.test, TESTS * recipe.evaluation_batch))


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        gc.collect()  # engines and graphs of the measurement before
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _memory(device: torch.device) -> float:
    """Share of the device's memory in use at the peak, what graphs and libraries keep included."""
    if device.type == "cpu":
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return devices.peak_memory(device) / whole
    free, total = torch.cuda.mem_get_info(device)
    return max(torch.cuda.max_memory_reserved(device), total - free) / total
