"""A plane w* + α w₁ + β w₂ through the weights of a trained network (Section 4.2).

`layers` finds what an evaluation reads. `draw_directions` draws the axes as Li et al. do in
*Visualizing the Loss Landscape of Neural Nets* (2018): Gaussian, each filter scaled to the norm of
the weights' own filter, parameters of one dimension (batch normalisation, biases) not moved.

`FoldedNetwork` is the network at a point. With running statistics, y = γ (conv(x; w) − μ) / σ + β
is a convolution by s w with bias β − μ s, where s = γ / σ. As directions do not move γ and β, both
are linear in (α, β): they are folded once and then moved as any other weights, which makes a point
cheap.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor, nn

from results_schema.errors import SpecError
from results_schema.surface import NORMALISATIONS
from workers.draws import derive
from workers.network.network import CellModule, Network
from workers.network.operations import BatchNorm


@dataclass(frozen=True)
class Norm:
    """The part of a batch normalisation that one convolution feeds: some of its channels."""

    name: str
    module: BatchNorm
    channels: slice

    def scales(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return s = γ / σ, σ and μ, float64 [channels]."""
        module, channels = self.module, self.channels
        if module.running_mean is None or module.running_var is None:
            raise TypeError(f"{self.name} keeps no running statistics")
        sigma = (module.running_var[channels].double() + module.eps).sqrt()
        gamma = module.weight.detach()[channels].double()
        return gamma / sigma, sigma, module.running_mean[channels].double()


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer of a network, and the normalisation of its output, if any."""

    name: str
    module: nn.Conv2d | nn.Linear
    norm: Norm | None = None

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield its parameters and its normalisation's, by their names in the network."""
        yield from self.module.named_parameters(self.name)
        # Two convolutions may share a normalisation; the first one yields it.
        if self.norm is not None and self.norm.channels.start == 0:
            yield from self.norm.module.named_parameters(self.norm.name)


def layers(network: Network, *, auxiliary: bool = False) -> list[Layer]:
    """Return the layers that an evaluation runs, in the network's order.

    Dead operations and dead cells are left out: their weights change nothing.
    """
    idle = tuple(_idle(network)) if auxiliary else (*_idle(network), "auxiliary_head.")
    found: list[Layer] = []
    for name, module in network.named_modules():
        if name.startswith(idle):
            continue
        if isinstance(module, nn.Conv2d | nn.Linear):
            found.append(Layer(name, module))
        elif isinstance(module, BatchNorm):
            # It follows the convolution that it normalises, or the two whose outputs it reads
            # side by side.
            index, end = len(found), module.num_features
            while end > 0:
                index -= 1
                start = end - len(found[index].module.weight)
                found[index] = replace(found[index], norm=Norm(name, module, slice(start, end)))
                end = start
    return found


def live_parameters(network: Network, *, auxiliary: bool = False) -> dict[str, nn.Parameter]:
    """Return the parameters that an evaluation reads, by name."""
    return dict(chain(*(layer.parameters() for layer in layers(network, auxiliary=auxiliary))))


def _idle(network: Network) -> Iterator[str]:
    """Yield the beginnings of the names of modules that never run."""
    for index, (cell, live) in enumerate(zip(network.cells, network.live_cells, strict=True)):
        if not live:
            yield f"cells.{index}."
        elif isinstance(cell, CellModule):
            yield from (f"cells.{index}.preprocess{n}." for n in (0, 1) if n not in cell.live)
            for number, edge in enumerate(cell.edges):
                if not edge.live:
                    yield f"cells.{index}.operations.{number}."


Direction = dict[str, Tensor]


@dataclass(frozen=True)
class Directions:
    """The axes w₁ and w₂ of a plane.

    Attributes:
        first: w₁, a float64 tensor on the CPU for each parameter that an evaluation reads, by name.
        second: w₂, likewise.
        cosine: Cosine of their angle over all parameters; near 0, as the draws are independent.
    """

    first: Direction
    second: Direction
    cosine: float


def draw_directions(
    network: Network, seed: int, *, pair: int = 0, normalisation: str = "filter"
) -> Directions:
    """Return a pair of directions for a network with trained weights.

    A direction is scaled by "filter", by "layer", each parameter as a whole, or by "none". The rows
    of a linear layer's weight are its filters. A seed has many pairs, counted from 0.

    Raises:
        SpecError: There is no such normalisation.
    """
    if normalisation not in NORMALISATIONS:
        what = f"unknown normalisation of directions {normalisation!r}"
        raise SpecError(what, fix=f"use one of {', '.join(NORMALISATIONS)}")
    weights = {name: w.detach().cpu().double() for name, w in live_parameters(network).items()}
    # Each parameter has a stream of its own, so that neither the auxiliary head, which an
    # evaluation drops, nor a dead operation changes the draws of the others.
    first, second = (
        {
            name: _draw(w, derive(seed, "direction", pair, axis, name), normalisation)
            for name, w in weights.items()
        }
        for axis in range(2)
    )
    norms = (_dot(first, first) * _dot(second, second)) ** 0.5
    # Only weights that are all zero have directions without length.
    return Directions(first, second, _dot(first, second) / norms if norms else 0.0)


def _draw(weights: Tensor, seed: int, normalisation: str) -> Tensor:
    if weights.dim() <= 1:
        return torch.zeros_like(weights)
    # In float32 on the CPU, whatever the network's device and precision: they share the draws.
    draws = torch.Generator().manual_seed(seed)
    direction = torch.randn(weights.shape, generator=draws, dtype=torch.float32).double()
    if normalisation == "none":
        return direction
    if normalisation == "layer":
        return direction * (weights.norm() / direction.norm())
    filters = (len(weights), *[1] * (weights.dim() - 1))
    ours, wanted = (tensor.flatten(1).norm(dim=1) for tensor in (direction, weights))  # [out]
    # Li et al. add the same constant, against filters that are all zero.
    return direction * (wanted / (ours + 1e-10)).view(filters)


def _dot(first: Direction, second: Direction) -> float:
    return sum(float((first[name] * second[name]).sum()) for name in first)


class Plane:
    """Tensors at centre + α · first + β · second, in one flat buffer, moved by two additions.

    Attributes:
        tensors: Views of the buffer in the shapes of `centre`, four-dimensional ones channels last
            in memory. `move` changes them all; they have no values before the first move.
    """

    def __init__(
        self,
        centre: Sequence[Tensor],
        first: Sequence[Tensor],
        second: Sequence[Tensor],
        *,
        dtype: torch.dtype,
    ) -> None:
        self._vectors = [_flat(part) for part in (centre, first, second)]
        self._sum = torch.empty_like(self._vectors[0])
        self._buffer = self._sum if dtype == torch.float64 else self._sum.to(dtype)
        pieces = self._buffer.split([tensor.numel() for tensor in centre])
        self.tensors = [
            _view(piece, tensor.shape) for piece, tensor in zip(pieces, centre, strict=True)
        ]

    def move(self, alpha: float, beta: float) -> None:
        """Set the tensors to those at (alpha, beta)."""
        centre, first, second = self._vectors
        # In float64 and rounded once, so that no rounding depends on the points before.
        torch.add(centre, first, alpha=alpha, out=self._sum).add_(second, alpha=beta)
        if self._buffer is not self._sum:
            self._buffer.copy_(self._sum)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    # Filters are written channels last, so that the views of the buffer are so without a copy.
    ordered = [t.permute(0, 2, 3, 1) if t.dim() == 4 else t for t in tensors]
    return torch.cat([t.detach().double().reshape(-1) for t in ordered])  # [Σ P]


def _view(piece: Tensor, shape: torch.Size) -> Tensor:
    if len(shape) != 4:
        return piece.view(shape)
    out, inputs, height, width = shape
    return piece.view(out, height, width, inputs).permute(0, 3, 1, 2)  # [out, in, h, w]


class FoldedNetwork:
    """A trained network without batch normalisation, at any point of a plane through its weights.

    The given network is not changed. An auxiliary head, which is dropped unless it is to be kept,
    has no direction and stays as trained.

    Attributes:
        network: In evaluation mode, channels last, with neither batch normalisation nor gradients
            of its weights.
        layers: Layers of the given network with their normalisations, in the order of `folded`.
        folded: Layers of `network`.
    """

    def __init__(
        self,
        network: Network,
        directions: Directions,
        *,
        dtype: torch.dtype = torch.float32,
        auxiliary: bool = False,
    ) -> None:
        self.layers = layers(network, auxiliary=auxiliary)
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        if not auxiliary:
            self.network.auxiliary_head = None
        self.folded = layers(self.network, auxiliary=auxiliary)
        # Only now, since `layers` expects every normalisation in its place.
        _drop_norms(self.network)
        centre = [_folded(layer) for layer in self.layers]
        first, second = (
            [_folded_move(layer, axis) for layer in self.layers]
            for axis in (directions.first, directions.second)
        )
        self._plane = Plane(*(list(chain(*part)) for part in (centre, first, second)), dtype=dtype)
        tensors = iter(self._plane.tensors)
        for layer, part in zip(self.folded, centre, strict=True):
            for name in ("weight", "bias")[: len(part)]:
                setattr(layer.module, name, nn.Parameter(next(tensors), requires_grad=False))

    def move(self, alpha: float, beta: float) -> Network:
        """Return the network at (alpha, beta): the same object at every point."""
        self._plane.move(alpha, beta)
        return self.network


def _folded(layer: Layer) -> list[Tensor]:
    """Return the folded layer's weight and, where it has one, its bias, in float64."""
    weight, norm = layer.module.weight.detach().double(), layer.norm
    if norm is not None:
        s, _, mean = norm.scales()
        beta = norm.module.bias.detach()[norm.channels].double()
        return [weight * s.view(-1, 1, 1, 1), beta - mean * s]  # [out, in, h, w], [out]
    return [weight] if layer.module.bias is None else [weight, layer.module.bias.detach().double()]


def _folded_move(layer: Layer, direction: Direction) -> list[Tensor]:
    """Return how far the tensors of `_folded` move along a direction; biases do not move."""
    weight, *biases = _folded(layer)
    moved = torch.zeros_like(weight)
    # An auxiliary head has no direction.
    if (given := direction.get(f"{layer.name}.weight")) is not None:
        moved = given.to(weight)
        if layer.norm is not None:
            moved = moved * layer.norm.scales()[0].view(-1, 1, 1, 1)
    return [moved, *map(torch.zeros_like, biases)]


def _drop_norms(network: Network) -> None:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, BatchNorm):
                setattr(module, name, nn.Identity())
