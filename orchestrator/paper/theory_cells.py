"""Figure 26: the widest and the narrowest cell of the theory, all of whose operations are linear.

In case I every node has the input x as its source, y⁽ⁱ⁾ = W⁽ⁱ⁾x; in case II the node before it,
ŷ⁽ⁱ⁾ = W⁽ⁱ⁾ŷ⁽ⁱ⁻¹⁾ (Section 4.3, Appendix C). Both concatenate all nodes to z, of which f gives l.
"""

from __future__ import annotations

import plotly.graph_objects as go

from orchestrator.figures.layers import lay_out
from orchestrator.figures.topology import Edge, Node, Topology, plot_topology

__all__ = ["plot_theory_cells", "theory_cells_data"]

NOTE = (
    "x: input. y, ŷ: nodes, each with its matrix W on the edge into it. z: all nodes, concatenated "
    "(grey). f: any objective, of value l. In brackets: width in units of c, and depth in edges."
)

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def theory_cells_data(*, nodes: int = 3) -> list[Topology]:
    """Both cells.

    Args:
        nodes: n, the number of intermediate nodes.
    """
    return [
        _cell("Case I, widest", "", [0] * nodes),
        _cell("Case II, narrowest", "\u0302", list(range(nodes))),
    ]


def plot_theory_cells(data: list[Topology], title: str) -> go.Figure:
    """The figure, `PAGE_WIDTH` wide.

    Args:
        data: Both cells.
        title: Plain text.
    """
    return plot_topology(data, title, labelled=True, note=NOTE)


def _cell(name: str, hat: str, sources: list[int]) -> Topology:
    """A cell of one input, node 0; `sources[i]` is that of node i + 1. Hats mark its outputs."""
    count = len(sources)
    layers = [0]
    for source in sources:
        layers.append(layers[source] + 1)
    layers += [max(layers) + 1, max(layers) + 2]
    z, end = count + 1, count + 2
    ends = [(source, i, f"W{_raised(i)}") for i, source in enumerate(sources, start=1)]
    ends += [(i, z, "") for i in range(1, z)]
    ends.append((z, end, f"f{hat}"))
    layout = lay_out(layers, [pair[:2] for pair in ends], fixed=[0])
    labels = ["x", *(f"y{hat}{_raised(i)}" for i in range(1, z)), f"z{hat}", f"l{hat}"]
    kinds = ["input", *["node"] * count, "output", "output"]
    nodes = tuple(
        Node(label, kind, layers[i], layout.heights[i], live=True)
        for i, (label, kind) in enumerate(zip(labels, kinds, strict=True))
    )
    edges = tuple(
        Edge(source, target, op, path, 0, live=True)
        for (source, target, op), path in zip(ends, layout.paths, strict=True)
    )
    width = float(sources.count(0))
    return Topology(name, width, layers[z], width, nodes, edges)


def _raised(number: int) -> str:
    return f"⁽{str(number).translate(_RAISED)}⁾"
