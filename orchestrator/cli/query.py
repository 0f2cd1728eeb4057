"""What `nas-sweep query` does: answer a query about a store, or tell what can be asked."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from orchestrator.output.tables import TextTable, to_csv, to_json, to_markdown
from orchestrator.query.catalog import ROWS, TABLES, VIEWS
from orchestrator.query.forms import to_sheet, write_csv, write_json
from results_schema.store import existing_store

SLACK = 500_000_000
"""Bytes that the libraries themselves and their threads may take."""


def show_query(sql: str, location: str, form: str, *, timeout: float, memory: float) -> None:
    """Print the answer to a query.

    Args:
        sql: The query.
        location: The store's folder.
        form: table, csv, json or markdown.
        timeout: Seconds that it may take.
        memory: Gigabytes that it may take.

    Raises:
        ConfigError: The query is wrong, would write, or went beyond a bound.
        StoreError: There is no store, or a file is damaged.
    """
    from orchestrator.query.engine import Bounds, query

    bounds = Bounds(timeout, int(memory * 1e9))
    with _limited(2 * bounds.memory + SLACK):
        answer = query(existing_store(location), sql, bounds)
    match form:
        case "csv":
            write_csv(answer, sys.stdout)
        case "json":
            write_json(answer, sys.stdout)
        case "markdown":
            print(to_markdown(to_sheet(answer, most=None)))
        case _:
            _print(to_sheet(answer))


@contextmanager
def _limited(more: int) -> Iterator[None]:
    """Let this process take so many bytes more than it has, where the system can bound that.

    DuckDB's own bound leaves out what single functions take, such as `repeat`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    memory = psutil.Process().memory_info()
    bound = getattr(memory, "data", memory.vms) + more
    known = [limit for limit in (bound, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(known), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def show_schema(form: str) -> None:
    """Prints every table's columns with types, units and meaning, and the views.

    Args:
        form: table, csv, json or markdown.
    """
    records = [
        {
            "table": table,
            "column": field.name,
            "type": str(field.type),
            "unit": (field.metadata.get(b"unit") or b"").decode(),
            "doc": field.metadata[b"doc"].decode(),
        }
        for table, (_, schema) in TABLES.items()
        for field in schema
    ]
    views = [{"view": name, "doc": view.doc, "tables": view.reads} for name, view in VIEWS.items()]
    if form == "json":
        print(to_json({"columns": records, "views": views}))
        return
    if form == "csv":
        print(to_csv(records))
        return
    for table, doc in ROWS.items():
        rows = [tuple(r.values())[1:] for r in records if r["table"] == table]
        _show(
            TextTable(
                f"{table}: {doc}", ("column", "type", "unit", "meaning"), rows, left=(1, 2, 3)
            ),
            form,
        )
    told = [(view["view"], view["doc"]) for view in views]
    _show(TextTable("Views", ("view", "what it is"), told, left=(1,)), form)


def _show(sheet: TextTable, form: str) -> None:
    if form == "markdown":
        print(to_markdown(sheet), end="\n\n")
    else:
        _print(sheet)


def _print(sheet: TextTable) -> None:
    from orchestrator.output.tables import print_table

    print_table(sheet)
