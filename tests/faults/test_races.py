"""Two launches on one store at once: no trial is trained twice, and no row is there twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from racing import race
from small_trials import COMMIT_LAST, few_digits, small_spec
from soundness import Reader, assert_equal, litter
from sweeps import finish, started, undisturbed, wait_for, write_experiment

from results_schema import layout
from results_schema.results import Results
from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec
from workers.training.trial import train

pytestmark = pytest.mark.timeout(400)

TRIALS, EPOCHS = 4, 2


@pytest.fixture(scope="module")
def specs() -> Sequence[TrialSpec]:
    return [replace(small_spec(epochs=EPOCHS), seed=seed) for seed in range(TRIALS)]


@pytest.fixture(scope="module")
def reference(specs: Sequence[TrialSpec], tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    store = open_store(tmp_path_factory.mktemp("reference") / "results")
    with few_digits():
        for spec in specs:
            train(spec, store, device="cpu", checkpointing=COMMIT_LAST)
    return store


def assert_each_was_trained_once(store: LocalStore, reference: LocalStore) -> None:
    assert_equal(store, reference)
    assert set(Results(store).trials()["attempts"]) == {1}
    assert store.leases.held() == {}
    assert litter(store, reference) <= {"reports/small/index.html"}  # which a command leaves


@pytest.mark.seeds(quick=0, long=30)
def test_two_queues_share_the_trials(
    tmp_path: Path,
    fault_seed: int,
    specs: Sequence[TrialSpec],
    reference: LocalStore,
    tally: Counter[str],
):
    store = open_store(tmp_path / "results")
    with Reader(store, reference) as reader:
        told = race(store, specs, fault_seed)
    assert reader.wrong == []
    assert sum(epochs for epochs, _ in told) == TRIALS * EPOCHS
    for _, endings in told:
        assert set(endings) == {spec.trial_id for spec in specs}
        assert set(endings.values()) <= {"done", "ended by another launch"}
    assert_each_was_trained_once(store, reference)
    tally["races of two queues"] += 1
    tally["races in which both trained something"] += all(epochs for epochs, _ in told)


@pytest.mark.ray
@pytest.mark.seeds(quick=0, long=3)
def test_two_commands_share_the_trials(tmp_path: Path, fault_seed: int, tally: Counter[str]):
    draws = random.Random(fault_seed)
    experiment = write_experiment(tmp_path, epochs=4, seeds="0, 1, 2, 3, 4, 5")
    reference = undisturbed(experiment, tmp_path / "reference")
    store = open_store(tmp_path / "results")
    arguments = ("launch", "--device", "cpu", experiment, "--store", store.root)
    with started(*arguments) as one:
        if draws.random() < 0.5:  # the second one comes when the first has begun to train
            wait_for(lambda: store.list(layout.METRICS)[1:])
        with started(*arguments) as other:
            for sweep in (one, other):
                code, output = finish(sweep)
                assert code == 0, output
    assert_each_was_trained_once(store, reference)
    assert len(pd.read_parquet(store.root / "metrics")) == 6 * 4
    tally["races of two launches"] += 1
