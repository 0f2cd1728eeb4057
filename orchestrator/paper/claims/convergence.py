"""How fast and how steadily each trial converged, in numbers (Sections 4.1 and B.2).

The paper shows curves alone; the definitions are ours. Accuracies are of the test set.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import worst

SHARES = (50, 90, 95)
"""Percents of the base's final accuracy that a trial is timed to."""

BEGINNINGS = (10, 20)
"""Percents of all epochs over which accuracy is averaged."""

JITTER_FROM, JITTER_TO = 1 / 6, 1 / 2
"""Where the jitter is measured, as shares of all epochs: 100 to 300 of the paper's 600."""

COLUMNS = (*(f"epochs_{s}" for s in SHARES), *(f"area_{b}" for b in BEGINNINGS), "jitter", "final")


def convergence(metrics: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """The measures of each ended trial.

    A diverged trial has the worst value (`evidence.worst`) of what it did not reach: a threshold, a
    steady middle, its final accuracy, and the mean accuracy of a beginning that it did not finish.

    Args:
        metrics: Columns trial_id, epoch and test_accuracy.
        trials: Columns trial_id, status, planned (epochs of the recipe) and target (final
            accuracy of the trial's base; NaN if unknown, and then so are its times).

    Returns:
        A row for each of `trials`, in their order, under trial_id:
        `epochs_50`, `epochs_90`, `epochs_95`: the first epoch that reaches so many percent of the
        target; `area_10`, `area_20`: mean accuracy over the first so many percent of epochs;
        `jitter`: mean change of accuracy from one epoch to the next, in magnitude, in the middle
        of training; `final`: accuracy after the last epoch. NaN where rows are missing.
    """
    told: Any = metrics.sort_values("epoch")
    curves = {
        name: (part["epoch"].to_numpy(), part["test_accuracy"].to_numpy(dtype=float))
        for name, part in told.drop_duplicates(["trial_id", "epoch"]).groupby("trial_id")
    }
    rows = []
    for trial in trials.to_dict("records"):
        epochs, accuracies = curves.get(trial["trial_id"], (np.empty(0), np.empty(0)))
        rows.append({"trial_id": trial["trial_id"]} | _measure(trial, epochs, accuracies))
    return pd.DataFrame(rows, columns=["trial_id", *COLUMNS])


def _measure(trial: dict[Any, Any], epochs: np.ndarray, accuracies: np.ndarray) -> dict[str, float]:
    diverged = trial["status"] == "diverged"
    if not len(epochs) and not diverged:
        return dict.fromkeys(COLUMNS, math.nan)
    planned = trial["planned"]
    sound = np.isfinite(accuracies)
    found: dict[str, float] = {}
    for share in SHARES:
        reached = epochs[sound & (accuracies >= share / 100 * trial["target"] - 1e-12)]
        unknown = math.isnan(trial["target"])
        found[f"epochs_{share}"] = (
            math.nan if unknown else float(reached[0]) if len(reached) else worst(rises=False)
        )
    for share in BEGINNINGS:
        last = max(1, round(share / 100 * planned))
        begin = accuracies[sound & (epochs <= last)]
        whole = len(begin) >= last
        found[f"area_{share}"] = (
            float(begin.mean()) if whole else worst(rises=True) if diverged else math.nan
        )
    found["jitter"] = worst(rises=False) if diverged else _jitter(epochs, accuracies, planned)
    final = float(accuracies[-1]) if len(accuracies) else math.nan
    found["final"] = worst(rises=True) if diverged else final
    return found


def _jitter(epochs: np.ndarray, accuracies: np.ndarray, planned: int) -> float:
    middle = (epochs >= JITTER_FROM * planned) & (epochs <= max(JITTER_TO * planned, 2))
    steps = np.abs(np.diff(accuracies[middle]))
    return float(steps.mean()) if len(steps) else math.nan
