"""Claims about cells alone: how popular ones rank in their space, and Tables 1 to 3."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np

from orchestrator.paper.claims.claim import Claim, Measure, Sample
from orchestrator.paper.claims.measures import MOST
from orchestrator.paper.claims.population import Population
from orchestrator.paper.printed import BASES, paper_parameters
from orchestrator.paper.statistics.comparison import placing_in_space
from orchestrator.paper.statistics.laws import Discrete, Outcome
from results_schema.genotype import INPUTS, Cell
from workers.cells.bases import BASES as ALL_BASES
from workers.cells.bases import named, zoo, zoo_genotype
from workers.cells.topology import census
from workers.cells.variants import operation_variants

_MOST_NODES = 5
"""Of a cell that is compared; spaces of more take seconds to count."""


def _bases() -> dict[str, Cell]:
    return {base: named(base).normal for base in ALL_BASES}


def _reductions() -> dict[str, Cell]:
    return {base: named(base).reduce for base in ALL_BASES}


@cache
def _zoo() -> dict[str, Cell]:
    """Return the zoo's other distinct normal cells whose space is that of two sources a node."""
    known, found = set(_bases().values()), {}
    for name in zoo():
        cell = zoo_genotype(name).normal
        pairs = all(len(edges) == INPUTS for edges in cell.nodes)
        if pairs and len(cell.nodes) <= _MOST_NODES and cell not in known:
            known.add(cell)
            found[name] = cell
    return found


def _place(
    cells: Callable[[], dict[str, Cell]], part: int, whole: bool, population: Population
) -> Sample:
    return _placed(cells, part, whole)


@cache
def _placed(cells: Callable[[], dict[str, Cell]], part: int, whole: bool) -> Sample:
    """Place cells in their spaces by width (part 0) or shallowness (part 1).

    Over all nodes (`whole`) the choice of the output does not matter. Most published outputs were
    chosen so that no node is dead; other connections with that output have dead nodes and so are
    narrower, whatever the search preferred.
    """
    placed, values, laws, tails = cells(), [], [], []
    for name, cell in placed.items():
        space = census(len(cell.nodes), None if whole else tuple(sorted(cell.concat)))
        sign = 1 if part == 0 else -1
        own = sign * ((cell.width_all_nodes if whole else cell.width), cell.depth)[part]
        all_shapes = [sign * shape[part] for shape in space.shapes]
        shapes, places = np.unique(all_shapes, return_inverse=True)
        chances = np.bincount(places, [*space.shapes.values()]) / space.patterns
        below, equal = (float(chances[where].sum()) for where in (shapes < own, shapes == own))
        values.append(below + equal / 2)
        laws.append(Discrete.of(chances.cumsum() - chances / 2, chances))
        tails.append(f"{name} {1 - below:.3g}")
    found = placing_in_space(values, laws)
    if len(placed) > len(ALL_BASES):  # too many to be listed
        return Sample(found, len(placed))
    note = f"share of the space that is as far out: {', '.join(tails)}"
    return Sample(found, len(placed), note=note, groups=tuple(placed))


POPULAR_CLAIMS = tuple(
    Claim(
        name,
        f"{which} of popular searches are among the widest and shallowest of their space.",
        "Observation 3.1, Figure 1" + more,
        "topology",
        tuple(
            Measure(
                what,
                "mean share of its space that a cell surpasses",
                partial(_place, cells, part, whole),
                smallest,
                "share",
            )
            for what, part, whole, smallest in (
                ("width over all nodes, among all patterns of each cell's nodes", 0, True, MOST),
                ("width, among the patterns with the cell's output", 0, False, math.nan),
                ("shallowness, among the patterns with the cell's output", 1, False, math.nan),
            )
        ),
    )
    for name, which, more, cells in (
        ("popular-widest", "Normal cells", "", _bases),
        ("popular-widest-reduction", "Reduction cells", ", asked of the other cell", _reductions),
        ("popular-widest-zoo", "Other normal cells", ", asked of other searches", _zoo),
    )
)


def _fact(
    values: Sequence[float], names: Sequence[str], unit: str, digits: int, more: str = ""
) -> Sample:
    listed = ", ".join(f"{n} {v:.{digits}f}{unit}" for n, v in zip(names, values, strict=True))
    found = Outcome(float(np.mean(values)), p=math.nan, null=math.nan)
    return Sample(found, len(values), note=listed + more, groups=tuple(names))


def _depth(population: Population) -> Sample:
    """Correlate width and depth over every pattern that a base's connections can have."""
    found = []
    for base in BASES:
        cell = named(base).normal
        shapes = census(len(cell.nodes), tuple(sorted(cell.concat))).shapes
        widths, depths = (np.array(part, dtype=float) for part in zip(*shapes, strict=True))
        counts = np.array(list(shapes.values()), dtype=float)
        ranks = [_weighted_ranks(values, counts) for values in (widths, -depths)]
        covariance = np.cov(np.stack(ranks), aweights=counts, ddof=0)
        found.append(float(covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1])))
    return _fact(found, BASES, "", 2, "; over all patterns with the base's output")


def _weighted_ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    below = (values[None, :] < values[:, None]) @ counts
    return below + (values[None, :] == values[:, None]) @ counts / 2


def _spreads(population: Population) -> Sample:
    spreads = []
    for base in BASES:
        cells = [named(base), *(v.genotype for v in operation_variants(base, "paper10"))]
        sizes = [paper_parameters(cell, "cifar10", auxiliary=False) for cell in cells]
        spreads.append(100 * (1 - min(sizes) / max(sizes)))
    return _fact(spreads, BASES, " %", 1)


def _sizes(live: bool, population: Population) -> Sample:
    """Compare the adapted networks with the original ones; dead parameters change no output."""
    ratios = []
    for base in ALL_BASES:
        original, adapted = (
            paper_parameters(named(name), "cifar10", auxiliary=True, live=live)
            for name in (base, f"{base}_ADAPT")
        )
        ratios.append(adapted / original)
    return _fact(ratios, ALL_BASES, "", 3)


_counted = partial(Claim, family="topology", counted=True)

SIZE_CLAIMS = (
    _counted(
        "depth-falls-with-width",
        "Mean depth falls with growing width among the connection variants.",
        "Sections B.3 and B.4, Table 2",
        measures=(
            Measure(
                "width and depth of all connection variants", "ρ of width and shallowness", _depth
            ),
        ),
    ),
    _counted(
        "sizes-differ",
        "Operation variants differ in size by about 30 %.",
        "Table 3",
        measures=(
            Measure(
                "1 − smallest/largest number of parameters among C0 to C10",
                "mean spread, in percent",
                _spreads,
                scale="number",
            ),
        ),
    ),
    _counted(
        "adapted-sizes",
        "Adapted cells are as large as the original ones.",
        "Section 5, Table 1",
        measures=tuple(
            Measure(
                f"{what}: the adapted network's over the original's, on CIFAR-10",
                "mean ratio",
                partial(_sizes, live),
                scale="number",
            )
            for what, live in (
                ("parameters on a path to the output", True),
                ("all parameters, as Table 1 prints them", False),
            )
        ),
    ),
)
