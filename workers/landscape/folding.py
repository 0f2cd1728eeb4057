"""Batch normalisation folded into the convolutions before it, on a whole plane at once.

With running statistics, y = γ (conv(x; w) − μ) / σ + β is a convolution by s w with bias β − μ s,
where s = γ / σ. As directions leave γ and β alone, both are linear in (α, β): they are folded once
and then moved like any other weights.
"""

from __future__ import annotations

import copy
from itertools import chain

import torch
from torch import Tensor, nn

from workers.landscape.directions import Direction, Directions
from workers.landscape.layers import Layer, Norm, layers
from workers.landscape.plane import Plane
from workers.network.network import Network
from workers.network.operations import BatchNorm


class FoldedNetwork:
    """A trained network without batch normalisation, at any point of a plane through its weights.

    Args:
        network: With its trained weights and running statistics; it is left alone.
        directions: The plane's axes. Without them the network can only stand at its centre.
        dtype: Of the arithmetic.
        auxiliary: Whether to keep the auxiliary head; it has no direction and stays as trained.

    Attributes:
        network: In evaluation mode, channels last, with neither batch normalisation nor gradients
            of its weights.
        layers: Those of the given network, normalisation and all, in the order of `folded`.
        folded: The layers of `network`.
    """

    def __init__(
        self,
        network: Network,
        directions: Directions | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        auxiliary: bool = False,
    ) -> None:
        self.layers = layers(network, auxiliary=auxiliary)
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        if not auxiliary:
            self.network.auxiliary_head = None
        self.folded = layers(self.network, auxiliary=auxiliary)
        _drop_norms(self.network)
        centre = [_folded(layer) for layer in self.layers]
        axes = (None, None) if directions is None else (directions.first, directions.second)
        first, second = ([_folded_direction(layer, a) for layer in self.layers] for a in axes)
        self._plane = Plane(*(list(chain(*part)) for part in (centre, first, second)), dtype=dtype)
        tensors = iter(self._plane.tensors)
        for layer, part in zip(self.folded, centre, strict=True):
            for name in ("weight", "bias")[: len(part)]:
                setattr(layer.module, name, nn.Parameter(next(tensors), requires_grad=False))

    def move(self, alpha: float, beta: float) -> Network:
        """The network at (alpha, beta); it is the same object for every point."""
        self._plane.move(alpha, beta)
        return self.network


def scales(norm: Norm) -> tuple[Tensor, Tensor, Tensor]:
    """Of a convolution's normalisation: s = γ / σ, σ and μ, in float64 [channels]."""
    module, channels = norm.module, norm.channels
    if module.running_mean is None or module.running_var is None:
        raise TypeError(f"{norm.name} keeps no running statistics")
    sigma = (module.running_var[channels].double() + module.eps).sqrt()
    gamma = module.weight.detach()[channels].double()
    return gamma / sigma, sigma, module.running_mean[channels].double()


def _folded(layer: Layer) -> list[Tensor]:
    """Weight and, where there will be one, bias of the folded layer."""
    weight, norm = layer.module.weight.detach().double(), layer.norm
    if norm is not None:
        s, _, mean = scales(norm)
        beta = norm.module.bias.detach()[norm.channels].double()
        return [weight * s.view(-1, 1, 1, 1), beta - mean * s]
    return [weight] if layer.module.bias is None else [weight, layer.module.bias.detach().double()]


def _folded_direction(layer: Layer, direction: Direction | None) -> list[Tensor]:
    """How far they move along a direction; biases don't."""
    centre = _folded(layer)
    given = None if direction is None else direction.get(f"{layer.name}.weight")
    if given is None:
        return [torch.zeros_like(tensor) for tensor in centre]
    moved = given.to(centre[0].device, torch.float64)
    if layer.norm is not None:
        moved = moved * scales(layer.norm)[0].view(-1, 1, 1, 1)
    return [moved, *(torch.zeros_like(bias) for bias in centre[1:])]


def _drop_norms(network: Network) -> None:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, BatchNorm):
                setattr(module, name, nn.Identity())
