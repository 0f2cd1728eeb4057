"""Tables of text for the terminal, Markdown and LaTeX; plain data as JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.output.text import raised

if TYPE_CHECKING:
    from rich.console import Console

UNBROKEN = 400
"""Width in columns for output that no terminal shows, so that its reader gets whole lines."""

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "–": "--",
        "…": r"\dots{}",
        "\n": " ",
        "\r": " ",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        **{sign: rf"\textsuperscript{{{n}}}" for n, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
        # pdfLaTeX knows these in formulas alone.
        **{sign: f"${command}$" for sign, command in (
            ("−", "-"), ("±", r"\pm"), ("×", r"\times"), ("≤", r"\le"), ("≥", r"\ge"),
            ("→", r"\to"), ("ρ", r"\rho"), ("σ", r"\sigma"),
        )},
    }
)  # fmt: skip
_MARKDOWN = str.maketrans({"|": "\\|", "&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": " "})
_NUMBERED = re.compile(r"^Table \d+: ")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")

T = TypeVar("T")


@dataclass(frozen=True)
class TextTable:
    """Columns of text under headings, with notes below.

    Attributes:
        title: What the table shows; may be empty.
        columns: Headings, of one or two lines.
        rows: Texts, one for each column.
        highlights: Entries that stand out: (row, column) to the number (from 1) of their footnote.
        footnotes: Texts of the footnotes.
        remarks: What holds for the whole table.
        left: Columns aligned left beside the first; the others hold numbers.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    highlights: Mapping[tuple[int, int], int] = field(default_factory=dict)
    footnotes: Sequence[str] = ()
    remarks: Sequence[str] = ()
    left: Sequence[int] = ()

    def is_left(self, column: int) -> bool:
        """Return whether a column is aligned left."""
        return column == 0 or column in self.left

    def head_rows(self) -> list[list[tuple[str, int]]]:
        """Return the rows of the head, each a list of texts and the columns that they span.

        Neighbours with the same first of two lines share it.
        """
        pairs = [column.partition("\n") for column in self.columns]
        if not any(below for _, _, below in pairs):
            return [[(column, 1) for column in self.columns]]
        above: list[tuple[str, int]] = []
        for text, _, below in pairs:
            if below and above and above[-1][0] == text:
                above[-1] = text, above[-1][1] + 1
            else:
                above.append((text if below else "", 1))
        return [above, [(below or text, 1) for text, _, below in pairs]]

    def lines_below(self) -> list[str]:
        """Return the lines below the table: remarks, then footnotes behind their numbers."""
        notes = [f"{raised(number)} {note}" for number, note in enumerate(self.footnotes, 1)]
        return [*self.remarks, *notes]

    def format_rows(
        self, plain: Callable[[str], str], highlighted: Callable[[str, int], str]
    ) -> list[list[str]]:
        """Return the rows, each text escaped by `plain`; highlights then pass `highlighted`.

        Args:
            plain: Escapes a text.
            highlighted: Takes an escaped text and the number of its footnote.
        """
        return [
            [
                highlighted(plain(text), number)
                if (number := self.highlights.get((row, column)))
                else plain(text)
                for column, text in enumerate(texts)
            ]
            for row, texts in enumerate(self.rows)
        ]


def to_markdown(table: TextTable) -> str:
    """Return a pipe table with highlights in bold.

    Texts are shown as they are: none becomes HTML, a link or a picture.
    """
    rows = table.format_rows(_markdown, lambda text, number: f"**{text}**{raised(number)}")
    rule = ["---" if table.is_left(column) else "---:" for column in range(len(table.columns))]
    lines = [" | ".join(row) for row in (map(_markdown, _headings(table)), rule, *rows)]
    body = "\n".join(f"| {line} |" for line in lines)
    title = [f"**{_markdown(table.title)}**"] if table.title else []
    return "\n\n".join([*title, body, *map(_markdown, table.lines_below())])


def to_latex(table: TextTable, name: str = "") -> str:
    """Return a float with highlights in bold; it needs the package booktabs.

    Its label is `tab:NAME`, by default of the title's words. LaTeX numbers tables itself, so the
    caption is the title without "Table 2: ".
    """
    title = _NUMBERED.sub("", table.title)
    label = name or "-".join(re.findall("[a-z0-9]+", title.lower())) or "table"
    rows = table.format_rows(
        _latex, lambda text, number: rf"\textbf{{{text}}}{_raised_latex(number)}"
    )
    notes = [_latex(remark) for remark in table.remarks]
    notes += [
        f"{_raised_latex(number)} {_latex(note)}" for number, note in enumerate(table.footnotes, 1)
    ]
    sides = "".join("l" if table.is_left(column) else "r" for column in range(len(table.columns)))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(title[:1].upper() + title[1:])}}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{{sides}}}",
            r"\toprule",
            *_latex_head(table),
            r"\midrule",
            *map(_latex_row, rows),
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par{{\footnotesize {note}}}" for note in notes),
            r"\end{table}",
        ]
    )


def _latex_head(table: TextTable) -> Iterator[str]:
    for heads in table.head_rows():
        texts, rules, column = [], [], 1
        for text, span in heads:
            texts.append(_latex(text))
            if span > 1:
                texts[-1] = rf"\multicolumn{{{span}}}{{c}}{{{texts[-1]}}}"
                rules.append(rf"\cmidrule(lr){{{column}-{column + span - 1}}}")
            column += span
        yield _latex_row(texts) + " ".join(["", *rules])


def _latex_row(texts: Sequence[str]) -> str:
    row = " & ".join(texts)
    # After the end of a row, these would be its options.
    return ("{}" if row.startswith(("[", "*")) else "") + row + r" \\"


def to_json(data: Any) -> str:
    """Return indented JSON."""
    return json.dumps(data, indent=1, ensure_ascii=False)


def to_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Return records as CSV; the items of a list are separated by blanks."""
    if not records:
        return ""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(escape_formula, records[0]))
    for record in records:
        values = (record[key] for key in records[0])
        writer.writerow(
            escape_formula(" ".join(map(str, value)) if isinstance(value, list | tuple) else value)
            for value in values
        )
    return text.getvalue().rstrip("\n")


def escape_formula(value: T) -> T | str:
    """Return the value, with an apostrophe before a text that a spreadsheet would compute.

    Spreadsheets take a cell of a CSV file for a formula if it begins with one of `= + - @`, also in
    full width, a tab or a line break; a formula can send the sheet's numbers elsewhere or start a
    program. A text with apostrophes before such a sign gets one more, so that removing one always
    gives the text back.
    """
    if isinstance(value, str) and value.lstrip("'").startswith(_FORMULA):
        return f"'{value}"
    return value


def print_table(table: TextTable, console: Console | None = None) -> None:
    """Print a table with highlights in red, on standard output unless a console is given.

    Columns that do not fit side by side follow below, each time after the first column.
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if console is None:
        console = Console(emoji=False)
        console = console if console.is_terminal else Console(width=UNBROKEN, emoji=False)
    rows = table.format_rows(escape, lambda text, number: f"[red]{text}{raised(number)}[/red]")
    if table.title:
        console.print(escape(table.title), style="italic", highlight=False)
    for columns in _split_columns(table, console.width) if rows else ():
        part = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in columns:
            justify = "left" if table.is_left(column) else "right"
            part.add_column(escape(table.columns[column]), justify=justify, no_wrap=True)
        for row in rows:
            part.add_row(*(row[column] for column in columns))
        console.print(part)
    for line in table.lines_below():
        console.print(line, style="dim", markup=False, highlight=False)


def _split_columns(table: TextTable, available: int) -> list[list[int]]:
    """Return which columns go side by side; those under one heading stay together if they can."""
    widths = [_width(table, column) for column in range(len(table.columns))]

    def fit(*columns: int) -> bool:
        return 1 + sum(widths[column] for column in columns) <= available

    heads = [text.split("\n")[0] or number for number, text in enumerate(table.columns)]
    parts = [[0]]
    for _, under in groupby(range(1, len(widths)), key=lambda column: heads[column]):
        group = list(under)
        for columns in [group] if fit(0, *group) else [[column] for column in group]:
            if len(parts[-1]) > 1 and not fit(*parts[-1], *columns):
                parts.append([0])
            parts[-1] += columns
    return parts


def _width(table: TextTable, column: int) -> int:
    """Return the width of a column in the terminal, with the gap to the next."""
    from rich.cells import cell_len

    texts = [*table.columns[column].split("\n"), *(row[column] for row in table.rows)]
    highlighted = any(place[1] == column for place in table.highlights)
    return max(map(cell_len, texts)) + highlighted + 2


def _headings(table: TextTable) -> list[str]:
    return [column.replace("\n", " ") for column in table.columns]


def _raised_latex(number: int) -> str:
    return rf"\textsuperscript{{{number}}}"


def _markdown(text: str) -> str:
    # A line break would end the row of a table, and "](" makes a link or a picture of brackets.
    return " ".join(text.translate(_MARKDOWN).split("\n")).replace("](", "]\\(")


def _latex(text: str) -> str:
    return text.translate(_LATEX)
