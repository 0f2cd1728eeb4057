"""The table that a launch ends with."""

import io

import pandas as pd
from rich.console import Console

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import member_rows
from orchestrator.report.summary import print_results


def printed(*results: tuple[str | None, float | None]) -> str:
    """The table of DARTS with one seed to each result."""
    override = f"grid.seed={list(range(len(results)))}"
    experiment = load_experiment("experiments/fig3.yaml", overrides=[override])
    frame = pd.DataFrame(member_rows(experiment))
    frame = frame[(frame["index"] == 0) & (frame["dataset"] == "cifar10")]
    status, accuracy = zip(*results, strict=True)
    output = io.StringIO()
    console = Console(file=output, width=100)
    print_results(frame.assign(status=status, test_accuracy=accuracy), console)
    return output.getvalue()


def test_a_diverged_trial_counts_as_accuracy_0_and_that_is_said_below():
    text = printed(("done", 0.9), ("done", 0.8), ("diverged", 0.1), (None, None))
    assert "56.7 (1 diverged)" in text
    assert "Diverged: 1 of 3 trials, counted as accuracy 0." in text


def test_that_none_diverged_is_said_too():
    text = printed(("done", 0.9), ("done", 0.8))
    assert "85.0" in text
    assert "No trial diverged." in text


def test_before_any_has_ended_nothing_is_said_of_diverging():
    text = printed((None, None))
    assert "–" in text
    assert "iverged" not in text
