"""What reads a store reads programs' trials, pruned ones too, without the program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_programs import HALVING, drive, made, walk, write
from small_programs import run as attempt

from orchestrator.dash.charts import curve_traces
from orchestrator.dash.live import Live
from orchestrator.housekeeping.status import StatusReader
from results_schema.errors import ConfigError
from results_schema.program import added_metrics
from results_schema.store import LocalStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """Six walks pruned, three trained; the program is gone."""
    experiment, store = made(tmp_path_factory.mktemp("lab") / "walks", HALVING)
    drive(store, experiment)
    experiment.with_name("walk.py").unlink()
    return store


def test_a_query_finds_metrics_and_axes(store: LocalStore, run):
    sql = "select size, count(*) n, max(score) best from member_metrics group by size order by 1"
    code, output, errors = run("query", sql, "--store", store.root, "--format", "json")
    assert code == 0, errors
    rows = json.loads(output)
    assert [row["size"] for row in rows] == [1.0, 1.1, 1.2]
    assert sum(row["n"] for row in rows) == 4 * 2 + 2 * 5 + 3 * 8
    sql = "select status, count(*) n, max(epochs) e from member_trials group by 1 order by 1"
    code, output, errors = run("query", sql, "--store", store.root, "--format", "json")
    assert code == 0, errors
    assert json.loads(output) == [
        {"status": "done", "n": 3, "e": 8}, {"status": "pruned", "n": 6, "e": 5}
    ]  # fmt: skip


def test_a_trial_is_shown_with_all_that_it_reported(store: LocalStore, run):
    place = ("--store", store.root, "--format", "json")
    code, output, errors = run("show", "walk/size=1.2/s0", *place)
    assert code == 0, errors
    shown = json.loads(output)
    assert shown["curves"].keys() == {"score", "steps"}
    assert shown["curves"]["steps"].split()[-1] in ("20", "50", "80")
    assert shown["results"].keys() >= {"score", "best_score", "steps"}


def test_no_claim_is_tested_on_programs_alone(store: LocalStore, run):
    code, output, errors = run("claims", "--all", "--store", store.root)
    assert (code, "claim" in output, "popular-widest" in output) == (0, True, False), errors


def test_a_table_averages_over_seeds(store: LocalStore):
    from orchestrator.report.brief import metric_tables
    from results_schema.results import Results

    trials, added = Results(store).trials("walk"), added_metrics(store)
    states = StatusReader(store).read(["walk"]).trials.experiments["walk"]
    [table] = metric_tables(trials, added, states)
    assert list(table.columns) == ["parameters", "score (1)", "steps", "trials"]
    assert [row[0] for row in table.rows] == ["size=1.0", "size=1.1", "size=1.2"]
    counts = [count.split() for row in table.rows for count in row[-1].split(", ")]
    assert sum(int(number) for number, state in counts if state == "done") == 3
    assert sum(int(number) for number, state in counts if state == "pruned") == 6
    assert metric_tables(trials.iloc[:0], added, states) == []


def test_a_report_is_written_and_tests_no_claim_on_it(store: LocalStore, run, tmp_path: Path):
    code, output, errors = run("report", "--store", store.root, "--to", tmp_path / "page")
    assert code == 0, output + errors
    page = (tmp_path / "page" / "index.html").read_text()
    assert "walk.py:train, version 1" in page
    assert "6 pruned" in page
    assert 'id="claims"' not in page
    assert 'class="claim"' not in page


def test_an_export_has_the_metrics(store: LocalStore, run, tmp_path: Path):
    place = ("--store", store.root, "--to", tmp_path, "--format", "csv")
    code, output, errors = run("export", "walk", *place)
    assert code == 0, output + errors
    trials = pd.read_csv(tmp_path / "walk-trials.csv")
    assert trials["status"].value_counts().to_dict() == {"pruned": 6, "done": 3}
    metrics: Any = pd.read_csv(tmp_path / "walk-metrics.csv")
    assert metrics["score"].notna().all()


def test_the_live_page_draws_metrics(store: LocalStore, tmp_path: Path):
    live = Live(store)
    live.refresh()
    rows = live.rows("walk")
    assert {row["state"] for row in rows} == {"done", "pruned"}
    assert all(row["score"] > 0 and row["dataset"] is None for row in rows)
    json.dumps(rows, allow_nan=False)
    traces = curve_traces(live.curves.by_trial, rows, [], "score")
    assert len(traces) == 9
    assert curve_traces(live.curves.by_trial, rows, [], "rate") == []


def test_plan_reports_trials_of_different_sources(tmp_path: Path):
    from orchestrator.config.experiment import load_experiment
    from orchestrator.planning.plan import make_plan

    experiment, store = made(tmp_path / "walks")
    attempt(walk(), store, write(experiment.parent))
    plan = make_plan([load_experiment(experiment)], store)
    [digests] = plan.sources.values()
    assert len(digests) == 1
    source = experiment.with_name("walk.py")
    source.write_text(source.read_text() + "# another\n")
    plan = make_plan([load_experiment(experiment)], store)
    assert [len(found) for found in plan.sources.values()] == [2]
    experiment.write_text(experiment.read_text().replace("{type: whole}", "{type: real}"))
    with pytest.raises(ConfigError, match="metric steps is real, and in the store it is whole"):
        make_plan([load_experiment(experiment)], store)
