"""What `nas-sweep cells` does: describe cells, draw them, compare the paper's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.cli.cell_sheets import bases_sheet, rows_sheet
from orchestrator.config.grid import find
from orchestrator.output.tables import (
    TextTable,
    print_table,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
)
from orchestrator.paper import printed
from orchestrator.paper.cell_rows import Row, make_rows
from orchestrator.paper.printed import compare, table_sheet
from results_schema.errors import ConfigError
from results_schema.trial import NetworkSpec
from workers.cells.bases import ADAPTED, BASES, DARTS_CONNECTIONS, DARTS_OPERATIONS, zoo


def show_table(table: int, form: str) -> None:
    """Prints one of the paper's Tables 1 to 3 beside what the networks have.

    Args:
        table: 1 to 3.
        form: text, json, csv, markdown or latex.

    Raises:
        ConfigError: There is no such table.
    """
    entries = compare(table)
    records = [entry.record() for entry in entries]
    _print(table_sheet(entries), form, records, records)


def show_cells(
    names: Sequence[str],
    form: str,
    *,
    variants: str | None = None,
    operations: str | None = None,
    channels: int | None = None,
    cells: int | None = None,
    classes: int | None = None,
    auxiliary: bool = False,
    draw: str | None = None,
    reduction: bool = False,
    labelled: bool = False,
) -> None:
    """Prints cells and their variants and draws them; the paper's five if none is named.

    Args:
        names: Of the paper, of the zoo, or of files.
        form: text, json, csv, markdown or latex.
        variants: As `make_rows` takes it.
        operations: As `make_rows` takes it.
        channels: Of a node before the first reduction; None for the paper's 36.
        cells: Number of cells; None for the paper's 20.
        classes: Number of logits; None for 10.
        auxiliary: Whether to count the auxiliary head.
        draw: The file to draw to: .html, .png, .svg or .pdf.
        reduction: Whether to draw reduction cells too.
        labelled: Whether to write operations on the edges.

    Raises:
        ConfigError: A name is unknown, or the file to draw to cannot be written.
        SpecError: A cell, a set of variants or a size is no good.
        MachineError: There is no browser for a picture.
    """
    if not names and (variants or operations):
        raise ConfigError("variants of which cell?", fix="name one, such as DARTS")
    paper = NetworkSpec()
    size = NetworkSpec(
        paper.cells if cells is None else cells,
        paper.channels if channels is None else channels,
    )
    found = [find(name) for name in names or BASES]
    rows = make_rows(
        found,
        variants if names else "none",
        operations,
        size,
        classes=classes or 10,
        auxiliary=auxiliary,
    )
    if draw:
        draw_rows(rows, Path(draw), reduction=reduction, labelled=labelled)
    records = [row.record() for row in rows]
    if names:
        head = f"networks of {size.cells} cells, {size.channels} channels, {classes or 10} classes"
        sheet = rows_sheet(rows, f"Cells, and {head}" + (", auxiliary head" if auxiliary else ""))
        genotypes = [{"genotype": row.genotype.to_json()} for row in rows]
        data: Any = [a | b for a, b in zip(records, genotypes, strict=True)]
    else:
        sheet, data = bases_sheet(rows), _everything(records)
    _print(sheet, form, records, data)
    if draw:
        Console(stderr=form != "text", soft_wrap=True).print(
            f"drawn: {draw}", markup=False, highlight=False
        )


def draw_rows(rows: Sequence[Row], path: Path, *, reduction: bool, labelled: bool) -> None:
    """Draws the normal cells of rows to a file.

    Args:
        rows: What to draw.
        path: The file; its suffix says how.
        reduction: As for `show_cells`.
        labelled: As for `show_cells`.

    Raises:
        ConfigError: The suffix is unknown, the file cannot be written, or a cell is too large.
        MachineError: There is no browser for a picture.
    """
    from orchestrator.figures.export import check_suffix, save_figure
    from orchestrator.figures.topology import named_cells, plot_topology, topology_data

    check_suffix(path)
    members = [(row.base if row.index else row.name, row.index, row.genotype) for row in rows]
    cells = named_cells(members, reduction=reduction)
    figure = plot_topology(topology_data(cells), labelled=labelled)
    save_figure(figure, path)


def _everything(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What `bases_sheet` shows, as plain data."""
    bases = []
    for record in records:
        (width, depth), (early, _) = (
            figure[record["name"]] for figure in (printed.FIGURE_1, printed.FIGURE_1_EARLIER)
        )
        extra = {"printed_width": width, "printed_depth": depth, "printed_early_width": early}
        bases.append(record | extra)
    return {
        "bases": bases,
        "adapted": ADAPTED,
        "published_variants": (*DARTS_CONNECTIONS, *DARTS_OPERATIONS),
        "zoo": zoo(),
    }


def _print(sheet: TextTable, form: str, records: Sequence[dict[str, Any]], data: Any) -> None:
    match form:
        case "json":
            print(to_json(data))
        case "csv":
            print(to_csv(records))
        case "markdown":
            print(to_markdown(sheet))
        case "latex":
            print(to_latex(sheet))
        case _:
            print_table(sheet)
