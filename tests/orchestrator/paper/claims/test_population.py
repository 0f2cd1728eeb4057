"""Curves as numbers."""

import math

import numpy as np
import pandas as pd
import pytest

from orchestrator.paper.claims.population import convergence


def measured(accuracies, *, status="done", planned=10, target=0.8):
    epochs = np.arange(1, len(accuracies) + 1)
    metrics = pd.DataFrame({"trial_id": "a", "epoch": epochs, "test_accuracy": accuracies})
    trials = pd.DataFrame(
        {"trial_id": ["a"], "status": [status], "planned": [planned], "target": [target]}
    )
    [row] = convergence(metrics.sample(frac=1, random_state=0), trials).to_dict("records")
    return row


def test_times_and_areas():
    found = measured([0.1, 0.3, 0.5, 0.6, 0.7, 0.73, 0.75, 0.77, 0.79, 0.8])
    assert (found["epochs_50"], found["epochs_90"], found["epochs_95"]) == (3, 6, 8)
    assert found["area_10"] == pytest.approx(0.1)
    assert found["area_20"] == pytest.approx(0.2)
    assert found["final"] == 0.8
    assert math.isnan(found["jitter"]), "too few epochs"


def test_the_jitter_of_600_epochs_is_that_of_100_to_300_without_the_slope():
    accuracies = np.linspace(0, 0.6, 600)
    assert measured(accuracies, planned=600)["jitter"] == pytest.approx(0, abs=1e-12)
    accuracies[99:300:2] += 0.1  # epochs 100, 102, …, 300
    assert measured(accuracies, planned=600)["jitter"] == pytest.approx(0.2)


def test_a_trial_that_never_gets_there_is_infinitely_late():
    assert measured([0.5] * 10)["epochs_90"] == math.inf


def test_a_diverged_trial_has_the_worst_of_what_it_did_not_see():
    found = measured([0.5, math.nan], status="diverged", planned=40)
    assert found["epochs_50"] == 1
    assert (found["epochs_90"], found["jitter"], found["final"]) == (math.inf, math.inf, -math.inf)
    assert (found["area_10"], found["area_20"]) == (-math.inf, -math.inf)
    lost = measured([], status="diverged")
    assert (lost["epochs_50"], lost["area_10"], lost["final"]) == (math.inf, -math.inf, -math.inf)


def test_without_a_base_there_are_no_times_and_without_rows_there_is_nothing():
    found = measured([0.1] * 10, target=math.nan)
    assert math.isnan(found["epochs_50"])
    assert found["final"] == 0.1
    assert np.isnan([v for k, v in measured([]).items() if k != "trial_id"]).all()
