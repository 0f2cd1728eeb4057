"""Many drawings of a cell's connections, looked at together: tens of thousands in a second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from math import lcm

import numpy as np

from results_schema.genotype import INPUTS, Cell


class Drawings:
    """Cells that differ in their connections alone.

    Args:
        edges: How many lead into each intermediate node.
        concat: The output's nodes.
        sources: Of each edge, node by node; int64 [drawing, edge].
    """

    def __init__(self, edges: Sequence[int], concat: Iterable[int], sources: np.ndarray) -> None:
        ends = np.cumsum([0, *edges]).tolist()
        self._into = [slice(start, end) for start, end in pairwise(ends)]
        self._concat = sorted(concat)
        self._sources = sources

    @classmethod
    def like(cls, cell: Cell, sources: np.ndarray) -> Drawings:
        """Of a cell whose connections are redrawn."""
        return cls([len(edges) for edges in cell.nodes], cell.concat, sources)

    @classmethod
    def of(cls, cell: Cell) -> Drawings:
        """The cell's own connections, as the one drawing."""
        sources = [edge.source for edges in cell.nodes for edge in edges]
        return cls.like(cell, np.array([sources], dtype=np.int64))

    @cached_property
    def live(self) -> np.ndarray:
        """Whether each node, inputs included, reaches the output; bool [drawing, node]."""
        rows = np.arange(len(self._sources))
        live = np.zeros((len(rows), INPUTS + len(self._into)), dtype=bool)
        live[:, self._concat] = True
        for node in reversed(range(len(self._into))):
            for sources in self._sources[:, self._into[node]].T:
                live[rows, sources] |= live[:, INPUTS + node]
        return live

    @property
    def widths(self) -> np.ndarray:
        """`Cell.width` of each, in units of c; float64 [drawing]."""
        # Exact as `Cell.width` is: summed in the least common share, and rounded once.
        edges = [into.stop - into.start for into in self._into]
        whole = lcm(*(number for number in edges if number))
        kind = np.int64 if whole * len(edges) < 2**53 else object
        parts = np.zeros(len(self._sources), dtype=kind)
        for node, (into, number) in enumerate(zip(self._into, edges, strict=True), start=INPUTS):
            if number:
                counts = (self._sources[:, into] < INPUTS).sum(axis=1).astype(kind)
                parts += np.where(self.live[:, node], counts * (whole // number), 0)
        return (parts / whole).astype(np.float64)

    @property
    def depths(self) -> np.ndarray:
        """`Cell.depth` of each, in edges; int64 [drawing]."""
        # Far enough below zero that no path from a node without edges counts.
        none = -2 - len(self._into)
        longest = np.full((len(self._sources), INPUTS + len(self._into)), none, dtype=np.int64)
        longest[:, :INPUTS] = 0
        for node, into in enumerate(self._into, start=INPUTS):
            if into.stop > into.start:
                before = np.take_along_axis(longest, self._sources[:, into], axis=1)
                longest[:, node] = before.max(axis=1) + 1
        return np.maximum(longest[:, self._concat].max(axis=1) + 1, 0)

    @cached_property
    def ordered(self) -> np.ndarray:
        """The sources, those of each node ascending; two drawings that agree are one graph."""
        ordered = self._sources.copy()
        for into in self._into:
            ordered[:, into].sort(axis=1)
        return ordered

    @property
    def patterns(self) -> list[bytes]:
        """The same as something that a set can hold."""
        return [row.tobytes() for row in self.ordered]

    @property
    def repeating(self) -> np.ndarray:
        """Whether a node takes one source twice; bool [drawing]."""
        repeating = np.zeros(len(self._sources), dtype=bool)
        for into in self._into:
            repeating |= (np.diff(self.ordered[:, into], axis=1) == 0).any(axis=1)
        return repeating
