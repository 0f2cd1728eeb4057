"""Whole launches: one that ends in a figure and is repeated, killed ones."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from disturbing import foreign
from metric_pages import served
from prometheus_client.samples import Sample
from ray_heads import TOKEN, OnHead
from small_stores import contents
from soundness import assert_equal
from sweeps import (
    finish,
    trained_epochs,
    undisturbed,
    wait_for,
    write_experiment,
)

from results_schema import layout
from results_schema.results import Results
from results_schema.store import LocalStore

pytestmark = pytest.mark.timeout(400)  # on a busy machine

EPOCHS, SEEDS = 4, "0, 1"


class Finished(NamedTuple):
    """A launch that has ended: its experiment, its store, its exit code and what it printed."""

    experiment: Path
    store: LocalStore
    code: int
    output: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, on_head: OnHead) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    figure = "{small: accuracy_by_index}"
    experiment = write_experiment(folder, epochs=2, seeds=SEEDS, figures=figure)
    # Pictures are left to the tests of figures.
    quick = {"BROWSER_PATH": str(folder / "none"), "PYTHONUNBUFFERED": "1"}
    code, output = on_head.launch(experiment, "--store", folder / "results", **quick)
    return Finished(experiment, LocalStore(folder / "results"), code, output)


def test_a_launch_trains_everything_and_draws_its_figure(finished: Finished):
    assert finished.code == 0, finished.output
    assert "Ray dashboard: http://127.0.0.1" in finished.output
    assert "2/2 " in finished.output
    assert "Traceback" not in finished.output
    metrics = pd.read_parquet(finished.store.root / "metrics")
    assert sorted(metrics["epoch"]) == [1, 1, 2, 2]
    assert (finished.store.root / "figures/small.html").stat().st_size > 10_000
    assert (finished.store.root / "reports/small/index.html").exists()
    assert finished.store.leases.held() == {}
    assert finished.store.list("requests/") == []


def test_the_same_launch_again_trains_nothing(finished: Finished, run, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", "/nowhere")
    before = contents(finished.store)
    code, output, _ = run("launch", finished.experiment, "--store", finished.store.root)
    assert (code, "nothing to train" in output, "Ray" in output) == (0, True, False)
    after = contents(finished.store)
    trained = [name for name in before if name.startswith(("metrics/", "trials/", "checkpoints/"))]
    assert len(trained) >= 6
    assert all(before[name] == after[name] for name in trained)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """The store of a sweep that nothing disturbed."""
    folder = tmp_path_factory.mktemp("reference")
    return undisturbed(write_experiment(folder, epochs=EPOCHS, seeds=SEEDS), folder / "results")


def attempts(store: LocalStore) -> list[int]:
    """How often each trial that has not ended was begun."""
    keys = [key for key in store.list(layout.CHECKPOINTS) if key.endswith("/attempts.json")]
    return [json.loads(store.get(key))["attempts"] for key in keys]


def epochs(on_head: OnHead) -> list[Sample]:
    """The metric of epochs that the head's nodes serve."""
    found = served(on_head.folder, "ray_nas_sweep_epochs").get("ray_nas_sweep_epochs")
    return found.samples if found else []


def test_a_killed_worker_and_a_killed_driver_leave_no_trace(tmp_path, on_head: OnHead, reference):
    experiment = write_experiment(tmp_path, epochs=EPOCHS, seeds=SEEDS)
    store = LocalStore(tmp_path / "results")
    with on_head.pace.held_after(2):
        with on_head.started(experiment, "--checkpoint-every", "0", "--store", store.root) as sweep:
            wait_for(lambda: trained_epochs(store) >= 3)
            os.kill(wait_for(lambda: foreign(store))[0], signal.SIGKILL)
            wait_for(lambda: max(attempts(store)) == 2)
            sweep.kill()
        wait_for(lambda: not foreign(store))
    with on_head.started(experiment, "--store", store.root) as sweep:
        # Read while it runs: the cluster forgets the metrics of a driver that is gone.
        wait_for(lambda: any(one.value for one in epochs(on_head)))
        code, output = finish(sweep)
    assert code == 0, output
    assert_equal(store, reference)
    assert max(Results(store).trials()["attempts"]) == 3
    assert ("the value of RAY_AUTH_TOKEN" in output, TOKEN in output) == (True, False)
