"""How long a piece of work keeps the device busy."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

Work = Callable[[], object]
Clock = Callable[[Work], float]

_RUNS, _ROUNDS = 10, 3
_AHEAD = 10_000_000
"""Cycles that the GPU waits, some 5 ms, while the host queues the runs behind."""


def on_gpu(work: Work) -> float:
    """Seconds of the GPU's time, without the host's: a captured graph pays no launches either.

    The work must not wait for the GPU. What a kernel library looks up at the first run of a shape
    is left out.
    """
    work()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    rounds = []
    for _ in range(_ROUNDS):
        torch.cuda._sleep(_AHEAD)
        start.record()
        for _ in range(_RUNS):
            work()
        end.record()
        end.synchronize()
        rounds.append(start.elapsed_time(end) / 1000 / _RUNS)
    return min(rounds)


def on_cpu(work: Work) -> float:
    """Seconds of the processor, which other programs don't count towards; at one thread."""
    work()
    rounds = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        for _ in range(_RUNS):
            work()
        rounds.append((time.process_time() - start) / _RUNS)
    return min(rounds)
