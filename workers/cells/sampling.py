"""Random variants of a genotype: redrawn connections or operations (Section A.2), chosen by shape.

A draw is one seed of `sample_connections` or `sample_operations`, whose streams are the published
code's. `draw` chooses seeds by a rule: shapes of Table 2, uniform, or so many of each width. A
variant is therefore identified by its seed alone and is the same on every machine. Under each rule
no two variants of a base share a normal cell's connections, and none has the base's.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import Annotated, Any, ClassVar

import numpy as np

from results_schema.canonical import Spec, whole
from results_schema.errors import SpecError
from results_schema.genotype import INPUTS, Cell, Edge, Genotype
from workers.cells.operations import check_name
from workers.cells.topology import CENSUS_NODES, ConnectionBatch, census

CANDIDATES = (
    *("max_pool_3x3", "avg_pool_3x3", "skip_connect"),
    *("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
)
"""What an operation is drawn from; the order is part of the stream."""

SCAN = 50_000  # seeds tried before a slot counts as one that can't be filled: a second of a core
MOST_VARIANTS = 10_000  # of one base
SEED, COUNT = whole(0, 2**32 - 1), whole(1, MOST_VARIANTS)


def sample_connections(base: Genotype, seed: int) -> Genotype:
    """Redraw every edge's source uniformly from the nodes before its node, with replacement.

    The stream is the published code's: one NumPy `RandomState`, one draw per edge for the normal
    cell and then one for the reduction cell. Operations and concat lists stay. Seeds are whole
    numbers from 0 to 2**32 - 1.
    """
    return _with_sources(base, *draw_sources(base, [seed]), 0)


def sample_operations(
    base: Genotype, seed: int, candidates: Sequence[str] = CANDIDATES
) -> Genotype:
    """Redraw every operation uniformly from candidates.

    The stream is the published code's: one NumPy `RandomState`, one call for all edges of the
    normal cell and then one for the reduction cell. Sources and concat lists stay.
    """
    SEED("seed", seed)
    stream = np.random.RandomState(seed)

    def redrawn(cell: Cell) -> Cell:
        drawn: Iterator[int] = iter(stream.choice(len(candidates), sum(map(len, cell.nodes))))
        return _with_edges(cell, lambda edge: Edge(candidates[next(drawn)], edge.source))

    return Genotype(redrawn(base.normal), redrawn(base.reduce))


def draw_sources(base: Genotype, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the sources that `sample_connections` draws for each seed, in much less time.

    Those of the normal and of the reduction cell; int64 [seed, edge].
    """
    for seed in seeds:
        SEED("seed", seed)
    targets = (
        [node for node, edges in enumerate(cell.nodes, start=INPUTS) for _ in edges]
        for cell in (base.normal, base.reduce)
    )
    # The published code draws the two cells' edges alternately; once the smaller cell has none
    # left, the other's follow one another. Each draw is below the node that its edge leads to.
    turns = np.array(list(zip_longest(*targets, fillvalue=0))).ravel()  # 0 leads nowhere
    cells = np.tile([0, 1], len(turns) // 2)[turns > 0]
    drawn = _draw(tuple(turns[turns > 0].tolist()), tuple(seeds))
    return drawn[:, cells == 0], drawn[:, cells == 1]


def _with_sources(base: Genotype, normal: np.ndarray, reduce: np.ndarray, row: int) -> Genotype:
    """Return the genotype with its edges coming from the nodes in a row of `draw_sources`."""

    def redrawn(cell: Cell, sources: list[int]) -> Cell:
        left = iter(sources)
        return _with_edges(cell, lambda edge: Edge(edge.op, next(left)))

    return Genotype(
        redrawn(base.normal, normal[row].tolist()), redrawn(base.reduce, reduce[row].tolist())
    )


def _with_edges(cell: Cell, redraw: Callable[[Edge], Edge]) -> Cell:
    nodes = (tuple(redraw(edge) for edge in edges) for edges in cell.nodes)
    return Cell(tuple(nodes), cell.concat)


@lru_cache(maxsize=32)  # bases with equally many edges into each node draw alike
def _draw(bounds: tuple[int, ...], seeds: tuple[int, ...]) -> np.ndarray:
    """Draw a number below each bound for each seed; int64 [seed, bound]."""
    stream, below = np.random.RandomState(), np.array(bounds, dtype=np.int64)
    drawn = np.empty((len(seeds), len(bounds)), dtype=np.int64)
    for row, seed in enumerate(seeds):
        # Reseeding one stream is far quicker than making one for each seed.
        stream.seed(seed)
        drawn[row] = stream.randint(below)
    # The cached array is shared by all callers.
    drawn.flags.writeable = False
    return drawn


def _slots(name: str, value: Any) -> tuple[tuple[float, int], ...]:
    for slot in value:
        if not isinstance(slot, Sequence) or len(slot) != 2 or not all(map(_is_finite, slot)):
            raise SpecError(f"slot {slot!r} is no (width, depth)", fix="use e.g. [2.5, 4]")
        if slot[1] != int(slot[1]):
            what = f"slot {slot!r} has a depth of {slot[1]!r}"
            raise SpecError(what, fix="use a whole number of edges")
    return tuple((float(width), int(depth)) for width, depth in value)


def _given_widths(name: str, value: Any) -> tuple[float, ...]:
    for width in value:
        if not _is_finite(width):
            raise SpecError(f"width {width!r} is no number", fix="use e.g. 2.5")
    return tuple(map(float, value))


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


@dataclass(frozen=True, kw_only=True)
class Constraints(Spec):
    """What both cells of a variant must fulfil."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    distinct_sources: bool = False  # no node takes one source twice
    all_inputs_used: bool = False  # both inputs reach the output
    no_dead_nodes: bool = False  # every node reaches the output

    def allow(self, cells: ConnectionBatch) -> np.ndarray:
        """Return which of some cells fulfil them; bool [cell]."""
        allowed = np.ones(len(cells), dtype=bool)
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

    slots: Annotated[tuple[tuple[float, int], ...], _slots] = ()
    first_seed: Annotated[int, SEED] = 1


@dataclass(frozen=True, kw_only=True)
class Uniform(Constraints):
    """So many variants, each drawn uniformly from the sampler's draws that the constraints allow.

    A draw chooses a source for every edge in turn, so connections are drawn in proportion to the
    orders that lead to them: two for each node whose two sources differ, one where they are the
    same. Cells whose nodes take one source twice are rarer than others for that reason; a second
    draw of the same connections is skipped.
    """

    n: Annotated[int, COUNT] = 10  # variants
    seed: Annotated[int, SEED] = 0  # of the choice of seeds


@dataclass(frozen=True, kw_only=True)
class Stratified(Constraints):
    """So many variants of each width, so that narrow and wide cells weigh alike.

    Within a width the draws are as uneven over cells as those of `Uniform`.
    """

    n: Annotated[int, COUNT] = 1  # variants of each width
    seed: Annotated[int, SEED] = 0  # of the choice of seeds
    # In units of c over live nodes; if empty, all of the space.
    widths: Annotated[tuple[float, ...], _given_widths] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(1, max(1, MOST_VARIANTS // max(1, len(self.widths))))("n", self.n)


Sampling = Profile | Uniform | Stratified


@dataclass(frozen=True, kw_only=True)
class UniformOperations(Spec):
    """So many variants, each operation drawn uniformly from candidates, no two of them equal.

    Attributes:
        candidates: Names of operations, those of plug-ins among them; their order is part of the
            stream.
        n: Number of variants.
        first_seed: Where the scan of seeds begins.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    candidates: tuple[str, ...] = CANDIDATES
    n: Annotated[int, COUNT] = 10
    first_seed: Annotated[int, SEED] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.candidates:
            check_name(name)
        if len(set(self.candidates)) != len(self.candidates) or not self.candidates:
            what = f"candidates {list(self.candidates)} is empty or repeats a name"
            raise SpecError(what, fix="name every operation once")

    def draw(self, base: Genotype) -> dict[int, Genotype]:
        """Return the variants by seed.

        Raises:
            SpecError: There are too few.
        """
        found = dict[Genotype, int]()
        for seed in range(self.first_seed, self.first_seed + 20 * self.n + 1000):
            drawn = sample_operations(base, seed, self.candidates)
            if drawn != base:
                found.setdefault(drawn, seed)
            if len(found) == self.n:
                return {seed: genotype for genotype, seed in found.items()}
        what = f"only {len(found)} of {self.n} variants of operations differ"
        raise SpecError(what, fix="ask for fewer, or name more candidates")


def draw(base: Genotype, how: Sampling) -> list[tuple[int, Genotype]]:
    """Return seeds and their genotypes, in the order of the slots.

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
    slot_of: Callable[[float, int], Hashable],
    seeds: Sequence[int],
    constraints: Constraints,
) -> list[tuple[int, Genotype]]:
    """Give each slot the first seed that fits it; equal slots are filled in their order.

    `slot_of` returns the slot that a cell of a width and depth fits.
    """
    free: dict[Hashable, deque[int]] = {}
    for position, slot in enumerate(slots):
        free.setdefault(slot, deque()).append(position)
    _check_supply(base.normal, free, slot_of, constraints)
    filled: dict[int, tuple[int, Genotype]] = {}
    # The base's own connections are taken from the start, so that no variant repeats it.
    taken = set(ConnectionBatch.of(base.normal).keys)
    start, size = 0, 64  # small blocks first: most often some dozens of seeds are enough
    while start < len(seeds):
        block = seeds[start : start + size]
        start, size = start + size, min(2 * size, 4096)
        sources = draw_sources(base, block)
        normal, reduce = map(ConnectionBatch.like, (base.normal, base.reduce), sources)
        fits = map(slot_of, normal.widths.tolist(), normal.depths.tolist())
        allowed = (constraints.allow(normal) & constraints.allow(reduce)).tolist()
        for row, (slot, key) in enumerate(zip(fits, normal.keys, strict=True)):
            positions = free.get(slot)
            if positions and key not in taken and allowed[row]:
                filled[positions.popleft()] = block[row], _with_sources(base, *sources, row)
                taken.add(key)
        if len(filled) == len(slots):
            return [filled[position] for position in range(len(slots))]
    empty = min(set(range(len(slots))) - set(filled))
    why = f"none of {SCAN} seeds has a further cell for it"
    raise _stays_empty(empty, slots[empty], len(slots), why)


def _check_supply(
    cell: Cell,
    free: Mapping[Hashable, Sequence[int]],
    slot_of: Callable[[float, int], Hashable],
    constraints: Constraints,
) -> None:
    """Refuse at once to fill slots of which there are more than cells."""
    if not _is_counted(cell) or len(cell.nodes) == CENSUS_NODES:
        return  # counting them would take as long as trying
    supply = Counter[Hashable]()
    pairs = "distinct" if constraints.distinct_sources else "unordered"
    # The census counts both orders of two distinct sources, which are one graph.
    orders = 2 ** len(cell.nodes) if constraints.distinct_sources else 1
    for (width, depth), cells in census(len(cell.nodes), cell.concat, pairs).shapes.items():
        supply[slot_of(width, depth)] += cells // orders
    # The base itself is no variant. The other constraints only lower the supply, so a slot that
    # passes here may still stay empty, and none is refused wrongly.
    if constraints.allow(ConnectionBatch.of(cell)).item():
        supply[slot_of(cell.width, cell.depth)] -= 1
    number = sum(map(len, free.values()))
    for slot, positions in free.items():
        if len(positions) > supply[slot]:
            why = f"of this shape there are {supply[slot]} cells beside the base"
            raise _stays_empty(positions[supply[slot]], slot, number, why)


def _stays_empty(position: int, slot: Any, number: int, why: str) -> SpecError:
    if isinstance(slot, tuple):
        shape = f"width {slot[0]:g}c, depth {slot[1]}"
    else:
        shape = f"width {slot:g}c" if isinstance(slot, float) else "any shape"
    what = f"slot {position + 1} of {number} ({shape}) stays empty: {why}"
    return SpecError(what, fix="ask for fewer cells or another shape, or loosen the constraints")


def _is_counted(cell: Cell) -> bool:
    return len(cell.nodes) <= CENSUS_NODES and all(len(edges) == INPUTS for edges in cell.nodes)


def _widths(cell: Cell, constraints: Constraints) -> list[float]:
    """Return the widths that redrawn connections of a cell can have, ascending."""
    if not _is_counted(cell):
        most = f"{INPUTS} edges into each of up to {CENSUS_NODES} nodes"
        what = f"the widths of this cell's space are known only for {most}"
        raise SpecError(what, fix="name the widths")
    pairs = "distinct" if constraints.distinct_sources else "ordered"
    return sorted({width for width, _ in census(len(cell.nodes), cell.concat, pairs).shapes})
