"""Divergence is a result: kept as it came, and never trained again."""

import math

import pytest
from small_trials import COMMIT_ALL, TRAIN, ending, rows, small_spec

from results_schema import layout
from results_schema.store import LocalStore
from workers.training import checkpoint
from workers.training.attempt import Outcome
from workers.training.trial import train


def test_a_rate_at_which_it_diverges_is_a_result(store: LocalStore):
    spec = small_spec(rate=1e30, epochs=6)
    outcome = train(spec, store, device="cpu", checkpointing=COMMIT_ALL)
    assert outcome.status == "diverged"
    assert "is not finite" in outcome.reason
    row, table = ending(store, spec), rows(store, spec)
    assert (row["status"], row["epochs"], len(table)) == ("diverged", outcome.epochs, row["epochs"])
    assert row["epochs"] < 6
    assert math.isnan(table["test_loss"].iloc[-1])
    assert not store.has(layout.failure(spec.trial_id))
    assert checkpoint.epochs(store, spec.trial_id) == [row["epochs"]]
    assert train(spec, store, device="cpu") == Outcome("diverged", "it had ended before")


def test_a_diverged_trial_cut_off_before_its_row_ends_alike(store: LocalStore):
    """Its checkpoint holds NaN, in rows and in tensors."""
    spec = small_spec(rate=1e30, epochs=6)
    train(spec, store, device="cpu")
    before = ending(store, spec)
    store.delete(layout.trial(spec.trial_id))
    outcome = train(spec, store, device="cpu")
    assert (outcome.status, outcome.epochs) == ("diverged", 0)
    after = ending(store, spec)
    for name in ("status", "epochs", "exit_reason", "spec"):
        assert before[name] == after[name]
    assert math.isnan(after["test_loss"])


@pytest.mark.parametrize(
    ("rate", "reason"),
    [
        (1e39, "a weight is not finite after epoch 1"),
        (1e30, "the test loss of the last epoch is not finite"),
    ],
)
def test_what_breaks_in_the_last_epoch_is_divergence_though_its_training_loss_was_finite(
    store: LocalStore, rate: float, reason: str
):
    spec = small_spec(rate=rate, epochs=1, batch_size=TRAIN)
    outcome = train(spec, store, device="cpu")
    assert math.isfinite(rows(store, spec)["train_loss"].iloc[-1])
    assert outcome == Outcome("diverged", reason, 1)
