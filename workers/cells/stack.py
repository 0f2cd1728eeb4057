"""What a network consists of (Section A.3): the layers of each operation, and the stack of cells.

This is the one description that `workers.network` builds modules from and `workers.cells.cost`
counts, so that a new operation with weights is described here once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from results_schema.genotype import INPUTS, Cell, Genotype
from results_schema.trial import NetworkSpec

STEM = 3  # the stem has this many times the channels of the first cell's nodes
AUXILIARY_MAP = 8  # height and width in pixels of the map that the auxiliary head takes


class Conv(NamedTuple):
    """A convolution of c to c channels without bias, padded so that stride 1 keeps the map."""

    kernel: tuple[int, int]  # height and width in pixels
    strided: tuple[bool, bool] = (True, True)  # rows and columns, where the operation is strided
    dilation: int = 1
    depthwise: bool = False  # whether each channel has a kernel of its own


Layer = Conv | Literal["norm", "relu"]
"""A convolution, batch normalisation of c channels, or a ReLU."""


def _separable(size: int, *, dilation: int = 1, strided: bool = True) -> tuple[Layer, ...]:
    depthwise = Conv((size, size), (strided, strided), dilation, depthwise=True)
    return depthwise, Conv((1, 1), (False, False)), "norm"


def _twice_separable(size: int) -> tuple[Layer, ...]:
    return *_separable(size), "relu", *_separable(size, strided=False)


def _factorized(size: int, *between: Layer) -> tuple[Layer, ...]:
    row, column = Conv((1, size), (False, True)), Conv((size, 1), (True, False))
    return row, *between, column, "norm"


LAYERS: dict[str, tuple[Layer, ...]] = {
    "sep_conv_3x3": _twice_separable(3),
    "sep_conv_5x5": _twice_separable(5),
    "sep_conv_7x7": _twice_separable(7),
    "dil_conv_3x3": _separable(3, dilation=2),
    "dil_conv_5x5": _separable(5, dilation=2),
    "conv_7x1_1x7": _factorized(7),
    "conv_1x1": (Conv((1, 1)), "norm"),
    "conv_3x3": (Conv((3, 3)), "norm"),
    "conv_3x1_1x3": _factorized(3),
    "conv_1x3_3x1": _factorized(3, "norm", "relu"),
    "conv_1x7_7x1": _factorized(7, "norm", "relu"),
}
"""The layers of each operation with weights but `skip_connect`, on a map that is rectified already.

Those of the paper are as in its published code; `conv_3x1_1x3` is as in D-X-Y/AutoDL-Projects and
the others as in renqianluo/NAO_pytorch (NAO_V1)."""


class PlacedEdge(NamedTuple):
    """An edge of a cell in its place in the network: an operation on `source`, added to `node`."""

    op: str
    source: int
    node: int
    stride: int  # 2 on an edge from an input of a reduction cell, else 1
    live: bool  # whether a path leads from its node to the cell's output

    @property
    def is_identity(self) -> bool:
        """Whether it hands its source on unchanged: drop path never drops such an edge."""
        return self.op == "skip_connect" and self.stride == 1


@dataclass(frozen=True)
class Place:
    """One cell's place in the stack.

    Attributes:
        after_reduction: Whether the last cell was a reduction cell, so that the output of the
            one before it has twice the height and width.
        live: Whether a path leads from its output to the logits.
    """

    cell: Cell
    channels: int  # of each of its nodes
    before_last: int  # channels of the output of the cell before the last
    last: int  # channels of the output of the last cell
    reduction: bool  # whether edges from its inputs have stride 2
    after_reduction: bool
    live: bool

    @property
    def output(self) -> int:
        """Channels of its output."""
        return self.channels * len(self.cell.concat)

    @cached_property
    def edges(self) -> tuple[PlacedEdge, ...]:
        """Its edges, node by node."""
        live = self.cell.live_nodes
        return tuple(
            PlacedEdge(
                edge.op,
                edge.source,
                node,
                2 if self.reduction and edge.source < INPUTS else 1,
                node in live,
            )
            for node, edges in enumerate(self.cell.nodes, start=INPUTS)
            for edge in edges
        )


def auxiliary_index(cells: int) -> int:
    """Return the cell whose output the auxiliary head takes: the second reduction cell."""
    return 2 * cells // 3


def stack(genotype: Genotype, size: NetworkSpec, *, auxiliary: bool = False) -> tuple[Place, ...]:
    """Return the places of all cells, from the stem upwards.

    An auxiliary head keeps the second reduction cell live.
    """
    reductions = {size.cells // 3, 2 * size.cells // 3}
    kinds = genotype.normal, genotype.reduce
    cells = [kinds[index in reductions] for index in range(size.cells)]
    live = _live_cells(cells, {auxiliary_index(size.cells)} if auxiliary else set())
    places: list[Place] = []
    channels, after_reduction = size.channels, False
    before_last = last = STEM * channels
    for index, cell in enumerate(cells):
        reduction = index in reductions
        channels *= 2 if reduction else 1
        given = (channels, before_last, last, reduction, after_reduction)
        places.append(Place(cell, *given, live=index in live))
        before_last, last, after_reduction = last, places[-1].output, reduction
    return tuple(places)


def empty_nodes(cell: Cell) -> tuple[int, ...]:
    """Return the live nodes without edges: zero maps, of the size of the last cell's output."""
    live = cell.live_nodes
    nodes = enumerate(cell.nodes, start=INPUTS)
    return tuple(node for node, edges in nodes if node in live and not edges)


def _live_cells(cells: list[Cell], read: set[int]) -> frozenset[int]:
    """Return the cells with a path to the logits, given those that the auxiliary head reads."""
    live = {len(cells) - 1, *read}
    # From the top down: a cell is read by the next two, so both are settled before it.
    for index in reversed(range(len(cells))):
        if index in live:
            nodes = cells[index].live_nodes
            live |= {index - 2} if 0 in nodes else set()
            # A zero map takes its size from the last cell's output, which must exist for that.
            live |= {index - 1} if 1 in nodes or empty_nodes(cells[index]) else set()
    return frozenset(index for index in live if index >= 0)
