"""SIGTERM and SIGINT at any moment of a launch: soon gone, nothing left behind, nothing lost."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from disturbing import OPTIONS, foreign, held_open
from families import Family, family
from soundness import assert_equal, assert_sound
from sweeps import launch, trained_epochs, undisturbed, wait_for, write_experiment

from orchestrator.config.experiment import load_experiment
from results_schema import layout
from results_schema.store import LocalStore, open_store
from workers.training import checkpoint

pytestmark = [pytest.mark.timeout(600), pytest.mark.long]

BOUND = 10.0
"""Seconds from SIGTERM until every process is gone: a promise."""
EPOCHS = 12


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("signals"), epochs=EPOCHS)


@pytest.fixture(scope="module")
def reference(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return undisturbed(experiment, tmp_path_factory.mktemp("reference") / "results")


def wait_until_it_is_to_be_disturbed(
    launched: Family, store: LocalStore, draws: random.Random
) -> str:
    """Waits for a moment of the launch's life; says which."""
    if draws.random() < 0.25:
        time.sleep(draws.uniform(1, 8))
        launched.look()
        return "starting"
    wait_for(lambda: foreign(store) or len(store.list(layout.TRIALS)) == 3)
    end = time.monotonic() + draws.uniform(0, 2)
    while time.monotonic() < end:
        launched.look()
    return "training"


def seconds_until_gone(launched: Family, signals: Sequence[signal.Signals]) -> tuple[float, float]:
    """Sends signals; how long until the launch, and until its last process, is gone."""
    start = time.monotonic()
    for signum in signals:
        launched.head.send_signal(signum)
    launched.head.communicate(timeout=60)
    ended = time.monotonic() - start
    while launched.alive() and time.monotonic() - start < 30:
        time.sleep(0.05)
    return ended, time.monotonic() - start


@pytest.mark.seeds(quick=0, long=5)
def test_terminated_launches_are_soon_gone_and_go_on(
    tmp_path: Path, experiment: Path, reference: LocalStore, fault_seed: int, tally: Counter[str]
):
    store, draws = open_store(tmp_path / "results"), random.Random(fault_seed)
    times: list[tuple[str, float, float]] = []
    with held_open(experiment, store):
        for _ in range(4):
            with family("launch", experiment, *OPTIONS, "--store", store.root) as launched:
                moment = wait_until_it_is_to_be_disturbed(launched, store, draws)
                assert launched.head.poll() is None
                times.append((moment, *seconds_until_gone(launched, [signal.SIGTERM])))
                assert launched.leftovers() == [], moment
            assert_sound(store, reference)
    print(*times, sep="\n")
    tally["launches terminated"] += len(times)
    slowest = max(all_gone for *_, all_gone in times)
    tally[f"launches terminated: seed {fault_seed} took at most {slowest:.1f} s"] += 1
    assert slowest < BOUND
    code, output = launch(experiment, "--store", store.root)
    assert code == 0, output
    assert_equal(store, reference)


@pytest.mark.seeds(quick=0, long=3)
def test_an_interrupted_launch_keeps_every_epoch_and_goes_on(
    tmp_path: Path, experiment: Path, reference: LocalStore, fault_seed: int, tally: Counter[str]
):
    store, draws = open_store(tmp_path / "results"), random.Random(fault_seed)
    with family("launch", experiment, *OPTIONS, "--store", store.root) as launched:
        wait_for(lambda: trained_epochs(store) > 3)
        time.sleep(draws.uniform(0, 1))
        launched.look()
        seconds_until_gone(launched, [signal.SIGINT])
        assert launched.head.returncode == 130
        assert launched.leftovers() == []
    ids = [member.spec.trial_id for member in load_experiment(experiment).members()]
    committed = sum(max(checkpoint.epochs(store, name), default=0) for name in ids)
    assert committed == trained_epochs(store)
    assert launch(experiment, "--store", store.root)[0] == 0
    assert_equal(store, reference)
    tally["launches interrupted"] += 1


@pytest.mark.seeds(quick=0, long=3)
def test_a_second_signal_ends_a_launch_at_once(
    tmp_path: Path, experiment: Path, reference: LocalStore, fault_seed: int, tally: Counter[str]
):
    store, draws = open_store(tmp_path / "results"), random.Random(fault_seed)
    pair = [draws.choice([signal.SIGINT, signal.SIGTERM]) for _ in range(2)]
    with family("launch", experiment, *OPTIONS, "--store", store.root) as launched:
        wait_for(lambda: trained_epochs(store) > 3)
        launched.look()
        _, all_gone = seconds_until_gone(launched, pair)
        assert launched.leftovers() == []
    assert all_gone < BOUND
    assert launch(experiment, "--store", store.root)[0] == 0
    assert_equal(store, reference)
    tally["launches signalled twice"] += 1
