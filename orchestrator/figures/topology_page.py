"""Where the cells of a topology figure stand: from left to right, row by row, in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.figures import style
from orchestrator.figures.curves import Arrow, Point, draw_arrow

if TYPE_CHECKING:
    from orchestrator.figures.topology import Edge, Node, Topology

NODE, SQUARE = 24, 28
"""Diameter of an intermediate node; side of an input or output."""

NODE_SPAN, SQUARE_SPAN = 12, 20
"""From the lowest to the highest point at which edges aim within a node."""

LAYERS = (76, 68, 60, 52)
"""From one layer to the next: the widest that needs no more rows than the narrowest."""

LABELLED_LAYERS = (144, 128, 112)
"""The same with operations on the edges."""

STEP, LABELLED_STEP = 40, 54
"""From one node to the next above it, without and with operations on the edges."""

BULGE = 5
"""Height of the arc of the outer of two parallel edges."""

TITLE, MARGIN, GAP = 30, 8, 18
"""Height of a cell's title; from the page's edge; least distance of two cells."""

ROOM = style.PAGE_WIDTH - 2 * MARGIN


@dataclass(frozen=True)
class Panel:
    """One cell on the page; heights grow upwards from the page's lower edge.

    Attributes:
        topology: The cell.
        title: Above it.
        left: Of its first layer's centre.
        zero: Height of the topology's zero.
        top: Upper edge of its title.
        layer: From one layer to the next.
        step: From one node to the next above it.
    """

    topology: Topology
    title: str
    left: float
    zero: float
    top: float
    layer: float
    step: float

    def at(self, point: Point) -> Point:
        """Pixels of a point of the topology."""
        return self.left + self.layer * point[0], self.zero + self.step * point[1]

    def arrows(self) -> list[Arrow]:
        """The edges from rim to rim, in their order."""
        nodes, edges = self.topology.nodes, self.topology.edges
        leave = _ports(edges, [edge.source for edge in edges], nodes, near=1)
        arrive = _ports(edges, [edge.target for edge in edges], nodes, near=-2)
        arrows = []
        for edge, up, down in zip(edges, leave, arrive, strict=True):
            path = [self.at(point) for point in edge.path]
            start, end = path[0], path[-1]
            path[0], path[-1] = (start[0], start[1] + up), (end[0], end[1] + down)
            source = partial(_holds, centre=start, kind=nodes[edge.source].kind)
            target = partial(_holds, centre=end, kind=nodes[edge.target].kind)
            arrows.append(draw_arrow(path, source, target, bulge=BULGE * edge.lane))
        return arrows


@dataclass(frozen=True)
class Page:
    """All panels, and the page's height."""

    panels: tuple[Panel, ...]
    height: float


def arrange(topologies: Sequence[Topology], *, above: float, below: float, labelled: bool) -> Page:
    """Fills rows of the page's width; a cell is as wide as it is deep.

    Args:
        topologies: The cells.
        above: Height of what stands above them.
        below: Height of what stands below them.
        labelled: Whether edges carry labels.
    """
    titles = [_title(topology) for topology in topologies]
    deepest = max(topology.nodes[-1].x for topology in topologies)
    layers, step = (LABELLED_LAYERS, LABELLED_STEP) if labelled else (LAYERS, STEP)
    layouts = []
    for layer in (min(layer, (ROOM - SQUARE) / deepest) for layer in layers):
        widths = [
            max(topology.nodes[-1].x * layer + SQUARE, style.LETTER * len(title))
            for topology, title in zip(topologies, titles, strict=True)
        ]
        layouts.append((_rows(widths), layer, widths))
    rows, layer, widths = min(layouts, key=lambda layout: len(layout[0]))
    spans = [_span(topology, step) for topology in topologies]
    heights = [max(high - low for low, high in (spans[i] for i in row)) for row in rows]
    height = above + sum(heights) + len(rows) * (TITLE + GAP) + below
    panels, top = [], height - above
    for row, row_height in zip(rows, heights, strict=True):
        space = (ROOM - sum(widths[i] for i in row)) / len(row)
        left = MARGIN + space / 2
        for i in row:
            graph = topologies[i].nodes[-1].x * layer
            zero = top - TITLE - row_height / 2 - sum(spans[i]) / 2
            start = left + (widths[i] - graph) / 2
            panels.append(Panel(topologies[i], titles[i], start, zero, top, layer, step))
            left += widths[i] + space
        top -= TITLE + row_height + GAP
    return Page(tuple(panels), height)


def _rows(widths: Sequence[float]) -> list[list[int]]:
    rows: list[list[int]] = [[]]
    for number, width in enumerate(widths):
        if rows[-1] and sum(widths[i] + GAP for i in rows[-1]) + width > ROOM:
            rows.append([])
        rows[-1].append(number)
    return rows


def _title(topology: Topology) -> str:
    """The name, width and depth, and the width over all nodes if that differs; plain text."""
    every = topology.width_all_nodes
    more = f"; all nodes {every:g}c" if every != topology.width else ""
    name = style.shorten(topology.name, 32)
    return f"{name} ({topology.width:g}c, {topology.depth}{more})"


def _span(topology: Topology, step: float) -> tuple[float, float]:
    """Lowest and highest pixel of a cell, from its zero."""
    heights = [y for edge in topology.edges for _, y in edge.path]
    heights += [node.y for node in topology.nodes]
    return step * min(heights) - SQUARE / 2, step * max(heights) + SQUARE / 2


def _ports(
    edges: Sequence[Edge], ends: Sequence[int], nodes: Sequence[Node], *, near: int
) -> list[float]:
    """How far above its node's centre each edge starts or ends, so that edges keep apart.

    Args:
        edges: All of the cell.
        ends: The node of each that is meant.
        nodes: All of the cell.
        near: Which point of an edge's path lies next to that node.
    """
    ports = [0.0] * len(edges)
    for node in set(ends):
        fan = [i for i, end in enumerate(ends) if end == node]
        fan.sort(key=lambda i: (edges[i].path[near][1], edges[i].lane))
        span = NODE_SPAN if nodes[node].kind == "node" else SQUARE_SPAN
        step = min(8.0, span / max(len(fan) - 1, 1))
        for place, i in enumerate(fan):
            ports[i] = step * (place - (len(fan) - 1) / 2)
    return ports


def _holds(point: Point, centre: Point, kind: str) -> bool:
    """Whether a point lies within a node or its rim."""
    x, y = abs(point[0] - centre[0]), abs(point[1] - centre[1])
    if kind == "node":
        return x * x + y * y < (NODE / 2 + 1) ** 2
    return max(x, y) < SQUARE / 2 + 1
