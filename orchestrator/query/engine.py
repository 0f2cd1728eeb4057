"""SQL over a store's tables, by DuckDB in memory; it can reach no file but private copies of them.

A live sweep replaces files at any time, and DuckDB may read a file in several parts, of two
versions. So each file of a table is read once, whole, checked against its seal and copied to a
private folder. A query's time and memory are limited, since a line of SQL can ask for more of
either than there is.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.housekeeping import lookup
from orchestrator.output.text import byte_size
from orchestrator.query.catalog import PRUNED, TABLES, VIEWS, Table, mentioned_tables
from results_schema import layout, tables
from results_schema.errors import ConfigError, MachineError
from results_schema.program import store_schema
from results_schema.store import Store

_CONFIG = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # Otherwise a name that is no table is looked for among this program's variables.
    "python_enable_replacements": "false",
}
_READING = {"SELECT", "MULTI"}
"""Kinds of statements that read; PIVOT, which first looks for the columns, is MULTI."""
_SPACE = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_EXPLAIN = re.compile(
    rf"{_SPACE}EXPLAIN\b{_SPACE}(?:ANALYZE\b|\([^()]*\))?", re.IGNORECASE | re.DOTALL
)
_SQL_TYPES = {
    tables.TEXT: "VARCHAR",
    tables.INT: "INTEGER",
    tables.LONG: "BIGINT",
    tables.REAL: "DOUBLE",
    tables.FLAG: "BOOLEAN",
    tables.TIME: "TIMESTAMPTZ",
}
_BATCH = 50_000
"""Rows of an answer that are fetched at once."""
_HINT = "nas-sweep query --schema lists tables and columns"


@dataclass(frozen=True)
class Limits:
    """What a query may take.

    Attributes:
        seconds: Time from its start to the last row of its answer.
        memory: Bytes, once for DuckDB's work and once for the answer.
    """

    seconds: float = 300.0
    memory: int = 4 * 10**9


def query(
    store: Store, sql: str, limits: Limits | None = None, *, without: Collection[str] = ()
) -> pa.Table:
    """Return the answer to one query, reading only the tables that it names.

    The tables of the trials and surfaces `without` are left out.

    A query is a SELECT, or what DuckDB takes for one: `FROM metrics` or `SUMMARIZE trials`.

    Raises:
        ConfigError: The query is wrong, is not a query, would write, or exceeded a limit.
        CorruptData: A file of a table is damaged.
        MachineError: The tables can't be copied.
    """
    limits = limits or Limits()
    names = mentioned_tables(sql) or set(TABLES)
    with tempfile.TemporaryDirectory(prefix="nas-sweep-query-") as folder:
        try:
            with duckdb.connect(config=dict(_CONFIG)) as connection:
                _check(connection, sql)
                _lock(connection, folder, limits)
                _add_tables(connection, store, names, Path(folder), without)
                try:
                    return _answer(connection, sql, limits)
                except duckdb.CatalogException:
                    # It names a table in another way: with all of them it is answered, or DuckDB's
                    # message names the nearest one.
                    more = TABLES.keys() - names
                    _add_tables(connection, store, more, Path(folder), without)
                    return _answer(connection, sql, limits)
        except TimeoutError as error:
            raise ConfigError(
                f"the query took longer than {limits.seconds:g} s",
                where="SQL",
                fix="ask for less, or give it more time by --timeout",
            ) from error
        except (duckdb.OutOfMemoryException, MemoryError, pa.ArrowMemoryError) as error:
            raise _too_large(f"the query needs more than {byte_size(limits.memory)}") from error
        except duckdb.Error as error:
            raise ConfigError(str(error).strip(), where="SQL", fix=_HINT) from error


def _check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise ConfigError(
            f"{len(statements)} statements where there should be one", where="SQL", fix=_HINT
        )
    kind = statements[0].type.name
    if kind == "EXPLAIN":
        # EXPLAIN ANALYZE runs what it explains.
        explained = _EXPLAIN.sub("", sql, count=1)
        [statement, *_] = [*connection.extract_statements(explained), statements[0]]
        kind = statement.type.name
    if kind not in _READING:
        raise ConfigError(
            f"{kind} is no query: the store is read, and never written",
            where="SQL",
            fix="use SELECT; to get files, nas-sweep export or --format csv",
        )


def _lock(connection: duckdb.DuckDBPyConnection, folder: str, limits: Limits) -> None:
    """Let the connection reach nothing but a folder, for good."""
    # By default it spills to .tmp in the working folder, which any query may read and write.
    connection.execute("SET temp_directory = ''")
    connection.execute(f"SET memory_limit = '{limits.memory} bytes'")
    # So that times are written alike on every machine.
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET allowed_directories = [{_quoted(f'{folder}/')}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _add_tables(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    names: set[str],
    folder: Path,
    without: Collection[str],
) -> None:
    """Copy tables and add them, with the views for which all tables are there by now."""
    for name in sorted(names):
        table, copies = TABLES[name], folder / name
        copies.mkdir()
        if table.folder in (layout.METRICS, layout.TRIALS):
            table = table._replace(schema=store_schema(store, table.folder))
        if _copy(store, table, copies, without):
            select = f"SELECT * FROM read_parquet({_quoted(f'{copies}/*.parquet')})"
        else:
            # Registering an empty Arrow table instead would import pandas.
            columns = [f'CAST(NULL AS {_SQL_TYPES[f.type]}) AS "{f.name}"' for f in table.schema]
            select = f"SELECT {', '.join(columns)} WHERE false"
        connection.execute(f"CREATE VIEW {name} AS {select}")
    rows = connection.execute("SELECT view_name FROM duckdb_views()").fetchall()
    there = {row[0] for row in rows}
    if "members" not in there:
        return
    columns = [row[0] for row in connection.execute("DESCRIBE members").fetchall()]
    kinds = "experiment VARCHAR, trial_id VARCHAR, status VARCHAR, epochs INTEGER"
    connection.execute(f"CREATE OR REPLACE TABLE {PRUNED} ({kinds})")
    gone = [
        (name, trial, "pruned", epoch)
        for name in lookup.experiments(store)
        for trial, epoch in lookup.pruned(store, name).items()
    ]
    if gone:
        connection.executemany(f"INSERT INTO {PRUNED} VALUES (?, ?, ?, ?)", gone)
    for name, view in VIEWS.items():
        if name not in there and there.issuperset(view.reads):
            connection.execute(f"CREATE VIEW {name} AS {view.sql(columns)}")


def _copy(store: Store, table: Table, to: Path, without: Collection[str]) -> bool:
    """Copy the files of a table into an empty folder; return whether there is any."""
    keys = [key for key in store.list(table.folder) if key.endswith(".parquet")]
    keys = [key for key in keys if not layout.names([key]).intersection(without)]
    files = ((key, _sound(data, key, table.schema)) for key, data in store.several(keys))
    if table.folder == layout.MEMBERS:
        files = _with_axes(files)
    for number, (_, sound) in enumerate(files):
        try:
            (to / f"{number:08d}.parquet").write_bytes(sound)
        except OSError as error:
            raise MachineError(
                f"no copy of the table can be made: {error.strerror}",
                where=str(to),
                fix="make room there, or name another folder in TMPDIR",
            ) from error
    return any(to.iterdir())


def _with_axes(files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Yield one file of all members, with a column for each axis, or none without members."""
    parts = [tables.from_parquet(data, tables.MEMBERS, key) for key, data in files]
    if parts:
        sink = pa.BufferOutputStream()
        pq.write_table(tables.expand_axes(pa.concat_tables(parts)), sink)
        yield layout.MEMBERS, sink.getvalue().to_pybytes()


def _sound(data: bytes, key: str, schema: pa.Schema) -> bytes:
    """Return a file with all of the schema's columns, in their order.

    When all files have one schema, DuckDB need not open each of them before it reads the first.

    Raises:
        CorruptData: The file is damaged, or has another item's rows.
    """
    owner = layout.owner(key)
    whole = tables.embedded_schema(schema) in data and tables.is_sealed(data)
    if whole and (owner is None or tables.holds_only(tables.open_parquet(data), owner)):
        return data
    # Damaged, which raises; or another writer's, with other columns.
    sink = pa.BufferOutputStream()
    pq.write_table(tables.from_parquet(data, schema, key), sink)
    return sink.getvalue().to_pybytes()


def _answer(connection: duckdb.DuckDBPyConnection, sql: str, limits: Limits) -> pa.Table:
    """Return the answer; raise TimeoutError where it takes longer than it may."""
    # In a thread, as DuckDB lets no signal through to the one it works in.
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_fetch, connection, sql, limits)
        try:
            return answer.result(limits.seconds)
        finally:
            # Repeated, since an interrupt between two batches is lost.
            while not answer.done():
                connection.interrupt()
                wait([answer], 0.05)


def _fetch(connection: duckdb.DuckDBPyConnection, sql: str, limits: Limits) -> pa.Table:
    """Return the answer, fetched in batches so that its size is noticed before all of it exists."""
    reader = connection.sql(sql).to_arrow_reader(_BATCH)
    batches: list[pa.RecordBatch] = []
    size = 0
    for batch in reader:
        batches.append(batch)
        size += batch.nbytes
        if size > limits.memory:
            raise _too_large(f"the answer is larger than {byte_size(limits.memory)}")
    return pa.Table.from_batches(batches, reader.schema)


def _too_large(what: str) -> ConfigError:
    return ConfigError(
        f"{what} of memory",
        where="SQL",
        fix="aggregate, name fewer columns, add LIMIT, or give it more by --memory",
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
