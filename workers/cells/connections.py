"""Random connections (Section A.2): the order of nodes and the operations stay, sources change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import zip_longest

import numpy as np

from results_schema.errors import SpecError
from results_schema.genotype import INPUTS, Cell, Edge, Genotype


def sample_connections(base: Genotype, seed: int) -> Genotype:
    """Redraws every edge's source uniformly from the nodes before its node, with replacement.

    The stream is the published code's: one NumPy `RandomState`, one draw per edge for the normal
    cell and then one for the reduction cell. Operations and concat lists stay.

    Args:
        base: The genotype whose operations are kept.
        seed: Of the stream, from 0 to 2**32 - 1.

    Raises:
        SpecError: `RandomState` does not take the seed.
    """
    normal, reduce = draw_sources(base, [seed])
    return with_sources(base, normal[0].tolist(), reduce[0].tolist())


def draw_sources(base: Genotype, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """What `sample_connections` draws for each seed, in much less time than that.

    Returns:
        Of the normal and of the reduction cell, each edge's source; int64 [seed, edge].

    Raises:
        SpecError: `RandomState` does not take a seed.
    """
    for seed in seeds:
        check_seed(seed)
    # Each edge's draw lies below the node it leads into; the two cells take turns.
    turns = [
        (cell, node)
        for pair in zip_longest(_targets(base.normal), _targets(base.reduce))
        for cell, node in enumerate(pair)
        if node is not None
    ]
    drawn = _draw(tuple(node for _, node in turns), tuple(seeds))
    of_reduce = np.array([cell for cell, _ in turns], dtype=bool)
    return drawn[:, ~of_reduce], drawn[:, of_reduce]


def with_sources(base: Genotype, normal: Iterable[int], reduce: Iterable[int]) -> Genotype:
    """The genotype with its edges, in order, coming from other nodes."""
    return Genotype(_redrawn(base.normal, normal), _redrawn(base.reduce, reduce))


def check_seed(seed: int) -> None:
    """Raises `SpecError` for a seed that NumPy's `RandomState` does not take."""
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise SpecError(f"seed is {seed!r}", fix="use a whole number from 0 to 2**32 - 1")


@lru_cache(maxsize=32)  # bases of one form draw alike
def _draw(bounds: tuple[int, ...], seeds: tuple[int, ...]) -> np.ndarray:
    """A number below each bound, for each seed."""
    stream, below = np.random.RandomState(), np.array(bounds, dtype=np.int64)
    drawn = np.empty((len(seeds), len(bounds)), dtype=np.int64)
    for row, seed in enumerate(seeds):
        stream.seed(seed)
        drawn[row] = stream.randint(below)
    drawn.flags.writeable = False
    return drawn


def _targets(cell: Cell) -> list[int]:
    """The node that each edge leads into, edge by edge."""
    return [node for node, edges in enumerate(cell.nodes, start=INPUTS) for _ in edges]


def _redrawn(cell: Cell, sources: Iterable[int]) -> Cell:
    left = iter(sources)
    nodes = tuple(tuple(_edge(edge.op, next(left)) for edge in edges) for edges in cell.nodes)
    return Cell(nodes, cell.concat)


_edge = lru_cache(maxsize=1024, typed=True)(Edge)
"""Edges made before: a sample has thousands of cells, and few kinds of edges.

By type, since NumPy's 1 equals 1 and yet is no source: `Cell` refuses it, and it alone.
"""
