"""`nas-sweep query` as its user meets it."""

import io
import json
import resource
import sys

import pytest

from orchestrator.query.catalog import TABLES, VIEWS


def test_a_query_prints_its_answer_in_every_format(run, trained, monkeypatch):
    sql = "SELECT seed, epochs, '[bold]' AS markup FROM trials ORDER BY seed"
    code, output, _ = run("query", sql, "--store", trained.store.root)
    assert code == 0
    assert [line.split() for line in output.splitlines() if "[bold]" in line] == [
        [str(seed), "2", "[bold]"] for seed in range(3)
    ]
    assert "3 rows" in output
    ask = ("query", "SELECT count(*) AS n FROM metrics", "--store", trained.store.root, "--format")
    assert run(*ask, "csv")[1] == "n\n6\n"
    assert json.loads(run(*ask, "json")[1]) == [{"n": 6}]
    assert run(*ask, "md")[1].startswith("| n |\n| ---")
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT max(epoch) AS last FROM member_metrics"))
    ask = ("query", "-", "--store", trained.store.root, "--format", "csv")
    assert run(*ask)[:2] == (0, "last\n2\n")


def test_the_schema_lists_every_column_without_a_store(run, tmp_path):
    for form in ("text", "csv", "json", "md"):
        code, output, _ = run("query", "--schema", "--format", form, "--store", tmp_path / "none")
        assert code == 0
        for field in (field for table in TABLES.values() for field in table.schema):
            assert field.name in output
            assert field.metadata[b"doc"].decode().split("|")[0][:20].replace('"', "") in output
        assert form == "csv" or all(view in output for view in VIEWS)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "a query or --schema"),
        (("SELECT 1", "--store", "nowhere"), 3, "there is no store here"),
        (("SELECT max(x) FROM range(1e12::LONG) t(x)", "--timeout", "0.3"), 2, "longer than 0.3"),
        (("SELECT 1", "--timeout", "0"), 2, "--timeout"),
    ],
)
def test_mistakes_are_reported(run, trained, arguments, code, words):
    found, output, errors = run("query", *arguments)
    assert (found, output) == (code, "")
    assert words in errors
    assert "Traceback" not in errors


@pytest.mark.skipif(sys.platform != "linux", reason="no other system bounds a process's data")
def test_what_a_single_function_takes_is_bounded_too(run, trained):
    before = resource.getrlimit(resource.RLIMIT_DATA)
    sql = "SELECT length(repeat('x', 3_000_000_000))"
    code, output, errors = run("query", sql, "--memory", "0.2")
    assert (code, output) == (2, "")
    assert "the query needs more than 200.0 MB of memory\n  aggregate, " in errors
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
