"""Listens to a backward pass of a folded network for the gradients of the network it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from workers.landscape.directions import Directions
from workers.landscape.folding import FoldedNetwork, scales
from workers.landscape.instance_gradients import in_order, weight_gradients
from workers.landscape.layers import Layer
from workers.landscape.plane import Plane
from workers.landscape.scatter import Gatherer


@dataclass(frozen=True)
class _Norm:
    """What the gradients of a normalised convolution need: w at the point, s, σ and μ."""

    weight: Tensor
    scale: Tensor
    sigma: Tensor
    mean: Tensor


class Probes:
    """One on each layer of a folded network.

    A backward pass of the summed loss meets, at each layer, its input A and the gradient B of its
    output. Where batch normalisation is folded in, with G the gradient of the folded weight s w,
    the network's own are dw = s G, dβ = ΣB over the pixels and dγ = (⟨w, G⟩ − μ dβ)/σ.

    Args:
        folded: Its network gets hooks that stay.
        directions: The plane's axes.
        dtype: Of the arithmetic.
    """

    def __init__(
        self, folded: FoldedNetwork, directions: Directions, *, dtype: torch.dtype
    ) -> None:
        self._gatherer: Gatherer | None = None
        self._inputs: dict[str, Tensor] = {}
        normed = [layer for layer in folded.layers if layer.norm is not None]
        self._weights = _plane(normed, directions, dtype)
        weights = iter(self._weights.tensors)
        for layer, twin in zip(folded.layers, folded.folded, strict=True):
            norm = None
            if layer.norm is not None:
                parts = (part.to(dtype) for part in scales(layer.norm))
                norm = _Norm(in_order(next(weights)), *parts)
            twin.module.register_forward_hook(self._hook(layer, norm))

    def move(self, alpha: float, beta: float) -> None:
        """Goes to a point, as the folded network does."""
        self._weights.move(alpha, beta)

    @contextmanager
    def listen(self, gatherer: Gatherer) -> Iterator[None]:
        """Within it one batch runs forward and backward; `gatherer` takes its gradients."""
        self._gatherer = gatherer
        try:
            yield
            gatherer.close_batch()
        finally:
            self._gatherer = None
            # Of layers whose output the loss does not depend on: what they feed ends in noise.
            self._inputs.clear()

    def _hook(
        self, layer: Layer, norm: _Norm | None
    ) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def capture(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if not output.requires_grad:
                # The stem's, and one that reads nothing but noise: as no weight is a leaf of the
                # graph, this is one; its copy may be changed in place.
                output = output.requires_grad_().clone()
            self._inputs[layer.name] = inputs[0]
            output.register_hook(partial(self._take, layer, norm))
            return output

        return capture

    def _take(self, layer: Layer, norm: _Norm | None, gradients: Tensor) -> None:
        gatherer = self._gatherer
        if gatherer is None:
            raise RuntimeError("a backward pass of a probed network that nobody listens to")
        inputs = self._inputs.pop(layer.name)
        found = weight_gradients(layer.module, inputs, gradients)
        if norm is not None and layer.norm is not None:
            shift = gradients.sum((2, 3))
            product = (found * norm.weight).sum(2)
            gatherer.vector(f"{layer.norm.name}.weight", (product - norm.mean * shift) / norm.sigma)
            gatherer.vector(f"{layer.norm.name}.bias", shift)
            found *= norm.scale[:, None]
        elif layer.module.bias is not None:
            gatherer.vector(f"{layer.name}.bias", gradients)
        gatherer.weight(f"{layer.name}.weight", found.flatten(1))


def _plane(normed: list[Layer], directions: Directions, dtype: torch.dtype) -> Plane:
    weights = [layer.module.weight for layer in normed]
    axes = [
        [
            axis.get(f"{layer.name}.weight", torch.zeros_like(w)).to(w.device)
            for layer, w in zip(normed, weights, strict=True)
        ]
        for axis in (directions.first, directions.second)
    ]
    return Plane(weights, *axes, dtype=dtype)
