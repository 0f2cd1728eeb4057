"""The bridge from Tune to workers."""

from pathlib import Path

import pytest
from small_trials import small_spec

from orchestrator import versions
from orchestrator.trainable import train_item


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Offers an item whose store lies elsewhere; returns what its worker reports."""
    spec, told = small_spec(), []
    monkeypatch.setattr("orchestrator.trainable.tune.report", told.append)

    def offer(**settings: object) -> dict:
        common = {"store": str(tmp_path / "elsewhere"), "launch": "now", "device": "cpu"}
        common |= {"deterministic": False, "checkpoint_every": 1e9, "checkpoint_at": []}
        common |= {"versions": versions.told()} | settings
        item = {"token": "t", "names": [spec.trial_id], "specs": [spec.to_json()]}
        train_item(item | {"settings": common})
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
