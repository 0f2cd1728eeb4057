"""`nas-sweep theory` as its user meets it: tables, records, a figure, the exit code."""

import csv
import io
import json

import numpy as np
import pytest
from small_trials import few_digits

from workers.theory import sgd
from workers.theory.checks import Comparison


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(sgd, "STEPS", (10,))


@pytest.fixture
def store(studied):
    return studied.root


def test_every_statement_has_its_row_and_the_counterexample_is_reported(run, tmp_path):
    code, output, _ = run("theory", "--draws", 5, "--store", tmp_path / "none")
    assert code == 0
    for words in (
        "Theorem 4.1", "Equation (4), same W", "Theorem 4.2, as printed", "Theorem 4.2, corrected",
        "the printed bound is 2, the true constant 4", "must hold", "need not",
    ):  # fmt: skip
        assert words in output


def test_json_lists_trials_too(run, store):
    with few_digits():
        code, output, _ = run("theory", "small", "--store", store, "--draws", 2, "--format", "json")
    assert code == 0
    reported = json.loads(output)
    assert reported["counterexample"] == {"wide": 1.0, "printed": 2.0, "true": 4.0}
    assert all(one["violations"] == 0 for one in reported["statements"] if one["must_hold"])
    assert [bool(one["lacking"]) for one in reported["trials"]] == [False, True]


def test_csv_is_the_trials_table_if_there_are_trials(run, store):
    with few_digits():
        _, output, _ = run("theory", "small", "--store", store, "--draws", 2, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(output)))
    assert [row["experiment"] for row in rows] == ["small", "small"]
    assert float(rows[0]["bound"]) > 0
    _, output, _ = run("theory", "--draws", 2, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(output)))
    assert {row["setting"] for row in rows} >= {"quadratic", "ReLU network"}


def test_the_trials_table_says_how_local_it_is_and_what_lacks(run, store, tmp_path):
    page = tmp_path / "theory.html"
    with few_digits():
        code, output, _ = run("theory", "small", "--store", store, "--draws", 2, "--draw", page)
    assert code == 0
    assert "L is local" in output
    assert "lacks curvature, gradient variance, the loss at epoch 0" in output
    assert "Theorem 4.1, trials" in page.read_text()


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
        (("--draws", "0"), 2, "--draws"),
    ],
)
def test_a_users_mistake_is_reported(run, store, monkeypatch, tmp_path, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    found, _, errors = run("theory", *arguments, "--store", store)
    assert found == code
    assert words in errors
    assert "Traceback" not in errors


def test_no_store_is_reported(run, tmp_path):
    code, _, errors = run("theory", "x", "--store", tmp_path / "none")
    assert code == 3
    assert "there is no store here" in errors
