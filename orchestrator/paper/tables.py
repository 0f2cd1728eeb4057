"""Tables 1 to 3 of an experiment or of the paper's own cells, each number beside the paper's.

Table 1 has a module of its own, `error_table`. Here are Table 2, width and depth of connection
variants, and Table 3, parameters of operation variants.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from orchestrator.config.registry import TABLE_KINDS
from orchestrator.output.tables import TextTable, to_csv, to_latex, to_markdown
from orchestrator.output.text import NO_NUMBER, fixed, signed
from orchestrator.paper.printed import (
    BASES,
    EXPLANATIONS,
    FIGURE_1,
    REMARKS,
    TABLE_3,
    paper_parameters,
    shape_label,
)
from results_schema.errors import ConfigError
from results_schema.genotype import Genotype
from workers.cells.bases import named
from workers.cells.variants import Variant, connection_variants, operation_variants, table_2

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("md", "csv", "tex")

SAMPLINGS = ("paper13", "profile")
"""The connection variants whose shapes stand beside Table 2."""


class Table(NamedTuple):
    """A table of the paper.

    Attributes:
        sheet: The table laid out to be read.
        records: The same numbers as plain data, a record for each number of the paper.
    """

    sheet: TextTable
    records: Sequence[Mapping[str, Any]]

    def text(self, suffix: str, name: str = "") -> str:
        """Return the table in one of `FORMATS`; in LaTeX its label is `tab:NAME`."""
        if suffix == "csv":
            return to_csv(self.records) + "\n"
        return (to_latex(self.sheet, name) if suffix == "tex" else to_markdown(self.sheet)) + "\n"


def make(kind: str, table: Callable[[str], pd.DataFrame]) -> Table:
    """Return the table of one kind.

    Args:
        kind: A key of `TABLE_KINDS`.
        table: Returns a table of the store by its name, for one experiment.

    Raises:
        ConfigError: The experiment has nothing that the table could show.
    """
    found = TABLE_KINDS[kind]
    entries = resolve_name(found.data)(table(found.source))
    return _table(resolve_name(found.layout), entries)


def _table(lay_out: Callable[[Any], TextTable], entries: Sequence[Any]) -> Table:
    return Table(lay_out(entries), [entry.record() for entry in entries])


def paper_tables(number: int) -> list[Table]:
    """Return Table 1, 2 or 3 of the paper's own cells, without an experiment.

    Table 2, which names no cells, is returned once for each of `SAMPLINGS`.
    """
    from orchestrator.paper.error_table import errors_sheet, printed_errors

    if number == 1:
        return [_table(errors_sheet, printed_errors())]
    samplings, draw, enter, lay_out = {
        2: (SAMPLINGS, connection_variants, _shape_entries, shapes_sheet),
        3: (("paper10",), operation_variants, _size_entries, parameters_sheet),
    }[number]
    tables = []
    for sampling in samplings:
        cells = {base: [Variant(0, base, named(base)), *draw(base, sampling)] for base in BASES}
        sheet, records = _table(lay_out, enter(cells))
        title, remarks = f"{sheet.title}, {sampling}", [*sheet.remarks, *REMARKS[number]]
        records = [{"variants": sampling, **record} for record in records]
        tables.append(Table(replace(sheet, title=title, remarks=remarks), records))
    return tables


@dataclass(frozen=True)
class CellEntry(ABC):
    """A cell beside what the paper prints of it.

    Attributes:
        base: What it was drawn from: its group of columns.
        index: Its row; 0 is the base itself.
        variant: The cell's name.
        printed: What the paper prints; None if nothing.
        ours: The same of the cell, rounded as the paper does.
    """

    table: ClassVar[int]
    base: str
    index: int
    variant: str
    printed: Any
    ours: Any

    @property
    def differs(self) -> bool:
        """Whether the paper prints something else than the cell has."""
        return self.printed not in (None, self.ours)

    @property
    def explanation(self) -> str:
        """Why it differs, where that is known."""
        known = EXPLANATIONS.get((self.table, self.base, f"C{self.index}"), "")
        return known if self.differs else ""

    @abstractmethod
    def texts(self) -> list[str]:
        """Return the texts of the entry's columns."""

    def record(self) -> dict[str, Any]:
        """Return the entry as plain data."""
        return {"base": self.base, "index": self.index, "variant": self.variant}


def _lay_out(
    title: str,
    entries: Sequence[CellEntry],
    heads: Sequence[str],
    *,
    noun: str,
    remark: str,
    below: Sequence[Sequence[str]] = (),
    words: Sequence[int] = (),
) -> TextTable:
    """Lay out a row for each index with the columns of each base side by side.

    The second head is over our number, marked where it differs; `words` are the indices of heads
    over words, `noun` says what is compared, and `below` are further rows.
    """
    bases = list(dict.fromkeys(entry.base for entry in entries))
    found = {(entry.base, entry.index): entry for entry in entries}
    places, notes, rows = {}, {}, []
    for index in range(max(entry.index for entry in entries) + 1):
        row = [f"C{index}" if index else "base"]
        for base in bases:
            entry = found.get((base, index))
            if entry and entry.differs:
                note = entry.explanation or "not as printed"
                places[index, len(row) + 1] = notes.setdefault(note, len(notes) + 1)
            row += entry.texts() if entry else [NO_NUMBER] * len(heads)
        rows.append(row)
    compared = [entry for entry in entries if entry.printed is not None]
    agreed = sum(not entry.differs for entry in compared)
    return TextTable(
        title,
        ["", *(f"{base}\n{head}" for base in bases for head in heads)],
        [*rows, *below],
        places,
        list(notes),
        (f"{agreed} of {len(compared)} {noun} are as printed.", remark),
        left=[1 + len(heads) * n + word for n in range(len(bases)) for word in words],
    )


def _variants_by_base(cells: pd.DataFrame, what: str) -> dict[str, list[Variant]]:
    """Return the rows of `Results.cells(experiment)` as variants, by base."""
    if cells.empty:
        raise ConfigError(f"the table of {what} has no cells to show", fix="name a genotype")
    found: dict[str, list[Variant]] = {}
    for row in cells.to_dict("records"):
        genotype = Genotype.from_json(json.loads(row["genotype"]))
        variant = Variant(int(row["index"]), str(row["variant"]), genotype)
        found.setdefault(str(row["base"]), []).append(variant)
    return found


class ShapeEntry(CellEntry):
    """One variant's width, in units of c, and depth, in edges (Section 3.2)."""

    table = 2

    def texts(self) -> list[str]:
        """Return the paper's shape, ours and the cell's name."""
        paper = shape_label(*self.printed) if self.printed else NO_NUMBER
        return [paper, shape_label(*self.ours), self.variant]

    def record(self) -> dict[str, Any]:
        """Return the entry as plain data."""
        (width, depth), (paper_width, paper_depth) = self.ours, self.printed or (None, None)
        return {
            **super().record(),
            "printed_width": paper_width,
            "printed_depth": paper_depth,
            "width": width,
            "depth": depth,
            "width_difference": None if paper_width is None else width - paper_width,
            "depth_difference": None if paper_depth is None else depth - paper_depth,
            "explanation": self.explanation,
        }


def shapes_data(cells: pd.DataFrame) -> list[ShapeEntry]:
    """Return the entries of Table 2, by base and index.

    The table names no cells, so each of its entries stands beside a variant of its shape, or else
    of its width, or else any that is left.

    Args:
        cells: As `Results.cells(experiment)` returns them.

    Raises:
        ConfigError: There are no cells.
    """
    return _shape_entries(_variants_by_base(cells, "shapes"))


def shapes_sheet(entries: Sequence[ShapeEntry]) -> TextTable:
    """Return a row to an index; of each base the paper's shape, ours and the variant's name."""
    return _lay_out(
        "Table 2: width and depth of connection variants",
        entries,
        ("paper", "ours", "variant"),
        noun="shapes",
        words=[2],
        remark="Width (in channels c of a node) and depth (in edges) are of the normal cell, over"
        " nodes that reach the output.",
    )


def _shape_entries(cells: Mapping[str, Sequence[Variant]]) -> list[ShapeEntry]:
    found = []
    for base, unsorted in cells.items():
        variants = sorted(unsorted, key=lambda variant: variant.index)
        shapes = [(one.genotype.width, one.genotype.depth) for one in variants]
        slots = [_printed_shape(base, one) for one in variants]
        # Those of the print are paired among themselves; the rest stay where they are.
        known = {i: slot for i, slot in enumerate(slots) if slot and variants[i].index}
        beside = _pair_up(known, {place: shapes[place] for place in known})
        for place, (one, slot) in enumerate(zip(variants, slots, strict=True)):
            shown = beside.get(place, place)
            name = variants[shown].name
            found.append(ShapeEntry(base, one.index, name, slot, shapes[shown]))
    return found


def _printed_shape(base: str, cell: Variant) -> tuple[float, int] | None:
    """Return what the paper prints at an index, if the cell is one that it could be about."""
    if base not in BASES:
        return None
    if not cell.index:
        return FIGURE_1[base] if cell.genotype == named(base) else None
    slots = table_2(base) if cell.genotype in _drawn(base) else ()
    return slots[cell.index - 1] if cell.index <= len(slots) else None


@cache
def _drawn(base: str) -> frozenset[Genotype]:
    """Return the variants that stand beside Table 2."""
    return frozenset(
        cell.genotype for sampling in SAMPLINGS for cell in connection_variants(base, sampling)
    )


def _pair_up(slots: Mapping[int, Any], free: dict[int, tuple[float, int]]) -> dict[int, int]:
    """Return for each slot the first free cell of its shape, or else of its width, or else any.

    The table names no cells, so a shape that one slot misprints must not shift all that follow.
    """
    found: dict[int, int] = {}
    for compared in (2, 1, 0):  # numbers of a shape: width and depth, width alone, neither
        for place, slot in slots.items():
            fits = [cell for cell, shape in free.items() if shape[:compared] == slot[:compared]]
            if place not in found and fits:
                found[place] = fits[0]
                del free[fits[0]]
    return found


@dataclass(frozen=True)
class SizeEntry(CellEntry):
    """One variant's `parameters`, counted without the auxiliary head; the others are in 10⁶."""

    table = 3
    parameters: int

    @property
    def difference(self) -> float | None:
        """Ours, rounded as the paper does, minus the paper's, in 10⁶."""
        return None if self.printed is None else round(self.ours - self.printed, 10)

    def texts(self) -> list[str]:
        """Return the paper's size, ours and the difference."""
        return [fixed(self.printed), fixed(self.ours), signed(self.difference)]

    def record(self) -> dict[str, Any]:
        """Return the entry as plain data."""
        return {
            **super().record(),
            "printed": self.printed,
            "parameters": self.parameters,
            "explanation": self.explanation,
            "difference": self.difference,
        }


def parameters_data(cells: pd.DataFrame) -> list[SizeEntry]:
    """Return the entries of Table 3, by base and index.

    Args:
        cells: As `Results.cells(experiment)` returns them.

    Raises:
        ConfigError: There are no cells.
    """
    return _size_entries(_variants_by_base(cells, "parameters"))


def parameters_sheet(entries: Sequence[SizeEntry]) -> TextTable:
    """Return a row to an index, and below how far sizes are apart (1 − smallest / largest)."""
    spreads = []
    for base in dict.fromkeys(entry.base for entry in entries):
        own = [entry for entry in entries if entry.base == base]
        paper = [entry.printed for entry in own if entry.printed is not None]
        spreads += [_spread(paper), _spread([entry.parameters for entry in own]), NO_NUMBER]
    return _lay_out(
        "Table 3: parameters of operation variants",
        entries,
        ("paper, 10⁶", "counted, 10⁶", "difference"),
        noun="numbers",
        remark="Parameters are counted without the auxiliary head at 20 cells and 36 channels. The"
        " spread is 1 − smallest / largest; the paper says about 30 %.",
        below=[["spread", *spreads]],
    )


def _size_entries(cells: Mapping[str, Sequence[Variant]]) -> list[SizeEntry]:
    found = []
    for base, variants in cells.items():
        for one in variants:
            count = paper_parameters(one.genotype, "cifar10", auxiliary=False)
            paper = _printed_sizes(base).get((one.index, one.genotype))
            entry = SizeEntry(base, one.index, one.name, paper, round(count / 1e6, 2), count)
            found.append(entry)
    return found


@cache
def _printed_sizes(base: str) -> dict[tuple[int, Genotype], float]:
    """Return what the table prints, by index and the cell that it prints it of."""
    if base not in TABLE_3:
        return {}
    cells = [named(base), *(cell.genotype for cell in operation_variants(base, "paper10"))]
    return {
        (index, cell): float(value)
        for index, (cell, value) in enumerate(zip(cells, TABLE_3[base], strict=True))
    }


def _spread(sizes: Sequence[float]) -> str:
    return f"{1 - min(sizes) / max(sizes):.1%}".replace("%", " %") if sizes else NO_NUMBER
