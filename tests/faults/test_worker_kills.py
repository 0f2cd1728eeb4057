"""Workers killed at any moment, half of them inside a write, leave no trace in the results."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from killing import MOMENTS, begun, start_worker
from small_trials import COMMIT_ALL, COMMIT_LAST, assert_same, few_digits, small_spec
from soundness import Reader, assert_equal, assert_sound, litter

from results_schema import layout
from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec
from workers.training.checkpoint import Checkpointing
from workers.training.trial import train

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("on_few_digits")]

KILLS = 4
"""Per seed: two inside a write, two from outside at a random moment."""
QUICK = ("half of a file is staged", "there are tensors without a state")


@pytest.fixture(scope="module")
def specs() -> Sequence[TrialSpec]:
    """Three trials of six epochs, a second or less each."""
    return [replace(small_spec(epochs=6), seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def reference(specs: Sequence[TrialSpec], tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """A store in which they were trained without any trouble."""
    store = open_store(tmp_path_factory.mktemp("reference") / "results")
    with few_digits():
        for spec in specs:
            assert train(spec, store, device="cpu", checkpointing=COMMIT_LAST).status == "done"
    return store


def kill_inside_a_write(store: LocalStore, spec: TrialSpec, draws: random.Random) -> str:
    """Returns the moment at which the worker died, or nothing if it ended before."""
    moment, number = draws.choice(list(MOMENTS)), draws.randint(1, 4)
    worker = start_worker(spec, store, COMMIT_ALL, moment, number)
    worker.join(100)
    assert worker.exitcode in (0, -signal.SIGKILL)
    return moment if worker.exitcode else ""


def kill_from_outside(store: LocalStore, spec: TrialSpec, draws: random.Random) -> str:
    """Lets a worker begin its attempt, and kills it soon after."""
    often = draws.choice([COMMIT_ALL, Checkpointing(every=0.1), COMMIT_LAST])
    before = begun(store, spec)
    worker = start_worker(spec, store, often, "", draws.randint(1, spec.recipe.epochs))
    while worker.is_alive() and begun(store, spec) == before:
        time.sleep(0.002)
    worker.join(draws.uniform(0, 0.5))
    worker.kill()
    worker.join()
    return "any moment"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_killed_workers_leave_no_trace(
    tmp_path: Path,
    seed: int,
    specs: Sequence[TrialSpec],
    reference: LocalStore,
):
    store, draws = open_store(tmp_path / "results"), random.Random(seed)
    died: list[str] = []
    with Reader(store, reference) as reader:
        while len(died) < KILLS:
            owed = [spec for spec in specs if not store.has(layout.trial(spec.trial_id))]
            assert owed, f"all was trained after {len(died)} kills: kill earlier"
            spec = draws.choice(owed)
            if len(died) % 2:
                moment = kill_inside_a_write(store, spec, draws)
            else:
                moment = kill_from_outside(store, spec, draws)
            if moment:
                died.append(moment)
                assert_sound(store, reference)
        for spec in specs:
            assert train(spec, store, device="cpu", checkpointing=COMMIT_ALL).status == "done"
    assert reader.wrong == []
    assert reader.reads
    assert_equal(store, reference)
    assert litter(store, reference) == set()


@pytest.mark.parametrize(
    "moment",
    [*QUICK, *(pytest.param(m, marks=pytest.mark.long) for m in MOMENTS if m not in QUICK)],
)
def test_a_worker_killed_inside_a_write_leaves_it_undone_or_done(
    tmp_path: Path, specs: Sequence[TrialSpec], reference: LocalStore, moment: str
):
    """Each moment really comes."""
    store = open_store(tmp_path / "results")
    worker = start_worker(specs[0], store, COMMIT_ALL, moment, 2)
    worker.join(100)
    assert worker.exitcode == -signal.SIGKILL
    assert not store.has(layout.trial(specs[0].trial_id))
    assert_sound(store, reference)
    assert train(specs[0], store, device="cpu").status == "done"
    assert_same(store, reference, specs[0])
