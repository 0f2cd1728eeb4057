"""An answer as text, CSV, JSON or Markdown."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TextIO

import pyarrow as pa

from orchestrator.output.tables import TextTable, escape_formula
from orchestrator.output.text import one_line

MOST = 100
"""Rows of a table to read."""

LONGEST = 60
"""Letters of an entry of a table to read."""


def to_sheet(answer: pa.Table, most: int | None = MOST) -> TextTable:
    """A table to read.

    Args:
        answer: What a query gave.
        most: Rows; None for all of them.
    """
    shown = answer if most is None else answer.slice(0, most)
    rows = [[_read(value) for value in row] for row in _rows(shown)]
    total = f"{len(answer):,} row" + "s" * (len(answer) != 1)
    if len(shown) < len(answer):
        total += f", of which the first {len(shown)} are shown; --format csv or json gives all"
    numeric = [pa.types.is_integer(t) or pa.types.is_floating(t) for t in answer.schema.types]
    return TextTable(
        "",
        [one_line(name) for name in answer.column_names],
        rows,
        remarks=(total,),
        left=[number for number, found in enumerate(numeric) if not found],
    )


def write_csv(answer: pa.Table, to: TextIO) -> None:
    """Write numbers in full, an empty place for null, times in ISO 8601, and no formula."""
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow(map(escape_formula, answer.column_names))
    for row in _rows(answer):
        writer.writerow(
            escape_formula(value) if isinstance(value, str) else _plain(value, text=True)
            for value in ("" if value is None else value for value in row)
        )


def write_json(answer: pa.Table, to: TextIO) -> None:
    """A list of objects; NaN and infinity, which JSON lacks, are null."""
    names = _distinct(answer.column_names)
    to.write("[")
    for number, row in enumerate(_rows(answer)):
        record = dict(zip(names, map(_plain, row), strict=True))
        to.write(",\n " if number else "\n ")
        to.write(json.dumps(record, ensure_ascii=False, allow_nan=False))
    to.write("\n]\n" if len(answer) else "]\n")


def _rows(answer: pa.Table) -> Iterator[tuple[Any, ...]]:
    for batch in answer.to_batches(max_chunksize=10_000):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _distinct(names: list[str]) -> list[str]:
    """Two columns of one name would be one key."""
    found: dict[str, None] = {}
    for name in names:
        number, free = 1, name
        while free in found:
            number += 1
            free = f"{name}_{number}"
        found[free] = None
    return list(found)


def _plain(value: Any, text: bool = False) -> Any:
    """As JSON can say it; as text a number that JSON lacks has its name."""
    match value:
        case float() if not math.isfinite(value):
            return str(value) if text else None
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
        case dict():
            found = {str(key): _plain(part) for key, part in value.items()}
            return json.dumps(found, ensure_ascii=False) if text else found
        case list() | tuple():
            listed = [_plain(part) for part in value]
            return json.dumps(listed, ensure_ascii=False) if text else listed
        case None | bool() | int() | float() | str():
            return value
        case _:  # a UUID, an interval
            return str(value)


def _read(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    text = one_line(str(_plain(value, text=True)))
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
