"""A cell of a genotype as a module (Section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from results_schema import genotype
from results_schema.genotype import INPUTS
from workers.cells.topology import live_nodes
from workers.network.operations import FactorizedReduce, build_operation, relu_conv_bn


class Cell(nn.Module):
    """Maps the outputs of the two cells before it to its own.

    Dead operations have their parameters, as published, but are never run: they change nothing.

    Args:
        cell: The graph.
        channels: C, of every node.
        before_last: Channels of the output of the cell before the last.
        last: Channels of the output of the last cell.
        reduction: Whether edges from the inputs have stride 2.
        after_reduction: Whether the last cell was a reduction cell, so that the output of the
            one before it has twice the height and width.
    """

    def __init__(
        self,
        cell: genotype.Cell,
        channels: int,
        *,
        before_last: int,
        last: int,
        reduction: bool,
        after_reduction: bool,
    ) -> None:
        super().__init__()
        self.preprocess0 = (
            FactorizedReduce(before_last, channels)
            if after_reduction
            else relu_conv_bn(before_last, channels)
        )
        self.preprocess1 = relu_conv_bn(last, channels)
        self.operations = nn.ModuleList()
        self.ends: list[tuple[int, int]] = []
        for node, edges in enumerate(cell.nodes, start=INPUTS):
            for edge in edges:
                stride = 2 if reduction and edge.source < INPUTS else 1
                self.operations.append(build_operation(edge.op, channels, stride))
                self.ends.append((edge.source, node))
        self.concat = cell.concat
        self.live = live_nodes(cell)
        self.empty = [
            node
            for node, edges in enumerate(cell.nodes, start=INPUTS)
            if node in self.live and not edges
        ]
        self.channels = channels
        self.stride = 2 if reduction else 1

    def forward(self, before_last: Tensor, last: Tensor) -> Tensor:
        """[N, before_last, H, W] and [N, last, H', W'] to [N, C · concatenated nodes, …]."""
        nodes: dict[int, Tensor] = {}
        if 0 in self.live:
            nodes[0] = self.preprocess0(before_last)
        if 1 in self.live:
            nodes[1] = self.preprocess1(last)
        for node in self.empty:
            batch, _, height, width = last.shape
            nodes[node] = last.new_zeros(
                batch, self.channels, height // self.stride, width // self.stride
            )
        for operation, (source, node) in zip(self.operations, self.ends, strict=True):
            if node in self.live:
                result = operation(nodes[source])
                nodes[node] = nodes[node] + result if node in nodes else result
        return torch.cat([nodes[node] for node in self.concat], dim=1)
