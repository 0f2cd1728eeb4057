"""The bridge from Tune to workers."""

from small_trials import small_spec

from orchestrator.trainable import train_item


def test_a_node_that_does_not_share_the_store_trains_nothing_and_says_so(tmp_path, monkeypatch):
    spec, told = small_spec(), []
    monkeypatch.setattr("orchestrator.trainable.tune.report", told.append)
    settings = {"store": str(tmp_path / "elsewhere"), "launch": "now", "device": "cpu"}
    settings |= {"deterministic": False, "checkpoint_every": 1e9, "checkpoint_at": []}
    train_item(
        {"token": "t", "names": [spec.trial_id], "specs": [spec.to_json()], "settings": settings}
    )
    (result,) = told
    assert (result["status"], result["kind"]) == ("failed", "machine")
    assert "every node must reach" in result["reason"]
    assert not (tmp_path / "elsewhere").exists()
