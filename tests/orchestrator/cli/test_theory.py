"""`nas-sweep theory` as its user meets it: tables, records, a figure, the exit code."""

import csv
import io
import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from orchestrator.paper.theorems import TrialBound
from workers.theory import sgd
from workers.theory.checks import Comparison


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(sgd, "STEPS", (10,))


@pytest.fixture
def store(trained, monkeypatch):
    """A store of which the first of two trials has all numbers, and the second lacks some."""
    known: dict[str, Any] = {field.name: 1.0 for field in fields(TrialBound)}
    known |= {"experiment": "small", "base": "DARTS", "variant": "DARTS", "index": 0, "steps": 9}
    known |= {"smoothness_epoch": 2, "variance_epoch": 0, "trial_id": trained.ids[0]}
    found = [TrialBound(**{**known, "lacking": lacking}) for lacking in ((), ("curvature",))]
    monkeypatch.setattr("orchestrator.paper.theorems.trial_bounds", lambda *_: found)
    return trained.store.root


def test_every_statement_has_its_row_and_the_counterexample_is_reported(run, tmp_path):
    code, output, _ = run("theory", "--draws", 5, "--store", tmp_path / "none")
    assert code == 0
    for words in (
        "Theorem 4.1", "Equation (4), same W", "Theorem 4.2, as printed", "Theorem 4.2, corrected",
        "the printed bound is 2, the true constant 4", "must hold", "need not",
    ):  # fmt: skip
        assert words in output


def test_json_lists_trials_too_and_csv_them_alone(run, store, tmp_path):
    code, output, _ = run("theory", "small", "--store", store, "--draws", 2, "--format", "json")
    assert code == 0
    reported = json.loads(output)
    assert reported["counterexample"] == {"wide": 1.0, "printed": 2.0, "true": 4.0}
    assert all(one["violations"] == 0 for one in reported["statements"] if one["must_hold"])
    assert [bool(one["lacking"]) for one in reported["trials"]] == [False, True]
    page = tmp_path / "theory.html"
    ask = ("theory", "--store", store, "--draws", 2, "--format", "csv")
    _, output, errors = run(*ask, "small", "--draw", page)
    rows = list(csv.DictReader(io.StringIO(output)))
    assert [(row["experiment"], row["bound"]) for row in rows] == [("small", "1.0")] * 2
    assert f"drawn: {page}" in errors
    assert "Theorem 4.1, trials" in page.read_text()
    rows = list(csv.DictReader(io.StringIO(run(*ask)[1])))
    assert {row["setting"] for row in rows} >= {"quadratic", "ReLU network"}


def test_a_violation_of_what_must_hold_exits_1(run, monkeypatch):
    sides = np.array([2.0]), np.array([1.0])
    wrong = Comparison("Theorem 4.1", "quadratic", True, *sides)
    monkeypatch.setattr(sgd, "check_sgd", lambda _seed: [wrong])
    code, output, _ = run("theory", "--draws", 1)
    assert code == 1
    assert "a statement that must hold is violated" in output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nothing",), 2, "no experiment 'nothing'"),
        (("--draw", "x.gif"), 2, "x.gif"),
        (("--draw", "nowhere/x.html", "--draws", "1"), 2, "nowhere/x.html"),
    ],
)
def test_a_users_mistake_is_reported(run, store, monkeypatch, tmp_path, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    found, _, errors = run("theory", "--store", store, *arguments)
    assert found == code
    assert words in errors
    assert "Traceback" not in errors
