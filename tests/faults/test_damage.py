"""One flipped bit, or a lost end, in what is kept: noticed, or the content is the same."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from damage import damaged, damages
from small_trials import COMMIT_LAST, assert_same, bits, few_digits, log, small_spec
from sweeps import write_experiment

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import member_rows
from results_schema import layout, tables
from results_schema.errors import CorruptData
from results_schema.results import Results
from results_schema.store import LocalStore, open_store
from workers.training import checkpoint
from workers.training.checkpoint import Checkpointing
from workers.training.trial import train

EACH = 10
"""Damages to each kind of file per seed."""
SPEC = small_spec(epochs=2)

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("on_few_digits")]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """A store with a trial that has ended, both its checkpoints, and an experiment's members."""
    folder = tmp_path_factory.mktemp("kept")
    store = open_store(folder / "results")
    with few_digits():
        named = Checkpointing(every=0, at=frozenset({1, 2}))
        assert train(SPEC, store, device="cpu", checkpointing=named).status == "done"
    experiment = load_experiment(write_experiment(folder, epochs=2))
    rows = member_rows(experiment)
    store.put(layout.members(experiment.name), tables.to_parquet(rows, tables.MEMBERS))
    return store


@pytest.fixture
def store(kept: LocalStore, tmp_path: Path) -> LocalStore:
    """A copy, to be damaged."""
    copy = LocalStore(tmp_path / "results")
    for folder in ("metrics/", "trials/", "members/", "checkpoints/"):
        for key in kept.list(folder):
            copy.put(key, kept.get(key))
    return copy


def checkpoint_of(store: LocalStore) -> object:
    found = checkpoint.load(store, SPEC.trial_id, 2)
    tensors = {name: bits(tensor).tolist() for name, tensor in found.tensors.items()}
    return found.epoch, found.rows, found.kept, tensors


def table_of(name: str) -> Callable[[LocalStore], object]:
    return lambda store: getattr(Results(store), name)().to_csv()


KEPT: dict[str, tuple[str, Callable[[LocalStore], object]]] = {
    "state": (layout.state(SPEC.trial_id, 2), checkpoint_of),
    "tensors": (layout.tensors(SPEC.trial_id, 2), checkpoint_of),
    "metrics": (layout.metrics(SPEC.trial_id), table_of("metrics")),
    "trials": (layout.trial(SPEC.trial_id), table_of("trials")),
    "members": (layout.members("small"), table_of("members")),
}
"""A key of each kind of file, and what reads it."""


@pytest.mark.seeds(quick=1, long=20)
@pytest.mark.parametrize("kind", KEPT)
def test_damage_is_noticed_or_without_effect(
    store: LocalStore, fault_seed: int, kind: str, tally: Counter[str]
):
    key, read = KEPT[kind]
    sound, whole = read(store), store.get(key)
    for done, data in damages(whole, random.Random(fault_seed), EACH):
        store.put(key, data)
        try:
            assert read(store) == sound, f"{done}: read, and it is not what was written"
        except CorruptData as error:
            assert SPEC.trial_id in error.where or key in error.where
            tally[f"damages to {kind} noticed"] += 1
        else:
            tally[f"damages to {kind} without effect"] += 1


@pytest.mark.seeds(quick=1, long=10)
def test_a_trial_whose_newest_checkpoint_is_damaged_ends_as_if_nothing_had_happened(
    tmp_path: Path, kept: LocalStore, fault_seed: int
):
    store, draws = open_store(tmp_path / "results"), random.Random(fault_seed)
    for key in kept.list(layout.checkpoints(SPEC.trial_id)):
        store.put(key, kept.get(key))
    key = draws.choice([layout.state, layout.tensors])(SPEC.trial_id, 2)
    _, data = damaged(store.get(key), draws)
    store.put(key, data)
    outcome = train(SPEC, store, device="cpu", checkpointing=COMMIT_LAST)
    assert (outcome.status, outcome.epochs) == ("done", 1)
    assert "checkpoint of epoch 2 is damaged" in log(store, SPEC)
    assert_same(store, kept, SPEC)
