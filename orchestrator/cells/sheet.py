"""A table to read, in Markdown or in LaTeX; and plain data as JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    """A pipe table; marked entries are bold."""
    rows = render(sheet, _plain_pipe, lambda text, mark: f"**{text}**{raised(mark)}")
    rule = ["---" if sheet.is_words(number) else "---:" for number, _ in enumerate(sheet.columns)]
    lines = [" | ".join(row) for row in (map(_plain_pipe, _headings(sheet)), rule, *rows)]
    table = "\n".join(f"| {line} |" for line in lines)
    return "\n\n".join([f"**{_plain_pipe(sheet.title)}**", table, *below(sheet)])


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


def _plain_pipe(text: str) -> str:
    return text.replace("|", "\\|")


def _latex(text: str) -> str:
    return text.translate(_LATEX)
