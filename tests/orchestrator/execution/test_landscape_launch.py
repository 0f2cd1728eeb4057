"""Sweeps with surfaces through the real Ray: beside the trials, disturbed, alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pandas as pd
import pytest
from disturbing import held_open
from ray_heads import OnHead
from soundness import LANDSCAPES, assert_equal
from sweeps import finish, undisturbed, wait_for, write_experiment

from orchestrator.config.experiment import load_experiment
from results_schema import layout
from results_schema.results import Results
from results_schema.store import LocalStore, open_store

SIDE = 9
LANDSCAPE = f"""
landscape:
  contour: {{grid: {SIDE}}}
  gradient_variance: {{grid: 3, subset: 20}}
"""


def written(folder: Path) -> Path:
    experiment = write_experiment(folder, epochs=2, seeds="0, 1")
    experiment.write_text(experiment.read_text() + LANDSCAPE)
    return experiment


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """The store of a sweep that nothing disturbed, without Ray."""
    folder = tmp_path_factory.mktemp("reference")
    return undisturbed(written(folder), folder / "results")


def measuring(store: LocalStore) -> int:
    """The process of some worker that measures a surface, 0 if there is none."""
    held = {item: by.pid for item, by in store.leases.held().items() if by.pid != os.getpid()}
    return next((pid for item, pid in held.items() if layout.is_surface(item)), 0)


@pytest.mark.ray
@pytest.mark.timeout(400)
def test_surfaces_are_measured_beside_trials_though_workers_die_and_a_signal_stops(
    tmp_path: Path, on_head: OnHead, reference
):
    experiment, store = written(tmp_path), open_store(tmp_path / "results")
    options = (experiment, "--store", store.root)
    with held_open(experiment, store, surface=True), on_head.started(*options) as sweep:
        os.kill(wait_for(lambda: measuring(store)), signal.SIGKILL)
        sweep.send_signal(signal.SIGTERM)
        code, output = finish(sweep)
    assert code == 143, output
    assert "surfaces left; the same command resumes" in output
    code, output = on_head.launch(*options)
    assert code == 0, output
    assert_equal(store, reference, *LANDSCAPES)
    points = pd.read_parquet(store.root / "points")
    assert len(points) == 2 * (SIDE**2 + 9)
    assert not points.duplicated(["surface_id", "row", "column"]).any()


@pytest.mark.ray
@pytest.mark.timeout(400)
def test_surfaces_are_measured_alone_of_what_has_ended(tmp_path: Path, on_head: OnHead, reference):
    experiment, store = written(tmp_path), open_store(tmp_path / "results")
    options = (experiment, "--store", store.root)
    code, output = on_head.launch(*options, "--landscape", "none")
    assert code == 0, output
    assert Results(store).surfaces().empty
    one = load_experiment(experiment).members()[0].spec.trial_id
    code, output = on_head.launch(*options, "--only", one, command="landscape")
    assert code == 0, output
    assert set(Results(store).surfaces()["trial_id"]) == {one}
    code, output = on_head.launch(*options, command="landscape")
    assert code == 0, output
    assert_equal(store, reference, *LANDSCAPES)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--only", "cifar"), 2, "no trial fits 'cifar'"),
        (("--set", "landscape={}"), 2, "small wants no surfaces"),
        ((), 1, "2 trials have not ended: nas-sweep launch trains them"),
    ],
)
def test_without_a_surface_to_measure_nothing_is_started(run, tmp_path, arguments, code, told):
    experiment = written(tmp_path)
    found, output, errors = run("landscape", experiment, "--store", tmp_path / "r", *arguments)
    assert (found, told in output + errors) == (code, True)
    assert not open_store(tmp_path / "r").list(layout.EXPERIMENTS), "nothing is recorded"
