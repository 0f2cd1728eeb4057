"""The layers with weights that an evaluation runs, each with the normalisation that follows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from workers.network.cell import Cell
from workers.network.network import Network
from workers.network.operations import BatchNorm, FactorizedReduce


@dataclass(frozen=True)
class Norm:
    """The part of a batch normalisation that one convolution feeds.

    Attributes:
        name: Of the normalisation in the network.
        module: The whole normalisation.
        start: The first of its channels that are the convolution's.
        stop: The first one behind them.
    """

    name: str
    module: BatchNorm
    start: int
    stop: int

    @property
    def channels(self) -> slice:
        """The convolution's channels in the normalisation's tensors."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer of a network.

    Attributes:
        name: In the network.
        module: Itself.
        norm: The normalisation that its output goes straight into, if any.
    """

    name: str
    module: nn.Conv2d | nn.Linear
    norm: Norm | None = None

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Its own parameters and its normalisation's, by their names in the network."""
        yield from self.module.named_parameters(self.name)
        if self.norm is not None and self.norm.start == 0:
            yield from self.norm.module.named_parameters(self.norm.name)


def layers(network: Network, *, auxiliary: bool = False) -> list[Layer]:
    """The layers that a forward pass runs, in the network's order.

    Dead operations and dead cells are left out.

    Args:
        network: Of any cell.
        auxiliary: Whether the auxiliary head counts.
    """
    found = list(_layers("stem", network.stem))
    for index, (cell, live) in enumerate(zip(network.cells, network.live_cells, strict=True)):
        if live and isinstance(cell, Cell):
            for name, part in _live_parts(cell):
                found += _layers(f"cells.{index}.{name}", part)
    found.append(Layer("classifier", network.classifier))
    if auxiliary and network.auxiliary_head is not None:
        found += _layers("auxiliary_head.features", network.auxiliary_head.features)
        found.append(Layer("auxiliary_head.classifier", network.auxiliary_head.classifier))
    return found


def live_parameters(network: Network) -> dict[str, nn.Parameter]:
    """The parameters that an evaluation reads, by name; those of the auxiliary head are not."""
    return {name: weight for layer in layers(network) for name, weight in layer.parameters()}


def _live_parts(cell: Cell) -> Iterator[tuple[str, nn.Module]]:
    if 0 in cell.live:
        yield "preprocess0", cell.preprocess0
    if 1 in cell.live:
        yield "preprocess1", cell.preprocess1
    for index, (operation, (_, node)) in enumerate(zip(cell.operations, cell.ends, strict=True)):
        if node in cell.live:
            yield f"operations.{index}", operation


def _layers(name: str, part: nn.Module) -> Iterator[Layer]:
    if isinstance(part, FactorizedReduce):
        half, whole = part.conv_1.out_channels, part.bn.num_features
        yield Layer(f"{name}.conv_1", part.conv_1, Norm(f"{name}.bn", part.bn, 0, half))
        yield Layer(f"{name}.conv_2", part.conv_2, Norm(f"{name}.bn", part.bn, half, whole))
    elif isinstance(part, nn.Sequential):
        steps = [*part.named_children(), ("", nn.Identity())]
        for (index, step), (following, norm) in pairwise(steps):
            if isinstance(step, nn.Conv2d) and isinstance(norm, BatchNorm):
                reach = Norm(f"{name}.{following}", norm, 0, norm.num_features)
                yield Layer(f"{name}.{index}", step, reach)
            elif isinstance(step, nn.Conv2d):
                yield Layer(f"{name}.{index}", step)
