"""Write an answer as a table of text, CSV or JSON.

DuckDB's own CSV and JSON are not used: NaN in its JSON is not JSON, its lists in CSV are neither
JSON nor Python, its times are not ISO 8601, and texts that spreadsheets compute are not escaped.
"""

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

_MOST_ROWS = 100
_LONGEST = 60
"""Most characters of an entry of a table."""


def to_text_table(answer: pa.Table, *, whole: bool = False) -> TextTable:
    """Return an answer as a table for people, or its first rows unless the whole is asked for."""
    shown = answer if whole else answer.slice(0, _MOST_ROWS)
    total = f"{len(answer):,} row" + "s" * (len(answer) != 1)
    if len(shown) < len(answer):
        total += f", of which the first {len(shown)} are shown; --format csv or json gives all"
    numeric = [pa.types.is_integer(t) or pa.types.is_floating(t) for t in answer.schema.types]
    return TextTable(
        "",
        [one_line(name) for name in answer.column_names],
        [[_readable(value) for value in row] for row in _rows(shown)],
        remarks=(total,),
        left=[number for number, found in enumerate(numeric) if not found],
    )


def write_csv(answer: pa.Table, to: TextIO) -> None:
    """Write numbers in full, nothing for null, times in ISO 8601, and no spreadsheet formula."""
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow(map(escape_formula, answer.column_names))
    for row in _rows(answer):
        writer.writerow(
            escape_formula(value) if isinstance(value, str) else _as_text(value) for value in row
        )


def write_json(answer: pa.Table, to: TextIO) -> None:
    """Write a list of objects; NaN and infinity, which JSON lacks, are null."""
    names: list[str] = []
    for name in answer.column_names:  # two columns of one name would be one key
        number, free = 1, name
        while free in names:
            number += 1
            free = f"{name}_{number}"
        names.append(free)
    to.write("[")
    for number, row in enumerate(_rows(answer)):
        record = dict(zip(names, map(_as_json, row), strict=True))
        to.write(",\n " if number else "\n ")
        to.write(json.dumps(record, ensure_ascii=False, allow_nan=False))
    to.write("\n]\n" if len(answer) else "]\n")


def _rows(answer: pa.Table) -> Iterator[tuple[Any, ...]]:
    for batch in answer.to_batches(max_chunksize=10_000):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _as_json(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
        case dict():
            return {str(key): _as_json(part) for key, part in value.items()}
        case list() | tuple():
            return [_as_json(part) for part in value]
        case _:  # a UUID, an interval
            return str(value)


def _as_text(value: Any) -> Any:
    """Return a value as CSV has it: also NaN and infinity, and lists and structures as JSON."""
    if value is None:
        return ""
    if isinstance(value, float):
        return value
    plain = _as_json(value)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, dict | list) else plain


def _readable(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    text = one_line(str(_as_text(value)))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
