"""What a cell's graph is like beyond `Cell.width` and `Cell.depth`."""

from __future__ import annotations

from results_schema.genotype import INPUTS, Cell, Genotype


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


def dead_nodes(cell: Cell) -> tuple[int, ...]:
    """The intermediate nodes that do not reach the output."""
    live = live_nodes(cell)
    return tuple(node for node, _ in enumerate(cell.nodes, start=INPUTS) if node not in live)


def used_inputs(cell: Cell) -> tuple[int, ...]:
    """The inputs that reach the output."""
    return tuple(sorted(node for node in live_nodes(cell) if node < INPUTS))


def input_share(cell: Cell) -> float:
    """Share of the live nodes' edges that come from inputs; 0 for a cell without edges."""
    live = live_nodes(cell)
    sources = [
        edge.source
        for node, edges in enumerate(cell.nodes, start=INPUTS)
        if node in live
        for edge in edges
    ]
    return sum(source < INPUTS for source in sources) / max(len(sources), 1)


def early_width(cell: Cell) -> float:
    """Width as the paper's earlier version defined it: nodes fed by inputs alone, in units of c."""
    return float(
        sum(bool(edges) and all(edge.source < INPUTS for edge in edges) for edges in cell.nodes)
    )


def live_width(cell: Cell) -> float:
    """`Cell.width` over the live nodes alone, in units of c.

    This is what Table 2 prints of AmoebaNet, whose concat leaves nodes out.
    """
    live = live_nodes(cell)
    return sum(
        (
            sum(edge.source < INPUTS for edge in edges) / len(edges)
            for node, edges in enumerate(cell.nodes, start=INPUTS)
            if edges and node in live
        ),
        0.0,
    )


def live_depth(cell: Cell) -> int:
    """Edges on the longest path from an input to the output; 0 if there is none.

    It differs from `Cell.depth` only where a path starts at a node without edges.
    """
    longest: list[int | None] = [0] * INPUTS
    for edges in cell.nodes:
        reached = [before for edge in edges if (before := longest[edge.source]) is not None]
        longest.append(max(reached) + 1 if reached else None)
    return max((end + 1 for node in cell.concat if (end := longest[node]) is not None), default=0)


def reconcat(genotype: Genotype) -> Genotype:
    """The genotype with every loose end added to the output, so that no node is dead.

    The adapted cells of NASNet, AmoebaNet and ENAS kept concat lists that leave nodes dead
    (Figure 25); a genotype without dead nodes comes back as it is.
    """
    return Genotype(_reconcat(genotype.normal), _reconcat(genotype.reduce))


def _reconcat(cell: Cell) -> Cell:
    taken = {edge.source for edges in cell.nodes for edge in edges}
    loose = set(dead_nodes(cell)) - taken
    return Cell(cell.nodes, tuple(sorted({*cell.concat, *loose}))) if loose else cell
