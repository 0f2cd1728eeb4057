"""One trial from its lease to its row; whatever cuts it off, it ends as an undisturbed one does."""

import itertools
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
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
from results_schema.trial import TrialSpec
from workers.training import checkpoint, trial
from workers.training.attempt import Outcome
from workers.training.checkpoint import Checkpointing, Row
from workers.training.recipe import scheduled_lr
from workers.training.setup import set_up
from workers.training.trial import count_attempt, train

CPU = torch.device("cpu")


def contents(store: LocalStore) -> dict[str, bytes]:
    return {key: store.get(key) for key in files(store)}


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
    before = contents(store)
    assert train(spec, store, device="cpu") == Outcome("done", "it had ended before")
    assert contents(store) == before


def test_rows_are_full_and_the_trials_row_sums_them_up(store: LocalStore, spec: TrialSpec):
    seen: list[Row] = []
    train(spec, store, device="cpu", on_epoch=seen.append)
    table, row = rows(store, spec), ending(store, spec)
    assert list(table.columns) == tables.METRICS.names
    assert [each["epoch"] for each in seen] == table["epoch"].tolist() == [1, 2, 3]
    held_out = ["val_loss", "val_accuracy"]
    assert not table.drop(columns=held_out).isna().any().any()
    assert table[held_out].isna().to_numpy().all()
    assert table["rate"].tolist() == [scheduled_lr(spec.recipe, 0.1, e) for e in (1, 2, 3)]
    assert min(table["grad_norm"]) > 0
    assert 0 <= min(table["clip_rate"]) <= max(table["clip_rate"]) <= 1
    assert min(table["images_per_second"] * table["seconds"]) > TRAIN
    assert min(table["peak_memory"]) > 10_000_000
    assert table["finished_at"].is_monotonic_increasing
    shares = table[["train_accuracy", "test_accuracy"]] * [TRAIN, TEST]
    assert (shares.round() - shares).abs().max().max() < 1e-9
    assert TrialSpec.from_json(row["spec"]) == spec
    assert (row["status"], row["exit_reason"]) == ("done", "trained 3 epochs")
    assert (row["width"], row["depth"], row["epochs"]) == (1.0, 2, EPOCHS)
    for name in ("train_loss", "test_loss", "test_accuracy"):
        assert row[name] == table[name].iloc[-1]
    assert row["best_test_accuracy"] == table["test_accuracy"].max()
    assert row["train_seconds"] == pytest.approx(table["seconds"].sum())
    weights = set_up(spec, CPU)[1].network.parameters()
    assert row["parameters"] == sum(weight.numel() for weight in weights)
    assert row["started_at"] < table["finished_at"].iloc[0] < row["ended_at"]
    assert (row["attempts"], row["threads"], row["form"]) == (1, 1, "eager")
    assert (row["pack_size"], row["gpu_share"]) == (1, None), "there is no GPU"
    assert (row["dataset"], row["learning_rate"], row["seed"]) == ("digits", 0.1, 0)
    assert (row["precision"], row["recipe_version"]) == ("fp32", spec.recipe.version)


@pytest.mark.parametrize("validated", [True, False])
def test_the_trials_row_has_the_late_accuracy_and_that_of_the_best_epoch(spec, validated):
    accuracies = [0.1, 0.9, 0.5, *[0.25] * 9]
    held_out = [0.2, 0.3, 0.7, 0.7, *[0.6] * 8] if validated else [None] * 12
    given = [
        {"train_loss": 1.0, "test_loss": 2.0, "test_accuracy": each, "seconds": 0.5}
        | {"val_loss": other and 1 - other, "val_accuracy": other}
        for each, other in zip(accuracies, held_out, strict=True)
    ]
    row = trial.trial_row(spec, given, ("done", "reason"), {"host": "here"})
    assert row["late_test_accuracy"] == pytest.approx((0.5 + 9 * 0.25) / 10)
    assert (row["best_test_accuracy"], row["train_seconds"], row["host"]) == (0.9, 6.0, "here")
    chosen = row["best_epoch"], row["selected_test_accuracy"], row["val_accuracy"], row["val_loss"]
    assert chosen == ((3, 0.5, 0.6, 0.4) if validated else (None,) * 4)


def test_the_same_trial_gives_the_same_bits_whatever_the_process_did_before(
    store: LocalStore, undisturbed: LocalStore, spec: TrialSpec
):
    """A CPU is deterministic anyway, so that nothing is switched there."""
    torch.manual_seed(12345)
    torch.use_deterministic_algorithms(True)  # as an earlier trial on a GPU may have left it
    other = replace(spec, seed=1)
    train(other, store, device="cpu")
    train(spec, store, device="cpu", deterministic=True)
    assert_same(store, undisturbed, spec)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not ending(store, spec)["deterministic"]
    losses = [rows(store, each)["train_loss"].tolist() for each in (spec, other)]
    assert not set(losses[0]) & set(losses[1])


def test_named_epochs_keep_their_checkpoints_in_later_launches_too(store, spec):
    """They have momenta, as a step may follow; those of the last epoch have none."""
    named = Checkpointing(every=1e9, at=frozenset({1, 77}))
    train(spec, store, device="cpu", checkpointing=named, **after_epoch(2))
    assert checkpoint.epochs(store, spec.trial_id) == [1, 2]
    assert momenta(store, spec, 1) and momenta(store, spec, 2)
    assert train(spec, store, device="cpu", checkpointing=COMMIT_ALL).status == "done"
    assert checkpoint.epochs(store, spec.trial_id) == [1, EPOCHS]
    assert not momenta(store, spec, EPOCHS)


def momenta(store: LocalStore, spec: TrialSpec, epoch: int) -> bool:
    """Whether a checkpoint has the momentum of each weight."""
    names = checkpoint.load(store, spec.trial_id, epoch).tensors
    found = {name.removeprefix("momentum.") for name in names if name.startswith("momentum.")}
    assert found in (set(), {name for name, _ in set_up(spec, CPU)[1].network.named_parameters()})
    return bool(found)


def test_asked_to_stop_before_it_begins_it_is_no_attempt(store: LocalStore, spec: TrialSpec):
    before = files(store)
    outcome = train(spec, store, device="cpu", ask=lambda: "the test")
    assert outcome == Outcome("stopped", "before it began", 0)
    assert files(store) == before
    train(spec, store, device="cpu")
    assert ending(store, spec)["attempts"] == 1
    ended = train(spec, store, device="cpu", ask=lambda: "the test")
    assert ended.status == "done", "there is nothing left to stop"


def test_a_second_worker_leaves_a_held_trial_alone(store: LocalStore, spec: TrialSpec):
    outcomes = []

    def intrude(row: Row) -> None:
        outcomes.append(train(spec, LocalStore(store.root), device="cpu"))

    assert train(spec, store, device="cpu", on_epoch=intrude).status == "done"
    assert outcomes == [Outcome("held", "another worker holds its lease")] * EPOCHS
    assert ending(store, spec)["attempts"] == 1


def test_a_fenced_worker_stops_and_changes_nothing_of_its_successors(store, spec):
    """The old worker continues after its successor has ended the trial."""
    after: dict[str, bytes] = {}

    def take_over(_: Row) -> None:
        store.leases.fence(spec.trial_id, "old")
        successor = train(spec, LocalStore(store.root), device="cpu", token="new")
        assert successor.status == "done"
        after.update(contents(store))

    outcome = train(
        spec, store, device="cpu", token="old", checkpointing=COMMIT_ALL, on_epoch=take_over
    )
    assert (outcome.status, outcome.epochs) == ("superseded", 1)
    assert "another worker has taken over" in outcome.reason
    assert contents(store) == after
    assert layout.failure(spec.trial_id) not in after


def test_the_log_has_each_attempt_with_its_epochs_and_its_end(store: LocalStore, spec: TrialSpec):
    live: list[str] = []
    train(spec, store, device="cpu", **after_epoch(1, lambda _: live.append(log(store, spec))))
    assert "epoch 1: train loss " in live[0], "it can be followed"
    train(spec, store, device="cpu")
    lines = [line[20:] for line in log(store, spec).splitlines()]
    assert lines[0].startswith(f"attempt 1 of {spec.trial_id} on ")
    assert lines[1].startswith("epoch 1: train loss ")
    assert lines[2] == f"stopped after epoch 1 of {EPOCHS}: {REASON}"
    assert lines[3].startswith(f"attempt 2 of {spec.trial_id} on ")
    assert lines[4] == "resumes after epoch 1"
    assert [line.split(":")[0] for line in lines[5:]] == ["epoch 2", "epoch 3", "done"]


def test_a_rate_at_which_it_diverges_is_a_result_and_stays_one(store: LocalStore):
    """Cut off before its row, it ends alike: its checkpoint holds NaN, in rows and in tensors."""
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
    assert momenta(store, spec, row["epochs"]), "the epoch alone decides what a file holds"
    store.delete(layout.trial(spec.trial_id))
    assert train(spec, store, device="cpu") == replace(outcome, epochs=0)
    again = ending(store, spec)
    for name in ("status", "epochs", "exit_reason", "spec"):
        assert row[name] == again[name]
    assert math.isnan(again["test_loss"])


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


def test_attempts_are_counted_from_the_first(store: LocalStore, lease: Lease):
    before = datetime.now(UTC)
    first, second = (count_attempt(store, lease, ID, 9) for _ in range(2))
    assert (first["attempts"], second["attempts"]) == (1, 2)
    assert before <= first["started_at"] == second["started_at"] <= datetime.now(UTC)
    assert b'"epochs": 9' in store.get(layout.attempts(ID))


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{}", b'{"attempts": 3}', b"[]", b" " * 10_001),
        *(
            b'{"attempts": %b, "started_at": "%b"}' % (count, started)
            for count in (b"1", b"1.5", b"1e999", b"-3", b"true", b"9" * 20)
            for started in (b"2026-01-01T00:00:00", b"2026-01-01T00:00:00+00:00")
            if (count, started[19:]) not in ((b"1", b"+00:00"), (b"true", b"+00:00"))
        ),
    ],
)
def test_a_damaged_count_begins_again(store: LocalStore, lease: Lease, text: bytes):
    """It would be in the way of the trial's row, once all epochs are trained."""
    store.put(layout.attempts(ID), text)
    assert count_attempt(store, lease, ID, 9)["attempts"] == 1


def test_stopped_before_any_batch_it_keeps_all_epochs_before_and_resumes_bit_by_bit(
    store: LocalStore, undisturbed: LocalStore, spec: TrialSpec
):
    stops = 0
    for look in itertools.count(2):
        stop = StopAtLook(look)
        outcome = train(spec, store, device="cpu", checkpointing=COMMIT_LAST, stop=stop)
        if outcome.status == "done":
            break
        stops += 1
        published = len(rows(store, spec))
        assert outcome.reason == f"after epoch {published} of {EPOCHS}"
        assert max(checkpoint.epochs(store, spec.trial_id), default=0) == published
        assert not store.has(layout.trial(spec.trial_id))
        assert store.leases.held() == {}
    # Before the epoch, before each of its 4 batches and before that of the test set; from the
    # seventh attempt on an epoch or two are trained again before the look that stops it.
    assert stops > 6
    assert ending(store, spec)["attempts"] == stops + 1
    assert_same(store, undisturbed, spec)


def test_a_trial_waits_after_an_epoch_and_continues_with_the_same_bits(tmp_path, store):
    spec, other = small_spec(epochs=4), open_store(tmp_path / "other")
    train(spec, other, device="cpu")
    outcomes = [
        train(spec, store, device="cpu", checkpointing=COMMIT_LAST, until=until)
        for until in (1, 1, 3, None)
    ]
    assert [(one.status, one.epochs) for one in outcomes] == [
        ("waiting", 1), ("waiting", 0), ("waiting", 2), ("done", 1)
    ]  # fmt: skip
    assert_same(store, other, spec)


def test_rows_beyond_the_checkpoint_are_replaced_and_never_read(
    store: LocalStore, undisturbed: LocalStore, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
):
    """They are provisional: whatever they are is trained again."""
    train(spec, store, device="cpu", checkpointing=COMMIT_ALL, **after_epoch(2))
    for part in (layout.state, layout.tensors):
        store.delete(part(spec.trial_id, 2))
    store.put(layout.metrics(spec.trial_id), b"torn")
    seen: list[list[int]] = []
    train_epoch = trial.train_epoch

    def look(*arguments: Any) -> Row:
        seen.append(rows(store, spec)["epoch"].tolist())
        return train_epoch(*arguments)

    monkeypatch.setattr(trial, "train_epoch", look)
    train(spec, store, device="cpu")
    assert seen == [[1], [1, 2]], "before each epoch"
    assert_same(store, undisturbed, spec)


def test_damaged_checkpoints_cost_epochs_but_no_results(store, undisturbed, spec):
    """The newest has no momenta, from which no step can be taken; the one before is cut off."""
    train(spec, store, device="cpu", checkpointing=COMMIT_ALL, **after_epoch(2))
    found = checkpoint.load(store, spec.trial_id, 2)
    bare = {name: t for name, t in found.tensors.items() if "momentum" not in name}
    with store.leases.take(spec.trial_id) as lease:
        checkpoint.save(store, lease, spec.trial_id, replace(found, tensors=bare))
    key = layout.tensors(spec.trial_id, 1)
    store.put(key, store.get(key)[:-9])
    outcome = train(spec, store, device="cpu", checkpointing=COMMIT_ALL)
    assert (outcome.status, outcome.epochs) == ("done", EPOCHS)
    assert_same(store, undisturbed, spec)
    warnings = [line for line in log(store, spec).splitlines() if "is damaged" in line]
    assert len(warnings) == 2
    assert "its tensors are not those of this network" in warnings[0]
    assert checkpoint.epochs(store, spec.trial_id) == [EPOCHS]


def test_it_ends_again_from_a_final_checkpoint_with_momenta_or_without(store, spec):
    train(spec, store, device="cpu")
    final = checkpoint.load(store, spec.trial_id, EPOCHS)
    weights = set_up(spec, CPU)[1].network.named_parameters()
    momenta = {f"momentum.{name}": torch.zeros_like(weight) for name, weight in weights}
    for tensors in (final.tensors, final.tensors | momenta):
        store.delete(layout.trial(spec.trial_id))
        with store.leases.take(spec.trial_id) as lease:
            checkpoint.save(store, lease, spec.trial_id, replace(final, tensors=tensors))
        outcome = train(spec, store, device="cpu")
        assert outcome == Outcome("done", f"trained {EPOCHS} epochs", 0)


class Killed(BaseException):
    """Ends a worker as suddenly as a test within one process can."""


class FailingStore(LocalStore):
    """A store in whose n-th write or removal the worker is killed."""

    def __init__(self, root: Path, failing: int) -> None:
        super().__init__(root)
        self.failing, self.calls = failing, 0

    def put(self, key: str, data: bytes, **how: Any) -> None:
        self._count()
        super().put(key, data, **how)

    def delete(self, key: str, *, lease: Lease | None = None) -> None:
        self._count()
        super().delete(key, lease=lease)

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.failing:
            raise Killed


@pytest.mark.parametrize("last", [0, pytest.param(1, marks=pytest.mark.long)])
def test_cut_off_at_any_write_it_ends_as_if_nothing_had_happened(tmp_path: Path, last: int):
    """At each second one from the last, and in the long suite at the others."""
    spec = small_spec(epochs=2, batch_size=80)
    whole = FailingStore(open_store(tmp_path / "whole").root, 0)
    train(spec, whole, device="cpu", checkpointing=COMMIT_ALL)
    for failing in range(whole.calls - last, 0, -2):
        root = open_store(tmp_path / str(failing)).root
        with pytest.raises(Killed):
            train(spec, FailingStore(root, failing), device="cpu", checkpointing=COMMIT_ALL)
        store = LocalStore(root)
        assert train(spec, store, device="cpu", checkpointing=COMMIT_ALL).status == "done"
        assert_same(store, whole, spec)
        # A kill between the trial's row and the very last removal leaves one small file.
        assert files(store) - {layout.attempts(spec.trial_id)} == files(whole)
        assert store.leases.held() == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_trial_that_was_stopped_resumes_bit_by_bit(store, spec, tmp_path):
    undisturbed = open_store(tmp_path / "whole")
    options: Any = {"device": "cuda", "deterministic": True}
    train(spec, undisturbed, checkpointing=COMMIT_LAST, **options)
    train(spec, store, checkpointing=COMMIT_ALL, **options, **after_epoch(1))
    outcome = train(spec, store, gpu_share=0.5, **options)
    assert (outcome.status, outcome.epochs) == ("done", EPOCHS - 1)
    assert_same(store, undisturbed, spec)
    assert ending(store, spec)["deterministic"]
    assert ending(store, spec)["gpu_share"] == 0.5
    assert torch.are_deterministic_algorithms_enabled()
