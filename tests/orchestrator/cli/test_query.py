"""`nas-sweep query` as its user meets it."""

import json
import resource
import subprocess
import sys

import pytest

from orchestrator.query.catalog import TABLES, VIEWS


def test_a_query_prints_a_table(run, trained):
    sql = "SELECT seed, epochs, '[bold]' AS markup FROM trials ORDER BY seed"
    code, output, _ = run("query", sql, "--store", trained.store.root)
    assert code == 0
    assert [line.split() for line in output.splitlines() if "[bold]" in line] == [
        [str(seed), "2", "[bold]"] for seed in range(3)
    ]
    assert "3 rows" in output


def test_forms(run, trained):
    ask = ("query", "SELECT count(*) AS n FROM metrics", "--store", trained.store.root, "--format")
    assert run(*ask, "csv")[1] == "n\n6\n"
    assert json.loads(run(*ask, "json")[1]) == [{"n": 6}]
    assert run(*ask, "md")[1].startswith("| n |\n| ---")


@pytest.mark.parametrize("form", ["text", "csv", "json", "md"])
def test_the_schema_lists_every_column_without_a_store(run, tmp_path, form):
    code, output, _ = run("query", "--schema", "--format", form, "--store", tmp_path / "none")
    assert code == 0
    for table in TABLES.values():
        for field in table.schema:
            assert field.name in output
            assert field.metadata[b"doc"].decode().split("|")[0][:20].replace('"', "") in output
    if form != "csv":
        assert all(view in output for view in VIEWS)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "a query or --schema"),
        (("SELECT 1", "--schema"), 2, "a query or --schema"),
        (("SELECT 1", "--store", "nowhere"), 3, "there is no store here"),
        (("FROM nothing",), 2, "nothing does not exist"),
        (("DROP VIEW trials",), 2, "is no query"),
        (
            (
                "SELECT max(x) FROM range(1_000_000_000_000) t(x) WHERE hash(x) = 5",
                "--timeout",
                "0.3",
            ),
            2,
            "longer than 0.3 s",
        ),
        (("SELECT 1", "--timeout", "0"), 2, "--timeout"),
        (("SELECT 1", "--memory", "0"), 2, "--memory"),
    ],
)
def test_mistakes_are_reported(run, trained, arguments, code, words):
    found, output, errors = run("query", *arguments)
    assert (found, output) == (code, "")
    assert words in errors
    assert "Traceback" not in errors


def test_a_query_comes_from_standard_input_too(trained):
    words = [sys.executable, "-m", "orchestrator.cli", "query", "-", "--format", "csv"]
    words += ["--store", str(trained.store.root)]
    ran = subprocess.run(words, input="SELECT 1 AS one", capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "one\n1\n"), ran.stderr


@pytest.mark.parametrize("package", ["torch", "ray", "plotly", "pandas"])
def test_a_query_loads_nothing_slow(trained, package):
    script = (
        "import sys\nfrom orchestrator.cli.main import cli\n"
        "cli(['query', 'SELECT max(epoch) FROM member_metrics', '--format', 'csv', '--memory', '1',"
        f"'--store', {str(trained.store.root)!r}], standalone_mode=False)\n"
        f"assert {package!r} not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="no other system bounds a process's data")
def test_what_a_single_function_takes_is_bounded_too(run, trained):
    before = resource.getrlimit(resource.RLIMIT_DATA)
    sql = "SELECT length(repeat('x', 3_000_000_000))"
    code, output, errors = run("query", sql, "--memory", "0.2")
    assert (code, output) == (2, "")
    assert "the query needs more than 200.0 MB of memory\n  aggregate, " in errors
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
