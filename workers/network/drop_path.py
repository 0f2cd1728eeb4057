"""Drop path: regularisation that removes whole edges at random, sample by sample (Section A.4)."""

from __future__ import annotations

import torch
from torch import Tensor


class DropPath:
    """Draws which samples pass through which edges.

    `probability` is a tensor on the generator's device, so that a captured CUDA graph reads what
    `probability.fill_(…)` has put there since; register `generator` with the graph.

    Args:
        generator: The source of every draw, on the network's device.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.probability = torch.zeros((), device=generator.device)

    def masks(self, edges: int, batch: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """One mask [batch, 1, 1, 1] an edge: 0 where dropped, else 1 / (1 − probability)."""
        keep = 1 - self.probability
        shape = (edges, batch, 1, 1, 1)
        draws = torch.rand(shape, generator=self.generator, device=self.generator.device)
        return ((draws < keep) / keep).to(dtype).unbind()
