"""What a cell's graph is like beyond `Cell.width` and `Cell.depth`."""

from __future__ import annotations

from results_schema.genotype import INPUTS, Cell


def live_nodes(cell: Cell) -> frozenset[int]:
    """Nodes, inputs among them, from which a path leads to the output.

    A node outside `concat` that feeds no live node is dead: it is computed, but its operations
    change nothing and get no gradient.
    """
    live = set(cell.concat)
    for node in range(len(cell.nodes) + INPUTS - 1, INPUTS - 1, -1):
        if node in live:
            live.update(edge.source for edge in cell.nodes[node - INPUTS])
    return frozenset(live)


def live_width(cell: Cell) -> float:
    """`Cell.width` over the live nodes alone, in units of c."""
    live = live_nodes(cell)
    return sum(
        sum(edge.source < INPUTS for edge in edges) / len(edges)
        for node, edges in enumerate(cell.nodes, start=INPUTS)
        if edges and node in live
    )
