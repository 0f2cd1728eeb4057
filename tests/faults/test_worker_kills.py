"""Workers killed at any moment, half of them inside a write, leave no trace in the results."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from killing import MOMENTS, begun, start_pack, start_worker
from small_trials import COMMIT_ALL, COMMIT_LAST, assert_same
from soundness import Reader, assert_equal, assert_sound, litter

from results_schema import layout
from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec
from workers.training.checkpoint import Checkpointing
from workers.training.packing import train_pack
from workers.training.trial import train

pytestmark = pytest.mark.usefixtures("on_few_digits")

KILLS = 4
"""Per seed: two inside a write, two from outside at a random moment."""


def kill_inside_a_write(store: LocalStore, spec: TrialSpec, draws: random.Random) -> str:
    """Returns the moment at which the worker died, or nothing if it ended before."""
    moment, number = draws.choice(list(MOMENTS)), draws.randint(1, 4)
    worker = start_worker(spec, store, COMMIT_ALL, moment, number)
    worker.join(100)
    assert worker.exitcode in (0, -signal.SIGKILL)
    return moment if worker.exitcode else ""


def kill_from_outside(store: LocalStore, spec: TrialSpec, draws: random.Random) -> str:
    """Lets a worker begin its attempt, and kills it a little later."""
    often = draws.choice([COMMIT_ALL, Checkpointing(every=0.1), COMMIT_LAST])
    before = begun(store, spec)
    worker = start_worker(spec, store, often, "", draws.randint(1, spec.recipe.epochs))
    while worker.is_alive() and begun(store, spec) == before:
        time.sleep(0.002)
    worker.join(draws.uniform(0, 0.5))
    worker.kill()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    return "any moment"


@pytest.mark.timeout(300)
@pytest.mark.seeds(quick=1, long=25)
def test_killed_workers_leave_no_trace(
    tmp_path: Path,
    fault_seed: int,
    specs: Sequence[TrialSpec],
    reference: LocalStore,
    tally: Counter[str],
):
    store, draws = open_store(tmp_path / "results"), random.Random(fault_seed)
    died: list[str] = []
    with Reader(store, reference) as reader:
        while len(died) < KILLS:
            owed = [spec for spec in specs if not store.has(layout.trial(spec.trial_id))]
            assert owed, f"all was trained after {len(died)} kills: kill earlier"
            kill = kill_inside_a_write if len(died) % 2 else kill_from_outside
            if moment := kill(store, draws.choice(owed), draws):
                died.append(moment)
                assert_sound(store, reference)
        for spec in specs:
            assert train(spec, store, device="cpu", checkpointing=COMMIT_ALL).status == "done"
    assert sum(moment in MOMENTS for moment in died) == KILLS // 2
    assert reader.wrong == []
    assert reader.reads > 10
    assert_equal(store, reference)
    assert store.leases.held() == {}
    assert litter(store, reference) == set()
    tally.update(f"workers killed while {moment}" for moment in died if moment in MOMENTS)
    tally["workers killed at any moment"] += KILLS // 2
    tally["reads of the metrics during kills of workers"] += reader.reads


@pytest.mark.seeds(quick=1, long=10)
def test_a_killed_pack_leaves_no_trace_of_any_of_its_trials(
    tmp_path: Path, fault_seed: int, specs: Sequence[TrialSpec], reference: LocalStore
):
    store, draws = open_store(tmp_path / "results"), random.Random(fault_seed)
    for _ in range(2):
        before = [begun(store, spec) for spec in specs]
        worker = start_pack(specs, store, COMMIT_ALL)
        while worker.is_alive() and [begun(store, spec) for spec in specs] == before:
            time.sleep(0.002)
        worker.join(draws.uniform(0, 0.5))
        worker.kill()
        worker.join()
        assert_sound(store, reference)
    outcomes = train_pack(specs, store, device="cpu", checkpointing=COMMIT_ALL)
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert_equal(store, reference)
    assert store.leases.held() == {}
    assert litter(store, reference) == set()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_killed_inside_a_write_leaves_it_undone_or_done(
    tmp_path: Path, specs: Sequence[TrialSpec], reference: LocalStore, moment: str
):
    """Each moment really comes."""
    store, spec = open_store(tmp_path / "results"), specs[0]
    worker = start_worker(spec, store, COMMIT_ALL, moment, 2)
    worker.join(100)
    assert worker.exitcode == -signal.SIGKILL
    assert not store.has(layout.trial(spec.trial_id))
    assert_sound(store, reference)
    assert train(spec, store, device="cpu").status == "done"
    assert_same(store, reference, spec)
