"""One flipped bit, or a lost end, in what is kept: noticed, or the content is the same."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
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
from workers.training.checkpoint import Checkpoint, Checkpointing
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


def assert_alike(one: Checkpoint, other: Checkpoint, done: str) -> None:
    assert (one.epoch, one.rows, one.kept) == (other.epoch, other.rows, other.kept), done
    assert one.tensors.keys() == other.tensors.keys(), done
    for name in one.tensors:
        assert torch.equal(bits(one.tensors[name]), bits(other.tensors[name])), done


@pytest.mark.seeds(quick=1, long=20)
@pytest.mark.parametrize("part", [layout.state, layout.tensors])
def test_a_damaged_checkpoint_is_passed_over(
    store: LocalStore, fault_seed: int, part: Callable[[str, int], str], tally: Counter[str]
):
    key, draws = part(SPEC.trial_id, 2), random.Random(fault_seed)
    sound, whole = checkpoint.load(store, SPEC.trial_id, 2), store.get(key)
    for done, data in damages(whole, draws, EACH):
        store.put(key, data)
        warned: list[str] = []
        rows = checkpoint.resume(store, SPEC.trial_id, lambda _: None, warned.append, last=2)
        try:
            found = checkpoint.load(store, SPEC.trial_id, 2)
        except CorruptData:
            assert len(rows) == 1, "resuming takes the one before"
            assert "epoch 2 is damaged" in warned[0]
            tally["damages to checkpoints noticed"] += 1
        else:
            assert (len(rows), warned) == (2, [])
            assert_alike(found, sound, done)
            tally["damages to checkpoints without effect"] += 1


@pytest.mark.seeds(quick=1, long=20)
@pytest.mark.parametrize("table", ["metrics", "trials", "members"])
def test_a_damaged_table_is_not_read(
    store: LocalStore, fault_seed: int, table: str, tally: Counter[str]
):
    key = next(k for k in store.list(f"{table}/") if not k.endswith("0-schema.parquet"))
    sound, whole = getattr(Results(store), table)(), store.get(key)
    for done, data in damages(whole, random.Random(fault_seed), EACH):
        store.put(key, data)
        try:
            found = getattr(Results(store), table)()
        except CorruptData as error:
            assert error.where == key
            tally["damages to tables noticed"] += 1
        else:
            assert found.equals(sound), f"{done}: read, and it is not what was written"
            tally["damages to tables without effect"] += 1


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
