"""Every connection pattern of a cell, counted by width and depth: how special is a cell?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import prod

import numpy as np

from results_schema.errors import SpecError
from results_schema.genotype import INPUTS
from workers.cells.drawings import Drawings

MOST_NODES = 6
"""A cell of 6 nodes has 25 million patterns, counted in a few seconds; one of 7 has 36 times it."""

_BLOCK = 2**18


@dataclass(frozen=True)
class Census:
    """All connection patterns of a cell with two edges into each node.

    Attributes:
        patterns: How many there are.
        shapes: How many of them have each (width in units of c, depth in edges), over live nodes.
        with_dead_nodes: How many have a node that does not reach the output.
        with_unused_input: How many have an input that does not reach the output.
    """

    patterns: int
    shapes: Mapping[tuple[float, int], int]
    with_dead_nodes: int
    with_unused_input: int

    def share(self, width: float, depth: int) -> float:
        """Share of the patterns that have this width and depth."""
        return self.shapes.get((width, depth), 0) / self.patterns

    def tail(self, width: float) -> float:
        """P(a uniform pattern is at least this wide), the test of Observation 3.1."""
        return sum(n for (w, _), n in self.shapes.items() if w >= width) / self.patterns

    @property
    def mean_width(self) -> float:
        """Mean over the patterns, in units of c."""
        return sum(w * n for (w, _), n in self.shapes.items()) / self.patterns

    @property
    def mean_depth(self) -> float:
        """Mean over the patterns, in edges."""
        return sum(d * n for (_, d), n in self.shapes.items()) / self.patterns


def census(nodes: int, concat: tuple[int, ...] | None = None, pairs: str = "ordered") -> Census:
    """Counts the patterns of a cell of so many intermediate nodes exactly.

    The paper's Section A.2 counts one source per node; with two, the number is that squared.

    Args:
        nodes: Intermediate nodes, at most `MOST_NODES`.
        concat: Nodes of the output; None for all of them. Dead nodes do not count as width.
        pairs: Which pairs of sources a node may have: "ordered" (as the paper samples them, with
            replacement), "unordered" (those that differ as graphs) or "distinct" (ordered,
            without replacement).

    Raises:
        SpecError: An argument is none of the above.
    """
    if type(nodes) is not int or not 1 <= nodes <= MOST_NODES:
        raise SpecError(
            f"cannot count the patterns of {nodes!r} nodes", fix=f"use 1 to {MOST_NODES}"
        )
    intermediate = range(INPUTS, INPUTS + nodes)
    outputs = frozenset(intermediate if concat is None else concat)
    if not outputs or not outputs <= set(intermediate):
        raise SpecError(
            f"concat {sorted(outputs)} does not fit {nodes} nodes",
            fix=f"use nodes from {INPUTS} to {INPUTS + nodes - 1}",
        )
    if pairs not in _PAIRS:
        raise SpecError(f"unknown pairs {pairs!r}", fix=f"use {' or '.join(_PAIRS)}")
    return _census(nodes, outputs, pairs)


# How often a pair of equal sources and a pair of two sources counts, order aside.
_PAIRS = {"ordered": (1, 2), "unordered": (1, 1), "distinct": (0, 2)}


@cache
def _census(nodes: int, outputs: frozenset[int], pairs: str) -> Census:
    choices = [np.column_stack(np.triu_indices(k)) for k in range(INPUTS, INPUTS + nodes)]
    sizes = [len(choice) for choice in choices]
    shapes, dead, unused = Counter[tuple[float, int]](), 0, 0
    for start in range(0, prod(sizes), _BLOCK):
        picks = np.unravel_index(np.arange(start, min(start + _BLOCK, prod(sizes))), sizes)
        # Shape (pattern, node, edge).
        sources = np.stack([c[pick] for c, pick in zip(choices, picks, strict=True)], axis=1)
        weights = np.where(sources[..., 0] == sources[..., 1], *_PAIRS[pairs]).prod(axis=1)
        drawn = Drawings([INPUTS] * nodes, outputs, sources.reshape(len(sources), -1))
        live = drawn.live
        found, place = np.unique(
            np.column_stack([drawn.widths, drawn.depths]), axis=0, return_inverse=True
        )
        counts = np.zeros(len(found), dtype=np.int64)
        np.add.at(counts, place.ravel(), weights)
        for (width, depth), count in zip(found.tolist(), counts.tolist(), strict=True):
            shapes[width, int(depth)] += count
        dead += int(weights @ ~live[:, INPUTS:].all(axis=1))
        unused += int(weights @ ~live[:, :INPUTS].all(axis=1))
    seen = {shape: count for shape, count in sorted(shapes.items()) if count}
    return Census(sum(seen.values()), seen, dead, unused)
