"""What the machine can do at best: bytes copied and numbers multiplied a second."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch.backends import cuda

from results_schema.trial import PRECISIONS

_TURNS = 20


@dataclass(frozen=True)
class Ceilings:
    """Of one device.

    Attributes:
        copy: Bytes a second that a large copy reads and writes together.
        matmul: Floating-point operations a second of a large matrix product, by precision.
    """

    copy: float
    matmul: dict[str, float]


def measure_ceilings(device: torch.device, *, tiny: bool = False) -> Ceilings:
    """Medians over twenty turns, after three unmeasured.

    Args:
        device: As many threads as torch has been given, on a CPU.
        tiny: Whether to see only that it runs.
    """
    large = device.type == "cuda"
    size = 2**20 if tiny else 2**30 if large else 2**27  # beyond every cache
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = 2 * size / _median(partial(target.copy_, source), device)
    side = 64 if tiny else 8192 if large else 1024
    found = {}
    # A processor has no TF32.
    for precision in PRECISIONS if large else [p for p in PRECISIONS if p != "tf32"]:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        with _tf32(precision == "tf32"):
            taken = _median(partial(torch.mm, left, right), device)
        found[precision] = 2 * side**3 / taken
    return Ceilings(copy, found)


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = cuda.matmul.allow_tf32
    cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        cuda.matmul.allow_tf32 = before


def _median(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of a run."""
    times = []
    for turn in range(_TURNS + 3):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if turn >= 3:
            times.append(time.perf_counter() - start)
    return statistics.median(times)
