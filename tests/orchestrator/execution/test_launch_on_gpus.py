"""A launch on GPUs: packs, halves, and surfaces that share one. They exist in name alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sweeps import undisturbed, write_experiment

from results_schema.results import Results
from results_schema.store import open_store

pytestmark = [pytest.mark.ray, pytest.mark.timeout(700)]

SUPPORT = Path(__file__).parents[2] / "support"
LANDSCAPE = "\nlandscape: {contour: {grid: 3, subset: 20}}\n"
COLUMNS = ["trial_id", "epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy"]


@pytest.mark.parametrize(
    ("gpus", "options", "packs"),
    [
        (2, ("--pack", 2, "--gpus-per-surface", 0.5), {2}),
        pytest.param(1, ("--gpus-per-trial", 0.5), {1}, marks=pytest.mark.long),
        pytest.param(1, ("--gpus-per-trial", "auto"), {1, 2, 3, 4}, marks=pytest.mark.long),
    ],
)
def test_trials_and_surfaces_share_gpus_and_give_the_same_numbers(
    tmp_path: Path, gpus: int, options: tuple, packs: set[int]
):
    experiment = write_experiment(tmp_path, epochs=2, seeds="0, 1, 2, 3")
    experiment.write_text(experiment.read_text() + LANDSCAPE)
    store = open_store(tmp_path / "results")
    found = os.environ.get("PYTHONPATH", "")
    words = ("launch", experiment, "--store", store.root, *options)
    done = subprocess.run(
        [sys.executable, SUPPORT / "gpus_in_name.py", str(gpus), *map(str, words)],
        # The workers import from there what lets them compute on a CPU.
        env={**os.environ, "PYTHONPATH": f"{SUPPORT}{os.pathsep}{found}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("images/s in all" in done.stdout) == ("auto" in options)
    results = Results(store.root)
    trials, surfaces = results.trials(), results.surfaces()
    assert (len(trials), set(surfaces["status"]), len(surfaces)) == (4, {"done"}, 4)
    assert set(trials["pack_size"]) <= packs
    assert (set(trials["form"]), set(trials["attempts"])) == ({"fixed"}, {1})
    assert store.leases.held() == {}
    alone = undisturbed(experiment, tmp_path / "alone")
    tables: list[Any] = [
        pd.read_parquet(place.root / "metrics").sort_values(COLUMNS[:2], ignore_index=True)[COLUMNS]
        for place in (store, alone)
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
