"""Connection variants beyond the paper's own: by width and depth, at random, or even over widths.

Each draw is one seed of `sample_connections`, so that a variant is told by its seed alone and is
the same on every machine. Whatever the way, no two variants of a base share a normal cell's
connections, and none has the base's.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from results_schema.errors import SpecError
from results_schema.genotype import INPUTS, Cell, Genotype
from workers.cells.connections import check_seed, draw_sources, with_sources
from workers.cells.drawings import Drawings
from workers.cells.enumeration import MOST_NODES, census

SCAN = 50_000
"""Seeds tried before a slot counts as one that cannot be filled: a second of one core."""
MOST = 10_000
"""Variants of one base."""


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

    def allow(self, cells: Drawings) -> np.ndarray:
        """Which of some cells fulfil them; bool [drawing]."""
        allowed = np.ones(len(cells.live), dtype=bool)
        if self.distinct_sources:
            allowed &= ~cells.repeating
        if self.all_inputs_used:
            allowed &= cells.live[:, :INPUTS].all(axis=1)
        if self.no_dead_nodes:
            allowed &= cells.live[:, INPUTS:].all(axis=1)
        return allowed


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
            if slot[1] != int(slot[1]):
                raise SpecError(
                    f"slot {slot!r} has a depth of {slot[1]!r}", fix="use a whole number of edges"
                )
        slots = tuple((float(width), int(depth)) for width, depth in self.slots)
        object.__setattr__(self, "slots", slots)


@dataclass(frozen=True, kw_only=True)
class Uniform(Constraints):
    """So many variants, each drawn uniformly from the sampler's draws that the constraints allow.

    A draw chooses a source for every edge in turn, so a cell has as many chances as there are draws
    that lead to its connections: two for each node whose two sources differ, one where they are the
    same. Cells whose nodes take one source twice are rarer than others for that reason; a second
    draw of the same connections is skipped.

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

    Within a width the draws are as uneven over cells as those of `Uniform`.

    Attributes:
        n: How many of each width.
        seed: Of the choice of seeds.
        widths: In units of c over live nodes; if empty, all that the base's space has.
    """

    n: int = 1
    seed: int = 0
    widths: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_count(self.n, max(1, len(self.widths)))
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
        seeds: Sequence[int] = range(how.first_seed, last)
        return _fill(base, how.slots, lambda width, depth: (width, depth), seeds, how)
    seeds = np.random.RandomState(how.seed).randint(2**32, size=SCAN, dtype=np.uint32).tolist()
    if isinstance(how, Uniform):
        return _fill(base, ["any"] * how.n, lambda width, depth: "any", seeds, how)
    slots = [width for width in how.widths or _widths(base.normal, how) for _ in range(how.n)]
    return _fill(base, slots, lambda width, depth: width, seeds, how)


def _fill(
    base: Genotype,
    slots: Sequence[Hashable],
    shape: Callable[[float, int], Hashable],
    seeds: Sequence[int],
    constraints: Constraints,
) -> list[tuple[int, Genotype]]:
    free: dict[Hashable, deque[int]] = {}
    for position, slot in enumerate(slots):
        free.setdefault(slot, deque()).append(position)
    _check_room(base.normal, free, shape, constraints)
    filled: dict[int, tuple[int, list[list[int]]]] = {}
    taken = set(Drawings.of(base.normal).patterns)
    for block in _blocks(seeds):
        sources = draw_sources(base, block)
        normal, reduce = map(Drawings.like, (base.normal, base.reduce), sources)
        shapes = map(shape, normal.widths.tolist(), normal.depths.tolist())
        allowed = (constraints.allow(normal) & constraints.allow(reduce)).tolist()
        for row, (looks, pattern) in enumerate(zip(shapes, normal.patterns, strict=True)):
            places = free.get(looks)
            if places and pattern not in taken and allowed[row]:
                filled[places.popleft()] = block[row], [cell[row].tolist() for cell in sources]
                taken.add(pattern)
        if len(filled) == len(slots):
            found = (filled[position] for position in range(len(slots)))
            return [(seed, with_sources(base, *cells)) for seed, cells in found]
    empty = min(set(range(len(slots))) - set(filled))
    raise _stays_empty(
        empty, slots[empty], len(slots), f"none of {SCAN} seeds has a further cell for it"
    )


def _blocks(seeds: Sequence[int]) -> Iterator[Sequence[int]]:
    """The seeds in pieces, small ones first: most often some dozens are enough."""
    start, size = 0, 64
    while start < len(seeds):
        yield seeds[start : start + size]
        start, size = start + size, min(2 * size, 4096)


def _check_room(
    cell: Cell,
    free: Mapping[Hashable, Sequence[int]],
    shape: Callable[[float, int], Hashable],
    constraints: Constraints,
) -> None:
    """Refuses at once to fill slots of which there are more than cells."""
    number = sum(map(len, free.values()))
    if any(len(edges) != INPUTS for edges in cell.nodes) or len(cell.nodes) >= MOST_NODES:
        return  # counting them would take as long as trying
    room = Counter[Hashable]()
    pairs = "distinct" if constraints.distinct_sources else "unordered"
    # Of two distinct sources both orders are counted.
    orders = 2 ** len(cell.nodes) if constraints.distinct_sources else 1
    for (width, depth), cells in census(len(cell.nodes), cell.concat, pairs).shapes.items():
        room[shape(width, depth)] += cells // orders
    if constraints.allow(Drawings.of(cell)).item():
        room[shape(cell.width, cell.depth)] -= 1  # the base itself
    for slot, places in free.items():
        if len(places) > room[slot]:
            said = f"of this shape there are {room[slot]} cells beside the base"
            raise _stays_empty(places[room[slot]], slot, number, said)


def _stays_empty(position: int, slot: Hashable, number: int, why: str) -> SpecError:
    return SpecError(
        f"slot {position + 1} of {number} ({_describe(slot)}) stays empty: {why}",
        fix="ask for fewer cells or another shape, or loosen the constraints",
    )


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


def _check_count(n: Any, times: int = 1) -> None:
    most = max(1, MOST // times)
    if type(n) is not int or not 1 <= n <= most:
        raise SpecError(f"n is {n!r}", fix=f"use a whole number from 1 to {most}")
