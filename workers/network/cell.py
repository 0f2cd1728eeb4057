"""A cell of a genotype as a module (Section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from results_schema.genotype import INPUTS
from workers.cells.stack import Place, empty_nodes
from workers.network.operations import (
    FactorizedReduce,
    build_operation,
    conv_bn,
    reads_rectified,
)


class Cell(nn.Module):
    """Maps the rectified outputs of the two cells before it to its own.

    Each node is rectified once, however many operations read it so. Dead operations have their
    parameters, as published, but are never run: they change nothing.

    Args:
        place: The graph and its place in the network.

    Attributes:
        operations: One an edge, in the order of the nodes.
        ends: The (source, node) of each.
        live: Nodes, inputs among them, from which a path leads to the output.
        empty: Live nodes without edges, which are zero maps.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()
        cell, self.channels = place.cell, place.channels
        self.concat, self.live, self.empty = cell.concat, cell.live_nodes, empty_nodes(cell)
        self.stride = 2 if place.reduction else 1
        preprocess0 = FactorizedReduce if place.after_reduction else conv_bn
        self.preprocess0 = preprocess0(place.before_last, self.channels)
        self.preprocess1 = conv_bn(place.last, self.channels)
        self.operations = nn.ModuleList()
        self.ends: list[tuple[int, int]] = []
        for node, edges in enumerate(cell.nodes, start=INPUTS):
            for edge in edges:
                stride = self.stride if edge.source < INPUTS else 1
                self.operations.append(build_operation(edge.op, self.channels, stride))
                self.ends.append((edge.source, node))

    @property
    def droppable(self) -> int:
        """Number of live edges that drop path may drop: all but identities."""
        return sum(
            node in self.live and not isinstance(operation, nn.Identity)
            for operation, (_, node) in zip(self.operations, self.ends, strict=True)
        )

    def forward(
        self, before_last: Tensor, last: Tensor, masks: Iterator[Tensor] | None = None
    ) -> Tensor:
        """Maps [N, before_last, …] and [N, last, H, W] to [N, C · concatenated nodes, …].

        Args:
            before_last: Output of the cell before the last, rectified; twice as high and wide after
                a reduction cell.
            last: Output of the last cell, rectified.
            masks: Of drop path, `droppable` of them.
        """
        nodes: dict[int, Tensor] = {}
        rectified: dict[int, Tensor] = {}
        if 0 in self.live:
            nodes[0] = self.preprocess0(before_last)
        if 1 in self.live:
            nodes[1] = self.preprocess1(last)
        for node in self.empty:
            height, width = (side // self.stride for side in last.shape[2:])
            nodes[node] = last.new_zeros(last.shape[0], self.channels, height, width)
        for operation, (source, node) in zip(self.operations, self.ends, strict=True):
            if node not in self.live:
                continue
            if reads_rectified(operation):
                if source not in rectified:
                    rectified[source] = nodes[source].relu()
                result = operation(rectified[source])
            else:
                result = operation(nodes[source])
            own = not isinstance(operation, nn.Identity)
            if masks is not None and own:
                result = result * next(masks)
            if node not in nodes:
                nodes[node] = result
            else:  # nobody else reads what an operation has just made
                nodes[node] = result.add_(nodes[node]) if own else nodes[node] + result
        return torch.cat([nodes[node] for node in self.concat], dim=1)
