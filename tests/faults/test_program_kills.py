"""Launches of programs whose workers and drivers are killed again and again leave no trace."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from disturbing import OPTIONS, foreign
from small_programs import HALVING, drive, made, results_of
from sweeps import finish, launch, started, wait_for

from orchestrator.config.experiment import load_experiment
from orchestrator.planning.plan import make_plan
from results_schema.store import LocalStore

pytestmark = [pytest.mark.timeout(1200), pytest.mark.ray, pytest.mark.long]

KILLS = 5
"""Per seed."""
PACE = {"WALK_PACE": "0.3", "BROWSER_PATH": "/nowhere"}


def alive(process: subprocess.Popen[str]) -> bool:
    return process.poll() is None


def kill_drivers(experiment: Path, store: LocalStore, draws: random.Random, most: int) -> int:
    """Kills one launch soon after its first worker has begun; returns the number of kills."""
    with started("launch", experiment, *OPTIONS, "--store", store.root, **PACE) as process:
        wait_for(lambda: foreign(store) or not alive(process), 300)
        time.sleep(draws.uniform(0, 2.5))
        killed = alive(process)
        process.kill()
    wait_for(lambda: not foreign(store), 100)
    return killed


def kill_workers(experiment: Path, store: LocalStore, draws: random.Random, most: int) -> int:
    """Kills the workers of one launch, which goes on; returns the number of kills."""
    kills = 0
    with started("launch", experiment, *OPTIONS, "--store", store.root, **PACE) as process:
        while kills < most and alive(process):
            workers = wait_for(lambda: foreign(store) or [0] * (not alive(process)), 300)
            time.sleep(draws.uniform(0.1, 1.2))
            if (pid := draws.choice(workers)) in foreign(store):
                os.kill(pid, signal.SIGKILL)
                kills += 1
                wait_for(lambda pid=pid: pid not in foreign(store), 100)
        finish(process)
    return kills


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stop", ["", HALVING], ids=["whole", "halving"])
@pytest.mark.parametrize("kill", [kill_workers, kill_drivers])
def test_kills_leave_the_results_of_an_undisturbed_run(tmp_path: Path, kill, stop: str, seed: int):
    experiment, reference = made(tmp_path / "reference", stop)
    drive(reference, experiment)
    expected, draws, kills, store = results_of(reference), random.Random(seed), 0, reference
    while kills < KILLS:
        experiment, store = made(tmp_path / f"disturbed-{kills}", stop)
        while make_plan([load_experiment(experiment)], store).remaining:
            left = max(0, KILLS - kills)
            if left:
                kills += kill(experiment, store, draws, left)
            else:
                code, output = launch(experiment, *OPTIONS[2:], "--store", store.root, **PACE)
                assert code == 0, output
        assert results_of(store) == expected
        assert store.leases.held() == {}
    code, output = launch(experiment, "--store", store.root, **PACE)
    assert "nothing to train" in output, output
