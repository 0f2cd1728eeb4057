"""Table 3: parameters of the operation variants, the paper's beside ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import pandas as pd

from orchestrator.output.numbers import NONE, fixed, signed
from orchestrator.output.sheet import Sheet
from orchestrator.paper import printed
from orchestrator.paper.beside import bases_of, by_base
from orchestrator.paper.comparison import paper_parameters
from results_schema.errors import ConfigError
from results_schema.genotype import Genotype
from workers.cells.bases import named
from workers.cells.operations import operation_variants


@dataclass(frozen=True)
class Entry:
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


def parameters_data(cells: pd.DataFrame) -> list[Entry]:
    """The entries, by base and index.

    Args:
        cells: As `Results.cells(experiment)` returns them.

    Raises:
        ConfigError: There are no cells.
    """
    if cells.empty:
        raise ConfigError("the table of parameters has no cells to show", fix="name a genotype")
    return [_entry(row) for row in cells.to_dict("records")]


def parameters_sheet(entries: Sequence[Entry]) -> Sheet:
    """A row to an index, and below them how far sizes are apart (1 − smallest / largest)."""
    spreads = [text for base in bases_of(entries) for text in _spread(entries, base)]
    return by_base(
        "Table 3: parameters of operation variants",
        entries,
        ("paper, 10⁶", "counted, 10⁶", "difference"),
        _texts,
        noun="numbers",
        remark="Parameters are counted without the auxiliary head at 20 cells and 36 channels. The"
        " spread is 1 − smallest / largest; the paper says about 30 %.",
        below=[["spread", *spreads]],
    )


def _entry(row: dict[Any, Any]) -> Entry:
    base, index = str(row["base"]), int(row["index"])
    genotype = Genotype.from_json(json.loads(row["genotype"]))
    entry = Entry(
        base,
        index,
        str(row["variant"]),
        _printed(base).get((index, genotype)),
        paper_parameters(genotype, "cifar10", auxiliary=False),
    )
    if not entry.difference:
        return entry
    why = printed.EXPLANATIONS.get((3, base, f"C{index}"), "")
    return replace(entry, explanation=why)


@cache
def _printed(base: str) -> dict[tuple[int, Genotype], float]:
    """What the table prints, by index and the cell that it prints it of."""
    if base not in printed.TABLE_3:
        return {}
    cells = [named(base), *(cell.genotype for cell in operation_variants(base, "paper10"))]
    return {
        (index, cell): float(value)
        for index, (cell, value) in enumerate(zip(cells, printed.TABLE_3[base], strict=True))
    }


def _texts(entry: Entry) -> list[str]:
    return [fixed(entry.printed), fixed(entry.parameters / 1e6), signed(entry.difference)]


def _spread(entries: Sequence[Entry], base: str) -> list[str]:
    own = [entry for entry in entries if entry.base == base]
    paper = [entry.printed for entry in own if entry.printed is not None]
    sizes = [entry.parameters for entry in own]
    return [_share(paper) if paper else NONE, _share(sizes), NONE]


def _share(sizes: Sequence[float]) -> str:
    return f"{1 - min(sizes) / max(sizes):.1%}".replace("%", " %")
