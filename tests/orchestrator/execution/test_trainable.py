"""The bridge from Tune to workers."""

from pathlib import Path
from typing import Any

import pytest
from items import sent
from small_trials import EPOCHS, few_digits, small_spec

from orchestrator.execution import versions
from orchestrator.execution.trainable import NamedItem, _Due, _now_and_then, train_item
from results_schema import layout
from results_schema.store import open_store


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Offers an item whose store lies elsewhere; returns what its worker reports."""
    spec, told = small_spec(), []
    monkeypatch.setattr("orchestrator.execution.trainable.tune.report", told.append)

    def offer(**settings: Any) -> dict:
        train_item(sent(str(tmp_path / "elsewhere"), spec, **settings))
        (result,) = told
        assert not (tmp_path / "elsewhere").exists()
        assert (result["item"], result["status"]) == (spec.trial_id, "failed")
        return result

    return offer


def test_a_node_that_does_not_share_the_store_trains_nothing_and_says_so(offered):
    result = offered()
    assert result["kind"] == "unfit"
    assert "every node must reach" in result["reason"]


def test_a_node_that_runs_something_else_does_not_even_look_for_the_store(offered):
    result = offered(versions=versions.told() | {"torch": "0.1"}, store="gone://away")
    assert result["kind"] == "unfit"
    assert "and this launch has torch 0.1" in result["reason"]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Trains a trial; returns its id and what its worker reports."""
    store, spec = open_store(tmp_path / "results"), small_spec()
    store.put(layout.launch("now"), b"")
    told: list[dict[str, Any]] = []
    monkeypatch.setattr("orchestrator.execution.trainable.tune.report", told.append)

    def train(**settings: Any) -> tuple[str, list[dict[str, Any]]]:
        with few_digits():
            train_item(sent(store.location, spec, **settings))
        return spec.trial_id, told

    return train


def test_every_epoch_is_reported_with_its_speed(trained):
    name, told = trained()
    assert [result["epoch"] for result in told] == [*range(1, EPOCHS + 1)]
    assert {result["trained"] for result in told} == {1}
    assert all(result["images_per_second"] > 0 < result["peak_memory"] for result in told)
    assert (told[-1]["item"], told[-1]["status"]) == (name, "done")


def test_quick_epochs_are_reported_together_the_last_with_the_outcome(trained):
    name, (first, last) = trained(report_every=1e9)
    assert (first["item"], first["epoch"], first["trained"]) == (name, 1, 1)
    assert (last["epoch"], last["trained"], last["status"]) == (EPOCHS, EPOCHS - 1, "done")


def test_an_outcome_without_new_epochs_tells_of_none(trained):
    trained()
    *_, again = trained()[1]
    assert again["status"] == "done"
    assert "epoch" not in again


def test_points_are_reported_by_how_many_are_new(monkeypatch):
    told: list[dict[str, Any]] = []
    now = iter([0.0, 0.5])
    monkeypatch.setattr("orchestrator.execution.trainable.tune.report", told.append)
    monkeypatch.setattr("orchestrator.execution.trainable.time.monotonic", lambda: next(now))
    tell = _now_and_then("s", _Due(1.0))
    for done in (11, 12, 13):
        tell(done, 13)
    assert [(result["points"], result["measured"]) for result in told] == [(11, 1), (13, 2)]


def test_a_process_that_does_one_item_is_named_by_it():
    named = object.__new__(NamedItem)
    named.config = {"names": ["a", "b"]}
    # Ray's dashboard shows an actor's repr; `test_monitoring` looks there.
    assert repr(named) == "a, b"
