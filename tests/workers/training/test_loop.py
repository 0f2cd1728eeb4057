"""One trial from its lease to its row, and what becomes of it when something is wrong."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_trials import (
    COMMIT_ALL,
    COMMIT_LAST,
    EPOCHS,
    TEST,
    TRAIN,
    assert_same,
    ending,
    files,
    log,
    rows,
    small_spec,
)

from results_schema import layout, tables
from results_schema.errors import DataError, StoreError
from results_schema.store import LocalStore
from results_schema.trial import NetworkSpec, TrialSpec
from workers.cells.bases import named
from workers.data import batches
from workers.network.network import build_network
from workers.training import checkpoint
from workers.training.engine import cosine_rate
from workers.training.history import Checkpointing
from workers.training.loop import Outcome, train


def test_a_finished_trial_leaves_its_results_and_nothing_else(store: LocalStore, spec: TrialSpec):
    outcome = train(spec, store, device="cpu", checkpointing=COMMIT_ALL)
    assert outcome == Outcome("done", f"trained {EPOCHS} epochs", EPOCHS)
    assert files(store) == {
        layout.metrics(spec.trial_id),
        layout.trial(spec.trial_id),
        layout.log(spec.trial_id),
        layout.state(spec.trial_id, EPOCHS),
        layout.tensors(spec.trial_id, EPOCHS),
    }
    assert store.leases.held() == {}


def test_every_epoch_has_one_full_row(store: LocalStore, spec: TrialSpec):
    told: list[dict[str, Any]] = []
    train(spec, store, device="cpu", on_epoch=told.append)
    table = rows(store, spec)
    assert list(table.columns) == tables.METRICS.names
    assert table["epoch"].tolist() == list(range(1, EPOCHS + 1))
    assert not table.isna().any().any()
    assert table["rate"].tolist() == [cosine_rate(0.1, e, EPOCHS) for e in range(1, EPOCHS + 1)]
    assert min(table["grad_norm"]) > 0
    assert 0 <= min(table["clip_rate"]) <= max(table["clip_rate"]) <= 1
    assert min(table["images_per_second"] * table["seconds"]) > TRAIN
    assert min(table["peak_memory"]) > 10_000_000
    assert table["finished_at"].is_monotonic_increasing
    assert [row["epoch"] for row in told] == table["epoch"].tolist()
    shares = table[["train_accuracy", "test_accuracy"]] * [TRAIN, TEST]
    assert (shares.round() - shares).abs().max().max() < 1e-9


def test_the_trials_row_sums_up_its_epochs(store: LocalStore, spec: TrialSpec):
    train(spec, store, device="cpu")
    row, table = ending(store, spec), rows(store, spec)
    assert TrialSpec.from_json(row["spec"]) == spec
    assert (row["status"], row["exit_reason"]) == ("done", "trained 3 epochs")
    assert (row["width"], row["depth"], row["epochs"]) == (1.0, 2, EPOCHS)
    for name in ("train_loss", "test_loss", "test_accuracy"):
        assert row[name] == table[name].iloc[-1]
    assert row["best_test_accuracy"] == table["test_accuracy"].max()
    assert row["late_test_accuracy"] == pytest.approx(table["test_accuracy"].mean())
    assert row["train_seconds"] == pytest.approx(table["seconds"].sum())
    net = build_network(spec.genotype, spec.network, in_channels=1, classes=10, seed=0)
    assert row["parameters"] == sum(weight.numel() for weight in net.parameters())
    assert row["started_at"] < table["finished_at"].iloc[0] < row["ended_at"]
    assert (row["attempts"], row["threads"], row["torch"]) == (1, 1, torch.__version__)
    assert (row["ray"], row["cuda"]) == (None, torch.version.cuda)


def test_the_late_accuracy_is_of_the_last_ten_epochs(store: LocalStore):
    spec = small_spec(epochs=13)
    train(spec, store, device="cpu")
    late = rows(store, spec)["test_accuracy"].iloc[-10:].mean()
    assert ending(store, spec)["late_test_accuracy"] == pytest.approx(late)


@pytest.mark.parametrize("name", ["DARTS", "SNAS"])
def test_networks_learn_to_read_digits(store: LocalStore, name: str):
    spec = replace(
        small_spec(genotype=named(name), epochs=8, batch_size=16), network=NetworkSpec(3, 4)
    )
    train(spec, store, device="cpu")
    table = rows(store, spec)
    assert table["test_accuracy"].iloc[-1] > 0.3, "chance is 0.1"
    assert table["train_loss"].iloc[-1] < 0.5 * table["train_loss"].iloc[0]


def test_the_same_trial_gives_the_same_bits_whatever_the_process_did_before(
    store: LocalStore, undisturbed: LocalStore, spec: TrialSpec
):
    torch.manual_seed(12345)
    torch.rand(7)
    train(replace(spec, seed=1), store, device="cpu")
    train(spec, store, device="cpu")
    assert_same(store, undisturbed, spec)
    losses = [rows(store, each)["train_loss"].tolist() for each in (spec, replace(spec, seed=1))]
    assert not set(losses[0]) & set(losses[1])


def test_an_ended_trial_is_left_alone(store: LocalStore, spec: TrialSpec):
    train(spec, store, device="cpu")
    before = {key: store.get(key) for key in files(store)}
    assert train(spec, store, device="cpu") == Outcome("done", "it had ended before")
    assert {key: store.get(key) for key in files(store)} == before


def test_named_epochs_keep_their_checkpoints(store: LocalStore, spec: TrialSpec):
    train(spec, store, device="cpu", checkpointing=Checkpointing(every=1e9, at=frozenset({1, 77})))
    assert checkpoint.epochs(store, spec.trial_id) == [1, EPOCHS]


def test_two_checkpoints_are_kept_while_it_trains(store: LocalStore):
    spec, seen = small_spec(epochs=5), []

    def look() -> bool:
        seen.append(checkpoint.epochs(store, spec.trial_id))
        return False

    train(spec, store, device="cpu", checkpointing=COMMIT_ALL, stop=look)
    assert seen == [[], [1], [1, 2], [2, 3], [3, 4]]
    assert checkpoint.epochs(store, spec.trial_id) == [5]


def test_checkpoints_are_spaced_by_seconds(store: LocalStore, monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr("workers.training.history.time.monotonic", lambda: next(clock))
    seen: list[list[int]] = []
    spec = small_spec(epochs=6)
    train(
        spec,
        store,
        device="cpu",
        checkpointing=Checkpointing(every=25),
        on_epoch=lambda row: seen.append(checkpoint.epochs(store, spec.trial_id)),
    )
    assert seen == [[], [], [], [3], [3], [3]]


def test_asked_to_stop_it_leaves_a_checkpoint_and_no_lease(store: LocalStore, spec: TrialSpec):
    answers = iter([False, False, True])
    outcome = train(
        spec, store, device="cpu", checkpointing=COMMIT_LAST, stop=lambda: next(answers)
    )
    assert outcome == Outcome("stopped", f"after epoch 2 of {EPOCHS}", 2)
    assert checkpoint.epochs(store, spec.trial_id) == [2]
    assert not store.has(layout.trial(spec.trial_id))
    assert store.leases.held() == {}


def test_asked_to_stop_at_once_it_trains_nothing(store: LocalStore, spec: TrialSpec):
    outcome = train(spec, store, device="cpu", stop=lambda: True)
    assert outcome == Outcome("stopped", f"after epoch 0 of {EPOCHS}", 0)
    assert checkpoint.epochs(store, spec.trial_id) == []
    assert len(rows(store, spec)) == 0


def test_a_second_worker_is_told_that_the_trial_is_held(store: LocalStore, spec: TrialSpec):
    outcomes = []

    def intrude(row: dict[str, Any]) -> None:
        outcomes.append(train(spec, LocalStore(store.root), device="cpu"))

    assert train(spec, store, device="cpu", on_epoch=intrude).status == "done"
    assert {outcome.status for outcome in outcomes} == {"held"}
    assert ending(store, spec)["attempts"] == 1


def test_a_fenced_worker_stops_and_writes_nothing_more(store: LocalStore, spec: TrialSpec):
    left: dict[str, bytes] = {}

    def take_over(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            store.leases.fence(spec.trial_id, "mine")
            left.update({key: store.get(key) for key in files(store)})

    outcome = train(
        spec, store, device="cpu", token="mine", checkpointing=COMMIT_ALL, on_epoch=take_over
    )
    assert (outcome.status, outcome.epochs) == ("superseded", 2)
    assert "another worker has taken over" in outcome.reason
    assert {key: store.get(key) for key in files(store)} == left
    assert layout.failure(spec.trial_id) not in left


def test_a_fenced_workers_successor_finishes_undisturbed(store: LocalStore, spec: TrialSpec):
    """The old worker goes on for an epoch after its successor has ended the trial."""
    after: dict[str, bytes] = {}

    def take_over(row: dict[str, Any]) -> None:
        store.leases.fence(spec.trial_id, "old")
        successor = train(spec, LocalStore(store.root), device="cpu", token="new")
        assert (successor.status, successor.epochs) == ("done", EPOCHS)
        after.update({key: store.get(key) for key in files(store)})

    outcome = train(spec, store, device="cpu", token="old", on_epoch=take_over)
    assert outcome.status == "superseded"
    assert {key: store.get(key) for key in files(store)} == after
    assert ending(store, spec)["attempts"] == 2


def test_an_error_is_recorded_and_forgotten_once_the_trial_ends(
    store: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delitem(batches.__dict__, "EVALUATION_BATCH")
    failed = train(spec, store, device="cpu")
    assert (failed.status, failed.kind, failed.epochs) == ("failed", "error", 0)
    record = json.loads(store.get(layout.failure(spec.trial_id)))
    assert record["kind"] == "error"
    assert "EVALUATION_BATCH" in record["message"]
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

    monkeypatch.setattr("workers.training.loop.load", missing)
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


def test_the_log_tells_the_story(store: LocalStore, spec: TrialSpec):
    answers = iter([False, True])
    train(spec, store, device="cpu", stop=lambda: next(answers))
    train(spec, store, device="cpu")
    said = [line[20:] for line in log(store, spec).splitlines()]
    assert said[0].startswith(f"attempt 1 of {spec.trial_id} on ")
    assert said[1].startswith("epoch 1: train loss ")
    assert said[2].startswith(f"attempt 2 of {spec.trial_id} on ")
    assert said[3] == "goes on after epoch 1"
    assert [line.split(":")[0] for line in said[4:]] == ["epoch 2", "epoch 3", "done"]


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
