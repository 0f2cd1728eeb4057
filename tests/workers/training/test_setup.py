"""What a trial is trained with, and what an attempt does whose steps can't be recorded."""

import gc
import json
import threading
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_trials import COMMIT_LAST, assert_same, ending, log, small_spec
from stops import after_epoch

from results_schema import layout
from results_schema.errors import SpecError
from results_schema.store import LocalStore, open_store
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named
from workers.training import engine as engines
from workers.training import graphs, trial
from workers.training.attempt import Outcome
from workers.training.engine import Engine
from workers.training.graphs import Recorder
from workers.training.packing import train_pack
from workers.training.setup import set_up
from workers.training.trial import train

SPECS = [
    small_spec(),
    replace(small_spec(epochs=2), seed=1),
    small_spec(drop_path=0.5, cutout=4),
]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials on a CPU have their steps recorded, as those on a GPU."""
    monkeypatch.setattr(engines, "default_mode", lambda device: "fixed")


@pytest.mark.usefixtures("recorded")
def test_one_thread_records_for_a_pack_whose_ended_trials_leave_no_engine(
    store: LocalStore, undisturbed: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    """Their neighbours train on, and may need the memory."""
    real, made = trial.set_up, dict[str, list[Any]]()
    threads: list[int] = []
    left: list[object] = []

    class Watched(graphs.Recording):
        def __init__(self, *arguments: Any) -> None:
            threads.append(threading.get_ident())
            super().__init__(*arguments)

    def watched(spec: TrialSpec, *arguments: Any) -> Any:
        data, engine = real(spec, *arguments)
        made[spec.trial_id] = [weakref.ref(engine), weakref.ref(engine.network)]
        return data, engine

    def on_outcome(spec: TrialSpec, outcome: Outcome) -> None:
        left.extend(reference() for reference in made[spec.trial_id])

    monkeypatch.setattr(engines, "Recording", Watched)
    monkeypatch.setattr(trial, "set_up", watched)
    gc.collect()
    gc.disable()
    try:
        done = train_pack(SPECS, store, device="cpu", on_outcome=on_outcome)
    finally:
        gc.enable()
    assert [outcome.status for outcome in done] == ["done"] * len(SPECS)
    assert left == [None] * 2 * len(SPECS)
    assert len(threads) == 3 * len(SPECS), "two shapes in training, one in evaluation"
    assert len(set(threads)) == 1
    assert_same(store, undisturbed, SPECS[0])


@pytest.mark.usefixtures("recorded")
def test_a_resumed_trial_takes_recorded_steps_alone(store, tmp_path, monkeypatch):
    """Also of the last batch of an epoch, which is smaller, and of both evaluations."""
    spec, taken = small_spec(evaluation_batch=48, validation=0.25), list[bool]()
    whole = open_store(tmp_path / "whole")
    train(spec, whole, device="cpu", checkpointing=COMMIT_LAST)
    assert train(spec, store, device="cpu", **after_epoch(1)).status == "stopped"
    for name in ("_train_batch", "_test_batch"):
        real = getattr(Engine, name)

        def watched(self: Engine, *batch: Any, real: Any = real) -> None:
            taken.append(any(r._pixels is batch[0] for r in self._recorded.values()))
            real(self, *batch)

        monkeypatch.setattr(Engine, name, watched)
    warm_up = 5 * graphs.WARM_UP
    assert train(spec, store, device="cpu", checkpointing=COMMIT_LAST).status == "done"
    assert not any(taken[:warm_up])
    assert all(taken[warm_up:])
    assert_same(store, whole, spec)


def begin_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begins a process anew, as far as captures go."""
    recorder = Recorder()
    for module in ("graphs", "engine", "setup"):
        monkeypatch.setattr(f"workers.training.{module}.RECORDER", recorder)


@pytest.mark.skipif(torch.cuda.is_available(), reason="captures where there is a GPU")
def test_what_cannot_be_captured_is_trained_without_graphs_by_another_process(
    store: LocalStore, undisturbed: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    """As here, where a CPU captures nothing; the numbers are those of plain steps."""
    spec = small_spec()
    begin_process(monkeypatch)
    monkeypatch.setattr(engines, "default_mode", lambda device: "graphed")
    failed = train(spec, store, device="cpu")
    assert (failed.status, failed.kind) == ("failed", "graph")
    assert json.loads(store.get(layout.failure(spec.trial_id)))["kind"] == "graph"
    begin_process(monkeypatch)
    assert train(spec, store, device="cpu").status == "done"
    assert (ending(store, spec)["form"], ending(store, spec)["attempts"]) == ("eager", 2)
    assert "no CUDA graph could be captured before" in log(store, spec)
    assert not store.has(layout.failure(spec.trial_id))
    assert_same(store, undisturbed, spec)


@pytest.mark.parametrize(
    ("dataset", "batch_size", "auxiliary", "what"),
    [
        ("synthetic_9x1x4_4", 4, 0.0, "a batch_size of 4 leaves one of 9"),
        ("synthetic_9x1x32_4", 4, 0.4, "a batch_size of 4 leaves one of 9"),
        ("synthetic_9x1x16_4", 3, 0.4, "give the auxiliary head a map of 4×4"),
        ("synthetic_9x1x4_4", 9, 0.0, ""),
        ("synthetic_9x1x32_4", 3, 0.4, ""),
    ],
)
def test_what_would_fail_in_a_step_is_refused_before_training(dataset, batch_size, auxiliary, what):
    recipe = Recipe(epochs=1, batch_size=batch_size, auxiliary=auxiliary)
    spec = TrialSpec(named("DARTS"), dataset, 1, NetworkSpec(4, 2), recipe, 0.05, 0)
    if what:
        with pytest.raises(SpecError, match=what):
            set_up(spec, torch.device("cpu"))
    else:
        data, engine = set_up(spec, torch.device("cpu"))
        row = trial.train_epoch(spec, 1, engine, data, trial.Stopping())
        assert row["epoch"] == 1
