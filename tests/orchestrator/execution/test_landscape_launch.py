"""Sweeps with surfaces through the real Ray: beside the trials, disturbed, alone."""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest
from sweeps import finish, launch, started, wait_for, write_experiment

from orchestrator.config.experiment import load_experiment
from results_schema import layout, tables
from results_schema.results import Results
from results_schema.store import LocalStore, open_store
from results_schema.tables import POINTS, SURFACES
from workers.landscape.survey import survey
from workers.training.trial import train

pytestmark = pytest.mark.timeout(400)

SIDE = 9
LANDSCAPE = f"""
landscape:
  contour: {{grid: {SIDE}}}
  gradient_variance: {{grid: 3, subset: 20}}
"""


def written(folder, **axes):
    experiment = write_experiment(folder, epochs=3, **axes)
    experiment.write_text(experiment.read_text() + LANDSCAPE)
    return experiment


def canonical(store: LocalStore) -> list[pd.DataFrame]:
    """Surfaces and points without what the machine and the moment decide."""
    found = []
    for folder, schema in ((layout.SURFACES, SURFACES), (layout.POINTS, POINTS)):
        keys = [key for key in store.list(folder) if not key.endswith("0-schema.parquet")]
        parts = [tables.from_parquet(store.get(key), schema, key).to_pandas() for key in keys]
        frame = pd.concat(parts).sort_values(
            ["surface_id", *(["row", "column"] * (folder == layout.POINTS))]
        )
        names = [f.name for f in schema if f.metadata[b"kind"] == b"result"]
        found.append(frame[names].reset_index(drop=True))
    return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory):
    """The surfaces of a sweep that nothing disturbed, without Ray."""
    folder = tmp_path_factory.mktemp("reference")
    store, loaded = open_store(folder / "results"), load_experiment(written(folder))
    for member in loaded.members():
        assert train(member.spec, store, device="cpu").status == "done"
    for surface in loaded.surfaces():
        assert survey(surface, store, device="cpu").status == "done"
    return canonical(store)


def assert_equal(store, reference):
    for found, expected in zip(canonical(store), reference, strict=True):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_surfaces_are_measured_while_other_trials_still_train(tmp_path: Path):
    experiment = written(tmp_path, seeds="0, 1, 2, 3, 4, 5")
    store = tmp_path / "results"
    code, output = launch(experiment, "--store", store)
    assert code == 0, output
    assert "12/12 " in output
    trials, surfaces = Results(store).trials(), Results(store).surfaces()
    assert (len(trials), len(surfaces)) == (6, 12)
    assert min(surfaces["started_at"]) < max(trials["ended_at"])
    points = pd.read_parquet(store / "points")
    assert len(points) == 6 * (SIDE**2 + 9)
    assert not points.duplicated(["surface_id", "row", "column"]).any()
    shown = Results(store).surfaces("small")
    assert set(shown["seed"]) == set(range(6))
    assert set(shown["surface_seed"]) == {0}
    assert list((store / "leases").iterdir()) == []

    code, output = launch(experiment, "--store", store)
    assert code == 0, output
    assert "nothing to measure: every surface is finished" in output
    assert "Ray" not in output


def measuring(store: LocalStore) -> int:
    """The process of some worker that measures a surface, 0 if there is none."""
    held = store.leases.held().items()
    return next((by.pid for item, by in held if layout.is_surface(item) and by.pid), 0)


def test_killed_workers_and_drivers_leave_no_trace_in_the_surfaces(tmp_path: Path, reference):
    experiment, store = written(tmp_path), open_store(tmp_path / "results")
    options = ("--device", "cpu", experiment, "--store", store.root)
    with started("launch", *options) as sweep:
        for _ in range(2):
            os.kill(wait_for(lambda: measuring(store)), signal.SIGKILL)
        wait_for(lambda: measuring(store))
        sweep.kill()
    wait_for(lambda: all(holder.dead for holder in store.leases.held().values()))
    code, output = launch(*options)
    assert code == 0, output
    assert_equal(store, reference)
    assert store.leases.held() == {}


@pytest.mark.long
def test_an_interrupted_surface_keeps_its_points(tmp_path: Path, reference):
    experiment, store = written(tmp_path), open_store(tmp_path / "results")
    options = ("--device", "cpu", experiment, "--store", store.root)
    with started("launch", *options) as sweep:
        wait_for(lambda: measuring(store))
        sweep.send_signal(signal.SIGTERM)
        code, output = finish(sweep, seconds=60)
    assert code == 130, output
    assert "surfaces left; the same command resumes" in output
    assert "Traceback" not in output
    code, output = launch(*options)
    assert code == 0, output
    assert_equal(store, reference)


@pytest.mark.long
def test_surfaces_are_measured_alone_of_what_has_ended(tmp_path: Path, reference):
    experiment, store = written(tmp_path), tmp_path / "results"
    one, *_ = (member.spec.trial_id for member in load_experiment(experiment).members())
    arguments = ("landscape", "--device", "cpu", experiment, "--store", store)
    with started(*arguments) as alone:
        code, output = finish(alone)
    assert code == 0, output
    assert "3 trials have not ended: nas-sweep launch trains them" in output
    code, output = launch(experiment, "--store", store, "--landscape", "none")
    assert code == 0, output
    assert Results(store).surfaces().empty
    with started(*arguments, "--trials", one) as alone:
        code, output = finish(alone)
    assert code == 0, output
    assert set(Results(store).surfaces()["trial_id"]) == {one}
    with started(*arguments) as alone:
        code, output = finish(alone)
    assert code == 0, output
    assert_equal(open_store(store), reference)


def test_surfaces_of_early_epochs_can_be_measured_after_a_launch_without_landscapes(
    tmp_path: Path,
):
    experiment, store = write_experiment(tmp_path, epochs=2, seeds="0"), tmp_path / "results"
    experiment.write_text(experiment.read_text() + "landscape: {contour: {grid: 1, epochs: [1]}}\n")
    code, output = launch(experiment, "--store", store, "--landscape", "none")
    assert code == 0, output
    assert Results(store).surfaces().empty
    code, output = launch(experiment, "--store", store)
    assert code == 0, output
    assert list(Results(store).surfaces()["epoch"]) == [1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--trials", "cifar"), "no trial of small begins with 'cifar'"),
        (("--set", "landscape={}"), "small wants no surfaces"),
    ],
)
def test_what_can_not_be_meant_is_told(run, tmp_path: Path, arguments, told):
    experiment = written(tmp_path)
    code, _, errors = run("landscape", experiment, "--store", tmp_path / "results", *arguments)
    assert code == 2
    assert told in errors
