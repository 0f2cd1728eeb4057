"""SQL over a store's tables, by DuckDB in memory: it can reach no file but copies of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa

from orchestrator.query.catalog import TABLES, VIEWS, mentioned
from orchestrator.query.snapshot import snapshot
from results_schema.columns import FLAG, INT, LONG, REAL, TEXT, TIME
from results_schema.errors import ConfigError
from results_schema.store import Store

SAFE = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # Else a name that is no table would be looked for among this program's variables.
    "python_enable_replacements": "false",
}

# A PIVOT is MULTI: it looks for the columns first.
_READING = {"SELECT", "EXPLAIN", "MULTI"}

_TYPES = {
    TEXT: "VARCHAR",
    INT: "INTEGER",
    LONG: "BIGINT",
    REAL: "DOUBLE",
    FLAG: "BOOLEAN",
    TIME: "TIMESTAMPTZ",
}

HINT = "nas-sweep query --schema lists tables and columns"


def query(store: Store, sql: str) -> pa.Table:
    """The answer to one query.

    Args:
        store: Whose tables; only those that the query names are read.
        sql: A SELECT, or what DuckDB takes for one, such as `FROM metrics` or `SUMMARIZE trials`.

    Raises:
        ConfigError: The query is wrong, is none, or would write.
        CorruptData: A file of a table is damaged.
    """
    names = mentioned(sql) or set(TABLES)
    with tempfile.TemporaryDirectory(prefix="nas-sweep-query-") as folder:
        try:
            with duckdb.connect(config=dict(SAFE)) as connection:
                _check(connection, sql)
                _lock(connection, folder)
                _add(connection, store, names, Path(folder))
                try:
                    return _answer(connection, sql)
                except duckdb.CatalogException:
                    # No word of it is one of our names: let it see all, or tell the nearest.
                    _add(connection, store, TABLES.keys() - names, Path(folder))
                    return _answer(connection, sql)
        except duckdb.Error as error:
            raise ConfigError(str(error).strip(), where="SQL", fix=HINT) from error


def _lock(connection: duckdb.DuckDBPyConnection, folder: str) -> None:
    """Leaves it nothing to reach but the copies, and no way to change that."""
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


def _answer(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    return connection.sql(sql).to_arrow_table()


def _no_rows(schema: pa.Schema) -> str:
    """A SELECT of all columns and no row. Registering a table of Arrow's would import pandas."""
    columns = [f'CAST(NULL AS {_TYPES[field.type]}) AS "{field.name}"' for field in schema]
    return f"SELECT {', '.join(columns)} WHERE false"
