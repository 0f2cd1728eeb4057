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
    """
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, False
    try:
        with torch.backends.cudnn.flags(benchmark=True, allow_tf32=False), seeded(0, 0, device):
            yield
    finally:
        matmul.allow_tf32 = before
