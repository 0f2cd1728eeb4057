"""One trial from its lease to its row, diverged or done, and what happens if something is wrong."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_checkpoints import ID
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
from stops import REASON, StopAtLook, after_epoch

from results_schema import layout, tables
from results_schema.lease import Lease
from results_schema.store import LocalStore, open_store
from results_schema.trial import NetworkSpec, TrialSpec
from workers.cells.bases import named
from workers.network.network import Network, build_network
from workers.training import checkpoint
from workers.training.attempt import Outcome
from workers.training.checkpoint import Checkpointing
from workers.training.engine import scheduled_lr
from workers.training.trial import count_attempt, train


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
    assert table["rate"].tolist() == [
        scheduled_lr(spec.recipe, 0.1, e) for e in range(1, EPOCHS + 1)
    ]
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
    assert (row["pack_size"], row["gpu_share"]) == (1, None), "there is no GPU"
    assert row["cuda"] == torch.version.cuda


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


def test_a_later_launch_that_names_no_epochs_keeps_those_named_before(
    store: LocalStore, spec: TrialSpec
):
    named = Checkpointing(every=1e9, at=frozenset({1}))
    train(spec, store, device="cpu", checkpointing=named, **after_epoch(2))
    assert checkpoint.epochs(store, spec.trial_id) == [1, 2]
    assert train(spec, store, device="cpu", checkpointing=COMMIT_ALL).status == "done"
    assert checkpoint.epochs(store, spec.trial_id) == [1, EPOCHS]


def test_two_checkpoints_are_kept_while_it_trains(store: LocalStore):
    spec, seen = small_spec(epochs=5), []

    def look(row: dict[str, Any]) -> None:
        seen.append(checkpoint.epochs(store, spec.trial_id))

    train(spec, store, device="cpu", checkpointing=COMMIT_ALL, on_epoch=look)
    assert seen == [[], [1], [1, 2], [2, 3], [3, 4]], "before each epoch's own"
    assert checkpoint.epochs(store, spec.trial_id) == [5]


def test_checkpoints_are_spaced_by_seconds(store: LocalStore, monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(0, 10_000, 10))
    timed = SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr("workers.training.checkpoint.time", timed)
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
    outcome = train(spec, store, device="cpu", checkpointing=COMMIT_LAST, **after_epoch(2))
    assert outcome == Outcome("stopped", f"after epoch 2 of {EPOCHS}", 2)
    assert checkpoint.epochs(store, spec.trial_id) == [2]
    assert not store.has(layout.trial(spec.trial_id))
    assert store.leases.held() == {}


def test_asked_to_stop_before_its_first_epoch_it_trains_nothing(store: LocalStore, spec: TrialSpec):
    outcome = train(spec, store, device="cpu", stop=StopAtLook(2))
    assert outcome == Outcome("stopped", f"after epoch 0 of {EPOCHS}", 0)
    assert checkpoint.epochs(store, spec.trial_id) == []
    assert len(rows(store, spec)) == 0


def test_asked_to_stop_before_it_begins_it_is_no_attempt(store: LocalStore, spec: TrialSpec):
    before = files(store)
    outcome = train(spec, store, device="cpu", ask=lambda: "the test")
    assert outcome == Outcome("stopped", "before it began", 0)
    assert files(store) == before
    train(spec, store, device="cpu")
    assert ending(store, spec)["attempts"] == 1
    ended = train(spec, store, device="cpu", ask=lambda: "the test")
    assert ended.status == "done", "there is nothing left to stop"


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


def test_a_worker_that_wakes_after_its_successor_ended_the_trial_deletes_nothing(
    store: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
):
    """It slept between its checkpoint and the removal of older ones."""
    save, after = checkpoint.save, {}

    def save_and_sleep(*arguments: Any) -> None:
        save(*arguments)
        monkeypatch.undo()
        store.leases.fence(spec.trial_id, "old")
        assert train(spec, LocalStore(store.root), device="cpu", token="new").status == "done"
        after.update({key: store.get(key) for key in files(store)})

    monkeypatch.setattr(checkpoint, "save", save_and_sleep)
    outcome = train(spec, store, device="cpu", token="old", checkpointing=COMMIT_ALL)
    assert (outcome.status, outcome.epochs) == ("superseded", 1)
    assert {key: store.get(key) for key in files(store)} == after
    assert checkpoint.epochs(store, spec.trial_id) == [EPOCHS]


def test_the_log_tells_the_story(store: LocalStore, spec: TrialSpec):
    train(spec, store, device="cpu", **after_epoch(1))
    train(spec, store, device="cpu")
    said = [line[20:] for line in log(store, spec).splitlines()]
    assert said[0].startswith(f"attempt 1 of {spec.trial_id} on ")
    assert said[1].startswith("epoch 1: train loss ")
    assert said[2] == f"stopped after epoch 1 of {EPOCHS}: {REASON}"
    assert said[3].startswith(f"attempt 2 of {spec.trial_id} on ")
    assert said[4] == "resumes after epoch 1"
    assert [line.split(":")[0] for line in said[5:]] == ["epoch 2", "epoch 3", "done"]


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


def test_a_processor_gives_the_same_bits_anyway_so_that_nothing_is_switched(
    store: LocalStore, undisturbed: LocalStore, spec: TrialSpec
):
    torch.use_deterministic_algorithms(True)  # as an earlier trial on a GPU may have left it
    train(spec, store, device="cpu", deterministic=True)
    assert_same(store, undisturbed, spec)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not ending(store, spec)["deterministic"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_trial_that_was_stopped_goes_on_bit_by_bit(
    store: LocalStore, spec: TrialSpec, tmp_path_factory: pytest.TempPathFactory
):
    undisturbed = open_store(tmp_path_factory.mktemp("whole") / "results")
    train(spec, undisturbed, device="cuda", deterministic=True, checkpointing=COMMIT_LAST)
    train(
        spec,
        store,
        device="cuda",
        deterministic=True,
        checkpointing=COMMIT_ALL,
        **after_epoch(1),
    )
    outcome = train(spec, store, device="cuda", deterministic=True, gpu_share=0.5)
    assert (outcome.status, outcome.epochs) == ("done", EPOCHS - 1)
    assert_same(store, undisturbed, spec)
    assert ending(store, spec)["deterministic"]
    assert ending(store, spec)["gpu_share"] == 0.5
    assert torch.are_deterministic_algorithms_enabled()


def test_attempts_are_counted_from_the_first(store: LocalStore, lease: Lease):
    before = datetime.now(UTC)
    first, second = (count_attempt(store, lease, ID, 9) for _ in range(2))
    assert (first["attempts"], second["attempts"]) == (1, 2)
    assert before <= first["started_at"] == second["started_at"] <= datetime.now(UTC)


@pytest.mark.parametrize("text", [b"", b"{}", b'{"attempts": 3}', b"[]", b'{"attempts": "x"}'])
def test_a_damaged_count_begins_again(store: LocalStore, lease: Lease, text: bytes):
    store.put(layout.attempts(ID), text)
    assert count_attempt(store, lease, ID, 9)["attempts"] == 1


class TestMomenta:
    """They are half of a checkpoint, and kept as long as a step may follow."""

    def test_a_trial_of_all_epochs_ends_without(self, store: LocalStore, spec: TrialSpec):
        at = Checkpointing(every=1e9, at=frozenset({1, EPOCHS}))
        train(spec, store, device="cpu", checkpointing=at)
        assert momenta(store, spec, 1)
        assert not momenta(store, spec, EPOCHS)
        assert checkpoint.load(store, spec.trial_id, EPOCHS).kept

    def test_it_ends_again_from_a_final_checkpoint_with_them_or_without(
        self, store: LocalStore, undisturbed: LocalStore, spec: TrialSpec
    ):
        train(spec, store, device="cpu")
        final = checkpoint.load(store, spec.trial_id, EPOCHS)
        weights = dict(built(spec).named_parameters())
        full = final.tensors | {
            f"momentum.{name}": torch.zeros_like(weights[name]) for name in weights
        }
        for tensors in (final.tensors, full):
            store.delete(layout.trial(spec.trial_id))
            with store.leases.take(spec.trial_id) as lease:  # type: ignore[union-attr]
                checkpoint.save(store, lease, spec.trial_id, replace(final, tensors=tensors))
            outcome = train(spec, store, device="cpu")
            assert outcome == Outcome("done", f"trained {EPOCHS} epochs", 0)
        store.delete(layout.tensors(spec.trial_id, EPOCHS))
        with store.leases.take(spec.trial_id) as lease:  # type: ignore[union-attr]
            checkpoint.save(store, lease, spec.trial_id, final)
        assert_same(store, undisturbed, spec)

    def test_a_stopped_or_diverged_trial_keeps_them(self, store: LocalStore, spec: TrialSpec):
        train(spec, store, device="cpu", **after_epoch(2))
        assert momenta(store, spec, 2)
        diverging = small_spec(rate=1e30, epochs=6)
        train(diverging, store, device="cpu")
        assert momenta(store, diverging, ending(store, diverging)["epochs"])

    def test_a_trial_is_not_resumed_without_them(
        self, store: LocalStore, undisturbed: LocalStore, spec: TrialSpec
    ):
        train(spec, store, device="cpu", checkpointing=COMMIT_ALL, **after_epoch(2))
        found = checkpoint.load(store, spec.trial_id, 2)
        bare = {name: t for name, t in found.tensors.items() if "momentum" not in name}
        with store.leases.take(spec.trial_id) as lease:  # type: ignore[union-attr]
            checkpoint.save(store, lease, spec.trial_id, replace(found, tensors=bare))
        outcome = train(spec, store, device="cpu")
        assert (outcome.status, outcome.epochs) == ("done", EPOCHS - 1), "from the one before"
        assert "its tensors are not those of this network" in log(store, spec)
        assert_same(store, undisturbed, spec)


def built(spec: TrialSpec) -> Network:
    return build_network(spec.genotype, spec.network, in_channels=1, classes=10, seed=0)


def momenta(store: LocalStore, spec: TrialSpec, epoch: int) -> bool:
    """Whether a checkpoint has the momentum of each weight."""
    names = checkpoint.load(store, spec.trial_id, epoch).tensors
    found = {name.removeprefix("momentum.") for name in names if name.startswith("momentum.")}
    net = built(spec)
    assert found in (set(), {name for name, _ in net.named_parameters()})
    return bool(found)
