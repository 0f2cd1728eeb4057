"""Whole sweeps through the real Ray: packed, stopped, failing in part, shared by two launches."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from disturbing import foreign, held_open
from ray_heads import OnHead
from soundness import assert_equal
from sweeps import (
    finish,
    launch,
    trained_epochs,
    undisturbed,
    wait_for,
    write_experiment,
)

from orchestrator.config.experiment import load_experiment
from results_schema.results import Results
from results_schema.store import LocalStore
from workers.data.catalog import DATASETS
from workers.training import checkpoint

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

EPOCHS = 6


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """The store of a sweep that nothing disturbed."""
    folder = tmp_path_factory.mktemp("reference")
    return undisturbed(write_experiment(folder, epochs=EPOCHS), folder / "results")


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return write_experiment(tmp_path, epochs=EPOCHS)


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]])
def test_a_signal_stops_cleanly_and_the_same_command_resumes(
    experiment, store, on_head: OnHead, reference, signals
):
    with held_open(experiment, store):
        with on_head.started(experiment, "--store", store.root) as sweep:
            with on_head.pace.held_after(2):
                wait_for(lambda: trained_epochs(store) >= 2)
                for signum in signals:
                    sweep.send_signal(signum)
            code, output = finish(sweep)
        assert (code, "the same command resumes" in output) == (128 + signals[0], True), output
        assert "Traceback" not in output
        wait_for(lambda: not foreign(store))
    if len(signals) == 1:
        trials = {member.spec.trial_id for member in load_experiment(experiment).members()}
        kept = sum(max(checkpoint.epochs(store, trial), default=0) for trial in trials)
        assert kept == trained_epochs(store), "every epoch was committed"
    code, output = on_head.launch(experiment, "--store", store.root)
    assert code == 0, output
    assert_equal(store, reference)


def test_two_launches_on_one_store_share_the_work(experiment, store, on_head: OnHead, reference):
    options = (experiment, "--store", store.root)
    with on_head.started(*options) as one, on_head.started(*options) as other:
        for sweep in (one, other):
            code, output = finish(sweep)
            assert code == 0, output
    assert_equal(store, reference)
    assert set(Results(store).trials()["attempts"]) == {1}


def test_a_failing_trial_spares_the_others_and_is_reported_with_its_log(tmp_path: Path):
    experiment = write_experiment(tmp_path, datasets="digits, cifar10", epochs=1, seeds="0")
    archive = DATASETS["cifar10"].archive
    assert archive is not None
    with (tmp_path / archive.file).open("wb") as file:
        file.truncate(archive.size)  # as large as it should be, but all zeros
    store = tmp_path / "results"
    code, output = launch(experiment, "--store", store, NAS_SWEEP_DATA=os.fspath(tmp_path))
    assert code == 1, output
    assert Results(store).trials()["dataset"].tolist() == ["digits"]
    assert len([line for line in output.splitlines() if line.startswith("failed: cifar10")]) == 1
    [log] = [line.split()[-1] for line in output.splitlines() if line.strip().startswith("log:")]
    assert "Traceback" in Path(log).read_text()
