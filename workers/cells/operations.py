"""Random operations (Section A.2): the order of nodes and the sources stay, operations change."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from results_schema.errors import SpecError
from results_schema.genotype import Cell, Edge, Genotype
from workers.cells.bases import named, official_name
from workers.cells.connections import check_seed
from workers.cells.variants import Variant

CANDIDATES = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""What an operation is drawn from; the order is part of the stream."""

_TABLE_3 = ("NASNet", "AmoebaNet", "ENAS", "DARTS")


def sample_operations(base: Genotype, seed: int) -> Genotype:
    """Redraws every operation uniformly from `CANDIDATES`.

    The stream is the published code's: one NumPy `RandomState`, one call for all edges of the
    normal cell and then one for the reduction cell. Sources and concat lists stay.

    Args:
        base: The genotype whose connections are kept.
        seed: Of the stream, from 0 to 2**32 - 1.

    Raises:
        SpecError: `RandomState` does not take the seed.
    """
    check_seed(seed)
    stream = np.random.RandomState(seed)
    return Genotype(*(_with_operations(cell, stream) for cell in (base.normal, base.reduce)))


def operation_variants(base: str | Genotype, mode: str) -> list[Variant]:
    """The operation variants C1 to C10 of a base.

    Modes: `paper10` is the columns of Table 3, of which C1 to C5 of DARTS are published cells
    that no seed yields; `legacy` the seeds 1 to 10 of any base.

    Args:
        base: A published genotype's name, or any genotype with mode `legacy`.
        mode: One of the above.

    Raises:
        SpecError: No genotype has this name, or Table 3 does not have the base.
    """
    if isinstance(base, str):
        base = official_name(base)
    modes = ("legacy", "paper10") if base in _TABLE_3 else ("legacy",)
    if mode not in modes:
        label = base if isinstance(base, str) else "a genotype without a published name"
        raise SpecError(
            f"{label} has no operation variants {mode!r}", fix=f"use {' or '.join(modes)}"
        )
    fixed = 5 if (base, mode) == ("DARTS", "paper10") else 0
    published = [Variant(i, f"OPS{i}", named(f"{base}_OPS{i}")) for i in range(1, fixed + 1)]
    origin = named(base) if isinstance(base, str) else base
    seeds: Iterable[int] = range(fixed + 1, 11)
    return published + [Variant(i, f"seed {i}", sample_operations(origin, i)) for i in seeds]


def _with_operations(cell: Cell, stream: np.random.RandomState) -> Cell:
    edges = sum(map(len, cell.nodes))
    drawn = (CANDIDATES[i] for i in stream.choice(len(CANDIDATES), edges))
    nodes = tuple(tuple(Edge(next(drawn), edge.source) for edge in node) for node in cell.nodes)
    return Cell(nodes, cell.concat)
