"""Connection variants beyond the paper's own: by width and depth, at random, or even over widths.

Each draw is one seed of `sample_connections`, so that a variant is told by its seed alone and is
the same on every machine. Whatever the way, no two variants of a base share a normal cell's
connections, and none has the base's.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from results_schema.errors import SpecError
from results_schema.genotype import INPUTS, Cell, Genotype
from workers.cells.connections import check_seed, scan_connections
from workers.cells.enumeration import MOST_NODES, census
from workers.cells.topology import dead_nodes, live_width, used_inputs

SCAN = 50_000
"""Seeds tried before a slot counts as one that cannot be filled."""


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """What both cells of a variant must fulfil.

    Attributes:
        distinct_sources: No node takes one source twice.
        all_inputs_used: Both inputs reach the output.
        no_dead_nodes: Every node reaches the output.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    distinct_sources: bool = False
    all_inputs_used: bool = False
    no_dead_nodes: bool = False

    def allow(self, genotype: Genotype) -> bool:
        """Whether both cells fulfil them."""
        return all(self._allow(cell) for cell in (genotype.normal, genotype.reduce))

    def _allow(self, cell: Cell) -> bool:
        if self.distinct_sources and any(
            len({edge.source for edge in edges}) < len(edges) for edges in cell.nodes
        ):
            return False
        if self.all_inputs_used and len(used_inputs(cell)) < INPUTS:
            return False
        return not (self.no_dead_nodes and dead_nodes(cell))


@dataclass(frozen=True, kw_only=True)
class Profile(Constraints):
    """One variant for each slot: the first seed of that shape which no earlier slot has taken.

    Attributes:
        slots: (width in units of c over live nodes, depth in edges) of each variant, in order;
            if empty, Table 2's of the base.
        first_seed: Where the scan begins; another gives other cells of the same shapes.
    """

    slots: tuple[tuple[float, int], ...] = ()
    first_seed: int = 1

    def __post_init__(self) -> None:
        check_seed(self.first_seed)
        for slot in self.slots:
            if not isinstance(slot, Sequence) or len(slot) != 2 or not all(map(_finite, slot)):
                raise SpecError(f"slot {slot!r} is no (width, depth)", fix="use e.g. [2.5, 4]")
        slots = tuple((float(width), int(depth)) for width, depth in self.slots)
        object.__setattr__(self, "slots", slots)


@dataclass(frozen=True, kw_only=True)
class Uniform(Constraints):
    """So many variants, uniformly from all that the constraints allow.

    Attributes:
        n: How many.
        seed: Of the choice of seeds.
    """

    n: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        _check_count(self.n)
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class Stratified(Constraints):
    """So many variants of each width, so that narrow and wide cells weigh alike.

    Attributes:
        n: How many of each width.
        seed: Of the choice of seeds.
        widths: In units of c over live nodes; if empty, all that the base's space has.
    """

    n: int = 1
    seed: int = 0
    widths: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_count(self.n)
        check_seed(self.seed)
        for width in self.widths:
            if not _finite(width):
                raise SpecError(f"width {width!r} is no number", fix="use e.g. 2.5")
        object.__setattr__(self, "widths", tuple(float(width) for width in self.widths))


Sampling = Profile | Uniform | Stratified


def draw(base: Genotype, how: Sampling) -> list[tuple[int, Genotype]]:
    """Seeds and their genotypes, in the order of the slots.

    Raises:
        SpecError: A slot stays empty after `SCAN` seeds, or the widths of an odd space are unnamed.
    """
    if isinstance(how, Profile):
        last = min(how.first_seed + SCAN, 2**32)
        seeds: Iterable[int] = range(how.first_seed, last)
        return _fill(base, how.slots, lambda c: (live_width(c), c.depth), seeds, how)
    seeds = np.random.RandomState(how.seed).randint(2**32, size=SCAN, dtype=np.uint32).tolist()
    if isinstance(how, Uniform):
        return _fill(base, ["any"] * how.n, lambda _: "any", seeds, how)
    slots = [width for width in how.widths or _widths(base.normal, how) for _ in range(how.n)]
    return _fill(base, slots, live_width, seeds, how)


def _fill(
    base: Genotype,
    slots: Sequence[Hashable],
    shape: Callable[[Cell], Hashable],
    seeds: Iterable[int],
    constraints: Constraints,
) -> list[tuple[int, Genotype]]:
    free: dict[Hashable, deque[int]] = {}
    for position, slot in enumerate(slots):
        free.setdefault(slot, deque()).append(position)
    filled: dict[int, tuple[int, Genotype]] = {}
    taken = {_pattern(base.normal)}
    for seed, drawn in scan_connections(base, seeds):
        places = free.get(shape(drawn.normal))
        pattern = _pattern(drawn.normal)
        if places and pattern not in taken and constraints.allow(drawn):
            filled[places.popleft()] = seed, drawn
            taken.add(pattern)
            if len(filled) == len(slots):
                break
    if empty := sorted(set(range(len(slots))) - set(filled)):
        raise SpecError(
            f"slot {empty[0] + 1} of {len(slots)} ({_describe(slots[empty[0]])}) stays empty:"
            f" none of {SCAN} seeds has a further cell for it",
            fix="ask for fewer cells or another shape, or loosen the constraints",
        )
    return [filled[position] for position in range(len(slots))]


def _pattern(cell: Cell) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(sorted(edge.source for edge in edges)) for edges in cell.nodes)


def _describe(slot: Any) -> str:
    if isinstance(slot, tuple):
        return f"width {slot[0]:g}c, depth {slot[1]}"
    return f"width {slot:g}c" if isinstance(slot, float) else "any shape"


def _widths(cell: Cell, constraints: Constraints) -> list[float]:
    if any(len(edges) != INPUTS for edges in cell.nodes) or len(cell.nodes) > MOST_NODES:
        raise SpecError(
            f"the widths of this cell's space are known only for {INPUTS} edges into each of"
            f" up to {MOST_NODES} nodes",
            fix="name the widths",
        )
    pairs = "distinct" if constraints.distinct_sources else "ordered"
    return sorted({width for width, _ in census(len(cell.nodes), cell.concat, pairs).shapes})


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _check_count(n: Any) -> None:
    if type(n) is not int or not 1 <= n <= SCAN:
        raise SpecError(f"n is {n!r}", fix=f"use a whole number from 1 to {SCAN}")
