"""The paper's Tables 1 to 3 entry by entry: what it prints beside what the cells have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from orchestrator.paper import printed
from results_schema.errors import ConfigError
from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec
from workers.cells import cost
from workers.cells.bases import named
from workers.cells.operations import operation_variants
from workers.cells.variants import Variant, connection_variants, table_2
from workers.data.catalog import describe

NETWORK = NetworkSpec()
"""The paper's: 20 cells of 36 channels."""

BASES = tuple(printed.TABLE_3)
"""The rows of Tables 2 and 3."""

SAMPLINGS = ("paper13", "profile")
"""The connection variants whose shapes stand beside Table 2."""


@dataclass(frozen=True)
class Entry:
    """One number of a table.

    Attributes:
        table: 1 to 3.
        base: The row.
        column: As the table heads it: a data set, or C0, C1, …
        version: original or adapted in Table 1, the sampling in Table 2, else empty.
        name: The genotype's, as `bases.named` or the variant has it.
        printed: The paper's.
        ours: The genotype's, rounded as the paper does.
        parameters: The exact count; None in Table 2.
        explanation: Why the two differ, where they do.
    """

    table: int
    base: str
    column: str
    version: str
    name: str
    printed: str
    ours: str
    parameters: int | None
    explanation: str = ""

    @property
    def matches(self) -> bool:
        """Whether the paper prints what the genotype has."""
        return self.printed == self.ours

    def record(self) -> dict[str, Any]:
        """The entry as plain data."""
        return asdict(self) | {"matches": self.matches}


def compare(table: int) -> list[Entry]:
    """Every entry of a table, row by row.

    Args:
        table: 1 for the parameters of bases and adapted cells, 2 for the shapes of connection
            variants, 3 for the parameters of operation variants.

    Raises:
        ConfigError: There is no such table.
    """
    tables = {1: _table_1, 2: _table_2, 3: _table_3}
    if table not in tables:
        raise ConfigError(f"there is no table {table!r} of cells", fix="use 1, 2 or 3")
    return tables[table]()


def shape_label(width: float, depth: int) -> str:
    """Width and depth as the paper writes them: "3.5c,3"."""
    return f"{width:g}c,{depth}"


def _table_1() -> list[Entry]:
    entries = []
    for name, values in printed.TABLE_1_PARAMETERS.items():
        base, _, adapted = name.partition("_")
        version = "adapted" if adapted else "original"
        for dataset, value in zip(printed.TITLES, values, strict=True):
            count = paper_parameters(named(name), dataset, auxiliary=True)
            title = printed.TITLES[dataset]
            entries.append(_entry(1, base, title, version, name, value, count))
    return entries


def _table_2() -> list[Entry]:
    entries = []
    for base, sampling in product(BASES, SAMPLINGS):
        slots = [shape_label(*slot) for slot in table_2(base)]
        variants = connection_variants(base, sampling)
        shapes = [shape_label(v.genotype.width, v.genotype.depth) for v in variants]
        for place, cell in enumerate(pair_up(slots, shapes)):
            column, name = f"C{place + 1}", variants[cell].name
            entries.append(_entry(2, base, column, sampling, name, slots[place], shapes[cell]))
    return entries


def _table_3() -> list[Entry]:
    entries = []
    for base in BASES:
        cells = [Variant(0, base, named(base)), *operation_variants(base, "paper10")]
        for cell, value in zip(cells, printed.TABLE_3[base], strict=True):
            count = paper_parameters(cell.genotype, "cifar10", auxiliary=False)
            entries.append(_entry(3, base, f"C{cell.index}", "", cell.name, value, count))
    return entries


def paper_parameters(
    genotype: Genotype, dataset: str, *, auxiliary: bool, live: bool = False
) -> int:
    """Return the number of parameters of a genotype in the paper's network.

    Args:
        genotype: The two cells.
        dataset: Its name.
        auxiliary: Whether to count the auxiliary head.
        live: Whether to leave out those without a path to the output; the paper's tables do not.
    """
    size = replace(NETWORK, stem_stride=describe(dataset).stem_stride)
    found = cost.count_on(genotype, size, dataset, auxiliary=auxiliary)
    return found.live_parameters if live else found.parameters


def _entry(
    table: int, base: str, column: str, version: str, name: str, value: str, ours: str | int
) -> Entry:
    count = ours if isinstance(ours, int) else None
    rounded = ours if isinstance(ours, str) else f"{ours / 1e6:.2f}"
    why = "" if rounded == value else printed.EXPLANATIONS.get((table, base, column), "")
    return Entry(table, base, column, version, name, value, rounded, count, why)


def pair_up(slots: Sequence[str], shapes: Sequence[str]) -> list[int]:
    """For each slot the first free cell of its shape, or else of its width, or else any.

    The table names no cells, so a shape that one slot misprints must not shift all that follow.
    """
    free = list(range(len(shapes)))
    found: dict[int, int] = {}
    for key in (str, lambda shape: shape.partition(",")[0], lambda shape: ""):
        for place in range(len(slots)):
            fits = [cell for cell in free if key(shapes[cell]) == key(slots[place])]
            if place not in found and fits:
                found[place] = fits[0]
                free.remove(fits[0])
    return [found[place] for place in range(len(slots))]
