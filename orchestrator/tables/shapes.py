"""Table 2: width and depth of the connection variants, the paper's beside ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.cells import printed
from orchestrator.cells.comparison import pair_up, shape_label
from orchestrator.cells.sheet import Sheet
from orchestrator.tables.beside import by_base
from orchestrator.tables.numbers import NONE
from results_schema.errors import ConfigError, SpecError
from results_schema.genotype import Genotype
from workers.cells.topology import live_depth, live_width
from workers.cells.variants import table_2


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
    entries = []
    for base, group in cells.groupby("base", sort=False):
        rows = group.sort_values("index").to_dict("records")
        shapes = [_shape(row["genotype"]) for row in rows]
        slots = _slots(str(base), len(rows))
        pairs = pair_up([_label(slot) for slot in slots[1:]], [_label(s) for s in shapes[1:]])
        for index, place in enumerate([0, *(pair + 1 for pair in pairs)]):
            slot, shape = slots[index], shapes[place]
            why = printed.EXPLANATIONS.get((2, str(base), f"C{index}"), "")
            entries.append(
                Entry(
                    str(base),
                    index,
                    rows[place]["variant"],
                    slot,
                    *shape,
                    why if slot not in (None, shape) else "",
                )
            )
    return entries


def shapes_sheet(entries: Sequence[Entry]) -> Sheet:
    """A row to an index; of each base the paper's shape, ours and the variant that has it."""
    return by_base(
        "Table 2: width and depth of connection variants",
        entries,
        ("paper", "ours", "variant"),
        _texts,
        noun="shapes",
        remark="Width (in channels c of a node) and depth (in edges) are of the normal cell, over"
        " nodes that reach the output.",
    )


def _shape(genotype: str) -> tuple[float, int]:
    normal = Genotype.from_json(json.loads(genotype)).normal
    return live_width(normal), live_depth(normal)


def _slots(base: str, count: int) -> list[tuple[float, int] | None]:
    """What the paper prints of the base and as many variants."""
    try:
        slots: list[tuple[float, int] | None] = list(table_2(base))
    except SpecError:
        slots = []
    padded = [printed.FIGURE_1.get(base), *slots, *[None] * count]
    return padded[:count]


def _label(shape: tuple[float, int] | None) -> str:
    return shape_label(*shape) if shape else ""


def _texts(entry: Entry) -> list[str]:
    paper = shape_label(*entry.printed) if entry.printed else NONE
    return [paper, shape_label(entry.width, entry.depth), entry.variant]
