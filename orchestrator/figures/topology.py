"""Cells as graphs in layers from left to right: the data of Figures 1, 2, 10, 11, 25 and 26.

`orchestrator.figures.topology_drawing` draws them. Layers follow Sugiyama: an edge that spans
several layers gets a bend in each layer between, barycentres and swaps improve the order within the
layers, then least squares set the heights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Literal, NamedTuple

from orchestrator.figures.members import name_cell, read_members
from orchestrator.figures.scales import rising
from results_schema.canonical import parse_json
from results_schema.errors import ConfigError, SpecError
from results_schema.genotype import INPUTS, Cell, Genotype
from workers.cells.topology import early_width

if TYPE_CHECKING:
    import pandas as pd

MOST_NODES = 16
"""Intermediate nodes of a cell that a drawing can show."""

SWEEPS = 16
"""Rounds of ordering and of straightening; cells settle within a few."""

DISTANCES = (1.0, 0.66, 0.36)
"""Least distance of two neighbours in a layer, by how many of them are bends."""

FIXED_DISTANCE = 1.6
"""Least distance of nodes with a fixed order, from which most edges fan out."""

PULL = (1.0, 2.0, 6.0)
"""How strongly a piece of an edge is pulled straight, by how many of its ends are bends."""

Point = tuple[float, float]
Pieces = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Node:
    """One node; heights are in units of the distance of two nodes."""

    label: str  # its number; for inputs and the output, the cell that they come from
    kind: Literal["input", "node", "output"]
    x: int  # layer: edges on the longest path to it; 0 for a node without edges
    live: bool = True  # whether it reaches the output
    y: float = 0.0  # height, growing upwards


@dataclass(frozen=True)
class Edge:
    """One edge; `source` and `target` are positions in `Topology.nodes`."""

    source: int
    target: int
    op: str  # empty for an edge into the output
    path: tuple[Point, ...]  # (x, y) of its ends and bends
    lane: int  # 0, or its position among edges of the same two nodes: -1 and 1, or -2, 0 and 2
    live: bool  # whether it reaches the output


@dataclass(frozen=True)
class Topology:
    """A cell's graph, laid out."""

    name: str
    width: float  # in units of c, over the nodes that reach the output (Section 3.2)
    depth: int  # in edges
    width_all_nodes: float  # with dead nodes
    nodes: tuple[Node, ...]  # inputs, intermediate nodes in their order, the output
    edges: tuple[Edge, ...]  # those into each node in their order, then those into the output


class Topologies(NamedTuple):
    """Cells in the experiment's order."""

    cells: tuple[Topology, ...]
    early: bool  # whether their width is that of the earlier version
    reduction: bool  # whether each normal cell is followed by its reduction cell


def topologies_data(
    cells: pd.DataFrame, *, reduction: bool = False, width: Literal["final", "early"] = "final"
) -> Topologies:
    """Return the cells that an experiment names, trained or not, laid out.

    Args:
        cells: The experiment's cells.
        reduction: Whether each normal cell is followed by its reduction cell.
        width: "final" for the definition of Section 3.2, which gives each node the share of its
            edges that come from inputs; "early" for that of the earlier version, which counts the
            nodes fed by inputs alone.

    Raises:
        ConfigError: There is no cell, a column is absent, a genotype cannot be read, or a cell
            is too large to be drawn.
    """
    rows = read_members("topologies", cells, ("base", "variant", "index", "genotype"))
    named = named_cells(
        [(row["base"], row["index"], _read(row["genotype"], row["variant"])) for row in rows],
        reduction=reduction,
    )
    found = lay_out_cells(named)
    if width == "early":
        found = [
            replace(topology, width=early_width(cell), width_all_nodes=early_width(cell))
            for topology, (_, cell) in zip(found, named, strict=True)
        ]
    return Topologies(tuple(found), width == "early", reduction)


def _read(text: str, variant: str) -> Genotype:
    try:
        return Genotype.from_json(parse_json(text))
    except (ValueError, SpecError) as error:
        raise ConfigError(
            f"the genotype of {variant} cannot be read: {error}",
            fix="launch the experiment once more, which rewrites its cells",
        ) from error


def named_cells(
    members: Sequence[tuple[str, int, Genotype]], *, reduction: bool
) -> list[tuple[str, Cell]]:
    """Return the cells to draw with their shortest names, such as C1 or "DARTS C1".

    Args:
        members: Base, index and genotype of each; index 0 is the base.
        reduction: Whether each normal cell is followed by its reduction cell.
    """
    several = len({base for base, *_ in members}) > 1
    found = []
    for base, index, genotype in members:
        name = name_cell(base, index, several_bases=several)
        found.append((name, genotype.normal))
        if reduction:
            found.append((f"{name}, reduction", genotype.reduce))
    return found


def lay_out_cells(cells: Sequence[tuple[str, Cell]]) -> list[Topology]:
    """Return named cells laid out, each node in the layer of its longest path from an input.

    Raises:
        ConfigError: There is no cell, or one is too large to be drawn.
    """
    if not cells:
        raise ConfigError("there is no cell to draw")
    for name, cell in cells:
        if len(cell.nodes) > MOST_NODES:
            raise ConfigError(
                f"{name} has {len(cell.nodes)} nodes", fix=f"draw cells of at most {MOST_NODES}"
            )
    return [_topology(name, cell) for name, cell in cells]


def _topology(name: str, cell: Cell) -> Topology:
    layers = [0] * INPUTS
    for edges in cell.nodes:
        layers.append(max((layers[edge.source] + 1 for edge in edges), default=0))
    output = len(layers)
    inputs = ["c<sub>k−2</sub>", "c<sub>k−1</sub>"]
    nodes = [Node(label, "input", 0, i in cell.live_nodes) for i, label in enumerate(inputs)]
    for i in range(INPUTS, output):
        nodes.append(Node(str(i), "node", layers[i], i in cell.live_nodes))
    nodes.append(Node("c<sub>k</sub>", "output", 1 + max(layers)))
    ends = [
        (edge.source, node, edge.op)
        for node, edges in enumerate(cell.nodes, start=INPUTS)
        for edge in edges
    ] + [(node, output, "") for node in sorted(cell.concat)]
    return build_topology(name, nodes, ends, (cell.width, cell.depth, cell.width_all_nodes))


def build_topology(
    name: str,
    nodes: Sequence[Node],
    ends: Sequence[tuple[int, int, str]],
    shape: tuple[float, int, float],
) -> Topology:
    """Return a graph laid out.

    Args:
        name: Name of the cell.
        nodes: Nodes, whose heights are not known yet.
        ends: Source, target and operation of each edge.
        shape: Width, depth and width over all nodes.
    """
    pairs = [end[:2] for end in ends]
    inputs = [i for i, node in enumerate(nodes) if node.kind == "input"]
    layout = lay_out([node.x for node in nodes], pairs, inputs)
    lanes = [2 * pairs[:i].count(pair) - (pairs.count(pair) - 1) for i, pair in enumerate(pairs)]
    placed = [replace(node, y=y) for node, y in zip(nodes, layout.heights, strict=True)]
    edges = [
        Edge(source, target, op, path, lane, nodes[target].live)
        for (source, target, op), path, lane in zip(ends, layout.paths, lanes, strict=True)
    ]
    return Topology(name, *shape, tuple(placed), tuple(edges))


@dataclass(frozen=True)
class Layout:
    """Places of nodes and edges; heights are in units of the distance of two nodes."""

    heights: tuple[float, ...]  # of each node, growing upwards
    paths: tuple[tuple[tuple[int, float], ...], ...]  # (layer, height) of each edge's ends, bends


def lay_out(
    layers: Sequence[int], edges: Sequence[tuple[int, int]], fixed: Sequence[int] = ()
) -> Layout:
    """Return places for nodes and for the bends of edges, with few crossings.

    Args:
        layers: Layer of each node, from 0.
        edges: (source, target), each from a lower layer to a higher one; may repeat.
        fixed: Nodes of layer 0 that stand uppermost in this order; then all of it keeps its order.
    """
    layer, nodes = list(layers), len(layers)
    chains = []
    # Bends are items of a layer as nodes are, numbered after them.
    for source, target in edges:
        bends = range(layers[source] + 1, layers[target])
        chains.append([source, *range(len(layer), len(layer) + len(bends)), target])
        layer += bends
    pieces = [piece for chain in chains for piece in pairwise(chain)]
    rows: list[list[int]] = [[] for _ in range(max(layers) + 1)]
    for item, number in enumerate(layer):
        rows[number].append(item)
    rows[0] = [*fixed, *(item for item in rows[0] if item not in fixed)]
    rows = _ordered(rows, pieces, bool(fixed))
    offsets = {item: offset for row in rows for item, offset in _offsets(row, nodes, fixed)}
    heights = _straighten(rows, pieces, offsets, nodes)
    return Layout(
        tuple(heights[node] for node in range(nodes)),
        tuple(tuple((layer[item], heights[item]) for item in chain) for chain in chains),
    )


def _ordered(rows: list[list[int]], pieces: Pieces, fixed: bool) -> list[list[int]]:
    """Return the order of each layer, from above to below, that has the fewest crossings found."""
    before, after = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
    for source, target in pieces:
        before[target].append(source)
        after[source].append(target)
    best = rows
    # In turn rightwards, each layer by the mean place of what leads to it, and leftwards by that of
    # what it leads to. Sweeps may also get worse, so the best of all is kept.
    for sweep in range(SWEEPS):
        rows = [list(row) for row in rows]
        numbers = range(1, len(rows)) if sweep % 2 == 0 else range(len(rows) - 2, fixed - 1, -1)
        near = before if sweep % 2 == 0 else after
        for number in numbers:
            # An item without neighbours keeps its place.
            place = {item: i for row in rows for i, item in enumerate(row)}
            rows[number].sort(
                key=lambda item: fmean([place[n] for n in near[item]] or [place[item]])
            )
        _swap_neighbours(rows, (before, after), fixed)
        best = min(best, rows, key=lambda order: _crossings(order, pieces))
    return best


def _swap_neighbours(
    rows: Sequence[list[int]], near: Sequence[Mapping[int, Sequence[int]]], fixed: bool
) -> None:
    """Swap neighbours in a layer as long as that reduces the number of crossings."""
    place = {item: i for row in rows for i, item in enumerate(row)}
    better = True
    while better:
        better = False
        for row in rows[fixed:]:
            for i in range(len(row) - 1):
                a, b = row[i], row[i + 1]
                fewer = sum(
                    (place[m] > place[n]) - (place[m] < place[n])
                    for side in near
                    for m in side.get(a, ())
                    for n in side.get(b, ())
                )
                if fewer > 0:
                    row[i], row[i + 1] = b, a
                    place[a], place[b] = i + 1, i
                    better = True


def _crossings(rows: Sequence[Sequence[int]], pieces: Pieces) -> int:
    place = {item: (number, i) for number, row in enumerate(rows) for i, item in enumerate(row)}
    gaps: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for source, target in pieces:
        gaps[place[source][0]].append((place[source][1], place[target][1]))
    return sum(
        (a[0] - b[0]) * (a[1] - b[1]) < 0 for gap in gaps.values() for a, b in combinations(gap, 2)
    )


def _offsets(row: Sequence[int], nodes: int, fixed: Sequence[int]) -> list[tuple[int, float]]:
    """Return how far each item of a layer is at least below the first."""
    depth, offsets = 0.0, []
    for i, item in enumerate(row):
        if i:
            bends = (row[i - 1] >= nodes) + (item >= nodes)
            depth += FIXED_DISTANCE if item in fixed else DISTANCES[bends]
        offsets.append((item, depth))
    return offsets


def _straighten(
    rows: Sequence[Sequence[int]], pieces: Pieces, offsets: Mapping[int, float], nodes: int
) -> dict[int, float]:
    """Return heights that keep order and distances, with every piece as level as they allow."""
    pulls: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for source, target in pieces:
        pull = PULL[(source >= nodes) + (target >= nodes)]
        pulls[source].append((target, pull))
        pulls[target].append((source, pull))
    # Layers start centred. One after another is then moved to where its neighbours pull it.
    heights = {item: offsets[row[-1]] / 2 - offsets[item] for row in rows for item in row}
    for sweep in range(4 * SWEEPS):
        for row in rows if sweep % 2 else rows[::-1]:
            # Downwards and less its offset, an item far enough below the one before does not fall.
            wanted, weights = [], []
            for item in row:
                weight = sum(pull for _, pull in pulls[item])
                level = sum(pull * heights[other] for other, pull in pulls[item])
                wanted.append(-(level / weight if weight else heights[item]) - offsets[item])
                weights.append(weight or 1e-3)
            for item, depth in zip(row, rising(wanted, weights), strict=True):
                heights[item] = -depth - offsets[item]
    return heights
