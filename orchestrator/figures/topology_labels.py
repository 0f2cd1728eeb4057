"""The names of operations on the edges of a drawn cell, each where it covers the least."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from orchestrator.figures import style
from orchestrator.figures.curves import HEAD, Point
from orchestrator.figures.topology_marks import Drawn, stroke_of
from orchestrator.figures.topology_page import NODE

SIZE = 11
HEIGHT = 14
"""Size of the letters; height of a label."""

ROUNDS = 3
"""How often every label looks for a better place among the others."""

Box = tuple[float, float, float, float]
"""Centre, width and height."""


def add_labels(figure: go.Figure, drawn: Sequence[Drawn]) -> None:
    """Writes its operation on each edge of one cell."""
    panel = drawn[0][0]
    edges = [(edge, arrow) for _, edge, arrow in drawn if edge.op]
    texts = [short_name(edge.op) for edge, _ in edges]
    widths = [style.LETTER * SIZE / style.FONT_SIZE * len(text) + 4 for text in texts]
    nodes = [(*panel.at((n.x, n.y)), NODE + 2 * HEAD, NODE) for n in panel.topology.nodes]
    spots = [arrow.line[len(arrow.line) // 2] for _, arrow in edges]
    for i in [*range(len(edges))] * ROUNDS:
        labels = [(*spots[j], widths[j], HEIGHT) for j in range(len(edges)) if j != i]
        others = [p for _, edge, arrow in drawn if edge is not edges[i][0] for p in arrow.line]
        spots[i] = _best(edges[i][1].line, widths[i], [*nodes, *labels], others)
    for (edge, _), text, (x, y) in zip(edges, texts, spots, strict=True):
        figure.add_annotation(
            text=text,
            x=x,
            y=y,
            font={"size": SIZE, "color": stroke_of(edge, labelled=True).color},
            bgcolor="white",
            borderpad=0,
            showarrow=False,
        )


def short_name(op: str) -> str:
    """An operation in few letters: "sep 3×3", "skip", "7×1, 1×7"."""
    if op == "skip_connect":
        return "skip"
    kind, *sizes = op.replace("_conv_", "_").replace("_pool_", "_").split("_")
    sizes = [size.replace("x", "×") for size in sizes]
    return ", ".join(sizes) if len(sizes) > 1 else " ".join([kind, *sizes])


def _best(
    line: Sequence[Point], width: float, taken: Sequence[Box], others: Sequence[Point]
) -> Point:
    """The point of a line at which a label covers least, preferably in the middle."""

    def cost(i: int) -> float:
        x, y = line[i]
        hits = sum(
            abs(x - u) < (width + w) / 2 and abs(y - v) < (HEIGHT + h) / 2 for u, v, w, h in taken
        )
        crossed = sum(abs(x - u) < width / 2 and abs(y - v) < HEIGHT / 2 for u, v in others)
        return 100 * hits + 3 * crossed + 10 * abs(i / len(line) - 0.5)

    return line[min(range(1, len(line) - 1), key=cost)]
