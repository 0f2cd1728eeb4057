"""One exhibit or claim that fails unexpectedly loses none of the others, nor the report."""

import json
from pathlib import Path

import pytest
from synthetic_stores import curve, synthetic_store, synthetic_trials

import orchestrator.figures.accuracy
import orchestrator.paper.tables
from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import record
from orchestrator.output import error_log
from orchestrator.paper.claims import CLAIMS, accuracy, findings, population
from results_schema import layout
from results_schema.errors import StoreError
from results_schema.results import Results

EXPERIMENT = """
title: A title
claim: A claim.
grid: {{genotype: [DARTS], dataset: [digits], seed: [0, 1, 2]}}
network: {{cells: 3, channels: 2}}
recipe: {{epochs: {epochs}, batch_size: 480}}
figures: {{small: accuracy_by_index, curves: convergence}}
tables: {{sizes: parameters, errors: errors}}
"""


@pytest.fixture
def store(trained, tmp_path, monkeypatch):
    """Three ended trials whose experiment asks for two figures and two tables; no browser."""
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    epochs = trained.specs[0].recipe.epochs
    (tmp_path / "small.yaml").write_text(EXPERIMENT.format(epochs=epochs))
    record(load_experiment(tmp_path / "small.yaml"), trained.store)
    return trained


def broken(*_, **__):
    raise KeyError("a fault of the code")


FAULTS = [
    (orchestrator.figures.accuracy, "plot_accuracy_by_index", "figure-small"),
    (orchestrator.paper.tables, "parameters_sheet", "table-sizes"),
    (accuracy, "counted", "claim-some-variants-beat-base"),
]


@pytest.mark.parametrize(("module", "function", "log"), FAULTS)
def test_a_report_holds_all_but_what_failed(run, store, monkeypatch, module, function, log):
    monkeypatch.setattr(module, function, broken)
    code, output, errors = run("report", "small")
    assert code == 1, errors
    assert f"results/errors/{log}.log" in output
    text = Path(f"results/errors/{log}.log").read_text()
    assert "Traceback" in text and "a fault of the code" in text
    page = Path("results/reports/small/index.html").read_text("utf-8")
    assert "unexpected KeyError" in page
    for name in {"figure-small", "figure-curves", "table-sizes", "table-errors"} - {log}:
        assert f'id="{name}"' in page


def test_a_launch_whose_results_or_report_fail_says_the_rest(run, store, monkeypatch, tmp_path):
    monkeypatch.setattr(orchestrator.figures.accuracy, "plot_accuracy_by_index", broken)
    monkeypatch.setattr("orchestrator.report.brief.accuracy_tables", broken)
    monkeypatch.setattr("orchestrator.report.write.write_report", broken)
    code, output, _ = run("launch", tmp_path / "small.yaml", "--device", "cpu")
    assert code == 1
    for log in ("results-small", "report"):
        assert f"results/errors/{log}.log" in output
    assert Path("results/errors/figure-small.log").exists()
    page = Path("results/figures/small-curves.html").read_text()
    assert 'src="plotly.min.js"' in page, "pages share the script"
    assert Path("results/figures/plotly.min.js").stat().st_size > 1_000_000 > len(page)


@pytest.fixture
def made_up(tmp_path):
    trials = synthetic_trials(bases=("DARTS",))
    return synthetic_store(tmp_path / "s", trials, lambda t: curve(0.3 + 0.1 * t.width))


def test_a_claim_that_fails_leaves_the_others(run, made_up, monkeypatch):
    whole = {one.claim: one for one in findings(Results(made_up)) if one.primary}
    monkeypatch.setattr(accuracy, "counted", broken)
    code, output, errors = run("claims", "--store", made_up.root, "--format", "json")
    assert code == 1
    assert "some-variants-beat-base was not tested: unexpected KeyError" in errors
    records = {one["claim"]: one for one in json.loads(output) if one["primary"]}
    assert set(records) == {claim.id for claim in CLAIMS}
    assert records["some-variants-beat-base"]["verdict"] == "failed"
    assert "claim-some-variants-beat-base.log" in records["some-variants-beat-base"]["reading"]
    assert records["wider-faster"]["size"] == whole["wider-faster"].size
    # Nor are the claims about cells lost if no trial can be had.
    calls = []

    def count(*_):
        calls.append(1)
        raise ValueError("a fault of the code")

    monkeypatch.setattr(population, "convergence", count)
    verdicts = {one.claim: one.verdict for one in findings(Results(made_up)) if one.primary}
    assert verdicts["wider-faster"] == "failed"
    assert verdicts["popular-widest"] == "supported"
    assert len(calls) == 1
    assert made_up.has(layout.error_log("claims"))


def test_a_store_that_can_not_be_written_is_no_second_error(made_up, monkeypatch):
    def refuse(*_, **__):
        raise StoreError("read-only")

    monkeypatch.setattr(type(made_up), "put", refuse)
    with pytest.raises(KeyError) as caught:
        broken()
    said = error_log.log_error(made_up, "figure-x", caught.value)
    assert said.startswith("unexpected KeyError: 'a fault of the code' in ")
    assert Path(__file__).name in said
