"""One flipped bit, or a lost end, in what is kept: noticed, or the content is the same."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
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
from results_schema.trial import TrialSpec
from workers.training import checkpoint
from workers.training.checkpoint import Checkpoint, Checkpointing
from workers.training.trial import train

EACH = 10
"""Damages to each kind of file per seed: two of a checkpoint, one of each table."""
TABLES = ("metrics", "trials", "members")

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("on_few_digits")]


@pytest.fixture(scope="module")
def spec() -> TrialSpec:
    return small_spec(epochs=2)


@pytest.fixture(scope="module")
def kept(spec: TrialSpec, tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """A store with a trial that has ended, both its checkpoints, and an experiment's members."""
    folder = tmp_path_factory.mktemp("kept")
    store = open_store(folder / "results")
    with few_digits():
        named = Checkpointing(every=0, at=frozenset({1, 2}))
        assert train(spec, store, device="cpu", checkpointing=named).status == "done"
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


def alike(one: Checkpoint, other: Checkpoint) -> bool:
    return (one.epoch, one.rows, one.kept) == (other.epoch, other.rows, other.kept) and (
        one.tensors.keys() == other.tensors.keys()
        and all(torch.equal(bits(one.tensors[n]), bits(other.tensors[n])) for n in one.tensors)
    )


def load_or_notice(store: LocalStore, spec: TrialSpec) -> Checkpoint | None:
    """The last checkpoint, None if its damage is noticed; then resuming takes the one before."""
    told: list[str] = []
    rows = checkpoint.resume(store, spec.trial_id, lambda _: None, told.append, last=2)
    try:
        found = checkpoint.load(store, spec.trial_id, 2)
    except CorruptData:
        assert len(rows) == 1
        assert "epoch 2 is damaged" in told[0]
        return None
    assert (len(rows), told) == (2, [])
    return found


@pytest.mark.seeds(quick=1, long=20)
@pytest.mark.parametrize("part", [layout.state, layout.tensors])
def test_a_damaged_checkpoint_is_passed_over(
    store: LocalStore,
    spec: TrialSpec,
    fault_seed: int,
    part: Callable[[str, int], str],
    tally: Counter[str],
):
    key, draws = part(spec.trial_id, 2), random.Random(fault_seed)
    sound, whole = checkpoint.load(store, spec.trial_id, 2), store.get(key)
    for done, data in damages(whole, draws, EACH):
        store.put(key, data)
        found = load_or_notice(store, spec)
        if found is not None:
            assert alike(found, sound), f"{done}: used, and it is not what was written"
        tally[f"damages to checkpoints {'noticed' if found is None else 'without effect'}"] += 1


def read_or_notice(store: LocalStore, table: str) -> pd.DataFrame | None:
    """What the reader's way into the store gives, None if it notices the damage."""
    try:
        return getattr(Results(store), table)()
    except CorruptData as error:
        assert f"{table}/" in error.where
        return None


def key_of(store: LocalStore, table: str) -> str:
    """The one file of a table that has rows."""
    return next(key for key in store.list(f"{table}/") if not key.endswith("0-schema.parquet"))


@pytest.mark.seeds(quick=1, long=20)
@pytest.mark.parametrize("table", TABLES)
def test_a_damaged_table_is_not_read(
    store: LocalStore, fault_seed: int, table: str, tally: Counter[str]
):
    key, draws = key_of(store, table), random.Random(fault_seed)
    sound, whole = getattr(Results(store), table)(), store.get(key)
    plain = pd.read_parquet(store.root / key)
    for done, data in damages(whole, draws, EACH):
        store.put(key, data)
        found = read_or_notice(store, table)
        if found is not None:
            assert found.equals(sound), f"{done}: read, and it is not what was written"
        tally[f"damages to tables {'noticed' if found is None else 'without effect'}"] += 1
        # No promise of ours: what comes to a reader who knows nothing of the seal.
        tally[f"damages to tables that pandas alone {plainly(store.root / key, plain)}"] += 1


def plainly(path: Path, sound: pd.DataFrame) -> str:
    """What pandas makes of one file."""
    try:
        found = pd.read_parquet(path)
    except Exception:
        return "refuses"
    return "reads rightly" if found.equals(sound) else "reads wrongly"


@pytest.mark.seeds(quick=1, long=10)
def test_a_trial_whose_newest_checkpoint_is_damaged_ends_as_if_nothing_had_happened(
    tmp_path: Path, kept: LocalStore, spec: TrialSpec, fault_seed: int
):
    store, draws = open_store(tmp_path / "results"), random.Random(fault_seed)
    for key in kept.list(layout.checkpoints(spec.trial_id)):
        store.put(key, kept.get(key))
    key = draws.choice([layout.state, layout.tensors])(spec.trial_id, 2)
    _, data = damaged(store.get(key), draws)
    store.put(key, data)
    outcome = train(spec, store, device="cpu", checkpointing=COMMIT_LAST)
    assert (outcome.status, outcome.epochs) == ("done", 1)
    assert "checkpoint of epoch 2 is damaged" in log(store, spec)
    assert_same(store, kept, spec)
