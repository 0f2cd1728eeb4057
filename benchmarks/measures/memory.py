"""The most memory that a loop needs: of the GPU, or of a process on a CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.loops.setting import Loop, Setting
from benchmarks.measures.peak import peak_resident
from benchmarks.measures.rounds import RATE


def warmed_up(build: Callable[[Setting], Loop], setting: Setting) -> tuple[Loop, int]:
    """Builds a loop and lets it train an epoch.

    Returns:
        The loop, and the bytes that it added to what the process had reserved of the GPU, or to
        the most that was resident in main memory. The latter counts only what no loop before has
        taken, so let a process of its own tell it.
    """
    cuda = setting.device.type == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setting.device)
        before = torch.cuda.memory_reserved(setting.device)
    else:
        before = peak_resident()
    loop = build(setting)
    loop.epoch(1, RATE)
    setting.wait()
    after = torch.cuda.max_memory_reserved(setting.device) if cuda else peak_resident()
    return loop, after - before
