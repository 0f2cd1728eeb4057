"""Networks that are lost, or replaced, under surfaces: none is taken for another."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from small_surfaces import assert_same_surface, other_network, points, small_surface, summary
from small_trials import EPOCHS, few_digits, small_spec

from results_schema import layout
from results_schema.store import LocalStore, open_store
from workers.landscape.outdated import outdated
from workers.landscape.survey import survey
from workers.training import checkpoint
from workers.training.attempt import StopRequest
from workers.training.checkpoint import Checkpointing
from workers.training.trial import train

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("on_few_digits")]

SPEC = small_spec()
TRIAL = SPEC.trial_id
ALL = Checkpointing(every=0, at=frozenset(range(1, EPOCHS + 1)))
SURFACES = {
    "contour": small_surface(),
    "curvature": small_surface("curvature", subset=20),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """A store with an ended trial and the checkpoints of all its epochs."""
    store = open_store(tmp_path_factory.mktemp("kept") / "results")
    with few_digits():
        assert train(SPEC, store, device="cpu", checkpointing=ALL).status == "done"
    return store


@pytest.fixture(scope="module")
def undisturbed(kept: LocalStore, tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """The same with its surfaces."""
    store = LocalStore(shutil.copytree(kept.root, tmp_path_factory.mktemp("whole") / "results"))
    with few_digits():
        for surface in SURFACES.values():
            assert survey(surface, store, device="cpu").status == "done"
    return store


@pytest.fixture
def store(kept: LocalStore, tmp_path: Path) -> LocalStore:
    return LocalStore(shutil.copytree(kept.root, tmp_path / "results"))


def put_back(store: LocalStore) -> None:
    """Removes an ended trial as `retry` does, or a person with `rm`: no lease of a surface."""
    for key in (layout.trial(TRIAL), *store.list(layout.checkpoints(TRIAL)), layout.metrics(TRIAL)):
        store.delete(key)


@pytest.mark.seeds(quick=0, long=40)
def test_a_network_that_is_replaced_while_it_is_measured_leaves_no_row(
    store: LocalStore, undisturbed: LocalStore, fault_seed: int
):
    draws = random.Random(fault_seed)
    surface = SURFACES[draws.choice(list(SURFACES))]
    moment = draws.randint(1, len(points(undisturbed, surface)))
    other, anew, stops = (draws.random() < 0.5 for _ in range(3))
    request, trained = StopRequest(), Checkpointing(every=0)

    def replace(done: int, of: int) -> None:
        if done != moment:
            return
        put_back(store)
        if anew:
            assert train(SPEC, store, device="cpu", checkpointing=trained).status == "done"
            if other:
                other_network(store, surface)
        if stops:
            request.make("the test")

    outcome = survey(surface, store, device="cpu", every=0, on_points=replace, stop=request)
    name, same = surface.surface_id, anew and not other
    if outcome.status == "stopped":
        assert stops
    elif same:  # the same bits again: what was measured is what is there
        assert outcome.status == "done"
    else:
        assert (outcome.status, outcome.kind) == ("failed", "data"), outcome
    assert store.has(layout.surface(name)) == (outcome.status == "done")
    if not anew:
        assert train(SPEC, store, device="cpu", checkpointing=trained).status == "done"
    assert outdated(store, [name]) == set()
    assert survey(surface, store, device="cpu").status == "done"
    last = checkpoint.digest(store, TRIAL, EPOCHS)
    assert summary(store, surface)["checkpoint"] == last
    assert set(points(store, surface)["checkpoint"]) == {last}
    if not (anew and other):
        assert_same_surface(store, undisturbed, surface)
