"""Workers and drivers of real launches, killed again and again while a reader looks on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from disturbing import OPTIONS, foreign, held_open, kill_inside_a_write
from families import family
from soundness import Reader, assert_equal, assert_sound
from sweeps import (
    finish,
    launch,
    paced,
    started,
    trained_epochs,
    undisturbed,
    wait_for,
    write_experiment,
)

from results_schema import layout
from results_schema.store import LocalStore, open_store

pytestmark = [pytest.mark.timeout(900), pytest.mark.long]

EPOCHS, SEEDS = 10, "0, 1, 2, 3"
KILLS_OF_WORKERS, KILLS_OF_DRIVERS = 4, 5


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("kills"), epochs=EPOCHS, seeds=SEEDS)


@pytest.fixture(scope="module")
def reference(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return undisturbed(experiment, tmp_path_factory.mktemp("reference") / "results")


@pytest.mark.seeds(quick=0, long=5)
def test_killed_workers_of_a_launch_leave_no_trace(
    tmp_path: Path, experiment: Path, reference: LocalStore, fault_seed: int, tally: Counter[str]
):
    store, draws = open_store(tmp_path / "results"), random.Random(fault_seed)
    killed: Counter[str] = Counter()
    inside = 0
    with (
        Reader(store, reference) as reader,
        started("launch", experiment, *OPTIONS, "--store", store.root, **paced()) as sweep,
    ):
        wait_for(lambda: trained_epochs(store) > draws.randint(0, 4))
        for number in range(KILLS_OF_WORKERS):
            # A third death of the same trial would be its failure.
            spare = {trial_id for trial_id, times in killed.items() if times == 2}
            if number % 2 == 0:
                trial_id, caught = kill_inside_a_write(store, spare)
                inside += caught
            else:
                time.sleep(draws.uniform(0, 0.5))
                trial_id, pid = wait_for(
                    lambda spare=spare: [
                        one for one in running(store).items() if one[0] not in spare
                    ]
                )[0]
                os.kill(pid, signal.SIGKILL)
            killed[trial_id] += 1
        code, output = finish(sweep)
    assert code == 0, output
    assert reader.wrong == []
    assert_equal(store, reference)
    assert store.leases.held() == {}
    tally["workers of Ray killed"] += KILLS_OF_WORKERS
    tally["workers of Ray killed with a file staged"] += inside
    tally["reads of the metrics during launches"] += reader.reads


def running(store: LocalStore) -> dict[str, int]:
    """Trials that are being trained, and the processes that train them."""
    held = store.leases.held().items()
    return {trial_id: holder.pid for trial_id, holder in held if holder.pid and not holder.dead}


@pytest.mark.seeds(quick=0, long=5)
def test_a_launch_whose_driver_is_killed_again_and_again_goes_on(
    tmp_path: Path, experiment: Path, reference: LocalStore, fault_seed: int, tally: Counter[str]
):
    store, draws = open_store(tmp_path / "results"), random.Random(fault_seed)
    with Reader(store, reference) as reader, contextlib.ExitStack() as families:
        with held_open(experiment, store):
            for _ in range(KILLS_OF_DRIVERS):
                command = ("launch", experiment, *OPTIONS, "--store", store.root)
                killed = families.enter_context(family(*command))
                if draws.random() < 0.8:
                    wait_for(lambda: foreign(store) or ended(store) == 3)
                    time.sleep(draws.uniform(0, 1.5))
                else:  # while Ray starts
                    time.sleep(draws.uniform(0, 6))
                assert killed.head.poll() is None
                killed.head.kill()
                killed.head.wait()
                if draws.random() < 0.5:  # else the next one comes while orphans still train
                    wait_for(lambda: not foreign(store))
                assert_sound(store, reference)
        code, output = launch(experiment, *OPTIONS[2:], "--store", store.root)
    assert code == 0, output
    assert reader.wrong == []
    assert_equal(store, reference)
    tally["drivers killed"] += KILLS_OF_DRIVERS
    tally["reads of the metrics during launches"] += reader.reads


def ended(store: LocalStore) -> int:
    return len(layout.names(store.list(layout.TRIALS)))
