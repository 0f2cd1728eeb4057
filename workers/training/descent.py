"""Stochastic gradient descent with momentum, weight decay and clipping (Sections A.3, A.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from results_schema.trial import Recipe


class Descent:
    """Steps down the gradients that a backward pass left in the weights.

    Nothing in a step waits for the device or depends on a number that the CPU would have to know,
    so that a step can be part of a CUDA graph.

    Args:
        weights: By name, on their device.
        recipe: Momentum, weight decay, the clipping norm and what decays are taken from it.

    Attributes:
        momenta: One a weight, by the same names.
        rate: The learning rate, a tensor that a captured step reads anew each time.
    """

    def __init__(self, weights: Mapping[str, Tensor], recipe: Recipe) -> None:
        self._weights, self._recipe = weights, recipe
        self.momenta = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        device = next(iter(weights.values())).device
        # The kernel reads one of float32 on a GPU; on a CPU a double is exact.
        kind = torch.float64 if device.type == "cpu" else torch.float32
        self.rate = torch.zeros((), dtype=kind, device=device)

    @torch.no_grad()
    def step(self) -> Tensor:
        """Clips, decays and descends, and clears the gradients.

        Returns:
            The gradient's norm before clipping, a scalar on the device.
        """
        # Dead operations get no gradient: they neither move nor decay.
        stepped = [
            (weight, weight.grad, self.momenta[name])
            for name, weight in self._weights.items()
            if weight.grad is not None
        ]
        norm = nn.utils.get_total_norm([gradient for _, gradient, _ in stepped])
        scale = (norm / self._recipe.grad_clip).clamp(min=1)
        bare = [part for part in stepped if self._recipe.decayed == "weights" and part[0].ndim == 1]
        decaying = [part for part in stepped if not bare or part[0].ndim > 1]
        for parts, decay in ((decaying, self._recipe.weight_decay), (bare, 0.0)):
            if parts:
                self._descend(parts, decay, scale)
        self.clear()
        return norm

    def clear(self) -> None:
        """Forgets the gradients."""
        for weight in self._weights.values():
            weight.grad = None

    def _descend(self, parts: Sequence[Sequence[Tensor]], decay: float, scale: Tensor) -> None:
        """One step of SGD on triples of weight, gradient (divided by `scale`) and momentum."""
        weights, gradients, momenta = (list(column) for column in zip(*parts, strict=True))
        # The function, because importing what the class torch.optim.SGD needs takes seconds.
        sgd(
            weights,
            gradients,
            momenta,
            fused=True,
            grad_scale=scale,
            lr=self.rate,
            momentum=self._recipe.momentum,
            weight_decay=decay,
            dampening=0,
            nesterov=False,
            maximize=False,
        )
