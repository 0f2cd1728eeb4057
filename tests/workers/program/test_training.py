from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_programs import METRICS, WALK, opened, run, walk, write

from results_schema import layout, tables
from results_schema.errors import ConfigError, StoreFull
from results_schema.program import Metric, is_program, store_schema, widen
from results_schema.store import LocalStore, open_store, recorded_failure
from workers.training import checkpoint
from workers.training.attempt import StopRequest
from workers.training.checkpoint import Checkpointing


def rows(store: LocalStore) -> Any:
    return pd.read_parquet(store.root / "metrics")


def numbers(store: LocalStore) -> list[list[float]]:
    return rows(store)[["epoch", "score", "steps"]].to_numpy().tolist()


@pytest.fixture
def reference(tmp_path: Path) -> LocalStore:
    store = opened(tmp_path / "reference")
    assert run(walk(), store, write(tmp_path / "source")).status == "done"
    return store


def test_a_trial_ends_with_its_rows_and_its_last_and_best_numbers(reference: LocalStore):
    found = rows(reference)
    assert found["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert found["test_loss"].isna().all()
    assert found["steps"].dtype == "int64"
    [row] = pd.read_parquet(reference.root / "trials").to_dict("records")
    assert (row["status"], row["epochs"], row["steps"]) == ("done", 6, 60)
    assert row["score"] == row["best_score"] == found["score"].max()
    assert is_program(row["trial_id"])
    assert reference.leases.held() == {}


@pytest.mark.parametrize("every", [0, 1e9])
def test_a_trial_that_is_stopped_after_each_epoch_draws_the_same_numbers(
    tmp_path: Path, reference: LocalStore, every: float
):
    store, source = opened(tmp_path / "results"), write(tmp_path / "source")
    statuses = []
    while not statuses or statuses[-1] == "stopped":
        stop = StopRequest()
        outcome = run(
            walk(),
            store,
            source,
            checkpointing=Checkpointing(every=every),
            stop=stop,
            on_epoch=lambda row, stop=stop: stop.make("a test"),
        )
        statuses.append(outcome.status)
    assert statuses == ["stopped"] * 6 + ["done"]
    assert numbers(store) == numbers(reference)


def test_epochs_that_were_not_committed_are_replaced(tmp_path: Path, reference: LocalStore):
    store = opened(tmp_path / "results")
    crash = WALK.replace("trial.commit(state)", "epoch != 4 or 1 / 0\n        trial.commit(state)")
    outcome = run(walk(), store, write(tmp_path / "crash", crash))
    assert (outcome.status, outcome.kind, outcome.epochs) == ("failed", "error", 4)
    assert outcome.reason == "walk.py:13: ZeroDivisionError: division by zero"
    assert len(rows(store)) == 4
    assert recorded_failure(store, walk().trial_id)["message"] == outcome.reason
    assert run(walk(), store, write(tmp_path / "source")).epochs == 3
    assert numbers(store) == numbers(reference)
    assert not store.has(layout.failure(walk().trial_id))


def test_a_trial_waits_at_a_rung_and_a_relaunch_does_nothing(tmp_path: Path, reference: LocalStore):
    store, source = opened(tmp_path / "results"), write(tmp_path / "source")
    sparse = Checkpointing(every=1e9)
    outcomes = [
        run(walk(), store, source, until=until, checkpointing=sparse)
        for until in (2, 2, 4, None, None)
    ]
    assert [(one.status, one.epochs) for one in outcomes] == [
        ("waiting", 2), ("waiting", 0), ("waiting", 2), ("done", 2), ("done", 0)
    ]  # fmt: skip
    assert numbers(store) == numbers(reference)


def test_a_damaged_state_falls_back_to_the_one_before(tmp_path: Path, reference: LocalStore):
    store, source = opened(tmp_path / "results"), write(tmp_path / "source")
    assert run(walk(), store, source, until=4).status == "waiting"
    newest = store.root / layout.tensors(walk().trial_id, 4)
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    assert checkpoint.epochs(store, walk().trial_id) == [3, 4]
    assert run(walk(), store, source).epochs == 3
    assert numbers(store) == numbers(reference)


def test_a_full_disk_is_no_fault_of_the_trial(tmp_path, reference, monkeypatch):
    store, source, put = opened(tmp_path / "results"), write(tmp_path / "source"), LocalStore._put
    left = 9

    def full(self: LocalStore, key: str, *arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreFull("no space left")
        put(self, key, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "_put", full)
        outcome = run(walk(), store, source)
    assert (outcome.status, outcome.kind) == ("failed", "full")
    assert not store.has(layout.failure(walk().trial_id))
    assert run(walk(), store, source).status == "done"
    assert numbers(store) == numbers(reference)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("pass", "walk.py: the program has reported no epoch"),
        ("trial.report(2, score=1)", "epoch 2 is reported, and epoch 1 comes next"),
        ("trial.report(1.0, score=1)", "epoch 1.0 is reported, and epoch 1 comes next"),
        ("trial.report(1, scor=1)", "the metric 'scor' is not declared"),
        ("trial.report(1)", "no metric is reported"),
        ("trial.report(1, score='high')", "the metric score is 'high'"),
        ("trial.report(1, score=True)", "the metric score is True"),
        ("trial.report(1, steps=0.5)", "the metric steps is 0.5"),
        ("trial.report(1, score=1); trial.commit(trial)", "the committed state is a Trial"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import no_such_module", "walk.py:2: ModuleNotFoundError: No module named"),
    ],
)
def test_mistakes_of_a_program_fail_its_trial_in_one_line(tmp_path: Path, body: str, reason: str):
    store = opened(tmp_path / "results")
    outcome = run(walk(), store, write(tmp_path / "source", f"def train(trial):\n    {body}\n"))
    assert outcome.status == "failed"
    assert reason in outcome.reason


def test_a_number_that_is_not_finite_at_the_end_is_a_divergence(tmp_path: Path):
    store = opened(tmp_path / "results")
    text = "def train(trial):\n    for e, x in ((1, 2), (2, float('nan'))):\n"
    source = write(tmp_path / "source", text + "        trial.report(e, score=x)\n")
    assert run(walk(), store, source).status == "diverged"
    [row] = pd.read_parquet(store.root / "trials").to_dict("records")
    assert (row["status"], row["best_score"]) == ("diverged", 2)
    assert run(walk(), store, source).epochs == 0


def test_columns_that_programs_add_stay_when_a_store_is_opened(tmp_path: Path):
    store = opened(tmp_path / "results")
    before = store.get(layout.schema(layout.METRICS))
    again = open_store(store.root)
    assert again.get(layout.schema(layout.METRICS)) == before
    widen(again, [Metric("steps", "whole"), Metric("cost", unit="s")])
    assert store_schema(store, layout.METRICS).names[-3:] == ["score", "steps", "cost"]
    assert pd.read_parquet(store.root / "trials").columns[-4:].tolist() == [
        "score", "best_score", "steps", "cost"
    ]  # fmt: skip
    for other in (Metric("steps"), Metric("cost", unit="min"), Metric("score", goal="min")):
        with pytest.raises(ConfigError, match=f"metric {other.name} is real, .*in the store"):
            widen(store, [Metric("score", goal="max", unit="1"), other])
    assert [*tables.METRICS.names, *(m.name for m in METRICS), "cost"] == [*rows(store).columns]
