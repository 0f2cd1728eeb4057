"""Whole sweeps through the real Ray: finished, repeated, disturbed, stopped."""

import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from sweeps import (
    canonical,
    finish,
    launch,
    paced,
    started,
    trained_epochs,
    undisturbed,
    wait_for,
    worker,
    write_experiment,
)

from orchestrator.config.experiment import load_experiment
from results_schema.results import Results
from results_schema.store import open_store
from workers.training import checkpoint

pytestmark = pytest.mark.timeout(400)

EPOCHS = 8
"""Of trials that are to be disturbed: some 0.2 s each."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The tables of a sweep that nothing disturbed."""
    folder = tmp_path_factory.mktemp("reference")
    return canonical(undisturbed(write_experiment(folder, epochs=EPOCHS), folder / "results"))


def trial_ids(experiment) -> set[str]:
    return {member.spec.trial_id for member in load_experiment(experiment).members()}


def test_a_sweep_trains_everything_draws_its_figure_and_does_nothing_the_second_time(
    tmp_path: Path,
):
    experiment = write_experiment(
        tmp_path,
        epochs=2,
        variants="paper4",
        seeds="0",
        figures="{small: accuracy_by_index}",
    )
    store = tmp_path / "results"
    code, output = launch(experiment, "--store", store)
    assert code == 0, output
    assert "Ray dashboard: http://127.0.0.1" in output
    assert "5/5" in output
    assert "Traceback" not in output
    metrics = pd.read_parquet(store / "metrics")
    assert len(metrics) == 5 * 2
    assert not metrics.duplicated(["trial_id", "epoch"]).any()
    frame = Results(store).metrics(experiment="small")
    assert set(frame["base"]) == {"DARTS"}
    assert set(frame["index"]) == set(range(5))
    assert (store / "figures/small.html").stat().st_size > 10_000
    assert list((store / "leases").iterdir()) == []
    before = {path: path.stat().st_mtime_ns for path in (store / "metrics").iterdir()}

    code, output = launch(experiment, "--store", store)
    assert code == 0, output
    assert "nothing to train" in output
    assert "Ray" not in output
    assert {path: path.stat().st_mtime_ns for path in (store / "metrics").iterdir()} == before


def committed_epochs(store, experiment) -> int:
    return sum(max(checkpoint.epochs(store, t), default=0) for t in trial_ids(experiment))


def assert_equal(store, reference):
    for found, expected in zip(canonical(store), reference, strict=True):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.fixture
def two_cores():
    """However many this machine has, a launch sees two."""
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("there is one core")
    os.sched_setaffinity(0, sorted(before)[:2])
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("two_cores")
def test_trials_side_by_side_in_one_process_leave_the_same_tables(tmp_path: Path, reference):
    experiment, store = write_experiment(tmp_path, epochs=EPOCHS), open_store(tmp_path / "results")
    code, output = launch(experiment, "--store", store.root, "--pack", "2")
    assert code == 0, output
    assert_equal(store, reference)
    assert sorted(Results(store).trials()["pack_size"]) == [1, 2, 2]
    assert not store.leases.held()
    assert "3/3" in output
    assert "2 running" in output or "1 running" in output


def test_killed_workers_leave_no_trace_in_the_tables(tmp_path: Path, reference):
    experiment, store = write_experiment(tmp_path, epochs=EPOCHS), open_store(tmp_path / "results")
    options = ("--device", "cpu", "--checkpoint-every", "0.4", "--store", store.root)
    with started("launch", experiment, *options, **paced()) as sweep:
        for kill in (1, 2):
            pid = wait_for(lambda kill=kill: trained_epochs(store) >= 4 * kill and worker(store))
            os.kill(pid, signal.SIGKILL)
        code, output = finish(sweep)
    assert code == 0, output
    assert_equal(store, reference)
    assert max(Results(store).trials()["attempts"]) > 1


@contextmanager
def one_trial_held_back(experiment, store):
    """Keeps a sweep from ending before it is disturbed: the last trial waits for this lease."""
    lease = store.leases.take(load_experiment(experiment).members()[-1].spec.trial_id)
    assert lease is not None
    with lease:
        yield


def test_a_killed_driver_leaves_what_the_same_command_goes_on_from(tmp_path: Path, reference):
    experiment, store = write_experiment(tmp_path, epochs=EPOCHS), open_store(tmp_path / "results")
    options = ("--device", "cpu", "--checkpoint-every", "0.4", "--store", store.root)
    with one_trial_held_back(experiment, store):
        with started("launch", experiment, *options) as sweep:
            wait_for(lambda: trained_epochs(store) >= 5)
            sweep.kill()
        wait_for(lambda: sum(not h.dead for h in store.leases.held().values()) <= 1)
    assert 5 <= trained_epochs(store) <= 2 * EPOCHS
    code, output = launch(experiment, *options)
    assert code == 0, output
    assert_equal(store, reference)


@pytest.mark.parametrize(
    "signum", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_a_signal_stops_cleanly_and_says_how_to_go_on(tmp_path: Path, reference, signum):
    experiment, store = write_experiment(tmp_path, epochs=EPOCHS), open_store(tmp_path / "results")
    with one_trial_held_back(experiment, store):
        with started("launch", "--device", "cpu", experiment, "--store", store.root) as sweep:
            wait_for(lambda: trained_epochs(store) >= 3)
            own = [h for h in store.leases.held().values() if h.pid and h.pid != os.getpid()]
            sweep.send_signal(signum)
            code, output = finish(sweep)
        assert code == 130, output
        assert "the same command resumes" in output
        assert "Traceback" not in output
        assert len(store.leases.held()) == 1, "the sweep's own leases are given back"
        wait_for(lambda: all(holder.dead for holder in own))
    assert committed_epochs(store, experiment) == trained_epochs(store), "every one is kept"
    code, output = launch(experiment, "--store", store.root)
    assert code == 0, output
    assert_equal(store, reference)


@pytest.mark.long
def test_a_signal_gives_up_an_epoch_of_many_seconds_and_keeps_those_before(tmp_path: Path):
    experiment = write_experiment(tmp_path, epochs=9, seeds="0, 1")
    steps = experiment.read_text().replace("batch_size: 480", "batch_size: 2")
    experiment.write_text(steps.replace("cells: 3", "cells: 8"))
    store = open_store(tmp_path / "results")
    with started("launch", "--device", "cpu", experiment, "--store", store.root) as sweep:
        wait_for(lambda: trained_epochs(store) >= 1)
        own = list(store.leases.held().values())
        time.sleep(2)
        sweep.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        code, output = finish(sweep)
        took = time.monotonic() - sent
    assert code == 130, output
    assert took < 10
    assert max(Results(store).metrics()["seconds"]) > 10, "an epoch takes longer"
    assert committed_epochs(store, experiment) == trained_epochs(store) >= 1
    wait_for(lambda: all(holder.dead for holder in own))


@pytest.mark.long
def test_a_second_signal_stops_at_once_and_the_tables_still_end_right(tmp_path: Path, reference):
    experiment, store = write_experiment(tmp_path, epochs=EPOCHS), open_store(tmp_path / "results")
    with one_trial_held_back(experiment, store):
        with started("launch", "--device", "cpu", experiment, "--store", store.root) as sweep:
            wait_for(lambda: trained_epochs(store) >= 3)
            sweep.send_signal(signal.SIGINT)
            sweep.send_signal(signal.SIGTERM)
            code, output = finish(sweep)
        assert code == 130, output
        assert len(store.leases.held()) == 1
    code, output = launch(experiment, "--store", store.root)
    assert code == 0, output
    assert_equal(store, reference)


def test_a_failing_trial_spares_the_others_and_is_told_with_its_log(tmp_path: Path):
    experiment = write_experiment(tmp_path, datasets="digits, cifar10", epochs=1)
    store, data = tmp_path / "results", tmp_path / "data"
    data.mkdir()
    with (data / "cifar-10-binary.tar.gz").open("wb") as archive:
        archive.truncate(170_052_171)  # as large as it should be, but all zeros
    code, output = launch(experiment, "--store", store, NAS_SWEEP_DATA=str(data))
    assert code == 1, output
    trials = Results(store).trials()
    assert set(trials["dataset"]) == {"digits"}
    assert len(trials) == 3
    failed = [line for line in output.splitlines() if line.startswith("failed: cifar10")]
    assert len(failed) == 3
    logs = [line.split()[-1] for line in output.splitlines() if line.strip().startswith("log:")]
    assert all("Traceback" in Path(log).read_text() for log in logs)


def test_data_that_can_not_be_had_is_told_before_the_first_trial(tmp_path: Path):
    experiment = write_experiment(tmp_path, datasets="digits, cifar10", epochs=1)
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"no archive")
    store = tmp_path / "results"
    code, output = launch(experiment, "--store", store, NAS_SWEEP_DATA=str(tmp_path))
    assert code == 3, output
    assert "cifar-10-binary.tar.gz: is incomplete" in output
    assert "Traceback" not in output
    assert Results(store).trials().empty


@pytest.mark.long
def test_two_launches_on_one_store_share_the_work(tmp_path: Path, reference):
    experiment, store = write_experiment(tmp_path, epochs=EPOCHS), open_store(tmp_path / "results")
    arguments = ("launch", "--device", "cpu", experiment, "--store", store.root)
    with started(*arguments) as one, started(*arguments) as other:
        for sweep in (one, other):
            code, output = finish(sweep)
            assert code == 0, output
    assert_equal(store, reference)
    assert set(Results(store).trials()["attempts"]) == {1}
