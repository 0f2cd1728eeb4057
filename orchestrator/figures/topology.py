"""Figures 1, 2, 10, 11 and 25: cells as graphs, inputs on the left, the output on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from orchestrator.figures import style
from orchestrator.figures.curves import Point
from orchestrator.figures.layers import lay_out
from orchestrator.figures.topology_labels import add_labels
from orchestrator.figures.topology_marks import add_arrows, add_nodes, stroke_of
from orchestrator.figures.topology_page import MARGIN, arrange
from results_schema.errors import ConfigError
from results_schema.genotype import INPUTS, Cell, Genotype

MOST_NODES = 16
"""Intermediate nodes of a cell that a drawing can show."""


@dataclass(frozen=True)
class Node:
    """One node; x is its layer, y its height in units of the distance of two nodes.

    Attributes:
        label: Its number; an input's or the output's is that of the cell it comes from.
        kind: input, node or output.
        x: Edges on the longest path to it; 0 for a node without edges.
        y: Grows upwards.
        live: Whether it reaches the output.
    """

    label: str
    kind: str
    x: int
    y: float
    live: bool


@dataclass(frozen=True)
class Edge:
    """One edge.

    Attributes:
        source: Place of its source in `Topology.nodes`.
        target: Place of its target.
        op: The operation; empty for an edge into the output.
        path: (x, y) of its ends and bends.
        lane: 0, or where it lies among edges of the same two nodes: -1 and 1, or -2, 0 and 2.
        live: Whether it reaches the output.
    """

    source: int
    target: int
    op: str
    path: tuple[Point, ...]
    lane: int
    live: bool


@dataclass(frozen=True)
class Topology:
    """A cell's graph with its place on paper.

    Attributes:
        name: The cell's.
        width: In units of c, over the nodes that reach the output (Section 3.2).
        depth: In edges.
        width_all_nodes: Width with dead nodes.
        nodes: Inputs, intermediate nodes in their order, the output.
        edges: Those into each node in their order, then those into the output.
    """

    name: str
    width: float
    depth: int
    width_all_nodes: float
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def named_cells(
    members: Sequence[tuple[str, int, Genotype]], *, reduction: bool
) -> list[tuple[str, Cell]]:
    """The cells to draw, each by its shortest name: of a variant C1, with its base if others vary.

    Args:
        members: Base, index and genotype of each; index 0 is the base.
        reduction: Whether each normal cell is followed by its reduction cell.
    """
    several = len({base for base, *_ in members}) > 1
    found = []
    for base, index, genotype in members:
        name = f"C{index}" if index else base
        name = f"{base} {name}" if index and several else name
        found.append((name, genotype.normal))
        if reduction:
            found.append((f"{name}, reduction", genotype.reduce))
    return found


def topology_data(cells: Sequence[tuple[str, Cell]]) -> list[Topology]:
    """Lays out cells, each node in the layer of its longest path from an input.

    Args:
        cells: Names and cells.

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


def plot_topology(
    topologies: Sequence[Topology],
    title: str = "",
    *,
    labelled: bool = False,
    note: str | None = None,
) -> go.Figure:
    """Draws cells side by side, in as many rows as they need.

    Args:
        topologies: What `topology_data` returns.
        title: Stands above the figure, as plain text.
        labelled: Whether to write its operation on every edge; hovering tells it in any case.
        note: Stands below, as plain text; `note_of` the cells if none is given.
    """
    heading = style.wrap_text(title, 17)
    said = style.wrap_text(note_of(topologies) if note is None else note, style.SMALL)
    page = arrange(
        topologies, above=10 + 26 * len(heading), below=8 + 16 * len(said), labelled=labelled
    )
    figure = go.Figure()
    arrows = [
        (panel, edge, arrow)
        for panel in page.panels
        for edge, arrow in zip(panel.topology.edges, panel.arrows(), strict=True)
    ]
    for stroke in dict.fromkeys(stroke_of(edge, labelled) for _, edge, _ in arrows):
        alike = [arrow for arrow in arrows if stroke_of(arrow[1], labelled) == stroke]
        add_arrows(figure, alike, stroke)
    add_nodes(figure, page.panels)
    if labelled:
        for panel in page.panels:
            add_labels(figure, [arrow for arrow in arrows if arrow[0] is panel])
    for number, line in enumerate(heading):
        _write(figure, f"<b>{line}</b>", MARGIN, page.height - 8 - 26 * number, size=17)
    for panel in page.panels:
        middle = panel.left + panel.layer * panel.topology.nodes[-1].x / 2
        _write(figure, style.escape(panel.title), middle, panel.top, anchor="center")
    for number, line in enumerate(reversed(said)):
        _write(figure, line, MARGIN, 24 + 16 * number, size=style.SMALL)
    axis = {"visible": False, "fixedrange": True}
    figure.update_layout(
        template=style.template(),
        meta=title or "Cells",
        width=style.PAGE_WIDTH,
        height=page.height,
        margin={"l": 0, "r": 0, "t": 0, "b": 0, "autoexpand": False},
        showlegend=False,
        hovermode="closest",
        xaxis={**axis, "range": [0, style.PAGE_WIDTH]},
        yaxis={**axis, "range": [0, page.height]},
    )
    return figure


def _write(
    figure: go.Figure, text: str, x: float, top: float, *, size: int = 14, anchor: str = "left"
) -> None:
    color = style.GREY if size == style.SMALL else style.INK
    figure.add_annotation(
        text=text, x=x, xanchor=anchor, y=top, yanchor="top", showarrow=False,
        font={"size": size, "color": color},
    )  # fmt: skip


def note_of(topologies: Sequence[Topology]) -> str:
    """What the marks of cells mean."""
    note = "Squares: outputs of the two cells before and of this one. Grey arrows: concatenated."
    dead = any(not node.live for topology in topologies for node in topology.nodes)
    return note + (" Pale, dotted: without effect." if dead else "")


def _topology(name: str, cell: Cell) -> Topology:
    live = cell.live_nodes
    layers = [0] * INPUTS
    for edges in cell.nodes:
        layers.append(max((layers[edge.source] + 1 for edge in edges), default=0))
    output = len(layers)
    layers.append(1 + max(layers))
    live |= {output}
    ends = [
        (edge.source, node, edge.op)
        for node, edges in enumerate(cell.nodes, start=INPUTS)
        for edge in edges
    ] + [(node, output, "") for node in sorted(cell.concat)]
    layout = lay_out(layers, [end[:2] for end in ends], fixed=range(INPUTS))
    nodes = [
        Node(label, kind, layers[i], layout.heights[i], i in live)
        for i, (label, kind) in enumerate(
            [
                ("c<sub>k−2</sub>", "input"),
                ("c<sub>k−1</sub>", "input"),
                *((str(node), "node") for node in range(INPUTS, output)),
                ("c<sub>k</sub>", "output"),
            ]
        )
    ]
    edges = [
        Edge(source, target, op, path, lane, target in live)
        for (source, target, op), path, lane in zip(ends, layout.paths, _lanes(ends), strict=True)
    ]
    return Topology(name, cell.width, cell.depth, cell.width_all_nodes, tuple(nodes), tuple(edges))


def _lanes(ends: Sequence[tuple[int, int, str]]) -> list[int]:
    pairs = [end[:2] for end in ends]
    return [2 * pairs[:i].count(pair) - (pairs.count(pair) - 1) for i, pair in enumerate(pairs)]
