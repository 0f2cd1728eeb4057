"""The paper's connection variants C1, C2, … of each base."""

from __future__ import annotations

from dataclasses import dataclass

from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from workers.cells.bases import named, official_name
from workers.cells.connections import sample_connections
from workers.cells.topology import live_width


@dataclass(frozen=True)
class Variant:
    """A genotype drawn from a base.

    Attributes:
        index: Its place on a figure's axis, from 1; 0 is the base's own.
        name: How it was drawn: "CONN3" for a published one, "seed 14" for a sampled one.
        genotype: Its cells.
    """

    index: int
    name: str
    genotype: Genotype


_CONN = ("CONN1", "CONN2", "CONN3", "CONN4")
_FIRST_TEN: dict[str, tuple[str | int, ...]] = {
    "NASNet": tuple(range(1, 11)),
    "AmoebaNet": tuple(range(1, 11)),
    "ENAS": tuple(range(1, 11)),
    "DARTS": (*_CONN, *range(5, 11)),
}
# Table 2 has three cells more, whose source is not known: the first seeds that fill their slots.
_LAST_THREE = {
    "NASNet": (23, 125, 188),
    "AmoebaNet": (23, 125, 188),
    "ENAS": (23, 125, 188),
    "DARTS": (14, 12, 16),
}


def connection_variants(base: str, mode: str) -> list[Variant]:
    """The connection variants of a base, in the order of their index.

    Modes: `paper13` has the shapes of Table 2, ordered as its caption says by rising width and
    falling depth; `paper10` the ten that the earlier version drew, likewise ordered; `paper4` the
    seeds 1 to 4 in their own order, as drawn of AmoebaNet and SNAS in Figures 10 and 11.

    Args:
        base: A published genotype's name.
        mode: One of the above.

    Raises:
        SpecError: No genotype has this name, or the paper has no such set of this base.
    """
    base = official_name(base)
    sets = _sets(base)
    if mode not in sets:
        raise SpecError(
            f"{base} has no connection variants {mode!r}",
            fix=f"use {' or '.join(sets)}",
        )
    drawn = [_draw(base, source) for source in sets[mode]]
    if mode != "paper4":
        # Sorting is stable, so that ties keep the order above: published cells, then seeds.
        drawn.sort(key=lambda cell: (live_width(cell[1].normal), -cell[1].depth))
    return [Variant(index, name, cell) for index, (name, cell) in enumerate(drawn, start=1)]


def _sets(base: str) -> dict[str, tuple[str | int, ...]]:
    """What each mode that the base has is made of: names of published cells and seeds."""
    sets: dict[str, tuple[str | int, ...]] = {"paper4": (1, 2, 3, 4)}
    if base in _FIRST_TEN:
        first, last = _FIRST_TEN[base], _LAST_THREE[base]
        published = tuple(source for source in first if isinstance(source, str))
        seeds = sorted(source for source in (*first, *last) if isinstance(source, int))
        sets |= {"paper10": first, "paper13": (*published, *seeds)}
    return sets


def _draw(base: str, source: str | int) -> tuple[str, Genotype]:
    if isinstance(source, str):
        return source, named(f"{base}_{source}")
    return f"seed {source}", sample_connections(named(base), source)
