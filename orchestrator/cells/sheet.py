"""A table to read, in the terminal, in Markdown or in LaTeX; and plain data as JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "⁶": r"\textsuperscript{6}",
        "–": "--",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)


@dataclass(frozen=True)
class Sheet:
    """Columns of text with a heading, and notes below.

    Attributes:
        title: What the table shows.
        columns: Their headings, of one or two lines.
        rows: Texts, one a column.
        marks: The note (from 1) of a (row, column); such an entry stands out.
        notes: What the marks say.
        remarks: What holds for the whole table.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    marks: Mapping[tuple[int, int], int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    remarks: Sequence[str] = ()


def print_sheet(sheet: Sheet, console: Console) -> None:
    """Prints a table; marked entries are red."""
    table = Table(
        title=escape(sheet.title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for number, column in enumerate(sheet.columns):
        table.add_column(escape(column), justify="right" if number else "left")
    for texts in _render(sheet, escape, lambda text, mark: f"[red]{text}{_raised(mark)}[/red]"):
        table.add_row(*texts)
    console.print(table)
    for line in _below(sheet):
        console.print(line, style="dim", markup=False, highlight=False)


def to_markdown(sheet: Sheet) -> str:
    """A pipe table; marked entries are bold."""
    rows = _render(sheet, _plain_pipe, lambda text, mark: f"**{text}**{_raised(mark)}")
    rule = ["---:" if number else "---" for number, _ in enumerate(sheet.columns)]
    lines = [" | ".join(row) for row in (map(_plain_pipe, _headings(sheet)), rule, *rows)]
    table = "\n".join(f"| {line} |" for line in lines)
    return "\n\n".join([f"**{_plain_pipe(sheet.title)}**", table, *_below(sheet)])


def to_latex(sheet: Sheet) -> str:
    """A float that needs the package booktabs; marked entries are bold."""
    rows = _render(sheet, _latex, lambda text, mark: rf"\textbf{{{text}}}{_raised_latex(mark)}")
    notes = [_latex(remark) for remark in sheet.remarks]
    notes += [f"{_raised_latex(i)} {_latex(note)}" for i, note in enumerate(sheet.notes, start=1)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(sheet.title)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(sheet.columns) - 1)}}}",
            r"\toprule",
            " & ".join(map(_latex, _headings(sheet))) + r" \\",
            r"\midrule",
            *(" & ".join(row) + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par{{\footnotesize {note}}}" for note in notes),
            r"\end{table}",
        ]
    )


def to_json(data: Any) -> str:
    """JSON, indented."""
    return json.dumps(data, indent=1, ensure_ascii=False)


def to_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """A line for each record under its keys; the items of a list are parted by blanks."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow(
            {
                key: " ".join(map(str, value)) if isinstance(value, list | tuple) else value
                for key, value in record.items()
            }
        )
    return text.getvalue().rstrip("\n")


def _render(
    sheet: Sheet, plain: Callable[[str], str], marked: Callable[[str, int], str]
) -> list[list[str]]:
    return [
        [
            marked(plain(text), mark) if (mark := sheet.marks.get((row, column))) else plain(text)
            for column, text in enumerate(texts)
        ]
        for row, texts in enumerate(sheet.rows)
    ]


def _headings(sheet: Sheet) -> list[str]:
    return [column.replace("\n", " ") for column in sheet.columns]


def _below(sheet: Sheet) -> list[str]:
    notes = [f"{_raised(number)} {note}" for number, note in enumerate(sheet.notes, start=1)]
    return [*sheet.remarks, *notes]


def _raised(mark: int) -> str:
    return str(mark).translate(_SUPERSCRIPTS)


def _raised_latex(mark: int) -> str:
    return rf"\textsuperscript{{{mark}}}"


def _plain_pipe(text: str) -> str:
    return text.replace("|", "\\|")


def _latex(text: str) -> str:
    return text.translate(_LATEX)
