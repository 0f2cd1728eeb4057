"""The precision of a trial: float32, TF32, or bfloat16 with weights and statistics in float32.

It is part of a trial's identity: a device that lacks it refuses, and nothing falls back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from results_schema.errors import MachineError
from workers.network.network import Network

_AMPERE = (8, 0)
"""Compute capability of the first GPUs that have TF32 and bfloat16."""

_ALIGNED = 64
"""Numbers to which each weight is aligned in a flat tensor, as kernels read whole words."""


def check_supported(precision: str, device: torch.device) -> None:
    """Raise `MachineError` unless a device has a precision."""
    if precision == "tf32" and device.type == "cpu":
        raise MachineError(
            "a CPU has no tf32", fix="train on a GPU, or name the trial with precision fp32 or bf16"
        )
    if precision == "fp32" or device.type == "cpu":
        return
    capability = torch.cuda.get_device_capability(device)
    if capability < _AMPERE:
        # torch would emulate bfloat16 there, and ignore TF32: other numbers under the same id.
        raise MachineError(
            f"{torch.cuda.get_device_name(device)} has no {precision}: its compute capability is "
            f"{capability[0]}.{capability[1]}",
            fix="use a GPU of 8.0 or newer, or name the trial with precision fp32",
        )


def set_tf32(precision: str) -> None:
    """Let a GPU's float32 convolutions and products round to TF32, or keep them from it."""
    rounding = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = rounding


class _Weight(NamedTuple):
    """A weight, its place in its module, its copy, and space for its gradient in float32."""

    place: dict[str, Any]
    name: str
    weight: nn.Parameter
    leaf: Tensor
    gradient: Tensor


class MixedPrecision:
    """The precision of a network's forward and backward passes.

    In bfloat16, autocast would cast each weight where it is used, and its gradient back: some 880
    kernels a step of the paper's network. Here the float32 weights are views of one flat tensor and
    their bfloat16 copies are views of another, so that one kernel casts them all. The copies are
    the leaves of a step, and autocast does not touch what has its precision already, so the numbers
    are the same to the bit.

    Args:
        network: On its device, in its memory format; its weights are moved in memory.
        precision: One of `results_schema.trial.PRECISIONS`.
    """

    def __init__(self, network: Network, precision: str) -> None:
        self._weights: list[_Weight] = []
        if precision == "bf16":
            self._flatten(network)

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Return the context of a forward pass, in which copies stand in the weights' places."""
        if not self._weights:
            yield
            return
        with torch.no_grad():
            self._low.copy_(self._flat)
        for one in self._weights:  # past `Module.__setattr__`, which takes a Parameter alone
            one.place[one.name] = one.leaf
        try:
            with torch.autocast(self._flat.device.type, torch.bfloat16, cache_enabled=False):
                yield
        finally:
            # Also after an error: a network left in bfloat16 would be checkpointed so.
            for one in self._weights:
                one.place[one.name] = one.weight

    @torch.no_grad()
    def collect_gradients(self) -> None:
        """Give the float32 weights the gradients that a backward pass left in their copies."""
        reached = [(one, one.leaf.grad) for one in self._weights if one.leaf.grad is not None]
        if not reached:
            return
        torch._foreach_copy_(  # pyright: ignore[reportPrivateImportUsage]
            [one.gradient for one, _ in reached], [low for _, low in reached]
        )
        for one, _ in reached:
            one.weight.grad, one.leaf.grad = one.gradient, None

    def _flatten(self, network: Network) -> None:
        """Move the weights that autocast would cast: of convolutions and the auxiliary head."""
        found = [
            (layer._parameters, name, weight)
            for layer in network.modules()
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer is not network.classifier
            for name, weight in layer.named_parameters(recurse=False)
        ]
        starts = [0]
        for _, _, weight in found:
            starts.append(starts[-1] + ceil(weight.numel() / _ALIGNED) * _ALIGNED)
        self._flat = torch.zeros(starts[-1], device=found[0][2].device)
        self._low = torch.zeros_like(self._flat, dtype=torch.bfloat16)
        flat_gradient = torch.zeros_like(self._flat)
        for (place, name, weight), start in zip(found, starts, strict=False):
            own, leaf, gradient = (
                flat[start : start + weight.numel()].as_strided(weight.shape, weight.stride())
                for flat in (self._flat, self._low, flat_gradient)
            )
            own.copy_(weight.detach())
            # The parameter stays the same object, to which momenta and names belong.
            weight.data = own
            leaf = leaf.detach().requires_grad_()
            self._weights.append(_Weight(place, name, weight, leaf, gradient))
