"""Whole sweeps through the real Ray: finished, repeated, disturbed, stopped."""

import os
import signal
import time

import pandas as pd
import psutil
import pytest

from results_schema.results import Results
from results_schema.store import open_store
from support.sweeps import (
    canonical,
    finish,
    launch,
    start,
    trained_epochs,
    undisturbed,
    wait_for,
    write_experiment,
)

EPOCHS = 12
"""Of trials that are to be disturbed: some 0.2 s each."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The tables of a sweep that nothing disturbed."""
    folder = tmp_path_factory.mktemp("reference")
    return canonical(undisturbed(write_experiment(folder, epochs=EPOCHS), folder / "results"))


def leftovers(folder) -> list[str]:
    """Processes that have the sweep's folder or a Ray session of it on their command line."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(folder) in line:
            found.append(line)
    return found


def test_a_sweep_trains_everything_draws_its_figure_and_does_nothing_the_second_time(tmp_path):
    experiment, store = write_experiment(tmp_path), tmp_path / "results"
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


def test_killed_workers_leave_no_trace_in_the_tables(tmp_path, reference):
    experiment, store = write_experiment(tmp_path, epochs=EPOCHS), open_store(tmp_path / "results")
    sweep = start(
        "launch", "--device", "cpu", "--checkpoint-every", "0.4", experiment, "--store", store.root
    )
    for kill in (1, 2):
        wait_for(lambda kill=kill: trained_epochs(store) >= 8 * kill and store.leases.held())
        for holder in store.leases.held().values():
            os.kill(holder.pid, signal.SIGKILL)
            break
    code, output = finish(sweep)
    assert code == 0, output
    metrics, trials = canonical(store)
    assert metrics.equals(reference[0])
    assert trials.equals(reference[1])


def test_a_killed_driver_leaves_what_the_same_command_goes_on_from(tmp_path, reference):
    experiment, store = write_experiment(tmp_path, epochs=EPOCHS), open_store(tmp_path / "results")
    arguments = ("--checkpoint-every", "0.4", experiment, "--store", store.root)
    sweep = start("launch", "--device", "cpu", *arguments)
    wait_for(lambda: trained_epochs(store) >= 15)
    sweep.kill()
    sweep.wait()
    wait_for(lambda: all(holder.dead for holder in store.leases.held().values()), 30)
    trained = trained_epochs(store)
    assert trained < 5 * EPOCHS
    code, output = launch(*arguments)
    assert code == 0, output
    assert "epochs/s" in output
    metrics, trials = canonical(store)
    assert metrics.equals(reference[0])
    assert trials.equals(reference[1])


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_and_says_how_to_go_on(tmp_path, reference, signum):
    experiment, store = write_experiment(tmp_path, epochs=EPOCHS), open_store(tmp_path / "results")
    sweep = start("launch", "--device", "cpu", experiment, "--store", store.root)
    wait_for(lambda: trained_epochs(store) >= 6)
    sent = time.monotonic()
    sweep.send_signal(signum)
    code, output = finish(sweep)
    assert time.monotonic() - sent < 15
    assert code == 130, output
    assert "the same command goes on" in output
    assert "Traceback" not in output
    assert store.leases.held() == {}
    wait_for(lambda: leftovers(tmp_path) == [], 10)
    kept = trained_epochs(store)
    code, output = launch(experiment, "--store", store.root)
    assert code == 0, output
    assert canonical(store)[0].equals(reference[0])
    assert kept > 0


def test_a_failing_trial_spares_the_others_and_is_told_with_its_log(tmp_path):
    experiment = write_experiment(tmp_path, dataset="digits, cifar10", epochs=1)
    store = tmp_path / "results"
    code, output = launch(experiment, "--store", store)
    assert code == 1, output
    trials = Results(store).trials()
    assert set(trials["dataset"]) == {"digits"}
    assert len(trials) == 5
    failed = [line for line in output.splitlines() if line.startswith("failed: cifar10")]
    assert len(failed) == 5
    logs = [line.split()[-1] for line in output.splitlines() if line.strip().startswith("log:")]
    assert all("Traceback" in open(log).read() for log in logs)
    assert (store / "figures/small.html").exists()


def test_two_launches_on_one_store_share_the_work(tmp_path, reference):
    experiment, store = write_experiment(tmp_path, epochs=EPOCHS), open_store(tmp_path / "results")
    arguments = ("launch", "--device", "cpu", experiment, "--store", store.root)
    sweeps = [start(*arguments), start(*arguments)]
    for sweep in sweeps:
        code, output = finish(sweep)
        assert code == 0, output
    metrics, trials = canonical(store)
    assert metrics.equals(reference[0])
    assert trials.equals(reference[1])
    assert set(Results(store).trials()["attempts"]) == {1}
