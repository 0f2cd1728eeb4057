"""A launch on GPUs: packs, halves, and surfaces that share one. They exist in name alone."""

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
LANDSCAPE = """
landscape:
  contour: {grid: 3, subset: 20}
"""


def launch(gpus: int, *arguments: object) -> str:
    """`nas-sweep launch` on so many GPUs, waited for; what it printed."""
    found = os.environ.get("PYTHONPATH", "")
    done = subprocess.run(
        [sys.executable, SUPPORT / "gpus_in_name.py", str(gpus), "launch", *map(str, arguments)],
        # The workers import from there what lets them compute on a CPU.
        env={**os.environ, "PYTHONPATH": f"{SUPPORT}{os.pathsep}{found}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_like_alone(store: Path, experiment: Path, folder: Path) -> None:
    """The metrics are, to the bit, those of trials trained one after the other without Ray."""
    alone = undisturbed(experiment, folder / "alone").root
    columns = ["trial_id", "epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy"]
    tables: list[Any] = [
        pd.read_parquet(one / "metrics").sort_values(columns[:2], ignore_index=True)
        for one in (store, alone)
    ]
    pd.testing.assert_frame_equal(tables[0][columns], tables[1][columns], check_exact=True)


def test_packs_and_surfaces_at_half_a_gpu(tmp_path: Path):
    gpus, seeds = 2, 4
    experiment = write_experiment(tmp_path, epochs=2, seeds=", ".join(map(str, range(seeds))))
    experiment.write_text(experiment.read_text() + LANDSCAPE)
    store = tmp_path / "results"
    output = launch(gpus, experiment, "--store", store, "--pack", 2, "--gpus-per-surface", 0.5)
    trials, surfaces = Results(store).trials(), Results(store).surfaces()
    assert (len(trials), len(surfaces)) == (seeds, seeds), output
    assert set(trials["pack_size"]) == {2}
    assert set(trials["form"]) == {"fixed"}
    assert set(trials["attempts"]) == {1}
    assert set(surfaces["status"]) == {"done"}
    assert open_store(store).leases.held() == {}
    assert_like_alone(store, experiment, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("share", ["0.5", "auto"])
def test_processes_that_share_a_gpu(tmp_path: Path, share: str):
    """Each on its half, or as many in one process as is measured to be best."""
    experiment = write_experiment(tmp_path, epochs=2, seeds="0, 1, 2, 3")
    store = tmp_path / "results"
    output = launch(1, experiment, "--store", store, "--gpus-per-trial", share)
    trials = Results(store).trials()
    assert len(trials) == 4, output
    if share == "auto":
        assert "images/s in all" in output
        assert set(trials["pack_size"]) <= set(range(1, 5))
    else:
        assert set(trials["pack_size"]) == {1}
    assert_like_alone(store, experiment, tmp_path)
