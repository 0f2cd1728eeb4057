"""The marks of a topology figure: arrows and nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import plotly.graph_objects as go

from orchestrator.figures import style
from orchestrator.figures.curves import Arrow
from orchestrator.figures.topology_page import NODE, SQUARE, Panel

if TYPE_CHECKING:
    from orchestrator.figures.topology import Edge

FILLS = {"input": "#cfe8f7", "node": "white", "output": "#fbe3b5"}


class Stroke(NamedTuple):
    """How an edge is drawn."""

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
"""By the first word of an operation, where edges are labelled."""

Drawn = tuple[Panel, "Edge", Arrow]


def stroke_of(edge: Edge, labelled: bool) -> Stroke:
    """How to draw an edge; colour tells operations apart only where they are written."""
    if not edge.live:
        return DEAD
    if not edge.op:
        return CONCATENATED
    return COLOURS.get(edge.op.partition("_")[0], PLAIN) if labelled else PLAIN


def add_arrows(figure: go.Figure, drawn: Sequence[Drawn], stroke: Stroke) -> None:
    """Draws edges of one look; hovering tells an edge's ends and its operation."""
    lines: list[tuple[float | None, float | None, str]] = []
    heads: list[tuple[float | None, float | None]] = []
    for panel, edge, arrow in drawn:
        nodes = panel.topology.nodes
        text = (
            f"{nodes[edge.source].label} → {nodes[edge.target].label}: {edge.op or 'concatenated'}"
        )
        lines += [*((x, y, text) for x, y in arrow.line), (None, None, "")]
        heads += [*arrow.head, (None, None)]
    figure.add_scatter(
        x=[x for x, _, _ in lines],
        y=[y for _, y, _ in lines],
        text=[text for _, _, text in lines],
        hoverinfo="text",
        mode="lines",
        line={"color": stroke.color, "dash": stroke.dash, "width": 1.3, "simplify": False},
    )
    figure.add_scatter(
        x=[x for x, _ in heads],
        y=[y for _, y in heads],
        hoverinfo="skip",
        mode="lines",
        fill="toself",
        fillcolor=stroke.color,
        line={"color": stroke.color, "width": 0.5},
    )


def add_nodes(figure: go.Figure, panels: Sequence[Panel]) -> None:
    """Draws every node with its label: circles, and squares for inputs and outputs."""
    spots = [
        (node, *panel.at((node.x, node.y))) for panel in panels for node in panel.topology.nodes
    ]
    figure.add_scatter(
        x=[x for _, x, _ in spots],
        y=[y for _, _, y in spots],
        text=[node.label for node, _, _ in spots],
        hoverinfo="skip",
        mode="markers+text",
        textfont={
            "size": 13,
            "color": [style.INK if node.live else style.GREY for node, _, _ in spots],
        },
        marker={
            "symbol": ["circle" if node.kind == "node" else "square" for node, _, _ in spots],
            "size": [NODE if node.kind == "node" else SQUARE for node, _, _ in spots],
            "color": [FILLS[node.kind] if node.live else "white" for node, _, _ in spots],
            "line": {
                "width": 1.3,
                "color": [style.INK if node.live else DEAD.color for node, _, _ in spots],
            },
            "opacity": 1,
        },
    )
