"""What Tables 1 to 3 say of cells that nobody has to train."""

from __future__ import annotations

import math

import numpy as np

from orchestrator.paper.claims.claim import Claim
from orchestrator.paper.claims.finding import Finding
from orchestrator.paper.claims.population import Population
from orchestrator.paper.comparison import BASES, compare, paper_parameters
from orchestrator.paper.statistics.correlation import association
from orchestrator.paper.statistics.means import equivalent
from orchestrator.paper.statistics.studies import RHO
from workers.cells.bases import BASES as ALL_BASES
from workers.cells.bases import named
from workers.cells.variants import connection_variants

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
        sizes = [e.parameters or 0 for e in compare(3) if e.base == base]
        spreads.append(1 - min(sizes) / max(sizes))
    told = ", ".join(f"{b} {100 * s:.1f} %" for b, s in zip(BASES, spreads, strict=True))
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
            reading=told,
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
    told = ", ".join(f"{base} {ratio:.3f}" for base, ratio in zip(ALL_BASES, ratios, strict=True))
    return claim.finding(
        f"{what}: the adapted network's over the original's, on CIFAR-10",
        _TOST,
        "mean ratio",
        found.on_scale(math.exp),
        power_at="a ratio of 1",
        cells=2 * len(ALL_BASES),
        groups=ALL_BASES,
        primary=live,
        reading=told,
    )


CLAIMS = (
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
