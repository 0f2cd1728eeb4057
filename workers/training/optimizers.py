"""Optimizers whose steps a CUDA graph can capture: SGD with momentum, and AdamW.

A plug-in's is a subclass of `Optimizer` with buffers and an `update` of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# The functions, because importing what the classes of torch.optim need takes seconds.
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from results_schema.trial import Recipe


class Optimizer(ABC):
    """Base of optimizers of named weights: clips the gradients and picks what decays.

    Nothing in a step waits for the device or depends on a number that the CPU would have to know,
    so that a step can be part of a CUDA graph.

    Attributes:
        weights: By name.
        recipe: Its options.
        buffers: Tensors by kind and then by the weight's name, updated in place; all that a step
            remembers, so that checkpoints hold them.
        lr: The learning rate, a tensor that a captured step reads each time it is replayed.
    """

    def __init__(self, weights: Mapping[str, Tensor], recipe: Recipe) -> None:
        self.weights, self.recipe = weights, recipe
        self.buffers: dict[str, dict[str, Tensor]] = {}
        device = next(iter(weights.values())).device
        kind = torch.float64 if device.type == "cpu" else torch.float32
        self.lr = torch.zeros((), dtype=kind, device=device)

    @torch.no_grad()
    def step(self) -> Tensor:
        """Clip and decay the gradients, update the weights, and clear the gradients.

        Returns the gradient's norm before clipping, a scalar on the device.
        """
        # Dead operations get no gradient: they neither move nor decay.
        reached = [name for name, weight in self.weights.items() if weight.grad is not None]
        norm = nn.utils.get_total_norm(self.gradients(reached))
        # 1 where nothing is clipped, as a branch would read the norm; fused kernels take a float32.
        scale = (norm / self.recipe.grad_clip).clamp(min=1).float()
        spares = self.recipe.decayed == "weights"
        bare = [name for name in reached if spares and self.weights[name].ndim == 1]
        decaying = [name for name in reached if not spares or self.weights[name].ndim > 1]
        for names, decay in ((decaying, self.recipe.weight_decay), (bare, 0.0)):
            if names:
                self.update(names, decay, scale)
        for weight in self.weights.values():
            weight.grad = None
        return norm

    @abstractmethod
    def update(self, names: Sequence[str], decay: float, scale: Tensor) -> None:
        """Update some weights in place, all of which have a gradient.

        Args:
            names: Their names.
            decay: Their weight decay.
            scale: What the gradients are to be divided by, at least 1, a scalar on the device.
        """

    def gradients(self, names: Sequence[str]) -> list[Tensor]:
        """Return the gradients of some weights."""
        found = (self.weights[name].grad for name in names)
        return [gradient for gradient in found if gradient is not None]

    def remember(self, kind: str, names: Sequence[str]) -> list[Any]:
        """Return the buffers of one kind that belong to some weights."""
        return [self.buffers[kind][name] for name in names]


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Sections A.3, A.4), Nesterov's by choice."""

    def __init__(self, weights: Mapping[str, Tensor], recipe: Recipe) -> None:
        super().__init__(weights, recipe)
        self.buffers["momentum"] = {n: torch.zeros_like(w) for n, w in weights.items()}

    def update(self, names: Sequence[str], decay: float, scale: Tensor) -> None:
        """See `Optimizer`."""
        sgd(
            [self.weights[name] for name in names],
            self.gradients(names),
            self.remember("momentum", names),
            fused=True,
            grad_scale=scale,
            lr=self.lr,
            momentum=self.recipe.momentum,
            weight_decay=decay,
            dampening=0,
            nesterov=self.recipe.nesterov,
            maximize=False,
        )


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    def __init__(self, weights: Mapping[str, Tensor], recipe: Recipe) -> None:
        super().__init__(weights, recipe)
        for kind in ("mean", "square"):
            self.buffers[kind] = {n: torch.zeros_like(w) for n, w in weights.items()}
        # On the device, or a graph would replay the bias correction of the step that it captured.
        self.buffers["step"] = {
            name: torch.zeros((), dtype=torch.float32, device=weight.device)
            for name, weight in weights.items()
        }

    def update(self, names: Sequence[str], decay: float, scale: Tensor) -> None:
        """See `Optimizer`."""
        adamw(
            [self.weights[name] for name in names],
            self.gradients(names),
            self.remember("mean", names),
            self.remember("square", names),
            [],
            self.remember("step", names),
            fused=True,
            capturable=True,
            grad_scale=scale,
            amsgrad=False,
            beta1=self.recipe.momentum,
            beta2=self.recipe.beta2,
            lr=self.lr,
            weight_decay=decay,
            eps=self.recipe.epsilon,
            maximize=False,
        )
