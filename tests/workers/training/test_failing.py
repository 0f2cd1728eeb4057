"""What is said and kept of a trial that can't be trained."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_trials import EPOCHS, ending, log, small_spec

from results_schema import layout
from results_schema.errors import DataError, StoreError
from results_schema.store import LocalStore
from results_schema.trial import TrialSpec
from workers.data import batches
from workers.training.attempt import Outcome
from workers.training.trial import train


def test_an_error_is_recorded_and_forgotten_once_the_trial_ends(
    store: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delitem(batches.__dict__, "cut_out")
    spec = replace(spec, recipe=replace(spec.recipe, cutout=2))
    failed = train(spec, store, device="cpu")
    assert (failed.status, failed.kind, failed.epochs) == ("failed", "error", 0)
    record = json.loads(store.get(layout.failure(spec.trial_id)))
    assert record["kind"] == "error"
    assert "cut_out" in record["message"]
    assert record["log"] == layout.log(spec.trial_id)
    assert "Traceback (most recent call last)" in log(store, spec)
    assert store.leases.held() == {}
    monkeypatch.undo()
    assert train(spec, store, device="cpu").status == "done"
    assert not store.has(layout.failure(spec.trial_id))
    assert ending(store, spec)["attempts"] == 2
    assert "Traceback" in log(store, spec)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dataset": "mnist"}, "unknown data set 'mnist'"),
        ({"preprocessing": 7}, "preprocessing of digits is 7, and this release's is 1"),
        ({"recipe": replace(small_spec().recipe, version=9)}, "recipe version is 9"),
        (
            {
                "recipe": replace(small_spec().recipe, statistics="digits_32"),
                "statistics_preprocessing": 7,
            },
            "preprocessing of digits_32 is 7, and this release's is 1",
        ),
    ],
)
def test_what_this_release_cannot_train_is_said(
    store: LocalStore, spec: TrialSpec, change: dict[str, Any], says: str
):
    odd = replace(spec, **change)
    outcome = train(odd, store, device="cpu")
    assert (outcome.status, outcome.kind) == ("failed", "spec")
    assert says in outcome.reason
    assert json.loads(store.get(layout.failure(odd.trial_id)))["kind"] == "spec"
    assert not store.has(layout.metrics(odd.trial_id))


def test_a_missing_data_set_is_a_failure_of_its_own_kind(
    store: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
):
    def missing(*_: object) -> None:
        raise DataError("digits is not here", fix="fetch it")

    monkeypatch.setattr("workers.training.setup.load", missing)
    outcome = train(spec, store, device="cpu")
    assert outcome == Outcome("failed", "digits is not here\n  fetch it", kind="data")
    assert "fetch it" in json.loads(store.get(layout.failure(spec.trial_id)))["message"]


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "gpu", "meta", "cpu?"])
def test_a_device_that_is_not_there_is_a_failure_of_the_machine(
    store: LocalStore, spec: TrialSpec, device: str
):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    outcome = train(spec, store, device=device)
    assert (outcome.status, outcome.kind) == ("failed", "machine")
    assert "use " in outcome.reason


def test_a_store_that_gives_no_lease_is_a_failure_of_the_store(
    store: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise StoreError("No space left on device", where="leases", fix="free some space")

    monkeypatch.setattr(store.leases, "take", full)
    outcome = train(spec, store, device="cpu")
    assert outcome == Outcome(
        "failed", "leases: No space left on device\n  free some space", kind="store"
    )


def test_a_damaged_row_of_an_ended_trial_is_named(store: LocalStore, spec: TrialSpec):
    train(spec, store, device="cpu")
    store.put(layout.trial(spec.trial_id), b"PAR1 no more")
    outcome = train(spec, store, device="cpu")
    assert (outcome.status, outcome.kind) == ("failed", "store")
    assert layout.trial(spec.trial_id) in outcome.reason
    store.delete(layout.trial(spec.trial_id))
    assert train(spec, store, device="cpu") == Outcome("done", f"trained {EPOCHS} epochs", 0)
