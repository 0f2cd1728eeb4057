"""The arithmetic of a landscape: no TF32, which cuDNN would otherwise take for convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from workers.draws import seeded


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Within it float32 is float32 on a GPU too, and every point draws the same noise.

    Noise is an operation of some cells (`workers.network.operations`), drawn anew at each batch.
    All other settings stay as they are.
    """
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = False
    try:
        with seeded(0, 0, device):
            yield
    finally:
        for switch, allowed in zip(switches, before, strict=True):
            switch.allow_tf32 = allowed
