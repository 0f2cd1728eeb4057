"""Cells that nobody has to train: how popular cells rank in their space, and Tables 1 to 3."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from orchestrator.paper.claims.claim import Claim, Finding
from orchestrator.paper.claims.population import Population
from orchestrator.paper.printed import BASES, paper_parameters
from orchestrator.paper.statistics.association import association
from orchestrator.paper.statistics.samples import equivalent, student
from orchestrator.paper.statistics.testing import RHO
from results_schema.errors import SpecError
from results_schema.genotype import INPUTS, Cell
from workers.cells.bases import BASES as ALL_BASES
from workers.cells.bases import named, zoo, zoo_genotype
from workers.cells.topology import Census, census
from workers.cells.variants import connection_variants, operation_variants

_MOST_NODES = 5
"""Of a cell that is compared; spaces of more take seconds to count."""


def _bases(claim: Claim, population: Population) -> list[Finding]:
    cells = [(base, named(base).normal) for base in ALL_BASES]
    return _compare(claim, cells)


def _reductions(claim: Claim, population: Population) -> list[Finding]:
    return _compare(claim, [(base, named(base).reduce) for base in ALL_BASES])


def _zoo(claim: Claim, population: Population) -> list[Finding]:
    known = {named(base).normal for base in ALL_BASES}
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
    few = len(names) <= len(ALL_BASES)
    listed = ", ".join(f"{name} {tail:.3g}" for name, tail in zip(names, toward, strict=True))
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
        reading=f"tails {listed}" if few else "",
    )


def _fisher(tails: list[float]) -> float:
    combined: Any = stats.combine_pvalues(tails)
    return float(combined.pvalue)


_STATEMENT = "{} of popular searches are among the widest and shallowest of their space."

POPULAR_CLAIMS = tuple(
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


_SPREAD, _SPREAD_MARGIN = 0.30, 0.05
_SIZE_MARGIN = 0.05
_TOST = "two one-sided t-tests over bases"


def _depth(claim: Claim, population: Population) -> list[Finding]:
    cells = [(b, v.genotype.normal) for b in BASES for v in connection_variants(b, "paper13")]
    x = np.array([cell.width for _, cell in cells])
    y = np.array([-cell.depth for _, cell in cells], dtype=float)
    found = association(x, y, np.array([base for base, _ in cells]))
    return [
        claim.finding(
            "depth of the connection variants of Table 2",
            "Spearman's correlation, permuted within bases",
            "ρ of width and shallowness",
            found,
            power_at=f"ρ = {RHO}",
            cells=found.n,
            groups=BASES,
        )
    ]


def _operations(claim: Claim, population: Population) -> list[Finding]:
    spreads = []
    for base in BASES:
        cells = [named(base), *(v.genotype for v in operation_variants(base, "paper10"))]
        sizes = [paper_parameters(cell, "cifar10", auxiliary=False) for cell in cells]
        spreads.append(1 - min(sizes) / max(sizes))
    listed = ", ".join(f"{b} {100 * s:.1f} %" for b, s in zip(BASES, spreads, strict=True))
    found = equivalent(np.array(spreads) - _SPREAD, _SPREAD_MARGIN)
    return [
        claim.finding(
            "1 − smallest/largest number of parameters among C0 to C10",
            _TOST,
            "mean spread",
            found.on_scale(lambda apart: _SPREAD + apart),
            power_at="a spread of just 30 %",
            cells=len(spreads),
            groups=BASES,
            reading=listed,
        )
    ]


def _adapted(claim: Claim, population: Population) -> list[Finding]:
    return [
        _ratio(claim, "parameters on a path to the output", live=True),
        _ratio(claim, "all parameters, as Table 1 prints them", live=False),
    ]


def _ratio(claim: Claim, what: str, *, live: bool) -> Finding:
    """Sizes of the adapted networks over the original ones; dead parameters change no output."""
    sizes = [
        [
            paper_parameters(named(name), "cifar10", auxiliary=True, live=live)
            for name in (base, f"{base}_ADAPT")
        ]
        for base in ALL_BASES
    ]
    ratios = [adapted / original for original, adapted in sizes]
    found = equivalent(np.log(ratios), math.log1p(_SIZE_MARGIN))
    listed = ", ".join(f"{base} {ratio:.3f}" for base, ratio in zip(ALL_BASES, ratios, strict=True))
    return claim.finding(
        f"{what}: the adapted network's over the original's, on CIFAR-10",
        _TOST,
        "mean ratio",
        found.on_scale(math.exp),
        power_at="a ratio of 1",
        cells=2 * len(ALL_BASES),
        groups=ALL_BASES,
        primary=live,
        reading=listed,
    )


SIZE_CLAIMS = (
    Claim(
        "depth-falls-with-width",
        "Mean depth falls with growing width among the connection variants.",
        "Sections B.3 and B.4, Table 2",
        "Spearman's correlation of width and depth within bases",
        "nothing",
        "topology",
        _depth,
    ),
    Claim(
        "sizes-differ",
        "Operation variants differ in size by about 30 %.",
        "Table 3",
        "equivalence of 1 − smallest/largest with 30 %, ± 5 points",
        "nothing",
        "topology",
        _operations,
    ),
    Claim(
        "adapted-sizes",
        "Adapted cells are as large as the original ones.",
        "Section 5, Table 1",
        "equivalence with 1, ± 5 %, of the ratio of parameters on a path to the output; beside it "
        "that of all parameters, dead ones included",
        "nothing",
        "topology",
        _adapted,
    ),
)
