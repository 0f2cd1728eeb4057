"""Random connections (Section A.2): the order of nodes and the operations stay, sources change."""

from __future__ import annotations

from itertools import chain, zip_longest

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
    check_seed(seed)
    stream = np.random.RandomState(seed)
    cells = (base.normal, base.reduce)
    sources: tuple[list[int], list[int]] = ([], [])
    for targets in zip_longest(*(_targets(cell) for cell in cells)):
        for drawn, node in zip(sources, targets, strict=True):
            if node is not None:
                drawn.append(int(stream.randint(node)))
    normal, reduce = (with_sources(cell, drawn) for cell, drawn in zip(cells, sources, strict=True))
    return Genotype(normal, reduce)


def with_sources(cell: Cell, sources: list[int]) -> Cell:
    """The cell with its edges, in order, coming from other nodes."""
    left = iter(sources)
    nodes = tuple(tuple(Edge(edge.op, next(left)) for edge in node) for node in cell.nodes)
    return Cell(nodes, cell.concat)


def check_seed(seed: int) -> None:
    """Raises `SpecError` for a seed that NumPy's `RandomState` does not take."""
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise SpecError(f"seed is {seed!r}", fix="use a whole number from 0 to 2**32 - 1")


def _targets(cell: Cell) -> list[int]:
    """The node that each edge leads into, edge by edge."""
    nodes = enumerate(cell.nodes, start=INPUTS)
    return list(chain.from_iterable([node] * len(edges) for node, edges in nodes))
