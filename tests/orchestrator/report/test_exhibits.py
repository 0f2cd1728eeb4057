"""The results in brief with which a launch ends."""

import pandas as pd

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import member_rows
from orchestrator.output.tables import TextTable
from orchestrator.report.exhibits import accuracy_tables


def table(*results: tuple[str | None, float | None]) -> TextTable:
    """The table of DARTS with one seed to each result."""
    override = f"grid.seed={list(range(len(results)))}"
    experiment = load_experiment("experiments/fig3.yaml", overrides=[override])
    frame = pd.DataFrame(member_rows(experiment))
    frame = frame[(frame["index"] == 0) & (frame["dataset"] == "cifar10")]
    status, accuracy = zip(*results, strict=True)
    [made] = accuracy_tables(frame.assign(status=status, test_accuracy=accuracy))
    assert made.title == "test accuracy in % on cifar10, learning rate 0.025"
    assert made.columns == ["index", "DARTS"]
    return made


def test_a_diverged_trial_counts_as_accuracy_0_and_that_is_said_below():
    made = table(("done", 0.9), ("done", 0.8), ("diverged", 0.1), (None, None))
    assert made.rows == [["base", "56.7 (1 diverged)"]]
    assert made.remarks == ["Diverged: 1 of 3 trials, counted as accuracy 0."]


def test_that_none_diverged_is_said_too():
    made = table(("done", 0.9), ("done", 0.8))
    assert made.rows == [["base", "85.0"]]
    assert made.remarks == ["No trial diverged."]


def test_before_any_has_ended_nothing_is_said_of_diverging():
    made = table((None, None))
    assert made.rows == [["base", "–"]]
    assert made.remarks == []
