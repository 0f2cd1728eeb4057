"""Finished surfaces of networks that their trials still have, and of those that are gone."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_surfaces import other_network, small_surface
from small_trials import EPOCHS, Checkpointing, few_digits, small_spec

from results_schema import layout
from results_schema.store import LocalStore, open_store
from workers.landscape.outdated import outdated
from workers.landscape.survey import survey
from workers.training.trial import train

LAST, FIRST = (small_surface(epoch=epoch, rows=1, columns=1) for epoch in (EPOCHS, 1))
UNTRAINED = small_surface(epoch=0, rows=1, columns=1)
IDS = {surface.surface_id for surface in (LAST, FIRST, UNTRAINED)}
TRIAL = LAST.trial.trial_id
KEPT = Checkpointing(every=0, at=frozenset({1}))


@pytest.fixture(autouse=True)
def _few_digits() -> Iterator[None]:
    with few_digits():
        yield


@pytest.fixture(scope="module")
def _measured(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    store = open_store(tmp_path_factory.mktemp("measured") / "results")
    with few_digits():
        assert train(small_spec(), store, device="cpu", checkpointing=KEPT).status == "done"
        for surface in (LAST, FIRST, UNTRAINED):
            assert survey(surface, store, device="cpu").status == "done"
    # Rows are a second younger than what was measured, whatever the file system's clock.
    for key in store.list(layout.CHECKPOINTS):
        os.utime(store.root / key, (time.time() - 60, time.time() - 60))
    return store


@pytest.fixture
def store(_measured: LocalStore, tmp_path: Path) -> LocalStore:
    """Holds an ended trial with two checkpoints, and three surfaces."""
    return LocalStore(shutil.copytree(_measured.root, tmp_path / "results"))


def test_only_rows_in_doubt_are_read(store: LocalStore, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "get", lambda *_, **__: pytest.fail("a file was read"))
        assert outdated(store, IDS) == set()
    other_network(store, LAST)
    assert outdated(store, IDS) == {LAST.surface_id}


def test_a_retried_trial_leaves_outdated_surfaces(store: LocalStore):
    store.delete(layout.trial(TRIAL))
    assert outdated(store, IDS) == set(), "its checkpoints are what was measured"
    for key in store.list(layout.checkpoints(TRIAL)):
        store.delete(key)
    assert outdated(store, IDS) == {LAST.surface_id, FIRST.surface_id}
    assert train(small_spec(), store, device="cpu", checkpointing=KEPT).status == "done"
    assert outdated(store, IDS) == set(), "it was trained to the same network again"
    other_network(store, LAST)
    assert outdated(store, IDS) == {LAST.surface_id}


def test_a_checkpoint_that_was_collected_leaves_its_surface(store: LocalStore):
    for key in (layout.state, layout.tensors):
        store.delete(key(TRIAL, 1))
    assert outdated(store, IDS) == set()
    touched = store.root / layout.state(TRIAL, EPOCHS)
    touched.touch()
    assert outdated(store, IDS) == set(), "nor where the last checkpoint is younger than the row"


@pytest.mark.parametrize("damaged", [layout.state(TRIAL, EPOCHS), layout.surface(LAST.surface_id)])
def test_damage_does_not_make_a_surface_outdated(store: LocalStore, damaged: str):
    other_network(store, LAST)
    store.put(damaged, store.get(damaged)[:-3])
    assert outdated(store, IDS) == set()


def test_the_surface_of_a_diverged_trial_is_of_its_last_checkpoint(tmp_path: Path):
    store, trial = open_store(tmp_path / "results"), small_spec(rate=1e30)
    surface = small_surface(trial=trial)
    assert train(trial, store, device="cpu").status == "diverged"
    assert survey(surface, store, device="cpu").status == "diverged"
    assert outdated(store, [surface.surface_id]) == set()
    other_network(store, surface)
    assert outdated(store, [surface.surface_id]) == {surface.surface_id}
