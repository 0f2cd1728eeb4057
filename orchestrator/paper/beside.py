"""Cells by base and index, what the paper prints of each beside what it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from orchestrator.output.numbers import NONE
from orchestrator.output.sheet import Sheet


class Cell(Protocol):
    """What a table by base and index asks of its entries."""

    @property
    def base(self) -> str:
        """What the cell was drawn from: its group of columns."""
        ...

    @property
    def index(self) -> int:
        """Its row; 0 is the base itself."""
        ...

    @property
    def compared(self) -> bool:
        """Whether the paper prints anything of it."""
        ...

    @property
    def differs(self) -> bool:
        """Whether the paper prints something else."""
        ...

    @property
    def explanation(self) -> str:
        """Why, where that is known."""
        ...


C = TypeVar("C", bound=Cell)


def by_base(
    title: str,
    entries: Sequence[C],
    heads: Sequence[str],
    texts: Callable[[C], Sequence[str]],
    *,
    noun: str,
    remark: str,
    below: Sequence[Sequence[str]] = (),
    words: Sequence[int] = (),
) -> Sheet:
    """A row to an index, the columns of each base side by side; what differs is marked.

    Args:
        title: Of the table.
        entries: At least one.
        heads: Of each base's columns; the second holds ours.
        texts: What an entry shows, one a head.
        noun: What is compared, in the plural.
        remark: What else is to be known.
        below: Further rows.
        words: Which of the heads are over words, from 0.
    """
    bases = bases_of(entries)
    found = {(entry.base, entry.index): entry for entry in entries}
    notes: list[str] = []
    rows, marks = [], {}
    for index in range(max(entry.index for entry in entries) + 1):
        row = [f"C{index}" if index else "base"]
        for base in bases:
            entry = found.get((base, index))
            if entry and entry.differs:
                why = entry.explanation or "not as printed"
                notes += [why] if why not in notes else []
                marks[index, len(row) + 1] = notes.index(why) + 1
            row += texts(entry) if entry else [NONE] * len(heads)
        rows.append(row)
    compared = [entry for entry in entries if entry.compared]
    agreed = sum(not entry.differs for entry in compared)
    return Sheet(
        title,
        ["", *(f"{base}\n{head}" for base in bases for head in heads)],
        [*rows, *below],
        marks,
        notes,
        (f"{agreed} of {len(compared)} {noun} are as printed.", remark),
        words=[1 + len(heads) * n + word for n in range(len(bases)) for word in words],
    )


def bases_of(entries: Sequence[Cell]) -> list[str]:
    """The bases in order of first appearance."""
    return list(dict.fromkeys(entry.base for entry in entries))
