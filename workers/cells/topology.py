"""What the graph of a cell is like: of one cell, of many at once, and of all that are possible.

`Cell.live_nodes`, `Cell.width` and `Cell.depth` define these properties for one cell with exact
integers and fractions. `ConnectionBatch` computes the same for tens of thousands of cells a second,
which a census and a scan of seeds need; a property test holds the two equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from math import lcm, prod

import numpy as np

from results_schema.errors import SpecError
from results_schema.genotype import INPUTS, Cell, Genotype

CENSUS_NODES = 6
"""Largest cell that `census` counts in a few seconds: it has 25 million patterns, one of 7 nodes 36
times as many."""

_BLOCK = 2**18  # patterns counted at once
# How often a pair of equal sources and a pair of two sources counts, order aside.
_PAIRS = {"ordered": (1, 2), "unordered": (1, 1), "distinct": (0, 2)}


def dead_nodes(cell: Cell) -> tuple[int, ...]:
    """Return the intermediate nodes that do not reach the output."""
    return tuple(sorted({*range(INPUTS, INPUTS + len(cell.nodes))} - cell.live_nodes))


def used_inputs(cell: Cell) -> tuple[int, ...]:
    """Return the inputs that reach the output."""
    return tuple(sorted(node for node in cell.live_nodes if node < INPUTS))


def input_share(cell: Cell) -> float:
    """Return the share of the live nodes' edges that come from inputs; 0 without edges."""
    nodes = enumerate(cell.nodes, start=INPUTS)
    live = [edge for node, edges in nodes if node in cell.live_nodes for edge in edges]
    return sum(edge.source < INPUTS for edge in live) / max(len(live), 1)


def early_width(cell: Cell) -> float:
    """Return the number of nodes fed by inputs alone: the paper's earlier width, in units of c."""
    return float(
        sum(bool(edges) and all(edge.source < INPUTS for edge in edges) for edges in cell.nodes)
    )


def reconcat(genotype: Genotype) -> Genotype:
    """Return the genotype with every loose end added to the output, so that no node is dead.

    The adapted cells of NASNet, AmoebaNet and ENAS kept concat lists that leave nodes dead
    (Figure 25); a genotype without dead nodes is returned unchanged.
    """
    return Genotype(_reconcat(genotype.normal), _reconcat(genotype.reduce))


def _reconcat(cell: Cell) -> Cell:
    loose = set(dead_nodes(cell)) - {edge.source for edges in cell.nodes for edge in edges}
    return Cell(cell.nodes, tuple(sorted({*cell.concat, *loose}))) if loose else cell


class ConnectionBatch:
    """Many cells that differ in their connections alone.

    They have so many `edges` into each intermediate node, of which those of `concat` are the
    output's, and `sources` of each edge, node by node; int64 [cell, edge].
    """

    def __init__(self, edges: Sequence[int], concat: Iterable[int], sources: np.ndarray) -> None:
        ends = np.cumsum([0, *edges]).tolist()
        self._into = [slice(start, end) for start, end in pairwise(ends)]
        self._concat = sorted(concat)
        self._sources = sources

    def __len__(self) -> int:
        return len(self._sources)

    @classmethod
    def like(cls, cell: Cell, sources: np.ndarray) -> ConnectionBatch:
        """Return a batch of redrawn connections, int64 [cell, edge], of one cell."""
        return cls([len(edges) for edges in cell.nodes], cell.concat, sources)

    @classmethod
    def of(cls, cell: Cell) -> ConnectionBatch:
        """Return a batch of one: the cell's own connections."""
        sources = [edge.source for edges in cell.nodes for edge in edges]
        return cls.like(cell, np.array([sources], dtype=np.int64))

    @cached_property
    def live(self) -> np.ndarray:
        """Whether each node, inputs included, reaches the output; bool [cell, node]."""
        rows = np.arange(len(self))[:, None]
        live = np.zeros((len(self), INPUTS + len(self._into)), dtype=bool)
        live[:, self._concat] = True
        # Every edge leads to a later node, so one pass from the last node backwards is enough.
        for node, into in reversed(list(enumerate(self._into, start=INPUTS))):
            live[rows, self._sources[:, into]] |= live[:, node, None]
        return live

    @property
    def widths(self) -> np.ndarray:
        """`Cell.width` of each cell, in units of c; float64 [cell]."""
        # Widths are compared for equality, so they are summed as whole numbers of the least common
        # share and rounded once, as `Cell.width` is.
        edges = [into.stop - into.start for into in self._into]
        whole = lcm(*(number for number in edges if number))
        # Python's own integers where the least common multiple is too large for float64 to hold.
        kind = np.int64 if whole * len(edges) < 2**53 else object
        parts = np.zeros(len(self), dtype=kind)
        for node, (into, number) in enumerate(zip(self._into, edges, strict=True), start=INPUTS):
            if number:
                counts = (self._sources[:, into] < INPUTS).sum(axis=1).astype(kind)
                parts += np.where(self.live[:, node], counts * (whole // number), 0)
        return (parts / whole).astype(np.float64)

    @property
    def depths(self) -> np.ndarray:
        """`Cell.depth` of each cell, in edges; int64 [cell]."""
        # Far enough below zero that no path from a node without edges counts.
        unreached = -2 - len(self._into)
        longest = np.full((len(self), INPUTS + len(self._into)), unreached, dtype=np.int64)
        longest[:, :INPUTS] = 0
        for node, into in enumerate(self._into, start=INPUTS):
            if into.stop > into.start:
                before = np.take_along_axis(longest, self._sources[:, into], axis=1)
                longest[:, node] = before.max(axis=1) + 1
        return np.maximum(longest[:, self._concat].max(axis=1) + 1, 0)

    @cached_property
    def _ordered(self) -> np.ndarray:
        """The sources with those of each node ascending; equal rows are one graph."""
        ordered = self._sources.copy()
        for into in self._into:
            ordered[:, into].sort(axis=1)
        return ordered

    @property
    def keys(self) -> list[bytes]:
        """A hashable key of each cell; cells of equal keys have the same connections."""
        return [row.tobytes() for row in self._ordered]

    @property
    def repeating(self) -> np.ndarray:
        """Whether some node takes one source twice; bool [cell]."""
        repeating = np.zeros(len(self), dtype=bool)
        for into in self._into:
            repeating |= (np.diff(self._ordered[:, into], axis=1) == 0).any(axis=1)
        return repeating


@dataclass(frozen=True)
class Census:
    """The number of connection patterns of a cell with two edges into each node, and by shape."""

    patterns: int
    shapes: Mapping[tuple[float, int], int]  # (width in units of c, depth in edges) of live nodes

    def tail(self, width: float) -> float:
        """Return P(a uniform pattern is at least this wide), the test of Observation 3.1."""
        return sum(n for (w, _), n in self.shapes.items() if w >= width) / self.patterns


def census(nodes: int, concat: tuple[int, ...] | None = None, pairs: str = "ordered") -> Census:
    """Count every connection pattern of a cell by width and depth, exactly.

    The paper's Section A.2 counts one source per node; with two, the number is that squared.

    Args:
        nodes: Number of intermediate nodes, at most `CENSUS_NODES`.
        concat: Nodes of the output; None for all of them. Dead nodes do not count as width.
        pairs: Pairs of sources of a node: "ordered" (as the paper samples them, with replacement),
            "unordered" (those that differ as graphs) or "distinct" (ordered, not replaced).

    Raises:
        SpecError: An argument has another value.
    """
    if type(nodes) is not int or not 1 <= nodes <= CENSUS_NODES:
        what = f"cannot count the patterns of {nodes!r} nodes"
        raise SpecError(what, fix=f"use 1 to {CENSUS_NODES}")
    intermediate = range(INPUTS, INPUTS + nodes)
    outputs = frozenset(intermediate if concat is None else concat)
    if not outputs or not outputs <= set(intermediate):
        what = f"concat {sorted(outputs)} does not fit {nodes} nodes"
        raise SpecError(what, fix=f"use nodes from {INPUTS} to {INPUTS + nodes - 1}")
    if pairs not in _PAIRS:
        raise SpecError(f"unknown pairs {pairs!r}", fix=f"use {' or '.join(_PAIRS)}")
    return _census(nodes, outputs, pairs)


@cache
def _census(nodes: int, outputs: frozenset[int], pairs: str) -> Census:
    # Unordered pairs are enumerated and weighted by their orders, which halves the work per node.
    choices = [np.column_stack(np.triu_indices(k)) for k in range(INPUTS, INPUTS + nodes)]
    sizes = [len(choice) for choice in choices]
    shapes = Counter[tuple[float, int]]()
    for start in range(0, prod(sizes), _BLOCK):
        # The patterns are numbered in mixed radix, so that a block needs no memory for the others.
        picks = np.unravel_index(np.arange(start, min(start + _BLOCK, prod(sizes))), sizes)
        # [pattern, node, 2]
        sources = np.stack([c[pick] for c, pick in zip(choices, picks, strict=True)], axis=1)
        weights = np.where(sources[..., 0] == sources[..., 1], *_PAIRS[pairs]).prod(axis=1)
        batch = ConnectionBatch([INPUTS] * nodes, outputs, sources.reshape(len(sources), -1))
        # Pairs as complex numbers, which are sorted far sooner than rows.
        found, place = np.unique(batch.widths + 1j * batch.depths, return_inverse=True)
        # Sums of whole numbers below 2^53, so exact as floats.
        counts = np.bincount(place, weights)
        for shape, count in zip(found.tolist(), counts.tolist(), strict=True):
            shapes[shape.real, int(shape.imag)] += int(count)
    seen = {shape: count for shape, count in sorted(shapes.items()) if count}
    return Census(sum(seen.values()), seen)
