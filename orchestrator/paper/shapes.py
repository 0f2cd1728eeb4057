"""Table 2: width and depth of the connection variants, the paper's beside ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from orchestrator.output.numbers import NONE
from orchestrator.output.sheet import Sheet
from orchestrator.paper import printed
from orchestrator.paper.beside import by_base
from orchestrator.paper.comparison import BASES, SAMPLINGS, pair_up, shape_label
from results_schema.errors import ConfigError
from results_schema.genotype import Genotype
from workers.cells.bases import named
from workers.cells.variants import connection_variants, table_2


@dataclass(frozen=True)
class Entry:
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


def shapes_data(cells: pd.DataFrame) -> list[Entry]:
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
    return [entry for base, group in groups for entry in _entries(str(base), group)]


def shapes_sheet(entries: Sequence[Entry]) -> Sheet:
    """A row to an index; of each base the paper's shape, ours and the variant that has it."""
    return by_base(
        "Table 2: width and depth of connection variants",
        entries,
        ("paper", "ours", "variant"),
        _texts,
        noun="shapes",
        words=[2],
        remark="Width (in channels c of a node) and depth (in edges) are of the normal cell, over"
        " nodes that reach the output.",
    )


def _entries(base: str, cells: pd.DataFrame) -> list[Entry]:
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
        found.append(Entry(base, index, rows[cell]["variant"], slot, *shapes[cell], why))
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


def _texts(entry: Entry) -> list[str]:
    paper = shape_label(*entry.printed) if entry.printed else NONE
    return [paper, shape_label(entry.width, entry.depth), entry.variant]
