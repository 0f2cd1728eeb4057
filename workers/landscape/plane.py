"""A plane w* + α w₁ + β w₂ through the weights of a trained network (Section 4.2).

`split` finds what an evaluation runs. `draw_directions` draws the axes as Li et al. do in
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
from typing import TypeGuard

import torch
from torch import Tensor, nn

from results_schema.errors import SpecError
from results_schema.surface import NORMALISATIONS
from workers.draws import derive
from workers.network.custom import Custom
from workers.network.network import CellModule, Network


@dataclass(frozen=True)
class Norm:
    """The part of a batch normalisation that one convolution feeds: some of its channels."""

    name: str
    module: nn.BatchNorm2d
    channels: slice


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer of a network, and the normalisation of its output, if any."""

    name: str
    module: nn.Conv2d | nn.Linear
    norm: Norm | None = None

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield its parameters and its normalisation's, by their names in the network."""
        yield from self.module.named_parameters(self.name)
        if self.norm is not None and self.norm.channels.start == 0:
            yield from self.norm.module.named_parameters(self.norm.name)

    def scales(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return s = γ / σ, σ and μ of its normalisation, float64 [channels]."""
        if self.norm is None:
            raise TypeError(f"{self.name} has no normalisation")
        norm, channels = self.norm.module, self.norm.channels
        if norm.running_mean is None or norm.running_var is None:
            raise TypeError(f"{self.norm.name} keeps no running statistics")
        sigma = (norm.running_var[channels].double() + norm.eps).sqrt()
        mean = norm.running_mean[channels].double()
        if self.module.bias is not None:
            mean = mean - self.module.bias.detach().double()  # as of the outputs without it
        return norm.weight.detach()[channels].double() / sigma, sigma, mean


@dataclass(frozen=True)
class Parts:
    """What an evaluation of a network runs that has parameters.

    Attributes:
        layers: Layers whose gradients of single instances have a rule, in the network's order.
        units: Other modules by name, each with all that is inside it: operations of plug-ins, and
            modules with parameters of their own. One of the name "" is the network itself.
    """

    layers: list[Layer]
    units: dict[str, nn.Module]


def split(
    network: nn.Module, *, auxiliary: bool = False, fold: bool = True, whole: bool = False
) -> Parts:
    """Return the parts that an evaluation runs.

    A normalisation is taken for that of the convolution before it in the same module, or of the
    last few, whose outputs it then reads side by side; one that follows none is a unit. Dead
    operations and dead cells are left out: their weights change nothing.

    Args:
        network: The network.
        auxiliary: Whether its auxiliary head runs.
        fold: Whether normalisations are those of layers at all.
        whole: Whether the network is to be one unit.
    """
    if whole:
        return Parts([], {"": network})
    left_out = [*_idle(network, auxiliary=auxiliary)]
    found, units = list[Layer](), dict[str, nn.Module]()
    for name, module in network.named_modules():
        if name.startswith(tuple(left_out)):
            continue
        if _has_rule(module):
            found.append(Layer(name, module))
            continue
        if fold and isinstance(module, nn.BatchNorm2d) and _is_affine(module):
            channels, fed = module.num_features, list[Layer]()
            while channels > 0 and found and _feeds(found[-1], name):
                fed.append(found.pop())
                channels -= len(fed[-1].module.weight)
            start = 0
            for layer in reversed(fed):
                end = start + len(layer.module.weight)
                norm = None if channels else Norm(name, module, slice(start, end))
                found.append(replace(layer, norm=norm))
                start = end
            if fed and not channels:
                continue
        if isinstance(module, Custom) or any(p is not None for p in module._parameters.values()):
            units[name] = module
            left_out.append(f"{name}." if name else "")
    return Parts(found, units)


def _has_rule(module: nn.Module) -> TypeGuard[nn.Conv2d | nn.Linear]:
    # A class derived from these may compute something else.
    if type(module) is nn.Conv2d:
        dense = module.groups == 1
        depthwise = module.groups == module.in_channels == module.out_channels
        plain = module.padding_mode == "zeros" and not isinstance(module.padding, str)
        return plain and (dense or depthwise)
    return type(module) is nn.Linear


def _is_affine(norm: nn.BatchNorm2d) -> bool:
    return norm.affine and norm.running_mean is not None


def _feeds(layer: Layer, norm: str) -> bool:
    return layer.norm is None and layer.name.rpartition(".")[0] == norm.rpartition(".")[0]


def live_parameters(network: nn.Module, *, auxiliary: bool = False) -> dict[str, nn.Parameter]:
    """Return the parameters that an evaluation reads, by name: those of layers, then others."""
    parts = split(network, auxiliary=auxiliary)
    found = dict(chain(*(layer.parameters() for layer in parts.layers)))
    idle = tuple(_idle(network, auxiliary=auxiliary))
    return found | {n: w for n, w in network.named_parameters() if not n.startswith(idle)}


def find_parts(network: nn.Module, inputs: Tensor, *, auxiliary: bool = False) -> Parts:
    """Return the parts of a network, with normalisations folded where that is exact.

    What a normalisation reads can't be seen from where it stands: in a network that isn't ours, a
    few inputs and other statistics show whether folding changes the outputs.
    """
    parts = split(network, auxiliary=auxiliary)
    if isinstance(network, Network) or not any(layer.norm for layer in parts.layers):
        return parts
    drawn = copy.deepcopy(network).eval().double()
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for norm in (one for one in drawn.modules() if isinstance(one, nn.BatchNorm2d)):
            if _is_affine(norm):
                for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
                    values = torch.rand(norm.num_features, generator=draws, dtype=torch.float64)
                    tensor.copy_(values + 0.5)  # type: ignore[union-attr]
        given = inputs.double() if inputs.is_floating_point() else inputs
        unmoved = Directions({}, {}, 0.0)
        folded = FoldedNetwork(drawn, unmoved, split(drawn), dtype=torch.float64).move(0, 0)
        same = torch.allclose(folded(given), drawn(given), rtol=1e-7, atol=1e-9)
    return parts if same else split(network, fold=False)


def _idle(network: nn.Module, *, auxiliary: bool) -> Iterator[str]:
    """Yield how the names of modules begin that an evaluation is known not to run."""
    if not isinstance(network, Network):
        return
    if not auxiliary:
        yield "auxiliary_head."
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
    network: nn.Module, seed: int, *, pair: int = 0, normalisation: str = "filter"
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
    # A stream for each parameter: neither the auxiliary head nor dead ones change others' draws.
    first, second = (
        {
            name: _draw(w, derive(seed, "direction", pair, axis, name), normalisation)
            for name, w in weights.items()
        }
        for axis in range(2)
    )
    norms = (_dot(first, first) * _dot(second, second)) ** 0.5
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
    return direction * (wanted / (ours + 1e-10)).view(filters)


def _dot(first: Direction, second: Direction) -> float:
    return sum(float((first[name] * second[name]).sum()) for name in first)


class Plane:
    """Tensors at the three parts' centre + α · first + β · second, moved in one flat buffer.

    Attributes:
        tensors: Views of the buffer in the shapes of `centre`, four-dimensional ones channels last
            in memory. `move` changes them all; they have no values before the first move.
    """

    def __init__(self, *parts: Sequence[Tensor], dtype: torch.dtype) -> None:
        centre, self._vectors = parts[0], [_flat(part) for part in parts if part]
        if not centre:
            self.tensors = list[Tensor]()
            return
        self._sum = torch.empty_like(self._vectors[0])
        self._buffer = self._sum if dtype == torch.float64 else self._sum.to(dtype)
        pieces = self._buffer.split([tensor.numel() for tensor in centre])
        self.tensors = [
            _view(piece, tensor.shape) for piece, tensor in zip(pieces, centre, strict=True)
        ]

    def move(self, alpha: float, beta: float) -> None:
        """Set the tensors to those at (alpha, beta)."""
        if not self.tensors:
            return
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
        network: In evaluation mode, channels last, with neither the batch normalisation of layers
            nor gradients of its weights.
        layers: Layers of the given network; those of `network` have the same names.
        units: Names of its other parts.
    """

    def __init__(
        self,
        network: nn.Module,
        directions: Directions,
        parts: Parts | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        auxiliary: bool = False,
    ) -> None:
        parts = parts or split(network, auxiliary=auxiliary)
        self.layers, self.units = parts.layers, list(parts.units)
        self.network = copy.deepcopy(network).eval().requires_grad_(False).to(dtype)
        if isinstance(self.network, Network) and not auxiliary:
            self.network.auxiliary_head = None
        live = live_parameters(network, auxiliary=auxiliary)
        centre = {name: weight.detach().double() for name, weight in live.items()}
        scales: dict[str, Tensor] = {}
        for layer in self.layers:
            if layer.norm is not None:
                s, _, mean = layer.scales()
                beta = layer.norm.module.bias.detach()[layer.norm.channels].double()
                scale = scales[f"{layer.name}.weight"] = s.view(-1, 1, 1, 1)
                centre[f"{layer.name}.weight"] = centre[f"{layer.name}.weight"] * scale
                centre[f"{layer.name}.bias"] = beta - mean * s
        for norm in {layer.norm.name for layer in self.layers if layer.norm is not None}:
            self.network.set_submodule(norm, nn.Identity())
            centre = {n: t for n, t in centre.items() if not n.startswith(f"{norm}.")}
        moves = (
            [along(axis, name, tensor, scales.get(name)) for name, tensor in centre.items()]
            for axis in (directions.first, directions.second)
        )
        self._plane = Plane(list(centre.values()), *moves, dtype=dtype)
        for name, tensor in zip(centre, self._plane.tensors, strict=True):
            module, _, leaf = name.rpartition(".")
            weight = nn.Parameter(tensor, requires_grad=False)
            setattr(self.network.get_submodule(module), leaf, weight)

    def move(self, alpha: float, beta: float) -> nn.Module:
        """Return the network at (alpha, beta): the same object at every point."""
        self._plane.move(alpha, beta)
        return self.network


def along(direction: Direction, name: str, centre: Tensor, scale: Tensor | None = None) -> Tensor:
    """Return how far a tensor moves; a folded bias and an auxiliary head have no direction."""
    if name not in direction:
        return torch.zeros_like(centre)
    moved = direction[name].to(centre)
    return moved if scale is None else moved * scale
