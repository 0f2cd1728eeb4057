"""Packs: alike trials trained side by side on one device, each by a thread of one process.

A network of many small cells leaves most of a GPU idle; several fill it. Each trial of a pack keeps
what it has alone: lease, checkpoints, log and ending, and on a GPU a stream and CUDA graphs. They
share the device, and the images on it. So one that fails, diverges, is cancelled or superseded does
not affect its neighbours, whose results are those that they would have alone.

`measure_pack_sizes` measures how many trials are worth a pack.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from math import ceil
from queue import SimpleQueue
from typing import Any, NamedTuple

import torch

from results_schema.store import Store
from results_schema.trial import Recipe, TrialSpec
from workers.data.batches import Data, Images
from workers.training import device as devices
from workers.training.attempt import Outcome, Stopping, StopRequest, classify
from workers.training.checkpoint import Row
from workers.training.setup import set_up
from workers.training.trial import train, train_epoch

STEPS = 100
"""Training steps of each trial that are timed, at least."""
MEMORY_LIMIT = 0.85
"""Share of a device's memory beyond which trials are too many: other cells may need some more."""
_TEST_BATCHES = 5
"""Evaluation batches after each epoch: enough for evaluation to take the memory that it takes."""
_GAIN = 0.03
"""Share of images a second that twice as many trials must add for more to be tried."""


def train_pack(
    specs: Sequence[TrialSpec],
    store: Store,
    *,
    on_epoch: Callable[[TrialSpec, Row], None] = lambda spec, row: None,
    on_outcome: Callable[[TrialSpec, Outcome], None] = lambda spec, outcome: None,
    ask: Callable[[TrialSpec], str] = lambda spec: "",
    until: Callable[[TrialSpec], int | None] = lambda spec: None,
    **settings: Any,
) -> list[Outcome]:
    """Train some trials of one precision side by side, and return their outcomes in that order.

    `on_epoch` and `on_outcome` are called in the calling thread; what they raise, or the signal
    that interrupts the caller, is raised once every trial has stopped. `ask` and `until` are those
    of `trial.Training` for each trial, `settings` its other fields, the same for all.
    """
    outcomes: dict[int, Outcome] = {}
    # One queue, so that callbacks run in the caller's thread: Ray Tune takes reports from no other.
    news: SimpleQueue[tuple[int, Row | Outcome]] = SimpleQueue()
    stops = [StopRequest() for _ in specs]

    def work(number: int, spec: TrialSpec) -> None:
        try:
            outcome = train(
                spec,
                store,
                on_epoch=lambda row: news.put((number, row)),
                stop=stops[number],
                ask=lambda: ask(spec),
                until=until(spec),
                pack_size=len(specs),
                **settings,
            )
        except BaseException as error:  # or the caller would wait for it for ever
            failure = classify(error)
            outcome = Outcome("failed", failure.message, kind=failure.kind)
        news.put((number, outcome))

    threads = [
        # A daemon, so that a caller who is interrupted a second time need not wait for it.
        threading.Thread(target=work, args=(number, spec), name=spec.trial_id, daemon=True)
        for number, spec in enumerate(specs)
    ]
    for thread in threads:
        thread.start()
    try:
        while len(outcomes) < len(specs):
            number, item = news.get()
            if isinstance(item, Outcome):
                outcomes[number] = item
                on_outcome(specs[number], item)
            else:
                on_epoch(specs[number], item)
    finally:
        for stop in stops:
            stop.make("the process that trains it ends")
        for thread in threads:
            thread.join()
    return [outcomes[number] for number in range(len(specs))]


class PackSpeed(NamedTuple):
    """Images per second of some trials in all, and the share of memory in use at the peak."""

    trials: int
    images_per_second: float
    memory: float


def measure_pack_sizes(spec: TrialSpec, *, most: int, **settings: Any) -> list[PackSpeed]:
    """Measure ever more trials side by side, until that gains nothing or their memory runs out.

    At most `most` trials are tried; `settings` are those of `measure_pack`, and what else it raises
    is raised here.
    """

    def measure(trials: int) -> PackSpeed | None:
        try:
            return measure_pack(spec, trials, **settings)
        except Exception as error:
            if classify(error).kind != "memory":
                raise
            return None

    return search_pack_sizes(measure, most)


def search_pack_sizes(measure: Callable[[int], PackSpeed | None], most: int) -> list[PackSpeed]:
    """Measure 1, 2, 4, … up to `most` trials until that gains nothing, then beside the best.

    `measure` returns None for as many as ran out of memory, which are left out.
    """
    tried: dict[int, PackSpeed | None] = {}
    fastest, trials = 0.0, 1
    while trials not in tried:
        speed = tried[trials] = measure(trials)
        if speed is None or speed.memory > MEMORY_LIMIT:
            break
        if speed.images_per_second < fastest * (1 + _GAIN):
            break
        fastest, trials = speed.images_per_second, min(2 * trials, most)
    fitting = [speed for speed in tried.values() if speed and speed.memory <= MEMORY_LIMIT]
    if fitting:
        best = max(fitting, key=lambda speed: speed.images_per_second).trials
        below = max((size for size in tried if size < best), default=best)
        above = min((size for size in tried if size > best), default=best)
        for trials in sorted({(below + best) // 2, (best + above) // 2} - tried.keys()):
            tried[trials] = measure(trials)
    return [speed for speed in tried.values() if speed]


def measure_pack(
    spec: TrialSpec,
    trials: int,
    *,
    device: str | None = None,
    deterministic: bool = False,
    steps: int = STEPS,
) -> PackSpeed:
    """Train some trials side by side without a store, each in a thread: to warm up, then timed.

    They differ in their seeds, and each takes at least `steps` steps while it is timed.

    Raises:
        Exception: What the first trial that failed raised; the others were stopped.
    """
    choose = partial(devices.choose, device, deterministic=deterministic, precision=spec.precision)
    chosen = choose()
    if chosen.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(chosen)
    warm = threading.Barrier(trials)
    with ThreadPoolExecutor(trials) as pool:
        running = [
            pool.submit(_measure_trial, replace(spec, seed=seed), choose, steps, warm)
            for seed in range(trials)
        ]
    for done in running:
        error = done.exception()
        # A broken barrier is what the others saw of the one that failed.
        if error and not isinstance(error, threading.BrokenBarrierError):
            raise error
    # All take as many steps, so the slowest sets the pace.
    speed = trials * min(done.result() for done in running)
    return PackSpeed(trials, speed, _memory_share(chosen))


def _measure_trial(
    spec: TrialSpec, choose: Callable[[], torch.device], steps: int, warm: threading.Barrier
) -> float:
    try:
        device = choose()  # again, for what holds for a thread alone
        with devices.own_stream(device):
            data, engine = set_up(spec, device)
            with closing(engine):
                data = _shortened(data, spec.recipe, steps)
                epochs = ceil(steps * spec.recipe.batch_size / len(data.train))
                stopping = Stopping()
                train_epoch(spec, 1, engine, data, stopping)
                engine.take_snapshot()
                warm.wait()
                rows = [train_epoch(spec, 1, engine, data, stopping) for _ in range(epochs)]
    except BaseException:
        warm.abort()  # or the others would wait for this one
        raise
    return len(rows) / sum(1 / row["images_per_second"] for row in rows)


def _shortened(data: Data, recipe: Recipe, steps: int) -> Data:
    """Return so many images that an epoch has these steps, if there are as many."""

    def first(images: Images, count: int) -> Images:
        return Images(images.pixels[:count], images.labels[:count])

    train = first(data.train, steps * recipe.batch_size)
    test = first(data.test, _TEST_BATCHES * recipe.evaluation_batch)
    return replace(data, train=train, test=test)


def _memory_share(device: torch.device) -> float:
    """Return the share of the device's memory in use at the peak, graphs and libraries included."""
    if device.type == "cpu":
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return devices.peak_memory(device) / whole
    free, total = torch.cuda.mem_get_info(device)
    return max(torch.cuda.max_memory_reserved(device), total - free) / total
