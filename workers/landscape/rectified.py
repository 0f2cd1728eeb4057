"""Cells that rectify each map once, where the network's own do so for every edge that reads it.

Every operation with weights begins with a ReLU, and so does the way of every input into its cell.
So the values are the same, and less memory is read and written.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from workers.network.cell import Cell
from workers.network.network import Network
from workers.network.operations import FactorizedReduce


def rectify_once(network: Network) -> None:
    """Changes a network without batch normalisation, in place, so that it rectifies maps once."""
    network.stem.append(nn.ReLU(inplace=True))
    final = len(network.cells) - 1
    for index, cell in enumerate(network.cells):
        if isinstance(cell, Cell):
            network.cells[index] = RectifiedCell(cell, last=index == final)


class RectifiedCell(nn.Module):
    """Computes what a cell does from inputs that are rectified already.

    Args:
        cell: Its operations are taken over and lose their first ReLU.
        last: Whether the classifier reads its output, which is then left as it is.
    """

    def __init__(self, cell: Cell, *, last: bool) -> None:
        super().__init__()
        self.cell, self.last = cell, last
        for part in (cell.preprocess0, cell.preprocess1):
            _drop_first_relu(part)
        self._rectified = [_drop_first_relu(operation) for operation in cell.operations]

    def forward(
        self, before_last: Tensor, last: Tensor, masks: Iterator[Tensor] | None = None
    ) -> Tensor:
        """As `Cell.forward`, without drop path."""
        if masks is not None:
            raise TypeError("an evaluation drops no paths")
        cell = self.cell
        nodes: dict[int, Tensor] = {}
        rectified: dict[int, Tensor] = {}
        if 0 in cell.live:
            nodes[0] = cell.preprocess0(before_last)
        if 1 in cell.live:
            nodes[1] = cell.preprocess1(last)
        for node in cell.empty:
            height, width = (side // cell.stride for side in last.shape[2:])
            nodes[node] = last.new_zeros(last.shape[0], cell.channels, height, width)
        for index, (operation, (source, node)) in enumerate(
            zip(cell.operations, cell.ends, strict=True)
        ):
            if node not in cell.live:
                continue
            if self._rectified[index]:
                if source not in rectified:
                    rectified[source] = nodes[source].relu()
                result = operation(rectified[source])
            else:
                result = operation(nodes[source])
            if node not in nodes:
                nodes[node] = result
            elif isinstance(operation, nn.Identity):
                nodes[node] = nodes[node] + result
            else:  # nobody else reads what the operation has just made
                nodes[node] = result.add_(nodes[node])
        output = torch.cat([nodes[node] for node in cell.concat], dim=1)
        return output if self.last else output.relu_()


def _drop_first_relu(part: nn.Module) -> bool:
    """Whether it had one; ReLUs further on are set to work in place."""
    if isinstance(part, FactorizedReduce):
        part.add_module("relu", nn.Identity())
        return True
    if not isinstance(part, nn.Sequential) or not isinstance(part[0], nn.ReLU):
        return False
    part[0] = nn.Identity()
    for step in part:
        if isinstance(step, nn.ReLU):
            step.inplace = True
    return True
