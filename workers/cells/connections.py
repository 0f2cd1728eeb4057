"""Random connections (Section A.2): the order of nodes and the operations stay, sources change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    return next(scan_connections(base, [seed]))[1]


def scan_connections(base: Genotype, seeds: Iterable[int]) -> Iterator[tuple[int, Genotype]]:
    """Each seed with its `sample_connections`, faster than by single calls.

    Raises:
        SpecError: `RandomState` does not take a seed.
    """
    cells = (base.normal, base.reduce)
    # Each edge's draw lies below the node it leads into; the two cells take turns.
    turns = [
        (cell, node)
        for pair in zip_longest(*map(_targets, cells))
        for cell, node in enumerate(pair)
        if node is not None
    ]
    bounds = [node for _, node in turns]
    stream = np.random.RandomState()
    for seed in seeds:
        check_seed(seed)
        stream.seed(seed)
        sources: tuple[list[int], list[int]] = ([], [])
        for (cell, _), source in zip(turns, stream.randint(bounds).tolist(), strict=True):
            sources[cell].append(source)
        yield seed, Genotype(*map(_with_sources, cells, sources))


def check_seed(seed: int) -> None:
    """Raises `SpecError` for a seed that NumPy's `RandomState` does not take."""
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise SpecError(f"seed is {seed!r}", fix="use a whole number from 0 to 2**32 - 1")


def _targets(cell: Cell) -> list[int]:
    """The node that each edge leads into, edge by edge."""
    return [node for node, edges in enumerate(cell.nodes, start=INPUTS) for _ in edges]


def _with_sources(cell: Cell, sources: Iterable[int]) -> Cell:
    """The cell with its edges, in order, coming from other nodes."""
    left = iter(sources)
    nodes = tuple(tuple(Edge(edge.op, next(left)) for edge in edges) for edges in cell.nodes)
    return Cell(nodes, cell.concat)
