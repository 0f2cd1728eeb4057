"""What an architecture is: a genotype of two cells, each a directed acyclic graph (Section 3.1).

Nodes 0 and 1 of a cell are its inputs (the outputs of the two cells before it), nodes 2, 3, …
are intermediate, and the output concatenates the nodes of `concat`. An intermediate node is the
sum of its edges, each an operation applied to an earlier node.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from results_schema.errors import SpecError
from results_schema.plugins import NAME

INPUTS = 2
"""M, the number of input nodes of every cell (Section 3.1)."""


@dataclass(frozen=True)
class Edge:
    """One operation applied to one earlier node of the cell.

    Which operations there are is known where networks are built (`workers.cells.operations`), so
    that a store is read without the plug-ins that filled it.
    """

    op: str
    source: int

    def check(self, node: int, where: str) -> None:
        """Raise `SpecError` unless this may be an edge into a node."""
        if not isinstance(self.op, str) or not NAME.fullmatch(self.op):
            fix = "write its name, such as sep_conv_3x3"
            raise SpecError(f"{reprlib.repr(self.op)} is no operation", where=where, fix=fix)
        if type(self.source) is not int or not 0 <= self.source < node:
            what = f"source {reprlib.repr(self.source)} does not come before the node"
            raise SpecError(what, where=where, fix=f"use a node from 0 to {node - 1}")


@dataclass(frozen=True)
class Cell:
    """A cell: `nodes[i]` holds the edges into node i + 2; `concat` lists the output's nodes.

    Raises:
        SpecError: An operation is no name, an edge's source does not come before its node, or
            `concat` is empty, repeats itself or names a node that is not intermediate.
    """

    nodes: tuple[tuple[Edge, ...], ...]
    concat: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.nodes:
            raise SpecError("a cell needs at least one intermediate node")
        for node, edges in enumerate(self.nodes, start=INPUTS):
            for position, edge in enumerate(edges):
                edge.check(node, f"node {node}, edge {position}")
        last = len(self.nodes) + INPUTS - 1
        fix = f"use distinct nodes from {INPUTS} to {last}"
        for node in self.concat:
            if type(node) is not int or not INPUTS <= node <= last:
                what = f"concat names {reprlib.repr(node)}, which is no intermediate node"
                raise SpecError(what, fix=fix)
        if not self.concat or len(set(self.concat)) != len(self.concat):
            what = f"concat {reprlib.repr(list(self.concat))} is empty or repeats a node"
            raise SpecError(what, fix=fix)

    @classmethod
    def from_json(cls, data: Any) -> Cell:
        """Return the cell that `to_json` describes.

        Raises:
            SpecError: It describes none; the error names the node and the edge.
        """
        if not isinstance(data, Mapping) or set(data) != {"nodes", "concat"}:
            raise SpecError(f"a cell is a mapping of nodes and concat, not {reprlib.repr(data)}")
        nodes, concat = _items(data["nodes"], "nodes"), _items(data["concat"], "concat")
        edges = (_read_edges(node, number) for number, node in enumerate(nodes, start=INPUTS))
        return cls(tuple(edges), tuple(concat))

    def to_json(self) -> dict[str, Any]:
        """Return `{"nodes": [[[op, source], …], …], "concat": […]}`."""
        nodes = [[[edge.op, edge.source] for edge in node] for node in self.nodes]
        return {"nodes": nodes, "concat": list(self.concat)}

    @cached_property
    def live_nodes(self) -> frozenset[int]:
        """Nodes, inputs among them, from which a path leads to the output.

        A node outside `concat` that feeds no live node is dead: it is computed, but its operations
        change nothing and get no gradient.
        """
        live = set(self.concat)
        for node in range(len(self.nodes) + INPUTS - 1, INPUTS - 1, -1):
            if node in live:
                live.update(edge.source for edge in self.nodes[node - INPUTS])
        return frozenset(live)

    @cached_property
    def width(self) -> float:
        """Width in units of c: the sum of the live nodes' shares of edges from inputs.

        This is the definition of Section 3.2 over the nodes that reach the output, which is what
        Table 2 prints for AmoebaNet, whose `concat` omits nodes.
        """
        return self._width_of(self.live_nodes)

    @cached_property
    def width_all_nodes(self) -> float:
        """`width` with dead nodes counted too."""
        return self._width_of(range(INPUTS, INPUTS + len(self.nodes)))

    @cached_property
    def depth(self) -> int:
        """Edges on the longest path from an input to the output; 0 if there is no such path.

        The edge into the output counts.
        """
        return self._depth_from(None)

    @cached_property
    def depth_all_nodes(self) -> int:
        """`depth` with paths counted too that begin at a node without edges."""
        return self._depth_from(0)

    def _depth_from(self, unreached: int | None) -> int:
        """Return the longest path; a node that no input reaches has a path of this length."""
        longest: list[int | None] = [0] * INPUTS
        for edges in self.nodes:
            reached = [before for edge in edges if (before := longest[edge.source]) is not None]
            longest.append(max(reached) + 1 if reached else unreached)
        ends = [end + 1 for node in self.concat if (end := longest[node]) is not None]
        return max(ends, default=0)

    def _width_of(self, counted: Collection[int]) -> float:
        # Widths are grouped by equality. A sum of rounded thirds depends on its order, so shares
        # are summed as fractions and rounded once.
        shares = (
            Fraction(sum(edge.source < INPUTS for edge in edges), len(edges))
            for node, edges in enumerate(self.nodes, start=INPUTS)
            if edges and node in counted
        )
        return float(sum(shares, Fraction()))


@dataclass(frozen=True)
class Genotype:
    """A normal and a reduction cell. Widths and depths are the normal cell's (Section 3.2)."""

    normal: Cell
    reduce: Cell

    @property
    def width(self) -> float:
        """Width of the normal cell, in units of c."""
        return self.normal.width

    @property
    def depth(self) -> int:
        """Depth of the normal cell, in edges."""
        return self.normal.depth

    @property
    def shape(self) -> dict[str, Any]:
        """Columns by which tables describe the normal cell: width and depth, both ways."""
        cell = self.normal
        return {
            "width": cell.width,
            "depth": cell.depth,
            "width_all_nodes": cell.width_all_nodes,
            "depth_all_nodes": cell.depth_all_nodes,
        }

    @classmethod
    def from_json(cls, data: Any) -> Genotype:
        """Return the genotype that `to_json` describes.

        Raises:
            SpecError: It describes none; the error names the cell, the node and the edge.
        """
        if not isinstance(data, Mapping) or set(data) != {"normal", "reduce"}:
            what = f"a genotype is a mapping of normal and reduce, not {reprlib.repr(data)}"
            raise SpecError(what)
        return cls(_read_cell(data, "normal"), _read_cell(data, "reduce"))

    def to_json(self) -> dict[str, Any]:
        """Return `{"normal": cell, "reduce": cell}`."""
        return {"normal": self.normal.to_json(), "reduce": self.reduce.to_json()}


def _read_cell(data: Mapping[str, Any], name: str) -> Cell:
    try:
        return Cell.from_json(data[name])
    except SpecError as error:
        where = f"{name} cell, {error.where}" if error.where else f"{name} cell"
        raise SpecError(error.what, where=where, fix=error.fix) from None


def _items(value: Any, name: str) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise SpecError(f"{name} is {reprlib.repr(value)}", fix="use a list")
    return value


def _read_edges(value: Any, node: int) -> tuple[Edge, ...]:
    edges = []
    for position, pair in enumerate(_items(value, f"node {node}")):
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            what = f"an edge is [operation, source], not {reprlib.repr(pair)}"
            raise SpecError(what, where=f"node {node}, edge {position}")
        edges.append(Edge(*pair))
    return tuple(edges)
