"""The step engine: one epoch of SGD, one evaluation, and the state that a checkpoint keeps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.sgd import sgd

from results_schema.errors import CorruptData
from results_schema.trial import Recipe
from workers.network.drop_path import DropPath
from workers.network.network import Network

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class EpochTotals:
    """An epoch of training in numbers: means over images (loss, accuracy) or steps (the rest)."""

    loss: float
    accuracy: float
    grad_norm: float
    clip_rate: float
    images: int


class Engine:
    """Trains a network step by step: forward, loss, backward, clip, SGD (Sections A.3, A.4).

    Args:
        network: On its device.
        recipe: Momentum, weight decay, the clipping norm and the auxiliary loss's weight are taken
            from it.
    """

    def __init__(self, network: Network, recipe: Recipe) -> None:
        self.network = network.to(memory_format=torch.channels_last)
        self._recipe = recipe
        self._weights = dict(network.named_parameters())
        self._momenta = {name: torch.zeros_like(w) for name, w in self._weights.items()}
        self._device = next(network.parameters()).device
        self._marked: dict[str, Tensor] = {}

    def train_epoch(
        self, batches: Batches, rate: float, drop_path: DropPath | None = None
    ) -> EpochTotals:
        """Takes one step per batch at a learning rate.

        The loss that is reported is the cross-entropy of the network's own head alone.
        """
        self.network.train()
        images = steps = 0
        # Sums stay on the device and are read once: loss, hits, norm, clipped steps.
        sums = torch.zeros(4, dtype=torch.float64, device=self._device)
        for pixels, labels in batches:
            if self._recipe.auxiliary:
                logits, others = self.network.forward_with_auxiliary(pixels, drop_path)
                loss = functional.cross_entropy(logits, labels)
                auxiliary = functional.cross_entropy(others, labels)
                (loss + self._recipe.auxiliary * auxiliary).backward()
            else:
                logits = self.network(pixels, drop_path)
                loss = functional.cross_entropy(logits, labels)
                loss.backward()
            with torch.no_grad():
                norm = self._step(rate)
                hits = (logits.argmax(1) == labels).sum()
                clipped = norm > self._recipe.grad_clip
                sums += torch.stack([loss.double() * len(labels), hits, norm, clipped])
            images, steps = images + len(labels), steps + 1
        loss, hits, norm, clipped = sums.tolist()
        return EpochTotals(loss / images, hits / images, norm / steps, clipped / steps, images)

    @torch.inference_mode()
    def evaluate(self, batches: Batches) -> tuple[float, float]:
        """Mean loss and accuracy, with the running statistics of batch normalisation."""
        self.network.eval()
        images = 0
        sums = torch.zeros(2, dtype=torch.float64, device=self._device)
        for pixels, labels in batches:
            logits = self.network(pixels)
            loss = functional.cross_entropy(logits, labels, reduction="sum")
            sums += torch.stack([loss, (logits.argmax(1) == labels).sum()])
            images += len(labels)
        loss, hits = sums.tolist()
        return loss / images, hits / images

    def finite(self) -> bool:
        """Whether every weight is a finite number."""
        with torch.no_grad():
            largest = nn.utils.get_total_norm(self._weights.values(), math.inf, foreach=True)
            return bool(largest.isfinite())

    def state(self) -> dict[str, Tensor]:
        """Weights, buffers and momentum by name, contiguous, on the CPU."""
        return _on_cpu(self._tensors())

    def mark(self) -> None:
        """Notes the state as it is, for `marked` to tell whatever is trained afterwards."""
        tensors = self._tensors()
        if not self._marked:
            self._marked = {name: torch.empty_like(t) for name, t in tensors.items()}
        with torch.no_grad():
            for name, tensor in tensors.items():
                self._marked[name].copy_(tensor)

    def marked(self) -> dict[str, Tensor]:
        """The state at the last `mark`, like `state`."""
        return _on_cpu(self._marked)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`, in place.

        Raises:
            CorruptData: They are another network's; nothing was changed.
        """
        own = self._tensors()
        if {n: t.shape for n, t in own.items()} != {n: t.shape for n, t in tensors.items()}:
            raise CorruptData("its tensors are not those of this network")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])

    def _tensors(self) -> dict[str, Tensor]:
        momenta = {f"momentum.{name}": buffer for name, buffer in self._momenta.items()}
        return {**self.network.state_dict(), **momenta}

    def _step(self, rate: float) -> Tensor:
        """Clips, decays and descends; returns the gradient's norm before clipping."""
        # Dead operations get no gradient: they neither move nor decay.
        stepped = [
            (weight, weight.grad, self._momenta[name])
            for name, weight in self._weights.items()
            if weight.grad is not None
        ]
        norm = nn.utils.get_total_norm([gradient for _, gradient, _ in stepped], foreach=True)
        scale = (norm / self._recipe.grad_clip).clamp(min=1)
        bare = [part for part in stepped if self._recipe.decayed == "weights" and part[0].ndim == 1]
        decaying = [part for part in stepped if not bare or part[0].ndim > 1]
        for parts, decay in ((decaying, self._recipe.weight_decay), (bare, 0.0)):
            if parts:
                self._descend(parts, rate, decay, scale)
        for weight, _, _ in stepped:
            weight.grad = None
        return norm

    def _descend(
        self, parts: Sequence[Sequence[Tensor]], rate: float, decay: float, scale: Tensor
    ) -> None:
        """One step of SGD on triples of weight, gradient (divided by `scale`) and momentum."""
        weights, gradients, momenta = (list(column) for column in zip(*parts, strict=True))
        # The function, because importing what the class torch.optim.SGD needs takes seconds.
        sgd(
            weights,
            gradients,
            momenta,
            fused=True,
            grad_scale=scale,
            lr=rate,
            momentum=self._recipe.momentum,
            weight_decay=decay,
            dampening=0,
            nesterov=False,
            maximize=False,
        )


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def cosine_rate(rate: float, epoch: int, epochs: int) -> float:
    """½·lr·(1 + cos(π e / E)) for e = epoch − 1 (Section A.3): lr at first, never quite 0."""
    return 0.5 * rate * (1 + math.cos(math.pi * (epoch - 1) / epochs))


def scheduled_rate(recipe: Recipe, rate: float, epoch: int) -> float:
    """The learning rate of an epoch, from 1, under the recipe's schedule."""
    if recipe.schedule == "constant":
        return rate
    shift = 1 if recipe.schedule == "cosine_shifted" else 0
    return cosine_rate(rate, epoch + shift, recipe.epochs)
