"""What a cell's graph is like beyond its live nodes, width and depth."""

from __future__ import annotations

from results_schema.genotype import INPUTS, Cell, Genotype


def dead_nodes(cell: Cell) -> tuple[int, ...]:
    """The intermediate nodes that do not reach the output."""
    live = cell.live_nodes
    return tuple(node for node, _ in enumerate(cell.nodes, start=INPUTS) if node not in live)


def used_inputs(cell: Cell) -> tuple[int, ...]:
    """The inputs that reach the output."""
    return tuple(sorted(node for node in cell.live_nodes if node < INPUTS))


def input_share(cell: Cell) -> float:
    """Share of the live nodes' edges that come from inputs; 0 for a cell without edges."""
    live = cell.live_nodes
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
