"""The paper's tables of an experiment's cells and trials, each number beside the paper's.

`make` returns any of them. Table 1 has a module of its own, `error_table`; the tables of cells are
here: Table 2, width and depth of the connection variants, and Table 3, parameters of the operation
variants.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from orchestrator.config.registry import TABLE_KINDS, load_entry
from orchestrator.output.tables import TextTable, to_csv, to_latex, to_markdown
from orchestrator.output.text import NO_NUMBER, fixed, signed
from orchestrator.paper import printed
from orchestrator.paper.printed import (
    BASES,
    SAMPLINGS,
    Marks,
    pair_up,
    paper_parameters,
    shape_label,
)
from results_schema.errors import ConfigError
from results_schema.genotype import Genotype
from workers.cells.bases import named
from workers.cells.variants import connection_variants, operation_variants, table_2

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("md", "csv", "tex")


class Table(NamedTuple):
    """A table of the paper.

    Attributes:
        sheet: The table laid out to be read.
        records: The same numbers as plain data, a record for each number of the paper.
    """

    sheet: TextTable
    records: Sequence[Mapping[str, Any]]

    def text(self, suffix: str) -> str:
        """Return the table in one of `FORMATS`: Markdown, CSV or LaTeX."""
        if suffix == "csv":
            return to_csv(self.records) + "\n"
        return {"md": to_markdown, "tex": to_latex}[suffix](self.sheet) + "\n"


def make(kind: str, table: Callable[[str], pd.DataFrame]) -> Table:
    """Return the table of one kind.

    Args:
        kind: A key of `TABLE_KINDS`.
        table: Returns a table of the store by its name, for one experiment.

    Raises:
        ConfigError: The experiment has nothing that the table could show.
    """
    found = TABLE_KINDS[kind]
    entries = load_entry(found.data)(table(found.source))
    return Table(load_entry(found.layout)(entries), [entry.record() for entry in entries])


class Entry(Protocol):
    """An entry of a table by base and index."""

    @property
    def base(self) -> str:
        """What the cell was drawn from: its group of columns."""
        ...

    @property
    def index(self) -> int:
        """Its row; 0 is the base itself."""
        ...

    @property
    def compared(self) -> bool:
        """Whether the paper prints anything of it."""
        ...

    @property
    def differs(self) -> bool:
        """Whether the paper prints something else."""
        ...

    @property
    def explanation(self) -> str:
        """Why, where that is known."""
        ...


E = TypeVar("E", bound=Entry)


def by_base(
    title: str,
    entries: Sequence[E],
    heads: Sequence[str],
    texts: Callable[[E], Sequence[str]],
    *,
    noun: str,
    remark: str,
    below: Sequence[Sequence[str]] = (),
    words: Sequence[int] = (),
) -> TextTable:
    """Lay out a row for each index with the columns of each base side by side.

    Args:
        title: Title of the table.
        entries: At least one entry; those that differ from the paper are marked.
        heads: Column heads of each base; the second column holds our number.
        texts: Returns an entry's texts, one for each head.
        noun: What is compared, in the plural.
        remark: A remark below the table.
        below: Further rows.
        words: Indices of the heads over words instead of numbers, from 0.
    """
    bases = bases_of(entries)
    found = {(entry.base, entry.index): entry for entry in entries}
    marks, rows = Marks(), []
    for index in range(max(entry.index for entry in entries) + 1):
        row = [f"C{index}" if index else "base"]
        for base in bases:
            entry = found.get((base, index))
            if entry and entry.differs:
                marks.add(index, len(row) + 1, entry.explanation)
            row += texts(entry) if entry else [NO_NUMBER] * len(heads)
        rows.append(row)
    compared = [entry for entry in entries if entry.compared]
    agreed = sum(not entry.differs for entry in compared)
    return TextTable(
        title,
        ["", *(f"{base}\n{head}" for base in bases for head in heads)],
        [*rows, *below],
        marks.places,
        marks.notes,
        (f"{agreed} of {len(compared)} {noun} are as printed.", remark),
        left=[1 + len(heads) * n + word for n in range(len(bases)) for word in words],
    )


def bases_of(entries: Sequence[Entry]) -> list[str]:
    """Return the bases in order of first appearance."""
    return list(dict.fromkeys(entry.base for entry in entries))


@dataclass(frozen=True)
class ShapeEntry:
    """One variant.

    Attributes:
        base: What it was drawn from.
        index: Its row; 0 is the base itself.
        variant: The cell's name.
        printed: Width and depth as the paper has them; None if it prints none here.
        width: Of the nodes that reach the output (Section 3.2), in units of c.
        depth: Of the paths to the output, in edges.
        explanation: Why the two differ, where that is known.
    """

    base: str
    index: int
    variant: str
    printed: tuple[float, int] | None
    width: float
    depth: int
    explanation: str = ""

    @property
    def compared(self) -> bool:
        """Whether the paper prints a shape."""
        return self.printed is not None

    @property
    def differs(self) -> bool:
        """Whether the paper prints another shape."""
        return self.printed not in (None, (self.width, self.depth))

    def record(self) -> dict[str, Any]:
        """The entry as plain data."""
        width, depth = self.printed or (None, None)
        return {
            "base": self.base,
            "index": self.index,
            "variant": self.variant,
            "printed_width": width,
            "printed_depth": depth,
            "width": self.width,
            "depth": self.depth,
            "width_difference": None if width is None else self.width - width,
            "depth_difference": None if depth is None else self.depth - depth,
            "explanation": self.explanation,
        }


def shapes_data(cells: pd.DataFrame) -> list[ShapeEntry]:
    """The entries, by base and index.

    The table names no cells, so each of its entries stands beside a variant of its shape, or else
    of its width, or else any that is left.

    Args:
        cells: As `Results.cells(experiment)` returns them.

    Raises:
        ConfigError: There are no cells.
    """
    if cells.empty:
        raise ConfigError("the table of shapes has no cells to show", fix="name a genotype")
    groups: Any = cells.groupby("base", sort=False)
    return [entry for base, group in groups for entry in _shape_entries(str(base), group)]


def shapes_sheet(entries: Sequence[ShapeEntry]) -> TextTable:
    """A row to an index; of each base the paper's shape, ours and the variant that has it."""
    return by_base(
        "Table 2: width and depth of connection variants",
        entries,
        ("paper", "ours", "variant"),
        _shape_texts,
        noun="shapes",
        words=[2],
        remark="Width (in channels c of a node) and depth (in edges) are of the normal cell, over"
        " nodes that reach the output.",
    )


def _shape_entries(base: str, cells: pd.DataFrame) -> list[ShapeEntry]:
    rows: list[dict[Any, Any]] = cells.sort_values("index").to_dict("records")
    genotypes = [Genotype.from_json(json.loads(row["genotype"])) for row in rows]
    shapes = [(g.width, g.depth) for g in genotypes]
    slots = [_slot(base, int(row["index"]), g) for row, g in zip(rows, genotypes, strict=True)]
    # Those of the print are paired among themselves; the rest stay where they are.
    printed_at = {i: slot for i, slot in enumerate(slots) if slot and rows[i]["index"]}
    known = list(printed_at)
    labels = [shape_label(*slot) for slot in printed_at.values()]
    pairs = pair_up(labels, [shape_label(*shapes[place]) for place in known])
    cell_at = {place: known[pair] for place, pair in zip(known, pairs, strict=True)}
    found = []
    for place, (row, slot) in enumerate(zip(rows, slots, strict=True)):
        cell, index = cell_at.get(place, place), int(row["index"])
        why = printed.EXPLANATIONS.get((2, base, f"C{index}"), "")
        why = why if slot not in (None, shapes[cell]) else ""
        found.append(ShapeEntry(base, index, rows[cell]["variant"], slot, *shapes[cell], why))
    return found


def _slot(base: str, index: int, genotype: Genotype) -> tuple[float, int] | None:
    """What the paper prints at an index, if the cell is one that it could be about."""
    if not index:
        return printed.FIGURE_1.get(base) if base in BASES and genotype == named(base) else None
    slots = table_2(base) if genotype in _drawn(base) else ()
    return slots[index - 1] if index <= len(slots) else None


@cache
def _drawn(base: str) -> frozenset[Genotype]:
    """The variants that stand beside Table 2."""
    if base not in BASES:
        return frozenset()
    return frozenset(
        cell.genotype for sampling in SAMPLINGS for cell in connection_variants(base, sampling)
    )


def _shape_texts(entry: ShapeEntry) -> list[str]:
    paper = shape_label(*entry.printed) if entry.printed else NO_NUMBER
    return [paper, shape_label(entry.width, entry.depth), entry.variant]


@dataclass(frozen=True)
class SizeEntry:
    """One variant.

    Attributes:
        base: What it was drawn from.
        index: Its row; 0 is the base itself.
        variant: The cell's name.
        printed: The paper's, in 10⁶; None if it prints none of this cell.
        parameters: Counted, without the auxiliary head, at 20 cells and 36 channels.
        explanation: Why the two differ, where that is known.
    """

    base: str
    index: int
    variant: str
    printed: float | None
    parameters: int
    explanation: str = ""

    @property
    def difference(self) -> float | None:
        """Ours, rounded as the paper does, minus the paper's, in 10⁶."""
        if self.printed is None:
            return None
        return round(round(self.parameters / 1e6, 2) - self.printed, 10)

    @property
    def compared(self) -> bool:
        """Whether the paper prints a number."""
        return self.printed is not None

    @property
    def differs(self) -> bool:
        """Whether the paper prints another number."""
        return bool(self.difference)

    def record(self) -> dict[str, Any]:
        """The entry as plain data."""
        return asdict(self) | {"difference": self.difference}


def parameters_data(cells: pd.DataFrame) -> list[SizeEntry]:
    """The entries, by base and index.

    Args:
        cells: As `Results.cells(experiment)` returns them.

    Raises:
        ConfigError: There are no cells.
    """
    if cells.empty:
        raise ConfigError("the table of parameters has no cells to show", fix="name a genotype")
    return [_size_entry(row) for row in cells.to_dict("records")]


def parameters_sheet(entries: Sequence[SizeEntry]) -> TextTable:
    """A row to an index, and below them how far sizes are apart (1 − smallest / largest)."""
    spreads = [text for base in bases_of(entries) for text in _spread(entries, base)]
    return by_base(
        "Table 3: parameters of operation variants",
        entries,
        ("paper, 10⁶", "counted, 10⁶", "difference"),
        _size_texts,
        noun="numbers",
        remark="Parameters are counted without the auxiliary head at 20 cells and 36 channels. The"
        " spread is 1 − smallest / largest; the paper says about 30 %.",
        below=[["spread", *spreads]],
    )


def _size_entry(row: dict[Any, Any]) -> SizeEntry:
    base, index = str(row["base"]), int(row["index"])
    genotype = Genotype.from_json(json.loads(row["genotype"]))
    entry = SizeEntry(
        base,
        index,
        str(row["variant"]),
        _printed_sizes(base).get((index, genotype)),
        paper_parameters(genotype, "cifar10", auxiliary=False),
    )
    if not entry.difference:
        return entry
    why = printed.EXPLANATIONS.get((3, base, f"C{index}"), "")
    return replace(entry, explanation=why)


@cache
def _printed_sizes(base: str) -> dict[tuple[int, Genotype], float]:
    """What the table prints, by index and the cell that it prints it of."""
    if base not in printed.TABLE_3:
        return {}
    cells = [named(base), *(cell.genotype for cell in operation_variants(base, "paper10"))]
    return {
        (index, cell): float(value)
        for index, (cell, value) in enumerate(zip(cells, printed.TABLE_3[base], strict=True))
    }


def _size_texts(entry: SizeEntry) -> list[str]:
    return [fixed(entry.printed), fixed(entry.parameters / 1e6), signed(entry.difference)]


def _spread(entries: Sequence[SizeEntry], base: str) -> list[str]:
    own = [entry for entry in entries if entry.base == base]
    paper = [entry.printed for entry in own if entry.printed is not None]
    sizes = [entry.parameters for entry in own]
    return [_share(paper) if paper else NO_NUMBER, _share(sizes), NO_NUMBER]


def _share(sizes: Sequence[float]) -> str:
    return f"{1 - min(sizes) / max(sizes):.1%}".replace("%", " %")
