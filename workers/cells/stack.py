"""What a network consists of (Section A.3): the stack of cells.

This is the one description that `workers.network` builds modules from and `workers.cells.cost`
counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from results_schema.genotype import INPUTS, Cell, Genotype
from results_schema.trial import NetworkSpec

STEM = 3  # the stem has this many times the channels of the first cell's nodes
AUXILIARY_MAP = 8  # height and width in pixels of the map that the auxiliary head takes


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
            # A zero map takes its size from the last cell's output.
            live |= {index - 1} if 1 in nodes or empty_nodes(cells[index]) else set()
    return frozenset(index for index in live if index >= 0)
