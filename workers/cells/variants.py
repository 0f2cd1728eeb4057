"""The variants C1, C2, … of a base: the paper's own sets, and samples of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from workers.cells.bases import named, official_name
from workers.cells.sampling import (
    Profile,
    Sampling,
    Stratified,
    Uniform,
    UniformOperations,
    draw,
    sample_connections,
    sample_operations,
)


@dataclass(frozen=True)
class Variant:
    """A genotype drawn from a base."""

    index: int  # place on a figure's axis, from 1; the base itself has 0
    name: str  # how it was drawn: "CONN3" for a published one, "seed 14" for a sampled one
    genotype: Genotype


# C1 to C13 by rising width and falling depth, ties by published cells and then by seeds. The
# table names no cells. Of AmoebaNet it prints the shapes of twelve of these and 3.5c,3 as C13,
# which leaves seed 6 (3c,4) for that place, so that Figure 14, which does not draw C13, leaves it
# out. Three cells of each base have an unknown source: the first seeds above 10 that fit.
_NASNET_SEEDS = (23, 125, 2, 188, 1, 8, 3, 6, 5, 4, 7, 9, 10)
_THIRTEEN: dict[str, tuple[str | int, ...]] = {
    "NASNet": _NASNET_SEEDS,
    "AmoebaNet": (23, 8, 125, 4, 2, 188, 3, 1, 9, 10, 7, 5, 6),
    "ENAS": _NASNET_SEEDS,
    "DARTS": ("CONN3", "CONN4", 14, 5, 8, "CONN1", "CONN2", 6, 7, 9, 12, 10, 16),
}

_NASNET = "1.5,6 1.5,5 2,6 2,6 2.5,5 2.5,5 3,4 3,3 3.5,5 3.5,4 3.5,4 3.5,3 3.5,3"
_TABLE_2 = {
    "NASNet": _NASNET,
    "AmoebaNet": "1.5,6 1.5,5 1.5,5 1.5,3 2,6 2,6 2,4 2.5,5 2.5,3 2.5,3 3,3 3.5,4 3.5,3",
    "ENAS": _NASNET,
    "DARTS": "2,4 2,4 2,4 2.5,4 2.5,4 2.5,3 2.5,3 2.5,3 3,3 3,3 3,3 3.5,3 3.5,3",
}

_DEFAULTS = {"profile": Profile(), "uniform": Uniform(), "stratified": Stratified()}


def connection_variants(base: str | Genotype, mode: str | Sampling) -> list[Variant]:
    """Return the connection variants of a base, in the order of their index.

    Modes of the paper: `paper13` is the cells of Table 2 in its order, by rising width and falling
    depth as printed; `paper10` is the ten of them that the earlier version drew, in the same
    order; `paper4` the seeds 1 to 4 in their own order, as drawn of AmoebaNet and SNAS in
    Figures 10 and 11; `main_text` the four cells of DARTS in Figures 2 to 8, widest first.

    Other modes: a `Profile`, ordered as its slots; a `Uniform` or `Stratified` sample, ordered by
    rising width, falling depth and the order of drawing; or one of their names in lower case for
    their defaults.

    Raises:
        SpecError: No genotype has this name, or it has no such set, or too few such cells.
    """
    base, origin = _origin(base)
    how = _DEFAULTS.get(mode) if isinstance(mode, str) else mode
    if isinstance(how, Sampling):
        if isinstance(how, Profile) and not how.slots:
            how = replace(how, slots=table_2(base))
        drawn = [(f"seed {seed}", cell) for seed, cell in draw(origin, how)]
        if not isinstance(how, Profile):
            drawn.sort(key=lambda cell: (cell[1].width, -cell[1].depth))
        return [Variant(index, *cell) for index, cell in enumerate(drawn, start=1)]
    sets: dict[str, Sequence[str | int]] = {"paper4": (1, 2, 3, 4)}
    if isinstance(base, str) and base in _THIRTEEN:
        ten = [source for source in _THIRTEEN[base] if isinstance(source, str) or source <= 10]
        sets |= {"paper10": ten, "paper13": _THIRTEEN[base]}
    if base == "DARTS":
        sets["main_text"] = ("CONN1", "CONN2", "CONN3", "CONN4")
    if mode not in sets:
        modes = " or ".join((*sets, *_DEFAULTS))
        what = f"{_label(base)} has no connection variants {str(mode)!r}"
        raise SpecError(what, fix=f"use {modes}")
    return _from_sources(base, origin, sets[str(mode)], sample_connections)


def operation_variants(base: str | Genotype, mode: str | UniformOperations) -> list[Variant]:
    """Return the operation variants of a base.

    Modes: `paper10` is the columns C1 to C10 of Table 3, of which C1 to C5 of DARTS are published
    cells that no seed yields; `legacy` the seeds 1 to 10 of any base; `uniform`, or its options,
    variants of operations that may be named.

    Raises:
        SpecError: No genotype has this name, or Table 3 does not have the base; too few variants.
    """
    base, origin = _origin(base)
    how = UniformOperations() if mode == "uniform" else mode
    if isinstance(how, UniformOperations):
        drawn = how.draw(origin).items()
        return [Variant(i, f"seed {seed}", cell) for i, (seed, cell) in enumerate(drawn, start=1)]
    sets: dict[str, Sequence[str | int]] = {"legacy": range(1, 11)}
    if base in _TABLE_2:  # Table 3 has the same bases
        names = [f"OPS{index}" for index in range(1, 6)] if base == "DARTS" else []
        sets["paper10"] = (*names, *range(len(names) + 1, 11))
    if how not in sets:
        what = f"{_label(base)} has no operation variants {mode!r}"
        raise SpecError(what, fix=f"use {' or '.join((*sets, 'uniform'))}")
    return _from_sources(base, origin, sets[how], sample_operations)


def table_2(base: str | Genotype) -> tuple[tuple[float, int], ...]:
    """Return width (in units of c) and depth of C1 to C13 as Table 2 prints them.

    Raises:
        SpecError: Table 2 does not have the base.
    """
    if not isinstance(base, str) or base not in _TABLE_2:
        fix = f"name the slots, or use {' or '.join(_TABLE_2)}"
        raise SpecError(f"Table 2 does not have {_label(base)}", fix=fix)
    pairs = (slot.split(",") for slot in _TABLE_2[base].split())
    return tuple((float(width), int(depth)) for width, depth in pairs)


def _origin(base: str | Genotype) -> tuple[str | Genotype, Genotype]:
    """Return a base by its official name if it has one, and its genotype."""
    if isinstance(base, Genotype):
        return base, base
    name = official_name(base)
    return name, named(name)


def _from_sources(
    base: str | Genotype,
    origin: Genotype,
    sources: Sequence[str | int],
    sample: Callable[[Genotype, int], Genotype],
) -> list[Variant]:
    """Return the variants of the given seeds and, by the ends of their names, published cells."""
    return [
        Variant(index, source, named(f"{base}_{source}"))
        if isinstance(source, str)
        else Variant(index, f"seed {source}", sample(origin, source))
        for index, source in enumerate(sources, start=1)
    ]


def _label(base: str | Genotype) -> str:
    return base if isinstance(base, str) else "a genotype without a published name"
