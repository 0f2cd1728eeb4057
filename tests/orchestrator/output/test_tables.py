"""A table in every format that it can be printed in."""

import csv
import io
import json
import re
import shutil
import subprocess
from collections import Counter
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from orchestrator.output.tables import (
    TextTable,
    escape_formula,
    print_table,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
)
from orchestrator.paper.tables import paper_tables

TABLE = TextTable(
    "A & B",
    ("cell", "share\n10⁶"),
    [("[red]a_1", "50%"), ("b|c", "3.24")],
    highlights={(1, 1): 1},
    footnotes=("swapped",),
    remarks=("counted",),
)


def test_text_shows_what_a_user_named_as_it_stands():
    console = Console(width=60, record=True, file=io.StringIO())
    print_table(TABLE, console)
    text = console.export_text()
    assert "[red]a_1" in text
    assert "3.24¹" in text
    assert text.index("counted") < text.index("¹ swapped")


def test_names_between_colons_are_no_emoji(capsys: pytest.CaptureFixture[str]):
    print_table(TextTable(":train:", ("cell",), [("a.py:car:",)], remarks=("b.py:dog:",)))
    text = capsys.readouterr().out
    assert all(name in text for name in (":train:", "a.py:car:", "b.py:dog:"))


@pytest.mark.parametrize("width", [48, 80, 160])
def test_no_number_is_cut_however_narrow_the_terminal(width: int):
    content = paper_tables(1)[0].sheet
    console = Console(width=width, record=True, file=io.StringIO())
    print_table(content, console)
    text = console.export_text()
    assert "…" not in text
    words = re.split(r"\s{2,}", text)
    shown = Counter(word.rstrip("¹²") for word in words)
    wanted = Counter(value for row in content.rows for value in row[1:])
    assert not wanted - shown


def test_markdown_keeps_its_columns_whatever_the_names():
    lines = to_markdown(TABLE).splitlines()
    assert lines[2:6] == [
        "| cell | share 10⁶ |",
        "| --- | ---: |",
        "| [red]a_1 | 50% |",
        "| b\\|c | **3.24**¹ |",
    ]
    assert lines[-1] == "¹ swapped"


EVIL = (
    "<img src=x onerror=alert(1)>",
    "</td><script>x</script>",
    "![x](https://example.org/seen.png)",
    "[x](javascript:x)",
    "a\nb\r\n# c | d",
    "&lt;b&gt;",
    "<https://example.org>",
)


@pytest.mark.parametrize("text", EVIL)
def test_markdown_shows_what_a_user_named_as_it_stands(text: str):
    table = TextTable(text, (text, "b"), [(text, "b")], footnotes=(text,), remarks=(text,))
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(to_markdown(table))
    shown = " ".join(unescape(re.sub(r"<[^>]*>", "", html)).split())
    assert shown.count(" ".join(text.split())) == 5
    assert not re.search(r"<(?!/?(p|strong|table|thead|tbody|tr|th|td)\b)", html)
    assert html.count("<tr>") == 2


@given(st.text())
def test_a_text_comes_back_from_behind_its_apostrophe(text: str):
    for start in ("", "=", "+", "-", "@", "\t", "'=", "''@", "\uff1d", "\uff0b"):
        written = escape_formula(start + text)
        assert not written.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
        guarded = escape_formula(written) != written
        assert (written[1:] if guarded else written) == start + text


def test_latex_escapes_what_it_would_take_for_commands():
    text = to_latex(TABLE)
    assert r"\caption{A \& B}" in text
    assert r"{}[red]a\_1 & 50\% \\" in text
    assert r"b\textbar{}c & \textbf{3.24}\textsuperscript{1} \\" in text
    assert r"cell & 10\textsuperscript{6} \\" in text
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_latex_has_the_columns_that_it_declares(number: int, tmp_path: Path):
    table = paper_tables(number)[0].sheet
    text = to_latex(table, "mine")
    assert r"\label{tab:mine}" in text
    [caption] = re.findall(r"\\caption\{(.*)\}", text)
    assert caption[0].isupper()
    assert not re.search(r"Table \d", caption)
    [sides] = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
    body = text.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if r" \\" in line]
    assert len(rows) == len(table.rows) + 2
    for row in rows:
        cells = re.split(r"(?<!\\)&", row.partition(r" \\")[0])
        spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}\{c\}", row)]
        assert len(cells) + sum(spans) - len(spans) == len(sides) == len(table.columns)
    rules = re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", rows[0])
    ends = [int(end) for pair in rules for end in pair]
    assert ends == sorted(set(ends))
    assert ends[-1] == len(sides)
    assert text.isascii()
    if (latex := shutil.which("pdflatex")) is not None:
        head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
        (tmp_path / "x.tex").write_text(f"{head}\n{text}\n\\end{{document}}")
        command = [latex, "-halt-on-error", "-interaction=batchmode", "x.tex"]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=100)


def test_csv_and_json_read_back():
    records = [
        {"name": 'a,"b"', "nodes": (2, 3), "=width": 2.5},
        {"name": "-c", "nodes": (), "=width": -1.0},
    ]
    lines = list(csv.DictReader(io.StringIO(to_csv(records))))
    assert lines == [
        {"name": 'a,"b"', "nodes": "2 3", "'=width": "2.5"},
        {"name": "'-c", "nodes": "", "'=width": "-1.0"},
    ]
    assert to_csv([]) == ""
    assert json.loads(to_json(records))[0] == {"name": 'a,"b"', "nodes": [2, 3], "=width": 2.5}


def test_neighbours_share_the_first_line_of_a_tables_head():
    assert TextTable("", ["cell", "A\npaper", "A\nours", "B\npaper"], []).head_rows() == [
        [("", 1), ("A", 2), ("B", 1)],
        [("cell", 1), ("paper", 1), ("ours", 1), ("paper", 1)],
    ]
    assert TextTable("", ["a", "b"], []).head_rows() == [[("a", 1), ("b", 1)]]
