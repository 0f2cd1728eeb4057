"""Pairs of random directions through the weights of a trained network (Section 4.2).

They are those of Li et al., *Visualizing the Loss Landscape of Neural Nets* (2018): Gaussian, each
filter scaled to the norm of the weights' own filter, parameters of one dimension (batch
normalisation, biases) not moved. A direction is stored as its seed alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from results_schema.errors import SpecError
from results_schema.surface import NORMALISATIONS
from workers.draws import derive
from workers.landscape.layers import live_parameters
from workers.network.network import Network

Direction = dict[str, Tensor]


@dataclass(frozen=True)
class Directions:
    """The axes of a plane through the trained weights: w* + α w₁ + β w₂.

    Attributes:
        first: w₁, a float64 tensor on the CPU for each parameter that an evaluation reads, by name.
        second: w₂, in the same form.
        cosine: Cosine of the angle between them over all parameters; near 0, as the draws are
            independent.
    """

    first: Direction
    second: Direction
    cosine: float


def draw_directions(
    network: Network, seed: int, *, pair: int = 0, normalisation: str = "filter"
) -> Directions:
    """Return a pair of directions for a network.

    Args:
        network: Network with its trained weights.
        seed: Seed of the draws.
        pair: Which pair of the seed's, from 0.
        normalisation: How a direction is scaled: by "filter", by "layer", each parameter as a
            whole, or "none". The rows of a linear layer's weight are its filters.

    Raises:
        SpecError: There is no such normalisation.
    """
    if normalisation not in NORMALISATIONS:
        raise SpecError(
            f"unknown normalisation of directions {normalisation!r}",
            fix=f"use one of {', '.join(NORMALISATIONS)}",
        )
    weights = {name: w.detach().cpu().double() for name, w in live_parameters(network).items()}
    # Each parameter has a stream of its own, so that neither the auxiliary head, which an
    # evaluation drops, nor a dead operation changes the draws of the others.
    first, second = (
        {
            name: _scaled(
                _gaussian(w, derive(seed, "direction", pair, axis, name)), w, normalisation
            )
            for name, w in weights.items()
        }
        for axis in range(2)
    )
    return Directions(first, second, _cosine(first, second))


def _gaussian(weights: Tensor, seed: int) -> Tensor:
    if weights.dim() <= 1:
        return torch.zeros_like(weights)
    # In float32 on the CPU, whatever the network's device and precision: they share the draws.
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(weights.shape, generator=draws, dtype=torch.float32).double()


def _scaled(direction: Tensor, weights: Tensor, normalisation: str) -> Tensor:
    if normalisation == "none" or weights.dim() <= 1:
        return direction
    if normalisation == "layer":
        return direction * (weights.norm() / direction.norm())
    filters = (len(weights), *[1] * (weights.dim() - 1))
    ours, wanted = (tensor.flatten(1).norm(dim=1) for tensor in (direction, weights))  # [out]
    # Li et al. add the same constant, against filters that are all zero.
    return direction * (wanted / (ours + 1e-10)).view(filters)


def _cosine(first: Direction, second: Direction) -> float:
    def dot(a: Direction, b: Direction) -> float:
        return sum(float((a[name] * b[name]).sum()) for name in a)

    norms = (dot(first, first) * dot(second, second)) ** 0.5
    # Only weights that are all zero have directions without length.
    return dot(first, second) / norms if norms else 0.0
