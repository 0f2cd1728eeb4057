"""The life of a surface: measured, interrupted, resumed, refused."""

import copy
import gc
import hashlib
import json
import math
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from small_surfaces import (
    assert_same_surface,
    few_products,
    other_network,
    points,
    small_surface,
    summary,
)
from small_trials import COMMIT_LAST, EPOCHS, Checkpointing, ending, few_digits, small_spec
from stops import REASON, StopAtLook, after_epoch

from results_schema import layout, tables
from results_schema.store import LocalStore, open_store
from results_schema.surface import SurfaceSpec
from workers.landscape.measures import Case, Measure, measure
from workers.landscape.survey import survey
from workers.network.network import Network
from workers.training import checkpoint
from workers.training.attempt import Outcome, StopRequest
from workers.training.setup import fresh_network
from workers.training.trial import train


@pytest.fixture(autouse=True)
def _few_digits() -> Iterator[None]:
    with few_digits(), few_products():
        yield


@pytest.fixture(scope="module")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    store = open_store(tmp_path_factory.mktemp("trained") / "results")
    with few_digits():
        assert train(small_spec(), store, device="cpu").status == "done"
    return store


@pytest.fixture
def store(_trained: LocalStore, tmp_path: Path) -> LocalStore:
    """Holds an ended trial."""
    return LocalStore(shutil.copytree(_trained.root, tmp_path / "results"))


def whole(trained: LocalStore, folder: Path, spec: SurfaceSpec) -> LocalStore:
    """Holds the trial and its surface, measured at one go."""
    store = LocalStore(shutil.copytree(trained.root, folder / "results"))
    with few_digits(), few_products():
        finish(spec, store)
    return store


@pytest.fixture(scope="module")
def undisturbed(_trained: LocalStore, tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return whole(_trained, tmp_path_factory.mktemp("whole"), small_surface())


@pytest.fixture(scope="module")
def bent(_trained: LocalStore, tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return whole(_trained, tmp_path_factory.mktemp("bent"), CURVATURE)


CURVATURE = small_surface("curvature", subset=20)


def finish(spec: SurfaceSpec, store: LocalStore) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Measures a surface to its end; its points and its row."""
    assert survey(spec, store, device="cpu").status == "done"
    return points(store, spec), summary(store, spec)


def survey_log(store: LocalStore, spec: SurfaceSpec) -> str:
    return store.get(layout.log(spec.surface_id)).decode()


def test_a_contour_has_a_row_for_each_point_and_one_for_the_whole(store: LocalStore):
    spec, progress = small_surface(), []
    outcome = survey(spec, store, device="cpu", on_points=lambda *now: progress.append(now))
    assert outcome == Outcome("done", "measured 25 points", 25)
    assert progress == [(done, 25) for done in range(1, 26)]
    table, row = points(store, spec), summary(store, spec)
    assert len(set(zip(table["row"], table["column"], strict=True))) == len(table) == 25
    assert list(table["variance"].dropna()) == []
    assert set(table["alpha"]) == set(table["beta"]) == {-1.0, -0.5, 0.0, 0.5, 1.0}
    [centre] = table[(table["alpha"] == 0) & (table["beta"] == 0)]["loss"]
    assert (row["status"], row["epoch"], row["instances"]) == ("done", EPOCHS, 80)
    assert (row["loss"], row["smallest_loss"]) == (centre, table["loss"].min())
    assert abs(row["cosine"]) < 0.5
    assert row["device"]
    tensors = store.get(layout.tensors(spec.trial.trial_id, EPOCHS))
    digest = hashlib.sha256(tensors).hexdigest()
    assert {row["checkpoint"], *table["checkpoint"]} == {digest}
    assert store.leases.held() == {}
    assert survey(spec, store, device="cpu") == Outcome("done", "it had ended before")


def test_an_ended_surface_leaves_no_network(store: LocalStore, monkeypatch: pytest.MonkeyPatch):
    """A GPU's memory would be held until Python looks for cycles."""
    made: list[Any] = []

    def watched(*arguments: Any) -> Network:
        network = fresh_network(*arguments)
        made.append(weakref.ref(network))
        return network

    monkeypatch.setattr("workers.landscape.survey.fresh_network", watched)
    gc.collect()
    gc.disable()
    try:
        finish(small_surface(), store)
        assert made[0]() is None
    finally:
        gc.enable()


def test_the_centre_is_the_trials_last_test_loss(store: LocalStore):
    spec = small_surface(rows=1, columns=1)
    _, row = finish(spec, store)
    rows = checkpoint.load(store, spec.trial.trial_id, EPOCHS).rows
    assert row["loss"] == pytest.approx(rows[-1]["test_loss"], rel=1e-5)
    assert math.isnan(row["radius"])
    assert json.loads(row["notes"])["radius"] == "the grid has one point"


def test_gradient_variance_takes_a_subset_and_is_kept_by_parameter(store: LocalStore):
    spec = small_surface("gradient_variance", rows=3, columns=3, subset=20, by_parameter=True)
    table, row = finish(spec, store)
    assert row["instances"] == 20
    assert min(table["variance"] - table["weights_variance"]) >= 0
    centre = table[(table["row"] == 1) & (table["column"] == 1)].iloc[0]
    for column in ("standard_error", "weights_standard_error"):
        assert list(table[column].dropna()) == [centre[column]]
        assert centre[column] > 0
    assert (row["variance"], row["standard_error"]) == (
        centre["variance"],
        centre["standard_error"],
    )
    drawn = row["variance"] / 48 * (160 - 48) / (160 - 1)
    assert row["batch_variance"] == pytest.approx(drawn), "of 48 of the 160 training images"
    parts = json.loads(centre["by_parameter"])
    assert sum(parts.values()) == pytest.approx(centre["variance"], rel=1e-9)
    assert row["parameters"] > 0


@pytest.mark.parametrize(
    ("choice", "instances"), [({"subset": 10_000}, 80), ({"split": "train"}, 160)]
)
def test_a_surface_may_take_all_of_either_split(store: LocalStore, choice, instances: int):
    spec = small_surface(rows=1, columns=1, **choice)
    assert finish(spec, store)[1]["instances"] == instances


def test_a_curvature_has_a_row_for_its_centre_and_for_each_product(bent: LocalStore):
    table, row = points(bent, CURVATURE), summary(bent, CURVATURE)
    steps, probes = (table[table["probe"] == what] for what in ("eigenvalues", "trace"))
    assert len(table) == 1 + len(steps) + len(probes)
    assert len(table) <= CURVATURE.points
    assert len(steps) == row["eigen_iterations"]
    assert len(probes) == row["trace_probes"]
    assert list(steps["step"]) == list(range(len(steps)))
    assert sum(probes["product"]) / len(probes) == pytest.approx(row["trace"])
    assert row["top_eigenvalue"] > max(0, row["bottom_eigenvalue"])
    assert set(table["loss"]) == {row["loss"]}
    top, rest = abs(row["bottom_eigenvalue"]), row["bottom_residual"]
    assert row["bottom_converged"] == (rest <= 1e-3 * top)
    assert not bent.has(layout.vectors(CURVATURE.surface_id))


@pytest.mark.parametrize("moment", ["centre", "eigenvalues", "trace"])
def test_a_stopped_curvature_resumes_from_its_products(store, bent, moment):
    steps = summary(bent, CURVATURE)["eigen_iterations"]
    done = {"centre": 1, "eigenvalues": 1 + steps // 2, "trace": 1 + steps + 3}[moment]
    request, progress = StopRequest(), []

    def stop(number: int, of: int) -> None:
        progress.append((number, of))
        if number == done:
            request.make("the test")

    outcome = survey(CURVATURE, store, device="cpu", on_points=stop, stop=request)
    assert (outcome.status, outcome.epochs) == ("stopped", done)
    assert progress == [(number, CURVATURE.points) for number in range(1, done + 1)]
    assert len(points(store, CURVATURE)) == done
    whole = len(points(bent, CURVATURE))
    again = survey(CURVATURE, store, device="cpu")
    assert (again.status, again.epochs) == ("done", whole - done), "no product is made twice"
    assert_same_surface(store, bent, CURVATURE)
    assert not store.has(layout.vectors(CURVATURE.surface_id))


@pytest.mark.parametrize("lost", ["damaged", "missing", "behind"])
def test_without_its_vectors_a_curvature_repeats_the_eigenvalues_alone(store, bent, lost):
    steps = summary(bent, CURVATURE)["eigen_iterations"]
    assert steps > 4
    key, kept, request = layout.vectors(CURVATURE.surface_id), b"", StopRequest()

    def stop(number: int, of: int) -> None:
        nonlocal kept
        if number == 4:
            kept = store.get(key)  # after two steps
        if number == 5:
            request.make("the test")

    survey(CURVATURE, store, device="cpu", every=0, on_points=stop, stop=request)
    data = store.get(key)
    if lost == "missing":
        store.delete(key)
    else:
        store.put(key, kept if lost == "behind" else data[:-1] + bytes([data[-1] ^ 1]))
    again = survey(CURVATURE, store, device="cpu")
    repeated = 2 if lost == "behind" else 4
    assert again.epochs == len(points(bent, CURVATURE)) - 5 + repeated
    assert_same_surface(store, bent, CURVATURE)


@pytest.mark.parametrize("finished", [False, True])
def test_points_of_a_network_that_was_replaced_are_measured_again(store, undisturbed, finished):
    spec = small_surface()
    other_network(store, spec)
    stop = StopRequest() if finished else StopAtLook(7)
    assert survey(spec, store, device="cpu", stop=stop).status == (
        "done" if finished else "stopped"
    )
    for key in undisturbed.list(layout.checkpoints(spec.trial.trial_id)):
        store.put(key, undisturbed.get(key))
    assert survey(spec, store, device="cpu").epochs == 25
    reason = "of a checkpoint that the trial no longer has" if finished else "of another checkpoint"
    assert reason in survey_log(store, spec)
    assert_same_surface(store, undisturbed, spec)


@pytest.mark.parametrize("gone", [True, False], ids=["removed", "replaced"])
def test_a_network_that_is_lost_while_it_is_measured_leaves_no_row(store, undisturbed, gone):
    spec = small_surface()
    kept = {key: store.get(key) for key in store.list(layout.checkpoints(spec.trial.trial_id))}

    def lose(done: int, of: int) -> None:
        if done == 10 and gone:  # as `retry` does, or a person with `rm`
            for key in (layout.trial(spec.trial.trial_id), *kept):
                store.delete(key)
        elif done == 10:
            other_network(store, spec)

    outcome = survey(spec, store, device="cpu", every=0, on_points=lose)
    assert (outcome.status, outcome.kind) == ("failed", "data")
    assert not store.has(layout.surface(spec.surface_id))
    for key in (layout.trial(spec.trial.trial_id), *kept):
        store.put(key, undisturbed.get(key))
    assert survey(spec, store, device="cpu").status == "done"
    assert_same_surface(store, undisturbed, spec)


def test_the_untrained_network_needs_no_checkpoint(tmp_path: Path):
    store, spec = open_store(tmp_path / "empty"), small_surface(epoch=0, rows=1, columns=1)
    _, row = finish(spec, store)
    assert row["loss"] == pytest.approx(math.log(10), abs=0.5)
    assert row["checkpoint"] is None
    assert survey(spec, store, device="cpu") == Outcome("done", "it had ended before")


def test_a_diverged_network_has_no_landscape_and_that_is_a_result(tmp_path: Path):
    store, trial = open_store(tmp_path / "results"), small_spec(rate=1e30)
    assert train(trial, store, device="cpu").status == "diverged"
    spec = small_surface(trial=trial)
    outcome = survey(spec, store, device="cpu")
    assert outcome.status == "diverged"
    row = summary(store, spec)
    assert row["status"] == "diverged"
    assert row["epoch"] < EPOCHS, "the last checkpoint stands for the end"
    assert "not finite" in row["exit_reason"]
    assert not store.has(layout.points(spec.surface_id))
    assert survey(spec, store, device="cpu").status == "diverged"


def test_points_of_a_network_that_was_replaced_by_a_diverged_one_go(store: LocalStore):
    spec = small_surface()
    survey(spec, store, device="cpu", stop=StopAtLook(7))
    other_network(store, spec, factor=math.inf)
    assert survey(spec, store, device="cpu").status == "diverged"
    assert not store.has(layout.points(spec.surface_id))


def refused(spec: SurfaceSpec, store: LocalStore, kind: str = "data") -> str:
    """Returns why a surface can't be measured."""
    outcome = survey(spec, store, device="cpu")
    assert (outcome.status, outcome.kind) == ("failed", kind)
    assert not store.has(layout.surface(spec.surface_id))
    return outcome.reason


def test_a_missing_checkpoint_is_reported_with_those_that_are_kept(store: LocalStore):
    spec = small_surface(epoch=1)
    reason = refused(spec, store)
    assert f"no checkpoint of epoch 1; kept are: {EPOCHS}" in reason
    assert "--checkpoint-at 1" in reason
    assert f"nas-sweep retry {spec.trial.trial_id}" in reason
    assert json.loads(store.get(layout.failure(spec.surface_id)))["kind"] == "data"
    assert "Traceback" in survey_log(store, spec)


def test_a_finished_trial_whose_last_checkpoint_is_gone_is_not_measured_earlier(tmp_path: Path):
    store, spec = open_store(tmp_path / "results"), small_surface()
    named = Checkpointing(every=0, at=frozenset({1}))
    assert train(spec.trial, store, device="cpu", checkpointing=named).status == "done"
    for key in (layout.state, layout.tensors):
        store.delete(key(spec.trial.trial_id, EPOCHS))
    assert f"no checkpoint of epoch {EPOCHS}; kept are: 1" in refused(spec, store)


def test_a_diverged_trial_is_measured_at_its_own_last_epoch_alone(tmp_path: Path):
    store, trial = open_store(tmp_path / "results"), small_spec(rate=1e30)
    named = Checkpointing(every=0, at=frozenset({1}))
    assert train(trial, store, device="cpu", checkpointing=named).status == "diverged"
    row = ending(store, trial) | {"epochs": 2}
    store.put(layout.trial(trial.trial_id), tables.to_parquet([row], tables.TRIALS))
    assert "kept are: 1" in refused(small_surface(trial=trial), store)


def test_the_last_checkpoint_must_be_that_of_an_ended_trial(tmp_path: Path):
    """While a trial trains, its newest checkpoint does not stand for its end."""
    store = open_store(tmp_path / "results")
    train(small_spec(), store, device="cpu", checkpointing=COMMIT_LAST, **after_epoch(1))
    assert "kept are: 1" in refused(small_surface(), store)


def test_a_damaged_checkpoint_is_no_network(store: LocalStore):
    spec = small_surface()
    key = layout.tensors(spec.trial.trial_id, EPOCHS)
    store.put(key, store.get(key)[:-3])
    assert "SHA-256" in refused(spec, store)


def test_a_surface_of_another_version_is_refused(store: LocalStore):
    assert "version of the landscape is 7" in refused(small_surface(version=7), store, "spec")


def test_a_stopped_surface_resumes_where_it_was(store: LocalStore, undisturbed: LocalStore):
    spec = small_surface()
    outcome = survey(spec, store, device="cpu", stop=StopAtLook(7))
    assert outcome.status == "stopped"
    there = len(points(store, spec))
    assert 0 < there == outcome.epochs < 25
    again = survey(spec, store, device="cpu")
    assert (again.status, again.epochs) == ("done", 25 - there), "no point is measured twice"
    assert_same_surface(store, undisturbed, spec)
    assert f"stopped after {there} of 25 points: {REASON}" in survey_log(store, spec)
    assert f"resumes from {there} of 25 points" in survey_log(store, spec)


def test_a_stop_before_the_first_point_keeps_those_of_earlier_runs(
    store: LocalStore, undisturbed: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    """As while gradients of a plug-in's operation are checked, which runs the network."""
    spec = small_surface()

    def measured(case: Case) -> Measure:
        copy.deepcopy(case.network).eval()(case.images[:1])
        return measure(case)

    monkeypatch.setattr("workers.landscape.survey.measure", measured)
    stopped = survey(spec, store, device="cpu", stop=StopAtLook(2))
    assert stopped == Outcome("stopped", "before it measured")
    assert not store.has(layout.points(spec.surface_id))
    survey(spec, store, device="cpu", stop=StopAtLook(7))
    there = points(store, spec)
    assert survey(spec, store, device="cpu", stop=StopAtLook(2)).status == "stopped"
    assert len(points(store, spec)) == len(there) > 0
    survey(spec, store, device="cpu")
    assert_same_surface(store, undisturbed, spec)


def test_damaged_points_are_logged_and_measured_again(store: LocalStore, undisturbed: LocalStore):
    spec = small_surface()
    survey(spec, store, device="cpu", stop=StopAtLook(7))
    key = layout.points(spec.surface_id)
    whole = undisturbed.get(key)
    store.put(key, whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    assert survey(spec, store, device="cpu").epochs == 25
    assert_same_surface(store, undisturbed, spec)
    assert "the points are damaged and measured again" in survey_log(store, spec)


class Killed(BaseException):
    """Ends a worker as a signal does: nothing catches it."""


@pytest.mark.parametrize("every", [0, 1e9])
def test_a_killed_worker_loses_no_point_that_was_written(store, undisturbed, every):
    spec, seen = small_surface(), 0
    for moment in (1, 9, 10, 24):

        def kill(done: int, total: int, moment: int = moment) -> None:
            if done >= moment:
                raise Killed

        with pytest.raises(Killed):
            survey(spec, store, device="cpu", every=every, on_points=kill)
        written = store.has(layout.points(spec.surface_id))
        assert written == (moment > 1 and not every)
        seen = len(points(store, spec)) if written else 0
        assert seen == (0 if every else moment - 1)
    assert survey(spec, store, device="cpu").epochs == 25 - seen
    assert_same_surface(store, undisturbed, spec)
    assert store.leases.held() == {}


def test_overflow_is_kept_as_it_is(store: LocalStore):
    spec = small_surface(rows=3, columns=3, extent=1e30)
    table, row = finish(spec, store)
    assert len(table) == 9, "a loss that is infinite or NaN is a row all the same"
    assert row["nonfinite"] == pytest.approx(8 / 9)
    assert torch.tensor(table["loss"]).isfinite().sum() == 1
