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
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with seeded(0, 0, device):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
