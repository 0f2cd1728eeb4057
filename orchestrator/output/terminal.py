"""A table in the terminal, whole however narrow that is."""

from __future__ import annotations

from itertools import groupby

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestrator.output.sheet import Sheet, below, raised, render

WIDE = 400
"""Columns of a table that no terminal shows, so that what reads it gets whole lines."""


def show_sheet(sheet: Sheet) -> None:
    """Prints a table to the terminal, or in whole lines to whatever reads it instead."""
    console = Console()
    print_sheet(sheet, console if console.is_terminal else Console(width=WIDE))


def print_sheet(sheet: Sheet, console: Console) -> None:
    """Prints a table; marked entries are red.

    Columns that do not fit beside one another follow below, each time after the first column.
    """
    rows = render(sheet, escape, lambda text, mark: f"[red]{text}{raised(mark)}[/red]")
    if sheet.title:
        console.print(escape(sheet.title), style="italic", highlight=False)
    for part in _parts(sheet, console.width):
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in part:
            justify = "left" if sheet.is_words(column) else "right"
            table.add_column(escape(sheet.columns[column]), justify=justify, no_wrap=True)
        for row in rows:
            table.add_row(*(row[column] for column in part))
        console.print(table)
    for line in below(sheet):
        console.print(line, style="dim", markup=False, highlight=False)


def _parts(sheet: Sheet, room: int) -> list[list[int]]:
    """Which columns stand beside one another; those under one heading do if they can."""
    widths = [_width(sheet, column) for column in range(len(sheet.columns))]

    def fit(*columns: int) -> bool:
        return 1 + sum(widths[column] for column in columns) <= room

    heads = [text.split("\n")[0] or number for number, text in enumerate(sheet.columns)]
    parts = [[0]]
    for _, under in groupby(range(1, len(widths)), key=lambda column: heads[column]):
        group = list(under)
        for columns in [group] if fit(0, *group) else [[column] for column in group]:
            if len(parts[-1]) > 1 and not fit(*parts[-1], *columns):
                parts.append([0])
            parts[-1] += columns
    return parts


def _width(sheet: Sheet, column: int) -> int:
    """Of a column on the console, with what parts it from the next."""
    texts = [*sheet.columns[column].split("\n"), *(row[column] for row in sheet.rows)]
    marked = any(place[1] == column for place in sheet.marks)
    return max(map(cell_len, texts)) + marked + 2
