"""SQL over a store: the same rows as `Results`, nothing else in reach, damage named."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from small_contours import NAME

from orchestrator.query.catalog import TABLES, VIEWS
from orchestrator.query.engine import Limits, query
from results_schema import layout, tables
from results_schema.errors import ConfigError, CorruptData
from results_schema.results import Results
from results_schema.store import LocalStore, open_store


def frame(store: LocalStore, sql: str) -> pd.DataFrame:
    return query(store, sql).to_pandas()


def same(one: pd.DataFrame, two: pd.DataFrame, keys: list[str]) -> None:
    assert list(one.columns) == list(two.columns)
    # Null is NaN in the one and None in the other where a column holds nothing else.
    one, two = (f.sort_values(keys).reset_index(drop=True).astype(object) for f in (one, two))
    pd.testing.assert_frame_equal(one.where(one.notna(), None), two.where(two.notna(), None))


def test_tables_and_views_are_those_of_results(trained):
    trained.cut_off(trained.ids[0], rows=1)
    results = Results(trained.store)
    for table, keys in (("metrics", ["trial_id", "epoch"]), ("trials", ["trial_id"])):
        same(frame(trained.store, f"FROM {table}"), getattr(results, table)(), keys)
        sql = f"FROM member_{table} WHERE experiment = 'small'"
        same(frame(trained.store, sql), getattr(results, table)("small"), keys)


def test_surfaces_are_joined_as_results_joins_them(surveyed, make_member):
    for index in range(3):
        member = make_member("DARTS", index, experiment=NAME)
        surveyed.add(member, status="done" if index else None, done=25 if index else 3)
    results = surveyed.results()
    for table, keys in (("surfaces", []), ("points", ["row", "column"])):
        found = frame(surveyed.store, f"FROM member_{table}")
        same(found, getattr(results, table)(NAME), ["surface_id", *keys])


def test_every_table_of_an_empty_store_is_empty_with_its_columns(tmp_path):
    store = open_store(tmp_path / "empty")
    for name in (*TABLES, *VIEWS):
        found = query(store, f"SELECT * FROM {name}")
        assert len(found) == 0
        if name in TABLES:
            assert found.schema.names == TABLES[name].schema.names
            assert [str(t).replace("Etc/", "") for t in found.schema.types] == [
                str(t) for t in TABLES[name].schema.types
            ]


@pytest.mark.parametrize("sealed", [True, False])
def test_a_column_that_an_older_release_lacked_is_null(trained, sealed):
    key = layout.metrics(trained.ids[0])
    known = [field for field in tables.METRICS if field.name != "peak_memory"]
    schema = pa.schema(known, metadata=tables.METRICS.metadata)
    rows = tables.from_parquet(trained.store.get(key), tables.METRICS, key).select(schema.names)
    by_pandas = rows.to_pandas().to_parquet(None)
    trained.store.put(key, tables.to_parquet(rows.to_pylist(), schema) if sealed else by_pandas)
    sql = "SELECT trial_id, count(peak_memory) n FROM metrics GROUP BY 1"
    found = {row["trial_id"]: row["n"] for row in query(trained.store, sql).to_pylist()}
    assert found == {trained.ids[0]: 0, trained.ids[1]: 2, trained.ids[2]: 2}


@pytest.mark.parametrize(
    "sql",
    ["CREATE TABLE x AS FROM trials", "COPY trials TO 'out.csv'", "ATTACH 'x.db'", "LOAD httpfs",
     "SET enable_external_access = true", "PRAGMA database_list", "DELETE FROM trials",
     "EXPLAIN ANALYZE COPY trials TO '.tmp/out.csv'",
     "explain/* of */analyze -- what?\n COPY trials TO 'out.csv'",
     "EXPLAIN (ANALYZE, FORMAT json) COPY trials TO 'out.csv'"],
)  # fmt: skip
def test_what_is_no_query_is_refused(trained, sql, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="is no query"):
        query(trained.store, sql)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "sql",
    ["FROM read_csv('secret.csv')", "FROM read_text('.tmp/secret.csv')", "FROM 'secret.csv'",
     "FROM glob('*')", "FROM glob('.tmp/*')", "FROM sniff_csv('secret.csv')", "FROM sql",
     "FROM read_parquet('results/trials/*.parquet')"],
)  # fmt: skip
def test_a_query_reaches_nothing_but_the_tables(trained, sql, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".tmp").mkdir()
    for place in (tmp_path, tmp_path / ".tmp"):
        (place / "secret.csv").write_text("password\nhunter2\n")
    with pytest.raises(ConfigError) as error:
        query(trained.store, sql)
    assert "hunter2" not in str(error.value)


def test_a_query_writes_no_file_when_memory_is_short(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    sql = "SELECT * FROM range(5_000_000) t(x) ORDER BY hash(x)"
    with pytest.raises(ConfigError, match=r"needs more than 50.0 MB of memory\n.*--memory"):
        query(trained.store, sql, Limits(memory=5 * 10**7))
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(ConfigError, match=r"the answer is larger than 50.0 MB"):
        query(trained.store, "FROM range(1_000_000_000_000)", Limits(memory=5 * 10**7))


ENDLESS = "SELECT * FROM range(1_000_000_000_000) WHERE range % 1_000_000_007 = 5"


@pytest.mark.parametrize(
    "sql",
    [
        ENDLESS,
        "EXPLAIN ANALYZE SELECT count(*) FROM range(1_000_000_000_000) WHERE hash(range) = 5",
    ],
)
def test_a_query_ends_after_its_time(trained, sql):
    with pytest.raises(ConfigError, match=r"took longer than 0.2 s\n.*--timeout"):
        query(trained.store, sql, Limits(seconds=0.2))


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT tst_loss FROM metrics", "test_loss"),
        ("SELECT * FROM metric", "metrics"),
        ("SELECT 'x'::INT", "Conversion"),
        ("", "0 statements"),
        ("SELECT 1; SELECT 2", "2 statements"),
    ],
)
def test_an_error_in_sql_has_duckdbs_message(trained, sql, words):
    with pytest.raises(ConfigError, match=words) as error:
        query(trained.store, sql)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    "sql",
    ["SUMMARIZE metrics", "DESCRIBE trials", "SHOW TABLES", "EXPLAIN FROM trials",
     "EXPLAIN ANALYZE FROM trials", "explain (format json) FROM trials",
     "PIVOT (SELECT trial_id, epoch, test_loss FROM metrics) ON epoch USING max(test_loss)",
     "WITH a AS (SELECT * FROM Metrics) SELECT count(*) FROM a",
     "SELECT count(*) FROM query_table('met' || 'rics')"],
)  # fmt: skip
def test_whatever_duckdb_takes_for_a_query_is_answered(trained, sql):
    found = query(trained.store, sql)
    assert len(found) > 0
    if "count" in sql:
        assert found.column(0).to_pylist() == [6]


@pytest.mark.parametrize("how", ["flipped", "cut", "emptied"])
def test_a_damaged_file_is_named(trained, how):
    path = trained.store.root / layout.metrics(trained.ids[1])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"flipped": bytes(data), "cut": data[:100], "emptied": b""}[how])
    with pytest.raises(CorruptData, match=trained.ids[1]):
        query(trained.store, "SELECT max(epoch) FROM metrics")
    assert len(query(trained.store, "FROM trials")) == 3


def test_a_query_is_right_while_files_are_replaced(trained):
    """Every answer is of whole files: epochs 1 to some n, each row of its own trial."""
    store, key = trained.store, layout.metrics(trained.ids[0])
    [first, second] = tables.from_parquet(store.get(key), tables.METRICS, key).to_pylist()
    done = threading.Event()

    def rewrite() -> None:
        for last in range(2, 400):
            if done.is_set():
                return
            rows = [first, *(second | {"epoch": epoch} for epoch in range(2, last))]
            store.put(key, tables.to_parquet(rows, tables.METRICS))

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(4):
            sql = "SELECT count(*) n, max(epoch) m, count(DISTINCT epoch) d FROM metrics"
            row: dict[str, Any] = query(
                store, f"{sql} WHERE trial_id = '{trained.ids[0]}'"
            ).to_pylist()[0]
            assert row["n"] == row["m"] == row["d"]
    finally:
        done.set()
        writer.join()


def test_no_copy_is_left_behind(trained, tmp_path, monkeypatch):
    copies = tmp_path / "copies with 'quotes'"
    copies.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(copies))
    query(trained.store, "FROM trials")
    with pytest.raises(ConfigError):
        query(trained.store, "SELECT x FROM trials")
    assert list(copies.iterdir()) == []


def test_ctrl_c_ends_a_query(trained: Any):
    here = threading.get_ident()
    timer = threading.Timer(0.3, signal.pthread_kill, args=(here, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        query(trained.store, ENDLESS, Limits(seconds=1e6))
