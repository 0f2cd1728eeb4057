"""The paper's Tables 1 to 3 to read: its numbers beside ours, turned so that they fit a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.output.sheet import Sheet
from orchestrator.paper import printed
from orchestrator.paper.comparison import BASES, Entry

Value = tuple[str, Entry | None]
"""A text, and the entry that it stands for if the two may differ."""


def table_sheet(entries: Sequence[Entry]) -> Sheet:
    """The sheet of one table.

    Args:
        entries: All of the table, as `compare` returns them.
    """
    return {1: _table_1, 2: _table_2, 3: _table_3}[entries[0].table](entries)


def _table_1(entries: Sequence[Entry]) -> Sheet:
    lines = []
    for name, errors in printed.TABLE_1_ERRORS.items():
        values: list[Value] = []
        for error, dataset in zip(errors, printed.DATASETS, strict=True):
            entry = _only(entries, name=name, column=dataset)
            values += [(error, None), (entry.printed, None), (f"{entry.parameters:,}", entry)]
        lines.append((name, values))
    columns = [
        f"{dataset}\n{what}"
        for dataset in printed.DATASETS
        for what in ("error, %", "printed, 10⁶", "counted")
    ]
    return _sheet("Table 1: original and adapted cells", 1, ["cell", *columns], lines)


def _table_2(entries: Sequence[Entry]) -> Sheet:
    lines = []
    for column in dict.fromkeys(entry.column for entry in entries):
        values: list[Value] = []
        for base in BASES:
            paper = _only(entries, column=column, base=base, version="paper13")
            profile = _only(entries, column=column, base=base, version="profile")
            values += [(paper.printed, None), (paper.ours, paper), (profile.name, None)]
        lines.append((column, values))
    columns = [f"{base}\n{what}" for base in BASES for what in ("printed", "paper13", "profile")]
    return _sheet("Table 2: width and depth of connection variants", 2, ["", *columns], lines)


def _table_3(entries: Sequence[Entry]) -> Sheet:
    lines = []
    for column in dict.fromkeys(entry.column for entry in entries):
        values: list[Value] = []
        for base in BASES:
            entry = _only(entries, column=column, base=base)
            values += [(entry.printed, None), (f"{entry.parameters:,}", entry)]
        lines.append((column, values))
    columns = [f"{base}\n{what}" for base in BASES for what in ("printed, 10⁶", "counted")]
    return _sheet("Table 3: parameters of operation variants", 3, ["", *columns], lines)


def _sheet(
    title: str, table: int, columns: Sequence[str], lines: Iterable[tuple[str, Sequence[Value]]]
) -> Sheet:
    """Marks each value whose entry differs, by the note that explains it."""
    notes: list[str] = []
    rows, marks = [], {}
    agreed = compared = 0
    for number, (head, values) in enumerate(lines):
        rows.append([head, *(text for text, _ in values)])
        for column, (_, entry) in enumerate(values, start=1):
            if entry is None:
                continue
            compared += 1
            agreed += entry.matches
            if not entry.matches:
                note = entry.explanation or "not as printed"
                notes += [note] if note not in notes else []
                marks[number, column] = notes.index(note) + 1
    remark = f"{agreed} of {compared} numbers are as printed."
    return Sheet(title, columns, rows, marks, notes, (remark, *printed.REMARKS[table]))


def _only(entries: Sequence[Entry], **wanted: str) -> Entry:
    (found,) = (e for e in entries if all(getattr(e, key) == v for key, v in wanted.items()))
    return found
