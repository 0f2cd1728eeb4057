"""What the paper prints of cells that need no training, beside what the cells have.

F is the final version of the paper, E the earlier one. Table 2 is `workers.cells.variants.table_2`,
since the sampler `profile` draws from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from orchestrator.output.tables import TextTable
from results_schema.errors import ConfigError
from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec
from workers.cells import cost
from workers.cells.bases import named
from workers.cells.variants import Variant, connection_variants, operation_variants, table_2
from workers.data.catalog import describe

TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "tiny_imagenet": "Tiny-ImageNet"}
"""Data sets by name, to the heads of Table 1's columns."""

DATASETS = tuple(TITLES.values())

_FIGURE_1 = {
    "NASNet": ((5.0, 2), (5.0, 2)),
    "AmoebaNet": ((4.0, 4), (3.0, 4)),
    "ENAS": ((5.0, 2), (5.0, 2)),
    "DARTS": ((3.5, 3), (3.0, 3)),
    "SNAS": ((4.0, 2), (4.0, 2)),
}

FIGURE_1 = {base: final for base, (final, _) in _FIGURE_1.items()}
"""F, Figure 1: width in units of c and depth of each base's normal cell."""

FIGURE_1_EARLIER = {base: earlier for base, (_, earlier) in _FIGURE_1.items()}
"""E, Figure 1: the same, by that version's definition of width."""

_TABLE_1 = {
    "NASNet": "2.65 4.29 17.06 4.42 31.88 4.57",
    "NASNet_ADAPT": "2.80 4.32 16.86 4.45 32.05 4.60",
    "AmoebaNet": "2.76 3.60 17.55 3.71 32.22 3.83",
    "AmoebaNet_ADAPT": "2.91 3.60 17.28 3.71 33.16 3.83",
    "ENAS": "2.64 4.32 16.67 4.45 30.68 4.60",
    "ENAS_ADAPT": "2.76 4.32 16.04 4.45 31.36 4.60",
    "DARTS": "2.67 3.83 16.41 3.95 30.58 4.08",
    "DARTS_ADAPT": "2.73 3.90 16.15 4.03 31.33 4.16",
    "SNAS": "2.88 3.14 17.78 3.26 32.40 3.39",
    "SNAS_ADAPT": "2.69 3.19 17.20 3.31 32.61 3.45",
}

TABLE_1_ERRORS = {name: tuple(row.split()[0::2]) for name, row in _TABLE_1.items()}
"""F, Table 1: test error in %, one for each of `DATASETS` (E has those of CIFAR alone)."""

TABLE_1_PARAMETERS = {name: tuple(row.split()[1::2]) for name, row in _TABLE_1.items()}
"""F, Table 1: parameters / 10⁶ with the auxiliary head, one for each of `DATASETS`."""

_NASNET = "3.45 3.19 2.98 2.70 3.67 3.03 3.85 3.26 3.81 3.29"
_TABLE_3 = {
    "DARTS": "3.35 3.37 2.84 2.70 2.98 3.19 2.43 3.49 2.88 3.31 2.81",
    "ENAS": f"3.86 {_NASNET}",
    "AmoebaNet": "3.15 2.86 2.62 2.41 2.10 3.10 2.46 3.28 2.69 3.42 2.75",
    "NASNet": f"3.83 {_NASNET}",
}

TABLE_3 = {base: tuple(row.split()) for base, row in _TABLE_3.items()}
"""F, Table 3: parameters / 10⁶ of the base (C0) and its operation variants, without the head."""

_DEPTH = (
    "seeds 1 to 10 of the published code have one cell of this shape fewer than the table; the"
    " one left over at this width stands beside it."
)

EXPLANATIONS = {
    **{(2, base, f"C{i}"): _DEPTH for base in ("ENAS", "NASNet") for i in (8, 9, 11)},
    (2, "AmoebaNet", "C13"): (
        "the cell left over is seed 6, which is 3c,4 over its live nodes; the other twelve agree."
    ),
    (3, "AmoebaNet", "C9"): (
        "two digits of the print are swapped: seed 9 has 3.24, and the rest of the row agrees."
    ),
}
"""Why an entry (table, base, column) differs from what the networks have."""

REMARKS = {
    1: (
        "Errors are the paper's, in %; parameters are counted with the auxiliary head at 20 cells"
        " and 36 channels, and printed in units of 10⁶.",
        "Adapted cells kept their lists of concatenated nodes, so some of their nodes are dead:"
        " `nas-sweep cells` shows the live parameters.",
    ),
    2: (
        "Width and depth are of the normal cell, over nodes that reach the output: AmoebaNet's"
        " output leaves two nodes out.",
        "The table names no cells. Each entry stands beside a cell of its shape: under paper13"
        " the published cells and the seeds of the published code, with the first seeds that fill"
        " the places of three cells of unknown source; under profile the first free seed of every"
        " shape.",
    ),
    3: (
        "Parameters are counted without the auxiliary head at 20 cells and 36 channels, and"
        " printed in units of 10⁶.",
        "C1 to C5 of DARTS are DARTS_OPS1 to DARTS_OPS5, which the authors published in other"
        " code. Seeds 1 to 5 of the released code have 3.07, 2.80, 2.08, 1.99 and 2.77.",
    ),
}
"""What holds for a whole table."""

NETWORK = NetworkSpec()
"""The paper's: 20 cells of 36 channels."""

BASES = tuple(TABLE_3)
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
    for name, values in TABLE_1_PARAMETERS.items():
        base, _, adapted = name.partition("_")
        version = "adapted" if adapted else "original"
        for dataset, value in zip(TITLES, values, strict=True):
            count = paper_parameters(named(name), dataset, auxiliary=True)
            title = TITLES[dataset]
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
        for cell, value in zip(cells, TABLE_3[base], strict=True):
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
    why = "" if rounded == value else EXPLANATIONS.get((table, base, column), "")
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


Value = tuple[str, Entry | None]
"""A text, and the entry that it stands for if the paper's number may differ from ours."""


class Marks:
    """Numbers that differ from the paper's, each with the number of the note that explains it.

    Attributes:
        places: (row, column) to the number of a note, from 1.
        notes: The explanations, each once.
    """

    def __init__(self) -> None:
        self.places: dict[tuple[int, int], int] = {}
        self.notes: list[str] = []

    def add(self, row: int, column: int, explanation: str) -> None:
        """Mark a place of the table; without an explanation the note is "not as printed"."""
        note = explanation or "not as printed"
        if note not in self.notes:
            self.notes.append(note)
        self.places[row, column] = self.notes.index(note) + 1


def table_sheet(entries: Sequence[Entry]) -> TextTable:
    """Lay out one table of `compare`, turned so that it fits a page.

    Args:
        entries: All entries of the table.
    """
    table = entries[0].table
    title, heads, lines = {1: _lines_1, 2: _lines_2, 3: _lines_3}[table](entries)
    marks, rows, compared = Marks(), [], 0
    for number, (first, values) in enumerate(lines):
        rows.append([first, *(text for text, _ in values)])
        for column, (_, entry) in enumerate(values, start=1):
            compared += entry is not None
            if entry and not entry.matches:
                marks.add(number, column, entry.explanation)
    agreed = f"{compared - len(marks.places)} of {compared} numbers are as printed."
    return TextTable(title, heads, rows, marks.places, marks.notes, (agreed, *REMARKS[table]))


Lines = tuple[str, list[str], list[tuple[str, list[Value]]]]
"""Title, column heads, and rows: a first cell and its values."""


def _lines_1(entries: Sequence[Entry]) -> Lines:
    lines = []
    for name, errors in TABLE_1_ERRORS.items():
        values: list[Value] = []
        for error, dataset in zip(errors, DATASETS, strict=True):
            entry = _only(entries, name=name, column=dataset)
            values += [(error, None), (entry.printed, None), (f"{entry.parameters:,}", entry)]
        lines.append((name, values))
    heads = _heads(DATASETS, ("error, %", "printed, 10⁶", "counted"))
    return "Table 1: original and adapted cells", ["cell", *heads], lines


def _lines_2(entries: Sequence[Entry]) -> Lines:
    def values(column: str, base: str) -> list[Value]:
        paper = _only(entries, column=column, base=base, version="paper13")
        profile = _only(entries, column=column, base=base, version="profile")
        return [(paper.printed, None), (paper.ours, paper), (profile.name, None)]

    heads = _heads(BASES, ("printed", "paper13", "profile"))
    lines = _by_column(entries, values)
    return "Table 2: width and depth of connection variants", ["", *heads], lines


def _lines_3(entries: Sequence[Entry]) -> Lines:
    def values(column: str, base: str) -> list[Value]:
        entry = _only(entries, column=column, base=base)
        return [(entry.printed, None), (f"{entry.parameters:,}", entry)]

    heads = _heads(BASES, ("printed, 10⁶", "counted"))
    return "Table 3: parameters of operation variants", ["", *heads], _by_column(entries, values)


def _by_column(
    entries: Sequence[Entry], values: Callable[[str, str], list[Value]]
) -> list[tuple[str, list[Value]]]:
    """Return a row for each of the paper's columns, with the values of every base."""
    columns = dict.fromkeys(entry.column for entry in entries)
    return [(c, [value for base in BASES for value in values(c, base)]) for c in columns]


def _heads(groups: Iterable[str], heads: Iterable[str]) -> list[str]:
    return [f"{group}\n{head}" for group, head in product(groups, heads)]


def _only(entries: Sequence[Entry], **wanted: str) -> Entry:
    (found,) = (e for e in entries if all(getattr(e, key) == v for key, v in wanted.items()))
    return found
