"""The step engine: one epoch of SGD, one evaluation, and the state that a checkpoint keeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from results_schema.trial import Recipe

Batches = Iterable[tuple[Tensor, Tensor]]

_MOMENTUM = "momentum."


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
        recipe: Momentum, weight decay and the clipping norm are taken from it.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self.network = network.to(memory_format=torch.channels_last)
        self._clip = recipe.grad_clip
        self._weights = dict(network.named_parameters())
        self._sgd = torch.optim.SGD(
            self._weights.values(),
            lr=0.0,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            fused=True,
        )

    def train_epoch(self, batches: Batches, rate: float) -> EpochTotals:
        """Takes one step per batch at a learning rate."""
        self.network.train()
        for group in self._sgd.param_groups:
            group["lr"] = rate
        device = next(iter(self._weights.values())).device
        # Sums stay on the device and are read once: loss, hits, norm, clipped, images, steps.
        sums = torch.zeros(6, dtype=torch.float64, device=device)
        for images, labels in batches:
            logits = self.network(images)
            loss = functional.cross_entropy(logits, labels)
            self._sgd.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self._weights.values(), self._clip)
            self._sgd.step()
            with torch.no_grad():
                hits = (logits.argmax(1) == labels).sum()
                clipped = norm > self._clip
                count = torch.tensor(len(labels), device=device)
                one = torch.ones((), device=device)
                sums += torch.stack([loss * count, hits, norm, clipped, count, one])
        loss, hits, norm, clipped, images, steps = sums.tolist()
        return EpochTotals(loss / images, hits / images, norm / steps, clipped / steps, int(images))

    @torch.inference_mode()
    def evaluate(self, batches: Batches) -> tuple[float, float]:
        """Mean loss and accuracy, with the running statistics of batch normalisation."""
        self.network.eval()
        device = next(iter(self._weights.values())).device
        sums = torch.zeros(3, dtype=torch.float64, device=device)
        for images, labels in batches:
            logits = self.network(images)
            loss = functional.cross_entropy(logits, labels, reduction="sum")
            hits = (logits.argmax(1) == labels).sum()
            sums += torch.stack([loss, hits, torch.tensor(len(labels), device=device)])
        loss, hits, images = sums.tolist()
        return loss / images, hits / images

    def finite(self) -> bool:
        """Whether every weight is a finite number."""
        with torch.no_grad():
            return all(bool(torch.isfinite(w).all()) for w in self._weights.values())

    def state(self) -> dict[str, Tensor]:
        """Weights, buffers and momentum by name, contiguous, on the CPU."""
        tensors = dict(self.network.state_dict())
        for name, weight in self._weights.items():
            momentum = self._sgd.state.get(weight, {}).get("momentum_buffer")
            if momentum is not None:
                tensors[_MOMENTUM + name] = momentum
        return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`, in place."""
        weights = {k: v for k, v in tensors.items() if not k.startswith(_MOMENTUM)}
        self.network.load_state_dict(weights)
        for name, weight in self._weights.items():
            momentum = tensors.get(_MOMENTUM + name)
            if momentum is not None:
                buffer = torch.empty_like(weight, memory_format=torch.preserve_format)
                self._sgd.state[weight]["momentum_buffer"] = buffer.copy_(momentum)
