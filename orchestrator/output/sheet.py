"""A table to read, in Markdown or in LaTeX; and plain data as JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

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
_MARKDOWN = str.maketrans({"|": "\\|", "&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": " "})
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")

T = TypeVar("T")


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
        words: Columns set flush left beside the first; the others hold numbers.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    marks: Mapping[tuple[int, int], int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    remarks: Sequence[str] = ()
    words: Sequence[int] = ()

    def is_words(self, column: int) -> bool:
        """Whether a column is set flush left."""
        return column == 0 or column in self.words


def to_markdown(sheet: Sheet) -> str:
    """Return a pipe table; marked entries are bold.

    A text shows as it stands: no HTML, link or picture comes of it.
    """
    rows = render(sheet, _markdown, lambda text, mark: f"**{text}**{raised(mark)}")
    rule = ["---" if sheet.is_words(number) else "---:" for number, _ in enumerate(sheet.columns)]
    lines = [" | ".join(row) for row in (map(_markdown, _headings(sheet)), rule, *rows)]
    table = "\n".join(f"| {line} |" for line in lines)
    title = [f"**{_markdown(sheet.title)}**"] if sheet.title else []
    return "\n\n".join([*title, table, *map(_markdown, below(sheet))])


def to_latex(sheet: Sheet) -> str:
    """A float that needs the package booktabs; marked entries are bold."""
    rows = render(sheet, _latex, lambda text, mark: rf"\textbf{{{text}}}{_raised_latex(mark)}")
    notes = [_latex(remark) for remark in sheet.remarks]
    notes += [f"{_raised_latex(i)} {_latex(note)}" for i, note in enumerate(sheet.notes, start=1)]
    sides = "".join("l" if sheet.is_words(number) else "r" for number in range(len(sheet.columns)))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(sheet.title)}}}",
            rf"\begin{{tabular}}{{{sides}}}",
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
    """Return a line for each record under its keys; the items of a list are parted by blanks."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(no_formula, records[0]))
    for record in records:
        writer.writerow(no_formula(_joined(record[key])) for key in records[0])
    return text.getvalue().rstrip("\n")


def no_formula(value: T) -> T | str:
    """Return the value, behind an apostrophe if it is a text that spreadsheets compute.

    They take a cell of a CSV file for a formula if it begins with one of `= + - @`, also in full
    width, a tab or a line break, and a formula can send the sheet's numbers elsewhere or start a
    program. A text of apostrophes before such a sign gets one more, so that taking one away gives
    the text back.
    """
    if isinstance(value, str) and value.lstrip("'").startswith(_FORMULA):
        return f"'{value}"
    return value


def _joined(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def render(
    sheet: Sheet, plain: Callable[[str], str], marked: Callable[[str, int], str]
) -> list[list[str]]:
    """The rows, each text escaped by `plain`, and what is marked then shown by `marked`."""
    return [
        [
            marked(plain(text), mark) if (mark := sheet.marks.get((row, column))) else plain(text)
            for column, text in enumerate(texts)
        ]
        for row, texts in enumerate(sheet.rows)
    ]


def _headings(sheet: Sheet) -> list[str]:
    return [column.replace("\n", " ") for column in sheet.columns]


def below(sheet: Sheet) -> list[str]:
    """The lines below the table: remarks, then notes behind their marks."""
    notes = [f"{raised(number)} {note}" for number, note in enumerate(sheet.notes, start=1)]
    return [*sheet.remarks, *notes]


def raised(mark: int) -> str:
    """A mark in superscript."""
    return str(mark).translate(_SUPERSCRIPTS)


def _raised_latex(mark: int) -> str:
    return rf"\textsuperscript{{{mark}}}"


def _markdown(text: str) -> str:
    # A line break would end the row of a table, and "](" makes a link or a picture of brackets.
    return " ".join(text.translate(_MARKDOWN).split("\n")).replace("](", "]\\(")


def _latex(text: str) -> str:
    return text.translate(_LATEX)
