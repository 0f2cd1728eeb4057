"""The layers with weights that an evaluation runs, each with the normalisation that follows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from workers.network.network import CellModule, Network
from workers.network.operations import BatchNorm, FactorizedReduce


@dataclass(frozen=True)
class Norm:
    """The part of a batch normalisation that one convolution feeds.

    Attributes:
        name: Name of the normalisation in the network.
        module: The whole normalisation.
        channels: The convolution's channels in the normalisation's tensors.
    """

    name: str
    module: BatchNorm
    channels: slice


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer of a network.

    Attributes:
        name: Name in the network.
        module: The layer itself.
        norm: The normalisation that reads its output directly, if any.
    """

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
    """Return the layers that a forward pass runs, in the network's order.

    Dead operations and dead cells are left out: their weights change nothing.

    Args:
        network: Network of any cell.
        auxiliary: Whether the auxiliary head counts.
    """
    parts: list[tuple[str, nn.Module]] = [("stem", network.stem)]
    for index, (cell, live) in enumerate(zip(network.cells, network.live_cells, strict=True)):
        if live and isinstance(cell, CellModule):
            parts += [(f"cells.{index}.{name}", part) for name, part in _live_parts(cell)]
    parts.append(("classifier", network.classifier))
    if auxiliary and (head := network.auxiliary_head) is not None:
        parts.append(("auxiliary_head.features", head.features))
        parts.append(("auxiliary_head.classifier", head.classifier))
    return [layer for name, part in parts for layer in _layers(name, part)]


def live_parameters(network: Network) -> dict[str, nn.Parameter]:
    """Return the parameters that an evaluation reads, by name, without the auxiliary head's."""
    return {name: weight for layer in layers(network) for name, weight in layer.parameters()}


def _live_parts(cell: CellModule) -> Iterator[tuple[str, nn.Module]]:
    for node, part in enumerate((cell.preprocess0, cell.preprocess1)):
        if node in cell.live:
            yield f"preprocess{node}", part
    for index, (operation, edge) in enumerate(zip(cell.operations, cell.edges, strict=True)):
        if edge.live:
            yield f"operations.{index}", operation


def _layers(name: str, part: nn.Module) -> Iterator[Layer]:
    if isinstance(part, nn.Linear):
        yield Layer(name, part)
    elif isinstance(part, FactorizedReduce):
        # Each convolution feeds its own half of the concatenated channels.
        half = part.conv_1.out_channels
        first, second = (
            Norm(f"{name}.bn", part.bn, channels)
            for channels in (slice(0, half), slice(half, part.bn.num_features))
        )
        yield Layer(f"{name}.conv_1", part.conv_1, first)
        yield Layer(f"{name}.conv_2", part.conv_2, second)
    elif isinstance(part, nn.Sequential):
        steps = [*part.named_children(), ("", nn.Identity())]
        for (index, step), (following, norm) in pairwise(steps):
            if isinstance(step, nn.Conv2d) and isinstance(norm, BatchNorm):
                whole = Norm(f"{name}.{following}", norm, slice(0, norm.num_features))
                yield Layer(f"{name}.{index}", step, whole)
            elif isinstance(step, nn.Conv2d):
                yield Layer(f"{name}.{index}", step)
