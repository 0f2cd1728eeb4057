"""SQL over a store's tables, by DuckDB in memory: it can reach no file but copies of them.

A query has bounds on time and memory, as a line of SQL can ask for more of either than there is.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from orchestrator.output.text import byte_size
from orchestrator.query.catalog import TABLES, VIEWS, mentioned
from orchestrator.query.snapshot import snapshot
from results_schema.errors import ConfigError
from results_schema.store import Store
from results_schema.tables import FLAG, INT, LONG, REAL, TEXT, TIME

SAFE = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # Else a name that is no table would be looked for among this program's variables.
    "python_enable_replacements": "false",
}

# A PIVOT is MULTI: it looks for the columns first.
_READING = {"SELECT", "MULTI"}

_SPACE = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_EXPLAIN = re.compile(
    rf"{_SPACE}EXPLAIN\b{_SPACE}(?:ANALYZE\b|\([^()]*\))?", re.IGNORECASE | re.DOTALL
)

_TYPES = {
    TEXT: "VARCHAR",
    INT: "INTEGER",
    LONG: "BIGINT",
    REAL: "DOUBLE",
    FLAG: "BOOLEAN",
    TIME: "TIMESTAMPTZ",
}

_PIECE = 50_000
"""Rows of an answer that are fetched at once."""

HINT = "nas-sweep query --schema lists tables and columns"


@dataclass(frozen=True)
class Bounds:
    """What a query may take.

    Attributes:
        seconds: From its start to the last row of its answer.
        memory: Bytes, once for DuckDB's work and once for the answer.
    """

    seconds: float
    memory: int


BOUNDS = Bounds(300.0, 4 * 10**9)


def query(store: Store, sql: str, bounds: Bounds = BOUNDS) -> pa.Table:
    """Return the answer to one query.

    Args:
        store: Whose tables; only those that the query names are read.
        sql: A SELECT, or what DuckDB takes for one, such as `FROM metrics` or `SUMMARIZE trials`.
        bounds: On time and memory.

    Raises:
        ConfigError: The query is wrong, is none, would write, or went beyond a bound.
        CorruptData: A file of a table is damaged.
    """
    names = mentioned(sql) or set(TABLES)
    with tempfile.TemporaryDirectory(prefix="nas-sweep-query-") as folder:
        try:
            with duckdb.connect(config=dict(SAFE)) as connection:
                _check(connection, sql)
                _lock(connection, folder, bounds)
                _add(connection, store, names, Path(folder))
                try:
                    return _answer(connection, sql, bounds)
                except duckdb.CatalogException:
                    # No word of it is one of our names: let it see all, or tell the nearest.
                    _add(connection, store, TABLES.keys() - names, Path(folder))
                    return _answer(connection, sql, bounds)
        except duckdb.InterruptException as error:
            raise ConfigError(
                f"the query took longer than {bounds.seconds:g} s",
                where="SQL",
                fix="ask for less, or give it more time by --timeout",
            ) from error
        except (duckdb.OutOfMemoryException, MemoryError, pa.ArrowMemoryError) as error:
            raise _too_large(f"the query needs more than {byte_size(bounds.memory)}") from error
        except duckdb.Error as error:
            raise ConfigError(str(error).strip(), where="SQL", fix=HINT) from error


def _lock(connection: duckdb.DuckDBPyConnection, folder: str, bounds: Bounds) -> None:
    """Leave it nothing to reach but the copies, and no way to change that or its memory."""
    # Without a folder to spill to, which by default is .tmp in the working folder, for any query
    # to read and write.
    connection.execute("SET temp_directory = ''")
    connection.execute(f"SET memory_limit = '{bounds.memory} bytes'")
    # Times are told alike on every machine.
    connection.execute("SET TimeZone = 'UTC'")
    quoted = folder.replace("'", "''")
    connection.execute(f"SET allowed_directories = ['{quoted}/']")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise ConfigError(
            f"{len(statements)} statements where there should be one", where="SQL", fix=HINT
        )
    kind = statements[0].type.name
    if kind == "EXPLAIN":
        # EXPLAIN ANALYZE does what it explains.
        explained = _EXPLAIN.sub("", sql, count=1)
        [statement, *_] = [*connection.extract_statements(explained), statements[0]]
        kind = statement.type.name
    if kind not in _READING:
        raise ConfigError(
            f"{kind} is no query: the store is read, and never written",
            where="SQL",
            fix="use SELECT; to get files, nas-sweep export or --format csv",
        )


def _add(
    connection: duckdb.DuckDBPyConnection, store: Store, names: set[str], folder: Path
) -> None:
    """Adds tables, and the views that can be made by now."""
    for name in sorted(names):
        key, schema = TABLES[name]
        copies = folder / name
        copies.mkdir()
        select = _no_rows(schema)
        if snapshot(store, key, schema, copies):
            quoted = str(copies).replace("'", "''")
            select = f"SELECT * FROM read_parquet('{quoted}/*.parquet')"
        connection.execute(f"CREATE VIEW {name} AS {select}")
    there = {
        row[0] for row in connection.execute("SELECT view_name FROM duckdb_views()").fetchall()
    }
    for name, view in VIEWS.items():
        if name not in there and there.issuperset(view.reads):
            connection.execute(f"CREATE VIEW {name} AS {view.sql}")


def _answer(connection: duckdb.DuckDBPyConnection, sql: str, bounds: Bounds) -> pa.Table:
    """Return the answer, which is read in pieces so that its size is noticed before it is there."""
    with _interrupted_after(connection, bounds.seconds):
        reader = connection.sql(sql).to_arrow_reader(_PIECE)
        pieces: list[pa.RecordBatch] = []
        taken = 0
        for piece in reader:
            pieces.append(piece)
            taken += piece.nbytes
            if taken > bounds.memory:
                raise _too_large(f"the answer is larger than {byte_size(bounds.memory)}")
    return pa.Table.from_batches(pieces, reader.schema)


@contextmanager
def _interrupted_after(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    done = threading.Event()

    def watch() -> None:
        if not done.wait(seconds):
            # An interrupt between two of the answer's pieces is lost.
            while not done.is_set():
                connection.interrupt()
                done.wait(0.05)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()


def _too_large(what: str) -> ConfigError:
    return ConfigError(
        f"{what} of memory",
        where="SQL",
        fix="aggregate, name fewer columns, add LIMIT, or give it more by --memory",
    )


def _no_rows(schema: pa.Schema) -> str:
    """A SELECT of all columns and no row. Registering a table of Arrow's would import pandas."""
    columns = [f'CAST(NULL AS {_TYPES[field.type]}) AS "{field.name}"' for field in schema]
    return f"SELECT {', '.join(columns)} WHERE false"
