"""Observation 3.1: cells found by popular searches are the widest and shallowest of their space.

Every connection pattern of a cell's space is counted, so no store is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from orchestrator.paper.claims.claim import Claim
from orchestrator.paper.claims.finding import Finding
from orchestrator.paper.claims.population import Population
from orchestrator.paper.statistics.means import student
from results_schema.errors import SpecError
from results_schema.genotype import INPUTS, Cell
from workers.cells.bases import BASES, named
from workers.cells.enumeration import Census, census
from workers.cells.zoo import zoo, zoo_genotype

_MOST_NODES = 5
"""Of a cell that is compared; spaces of more take seconds to count."""


def _bases(claim: Claim, population: Population) -> list[Finding]:
    cells = [(base, named(base).normal) for base in BASES]
    return _compare(claim, cells)


def _reductions(claim: Claim, population: Population) -> list[Finding]:
    return _compare(claim, [(base, named(base).reduce) for base in BASES])


def _zoo(claim: Claim, population: Population) -> list[Finding]:
    known = {named(base).normal for base in BASES}
    return _compare(claim, [(name, cell) for name, cell in _zoo_cells() if cell not in known])


@cache
def _zoo_cells() -> tuple[tuple[str, Cell], ...]:
    """The zoo's distinct normal cells whose space is that of two sources a node."""
    found: dict[Cell, str] = {}
    for name in zoo():
        try:
            cell = zoo_genotype(name).normal
        except SpecError:  # an operation that the network lacks
            continue
        pairs = all(len(edges) == INPUTS for edges in cell.nodes)
        if pairs and len(cell.nodes) <= _MOST_NODES:
            found.setdefault(cell, name)
    return tuple((name, cell) for cell, name in found.items())


def _compare(claim: Claim, cells: Iterable[tuple[str, Cell]]) -> list[Finding]:
    cells = list(cells)
    names = [name for name, _ in cells]
    places = {"width over all nodes": [], "width": [], "depth": []}
    for _, cell in cells:
        # Over all nodes the choice of the output does not matter. Most published outputs were
        # chosen so that no node is dead; other connections with that output have dead nodes and
        # so are narrower, whatever the search preferred.
        whole = census(len(cell.nodes))
        space = census(len(cell.nodes), tuple(sorted(cell.concat)))
        places["width over all nodes"].append(_place(whole, 0, cell.width_all_nodes))
        places["width"].append(_place(space, 0, cell.width))
        places["depth"].append(_place(space, 1, cell.depth))
    return [_finding(claim, measure, found, names) for measure, found in places.items()]


class _Place(NamedTuple):
    """Shares of a space that are at least as wide, or as shallow, and at most."""

    toward: float
    against: float


def _place(space: Census, part: int, value: float) -> _Place:
    more = sum(n for shape, n in space.shapes.items() if shape[part] >= value) / space.patterns
    less = sum(n for shape, n in space.shapes.items() if shape[part] <= value) / space.patterns
    return _Place(more, less) if part == 0 else _Place(less, more)


def _finding(claim: Claim, measure: str, found: list[_Place], names: list[str]) -> Finding:
    toward, against = ([place[i] for place in found] for i in range(2))
    surpassed = np.array([(1 - a + b) / 2 for a, b in found])
    low, high = student(surpassed)
    few = len(names) <= len(BASES)
    told = ", ".join(f"{name} {tail:.3g}" for name, tail in zip(names, toward, strict=True))
    return claim.finding(
        measure,
        "exact tails of the enumerated space, combined by Fisher's method",
        "mean share of the space that a cell surpasses",
        size=float(surpassed.mean()),
        low=max(low, 0.0),
        high=min(high, 1.0),
        p=_fisher(toward),
        p_against=_fisher(against),
        exact=True,
        cells=len(names),
        groups=tuple(names) if few else (),
        primary=measure == "width over all nodes",
        reading=f"tails {told}" if few else "",
    )


def _fisher(tails: list[float]) -> float:
    combined: Any = stats.combine_pvalues(tails)
    return float(combined.pvalue)


_STATEMENT = "{} of popular searches are among the widest and shallowest of their space."

CLAIMS = tuple(
    Claim(
        name,
        _STATEMENT.format(which),
        "Observation 3.1, Figure 1" + more,
        "P(a uniform pattern is at least as wide over all nodes), exact over all patterns of each "
        "cell's nodes, combined over cells by Fisher's method; beside it width over live nodes "
        "and depth, over the patterns with the cell's output",
        "nothing",
        "topology",
        test,
    )
    for name, which, more, test in (
        ("popular-widest", "Normal cells", "", _bases),
        ("popular-widest-reduction", "Reduction cells", ", asked of the other cell", _reductions),
        ("popular-widest-zoo", "Other normal cells", ", asked of other searches", _zoo),
    )
)
