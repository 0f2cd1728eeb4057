"""Drawing of Figures 1, 2, 10, 11, 25 and 26: cells as graphs, inputs left, the output right.

The paper reads off that cells of popular searches are wide and shallow (Section 3.2). Everything is
placed in pixels, upwards from the lower edge of the page; a point is a complex number x + iy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from orchestrator.figures import style
from orchestrator.figures.panels import add_annotations
from orchestrator.figures.topology import Edge, Topologies, Topology

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
"""Height of a cell's title; distance from the page's edge; least distance of two cells."""

PIECES = 24
"""Straight pieces of a curve between two of its points."""

HEAD, HALF_HEAD = 8.0, 3.2
"""Length of an arrowhead; half its width."""

ARRIVE = 0.75
"""Slope of a curve at a node, as a share of the straight line's: 1 is straight, 0 is level."""

BREAK = complex(np.nan, np.nan)
"""Ends a line among points."""

LABEL_SIZE, LABEL_HEIGHT = 11, 14
"""Size of the letters; height of a label."""

LABEL_ROUNDS = 3
"""How often every label looks for a better place among the others."""

FILLS = {"input": "#cfe8f7", "node": "white", "output": "#fbe3b5"}

EARLY = "Width as in the paper's earlier version: nodes fed by inputs alone, in units of c."


Points = NDArray[np.complex128]


class Stroke(NamedTuple):
    """Line of an edge."""

    color: str
    dash: str = "solid"


CONCATENATED = Stroke("#8f8f8f")
DEAD = Stroke("#9a9a9a", "dot")
PLAIN = Stroke(style.INK)
COLOURS = {
    "sep": Stroke(style.PALETTE[0]),
    "dil": Stroke(style.PALETTE[2]),
    "max": Stroke(style.PALETTE[1]),
    "avg": Stroke(style.PALETTE[1]),
    "skip": Stroke("#8f4a72"),
}
"""Lines by the first word of an operation, where edges are labelled."""


@dataclass(frozen=True)
class PlacedCell:
    """One cell on the page."""

    topology: Topology
    title: str
    left: float  # centre of its first layer
    zero: float  # height of the topology's zero
    top: float  # upper edge of its title
    layer: float  # distance from one layer to the next
    step: float  # distance from one node to the next above it

    def at(self, x: float, y: float) -> complex:
        """Return where on the page a point of the topology is."""
        return complex(self.left + self.layer * x, self.zero + self.step * y)

    def arrows(self) -> list[Arrow]:
        """Return the edges from rim to rim, in their order."""
        nodes, edges = self.topology.nodes, self.topology.edges
        leave = _ports(self.topology, [edge.source for edge in edges], near=1)
        arrive = _ports(self.topology, [edge.target for edge in edges], near=-2)
        arrows = []
        for edge, up, down in zip(edges, leave, arrive, strict=True):
            path = np.array([self.at(*point) for point in edge.path])
            source = partial(_covers, centre=path[0], kind=nodes[edge.source].kind)
            target = partial(_covers, centre=path[-1], kind=nodes[edge.target].kind)
            path[[0, -1]] += 1j * np.array([up, down])
            curve = _smooth_curve(path, BULGE * edge.lane)
            arrows.append(Arrow(self, edge, *_arrow(curve, source, target)))
        return arrows


class Arrow(NamedTuple):
    """An edge on the page: a curve and the triangle at its end."""

    cell: PlacedCell
    edge: Edge
    line: Points  # complex, from the source's rim to the base of the head
    head: Points  # complex: its tip, at the target's rim, and its two other corners


def plot_topologies(data: Topologies, title: str, *, labels: bool = False) -> go.Figure:
    """Return the figure, the operations written on the edges if `labels`."""
    note = _default_note(data.cells)
    note = f"{note} {EARLY}" if data.early else note
    return plot_cells(data.cells, title, labels=labels, note=note, together=1 + data.reduction)


def plot_cells(
    topologies: Sequence[Topology],
    title: str = "",
    *,
    labels: bool = False,
    note: str | None = None,
    together: int = 1,
) -> go.Figure:
    """Return cells drawn side by side, in as many rows as they need.

    Args:
        topologies: The cells.
        title: Plain text above the figure.
        labels: Whether every edge shows its operation; hovering shows it in any case.
        note: Plain text below; by default the meaning of the symbols.
        together: So many cells in turn stand side by side, if a row is wide enough for them.
    """
    heading = style.wrap_title(title, 17)
    below = style.wrap_text(_default_note(topologies) if note is None else note, style.SMALL)
    cells, height = arrange_cells(
        topologies,
        above=10 + 26 * len(heading),
        below=8 + 16 * len(below),
        labels=labels,
        together=together,
    )
    arrows = [cell.arrows() for cell in cells]
    by_stroke: dict[Stroke, list[Arrow]] = {}
    for arrow in chain.from_iterable(arrows):
        by_stroke.setdefault(_stroke(arrow.edge, labels), []).append(arrow)
    figure = go.Figure()
    for stroke, some in by_stroke.items():
        _add_arrows(figure, some, stroke)
    _add_nodes(figure, cells)
    texts: list[dict[str, Any]] = []
    for cell, own in zip(cells, arrows, strict=True) if labels else ():
        texts += _operation_labels(cell, own)
    for number, line in enumerate(heading):
        texts.append(_text(f"<b>{line}</b>", MARGIN, height - 8 - 26 * number, size=17))
    for cell in cells:
        middle = cell.left + cell.layer * cell.topology.nodes[-1].x / 2
        texts.append(_text(style.escape(cell.title), middle, cell.top, anchor="center"))
    for number, line in enumerate(reversed(below)):
        texts.append(_text(line, MARGIN, 24 + 16 * number, size=style.SMALL))
    axis = {"visible": False, "fixedrange": True}
    figure.update_layout(
        template=style.template(),
        meta=style.meta(title or "Cells"),
        width=style.page_width(),
        height=height,
        margin={"l": 0, "r": 0, "t": 0, "b": 0, "autoexpand": False},
        showlegend=False,
        hovermode="closest",
        xaxis={**axis, "range": [0, style.page_width()]},
        yaxis={**axis, "range": [0, height]},
    )
    add_annotations(figure, texts)
    return figure


def _default_note(topologies: Sequence[Topology]) -> str:
    note = "Squares: outputs of the two cells before and of this one. Grey arrows: concatenated."
    dead = any(not node.live for topology in topologies for node in topology.nodes)
    return note + (" Pale, dotted: without effect." if dead else "")


def _text(
    text: str, x: float, top: float, *, size: int = 14, anchor: str = "left"
) -> dict[str, Any]:
    color = style.GREY if size == style.SMALL else style.INK
    return {
        "text": text, "x": x, "xanchor": anchor, "y": top, "yanchor": "top", "showarrow": False,
        "font": {"size": size, "color": color},
    }  # fmt: skip


def arrange_cells(
    topologies: Sequence[Topology], *, above: float, below: float, labels: bool, together: int = 1
) -> tuple[list[PlacedCell], float]:
    """Return cells in rows of a figure's width, with space above and below, and its height.

    A cell is as wide as it is deep, and wider with `labels` on its edges; see `plot_cells`.
    """
    available = style.page_width() - 2 * MARGIN
    titles = [_cell_title(topology) for topology in topologies]
    layers, step = (LABELLED_LAYERS, LABELLED_STEP) if labels else (LAYERS, STEP)
    layouts = []
    for layer in layers:
        own = [min(layer, (available - SQUARE) / topology.nodes[-1].x) for topology in topologies]
        widths = [
            max(topology.nodes[-1].x * layer + SQUARE, style.LETTER * len(title))
            for topology, layer, title in zip(topologies, own, titles, strict=True)
        ]
        layouts.append((_rows(widths, available, together), own, widths))
    # The first of equals: the widest layers that need the fewest rows.
    rows, own, widths = min(layouts, key=lambda layout: len(layout[0]))
    spans = [_span(topology, step) for topology in topologies]
    heights = [max(high - low for low, high in (spans[i] for i in row)) for row in rows]
    height = above + sum(heights) + len(rows) * (TITLE + GAP) + below
    cells, top = [], height - above
    for row, row_height in zip(rows, heights, strict=True):
        space = (available - sum(widths[i] for i in row)) / len(row)
        left = MARGIN + space / 2
        for i in row:
            graph = topologies[i].nodes[-1].x * own[i]
            zero = top - TITLE - row_height / 2 - sum(spans[i]) / 2
            start = left + (widths[i] - graph) / 2
            cells.append(PlacedCell(topologies[i], titles[i], start, zero, top, own[i], step))
            left += widths[i] + space
        top -= TITLE + row_height + GAP
    return cells, height


def _rows(widths: Sequence[float], available: float, together: int) -> list[list[int]]:
    rows: list[list[int]] = [[]]
    for number in range(len(widths)):
        # The first of some cells that belong together looks for space for all of them.
        some = widths[number : number + together - number % together]
        needed = [width + GAP for width in [*(widths[i] for i in rows[-1]), *some]]
        if rows[-1] and sum(needed) - GAP > available:
            rows.append([])
        rows[-1].append(number)
    return rows


def _cell_title(topology: Topology) -> str:
    """Return name, width and depth, and the width over all nodes if that differs; plain text."""
    every = topology.width_all_nodes
    more = f"; all nodes {every:g}c" if every != topology.width else ""
    name = style.shorten(topology.name, 32)
    return f"{name} ({topology.width:g}c, {topology.depth}{more})"


def _span(topology: Topology, step: float) -> tuple[float, float]:
    """Return the lowest and highest pixel of a cell, from its zero."""
    heights = [y for edge in topology.edges for _, y in edge.path]
    heights += [node.y for node in topology.nodes]
    return step * min(heights) - SQUARE / 2, step * max(heights) + SQUARE / 2


def _ports(topology: Topology, ends: Sequence[int], *, near: int) -> list[float]:
    """Return how far above its node's centre each edge starts or ends, so that edges keep apart.

    `ends` holds the node that is meant of each edge, its source or its target, and `near` the
    position of the point next to that node in an edge's path.
    """
    edges = topology.edges
    ports = [0.0] * len(edges)
    for node in set(ends):
        fan = [i for i, end in enumerate(ends) if end == node]
        fan.sort(key=lambda i: (edges[i].path[near][1], edges[i].lane))
        span = NODE_SPAN if topology.nodes[node].kind == "node" else SQUARE_SPAN
        step = min(8.0, span / max(len(fan) - 1, 1))
        for place, i in enumerate(fan):
            ports[i] = step * (place - (len(fan) - 1) / 2)
    return ports


def _covers(points: Any, centre: complex, kind: str) -> Any:
    """Return whether a node or its rim covers points."""
    away = points - centre
    if kind == "node":
        return abs(away) < NODE / 2 + 1
    return np.maximum(abs(away.real), abs(away.imag)) < SQUARE / 2 + 1


def _smooth_curve(path: Points, bulge: float) -> Points:
    """Return a curve through points, each passed in the mean direction of its two chords.

    The middle is pushed upwards by `bulge`, to keep parallel edges apart.
    """
    x, y = path.real, path.imag
    steps = np.diff(x)
    chords = np.diff(y) / steps
    slopes = np.array([ARRIVE * chords[0], *(chords[:-1] + chords[1:]) / 2, ARRIVE * chords[-1]])
    # Cubic Hermite pieces, each over 0 ≤ t ≤ 1.
    places = np.arange(PIECES * len(chords) + 1) / PIECES
    piece = np.minimum(places.astype(int), len(chords) - 1)
    t, step = places - piece, steps[piece]
    rise = t**2 * (3 - 2 * t)
    bend = t * (1 - t) * ((1 - t) * slopes[piece] - t * slopes[piece + 1])
    at = x[piece] + t * step
    along = (at - x[0]) / (x[-1] - x[0])
    heights = (1 - rise) * y[piece] + rise * y[piece + 1] + step * bend
    return at + 1j * (heights + 4 * bulge * along * (1 - along))


def _arrow(
    curve: Points, source: Callable[[Any], Any], target: Callable[[Any], Any]
) -> tuple[Points, Points]:
    """Return line and head of an arrow along a curve from the source's centre to the target's.

    `source` and `target` return whether these nodes cover a point.
    """
    start = int(np.argmin(source(curve)))
    end = start + int(np.argmax(target(curve[start:])))
    # Centres are within the nodes: the visible part runs from one rim to the other.
    begin = _rim(curve[start - 1], curve[start], source)
    tip = _rim(curve[end], curve[end - 1], target)
    # The head replaces the last piece of the curve, and points in the mean direction of that piece.
    far = np.flatnonzero(abs(curve[start:end] - tip) >= HEAD)
    base = start + int(far.max(initial=0))
    along = (tip - curve[base]) / (abs(tip - curve[base]) or 1.0)
    back, side = tip - HEAD * along, 1j * HALF_HEAD * along
    line = np.array([begin, *curve[start : base + 1], back])
    return line, np.array([tip, back + side, back - side])


def _rim(within: complex, beyond: complex, covers: Callable[[Any], Any]) -> complex:
    """Return where a straight piece of a curve leaves a node, by bisection."""
    for _ in range(8):
        half = (within + beyond) / 2
        within, beyond = (half, beyond) if covers(half) else (within, half)
    return beyond


def _stroke(edge: Edge, labels: bool) -> Stroke:
    """Return how to draw an edge; colours distinguish operations only where they are written."""
    if not edge.live:
        return DEAD
    if not edge.op:
        return CONCATENATED
    return COLOURS.get(edge.op.partition("_")[0], PLAIN) if labels else PLAIN


def _add_arrows(figure: go.Figure, arrows: Sequence[Arrow], stroke: Stroke) -> None:
    """Add edges of one stroke; hovering shows an edge's ends and its operation."""
    texts: list[str] = []
    for arrow in arrows:
        nodes, edge = arrow.cell.topology.nodes, arrow.edge
        ends = f"{nodes[edge.source].label} → {nodes[edge.target].label}"
        texts += [f"{ends}: {edge.op or 'concatenated'}"] * len(arrow.line) + [""]
    lines: Points = np.concatenate([[*arrow.line, BREAK] for arrow in arrows])
    heads: Points = np.concatenate([[*arrow.head, BREAK] for arrow in arrows])
    figure.add_scatter(
        x=lines.real,
        y=lines.imag,
        text=texts,
        hoverinfo="text",
        mode="lines",
        line={"color": stroke.color, "dash": stroke.dash, "width": 1.3, "simplify": False},
    )
    figure.add_scatter(
        x=heads.real,
        y=heads.imag,
        hoverinfo="skip",
        mode="lines",
        fill="toself",
        fillcolor=stroke.color,
        line={"color": stroke.color, "width": 0.5},
    )


def _add_nodes(figure: go.Figure, cells: Sequence[PlacedCell]) -> None:
    """Add every node with its label: circles, and squares for inputs and outputs."""
    nodes = [node for cell in cells for node in cell.topology.nodes]
    spots = [cell.at(node.x, node.y) for cell in cells for node in cell.topology.nodes]
    inks = [style.INK if node.live else style.GREY for node in nodes]
    figure.add_scatter(
        x=np.real(spots),
        y=np.imag(spots),
        text=[node.label for node in nodes],
        hoverinfo="skip",
        mode="markers+text",
        textfont={"size": 13, "color": inks},
        marker={
            "symbol": ["circle" if node.kind == "node" else "square" for node in nodes],
            "size": [NODE if node.kind == "node" else SQUARE for node in nodes],
            "color": [FILLS[node.kind] if node.live else "white" for node in nodes],
            "line": {
                "width": 1.3,
                "color": [style.INK if node.live else DEAD.color for node in nodes],
            },
            "opacity": 1,
        },
    )


def _operation_labels(cell: PlacedCell, arrows: Sequence[Arrow]) -> list[dict[str, Any]]:
    """Return the operation on each edge of a cell as an annotation, where it covers the least."""
    labelled = [arrow for arrow in arrows if arrow.edge.op]
    names = [short_name(arrow.edge.op) for arrow in labelled]
    widths = [style.LETTER * LABEL_SIZE / style.FONT_SIZE * len(name) + 4 for name in names]
    nodes = [(cell.at(node.x, node.y), NODE + 2 * HEAD, NODE) for node in cell.topology.nodes]
    spots = [arrow.line[len(arrow.line) // 2] for arrow in labelled]
    for i in [*range(len(labelled))] * LABEL_ROUNDS:
        others = [(spots[j], widths[j], LABEL_HEIGHT) for j in range(len(labelled)) if j != i]
        points = [(p, 0, 0) for one in arrows if one is not labelled[i] for p in one.line]
        spots[i] = _label_spot(labelled[i].line, widths[i], [*nodes, *others], points)
    return [
        {
            "text": name, "x": spot.real, "y": spot.imag, "bgcolor": "white", "borderpad": 0,
            "font": {"size": LABEL_SIZE, "color": _stroke(one.edge, labels=True).color},
            "showarrow": False,
        }
        for one, name, spot in zip(labelled, names, spots, strict=True)
    ]  # fmt: skip


def short_name(op: str) -> str:
    """Return an operation in few letters: "sep 3×3", "skip", "7×1, 1×7"."""
    if op == "skip_connect":
        return "skip"
    kind, *sizes = op.replace("_conv_", "_").replace("_pool_", "_").split("_")
    sizes = [size.replace("x", "×") for size in sizes]
    return ", ".join(sizes) if len(sizes) > 1 else " ".join([kind, *sizes])


def _label_spot(line: Points, width: float, taken: Sequence[Any], points: Sequence[Any]) -> complex:
    """Return the point of a line at which a label covers least, preferably in the middle.

    `taken` holds centre, width and height of nodes and of other labels, `points` are of other
    edges, without width and height.
    """
    spots = line[1:-1, None]

    def covered(boxes: Sequence[Any]) -> NDArray[np.int64]:
        centres, widths, heights = np.array(boxes, complex).reshape(-1, 3).T
        away = spots - centres
        beside = abs(np.real(away)) < (width + np.real(widths)) / 2
        level = abs(np.imag(away)) < (LABEL_HEIGHT + np.real(heights)) / 2
        return (beside & level).sum(axis=1)

    off = abs(np.arange(1, len(line) - 1) / len(line) - 0.5)
    costs = 100 * covered(taken) + 3 * covered(points) + 10 * off
    return line[1 + int(np.argmin(costs))]
