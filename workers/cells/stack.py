"""How a network's cells lie on one another (Section A.3), for all that build or count it."""

from __future__ import annotations

from dataclasses import dataclass

from results_schema.genotype import INPUTS, Cell, Genotype
from results_schema.trial import NetworkSpec

STEM = 3
"""The stem has this many times the channels of the first cell's nodes."""


@dataclass(frozen=True)
class Place:
    """One cell's place in the stack.

    Attributes:
        cell: Its graph.
        channels: Of each of its nodes.
        before_last: Channels of the output of the cell before the last.
        last: Channels of the output of the last cell.
        reduction: Whether edges from its inputs have stride 2.
        after_reduction: Whether the last cell was a reduction cell, so that the output of the
            one before it has twice the height and width.
        live: Whether a path leads from its output to the logits.
    """

    cell: Cell
    channels: int
    before_last: int
    last: int
    reduction: bool
    after_reduction: bool
    live: bool

    @property
    def output(self) -> int:
        """Channels of its output."""
        return self.channels * len(self.cell.concat)


def auxiliary_index(cells: int) -> int:
    """The cell whose output the auxiliary head takes: the second reduction cell."""
    return 2 * cells // 3


def stack(genotype: Genotype, size: NetworkSpec, *, auxiliary: bool = False) -> tuple[Place, ...]:
    """The places of all cells, from the stem upwards.

    Args:
        genotype: The two cells.
        size: Of the network.
        auxiliary: Whether an auxiliary head keeps the second reduction cell live.
    """
    reductions = {size.cells // 3, 2 * size.cells // 3}
    cells = [
        genotype.reduce if index in reductions else genotype.normal for index in range(size.cells)
    ]
    live = _live_cells(cells, {auxiliary_index(size.cells)} if auxiliary else set())
    places = []
    channels, after_reduction = size.channels, False
    before_last = last = STEM * channels
    for index, cell in enumerate(cells):
        reduction = index in reductions
        channels *= 2 if reduction else 1
        place = Place(
            cell, channels, before_last, last, reduction, after_reduction, live=index in live
        )
        places.append(place)
        before_last, last, after_reduction = last, place.output, reduction
    return tuple(places)


def empty_nodes(cell: Cell) -> tuple[int, ...]:
    """Live nodes without edges: zero maps, as large as the last cell's output makes them."""
    live = cell.live_nodes
    return tuple(
        node for node, edges in enumerate(cell.nodes, start=INPUTS) if node in live and not edges
    )


def _live_cells(cells: list[Cell], read: set[int]) -> frozenset[int]:
    live = {len(cells) - 1, *read}
    for index in reversed(range(len(cells))):
        if index in live:
            nodes = cells[index].live_nodes
            live |= {index - 2} if 0 in nodes else set()
            live |= {index - 1} if 1 in nodes or empty_nodes(cells[index]) else set()
    return frozenset(index for index in live if index >= 0)
