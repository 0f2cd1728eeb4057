"""How often a step asks the GPU for something, and how many kernels the GPU runs for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.loops.ours import OwnLoop
from benchmarks.loops.packed import PackedLoop, SideBySideLoop
from benchmarks.loops.setting import Loop, Setting
from benchmarks.measures.rounds import RATE

_FEW, _MORE = 8, 24
"""Steps of two epochs whose difference is counted, so that what an epoch does once drops out."""

_ASKING = ("Launch", "MemcpyAsync", "MemsetAsync")
"""Parts of the names of calls that put work on a GPU."""


@dataclass(frozen=True)
class Launches:
    """Of one step.

    Attributes:
        calls: From the CPU: launches of kernels or graphs, copies, fills.
        kernels: On the GPU.
    """

    calls: float
    kernels: float


def count_launches(build: Callable[[Setting], Loop], setting: Setting) -> Launches | None:
    """Counts them with torch's profiler; None on a CPU, which launches nothing.

    Args:
        build: Makes the loop.
        setting: The job; it is done on a few synthetic images of the same shape.
    """
    if setting.device.type != "cuda":
        return None
    about = setting.data(torch.device("cpu")).about
    counted = []
    for steps in (_FEW, _MORE):
        images = steps * setting.recipe.batch_size
        shape = f"{about.channels}x{about.size}_{about.classes}"
        loop = build(replace(setting, dataset=f"synthetic_{images}x{shape}"))
        loop.epoch(1, RATE)
        setting.wait()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            loop.epoch(2, RATE)
            setting.wait()
        counted.append(_count(profiler))
        if isinstance(loop, OwnLoop | PackedLoop | SideBySideLoop):
            loop.close()  # its graphs hold the GPU's memory
    (few_calls, few_kernels), (more_calls, more_kernels) = counted
    between = _MORE - _FEW
    return Launches((more_calls - few_calls) / between, (more_kernels - few_kernels) / between)


def _count(profiler: profile) -> tuple[int, int]:
    """Calls from the CPU, and kernels on the GPU."""
    calls = kernels = 0
    for event in profiler.events() or ():
        if event.device_type.name == "CUDA":
            kernels += 1
        elif event.name.startswith("cu") and any(part in event.name for part in _ASKING):
            calls += 1
    return calls, kernels
