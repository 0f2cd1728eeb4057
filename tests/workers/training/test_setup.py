"""What is recorded before the first step, by whom, and what an attempt does that can't."""

import gc
import json
import multiprocessing
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trials import (
    COMMIT_ALL,
    COMMIT_LAST,
    assert_same,
    ending,
    few_digits,
    log,
    small_spec,
)

from results_schema import layout
from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec
from workers.training import engine as engines
from workers.training import graphs, trial
from workers.training.attempt import Outcome, StopRequest
from workers.training.engine import Engine
from workers.training.graphs import Recorder
from workers.training.packing import train_pack
from workers.training.trial import train

SPECS = [
    small_spec(),
    replace(small_spec(epochs=2), seed=1),
    small_spec(rate=0.03, drop_path=0.5, cutout=4),
]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials on a CPU have their steps recorded, as those on a GPU."""
    monkeypatch.setattr(engines, "default_mode", lambda device: "fixed")


@pytest.mark.usefixtures("recorded")
class TestPack:
    def test_one_thread_records_for_all_of_its_trials(
        self, store: LocalStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ):
        threads: list[int] = []

        class Watched(graphs.Recording):
            def __init__(self, *arguments: Any) -> None:
                threads.append(threading.get_ident())
                super().__init__(*arguments)

        monkeypatch.setattr(engines, "Recording", Watched)
        done = train_pack(SPECS, store, device="cpu")
        assert [outcome.status for outcome in done] == ["done"] * len(SPECS)
        assert len(threads) == 3 * len(SPECS), "two shapes in training, one in evaluation"
        assert len(set(threads)) == 1
        monkeypatch.undo()  # as a CPU trains
        alone = open_store(tmp_path / "alone")
        with few_digits():
            for spec in SPECS:
                train(spec, alone, device="cpu")
                assert_same(store, alone, spec)

    def test_a_trial_that_has_ended_leaves_no_engine(
        self, store: LocalStore, monkeypatch: pytest.MonkeyPatch
    ):
        """Its neighbours go on, and may need its memory."""
        real, made = trial.set_up, dict[str, list[Any]]()

        def set_up(spec: TrialSpec, *arguments: Any) -> Any:
            data, engine = real(spec, *arguments)
            made[spec.trial_id] = [weakref.ref(engine), weakref.ref(engine.network)]
            return data, engine

        monkeypatch.setattr(trial, "set_up", set_up)
        left: list[object] = []

        def on_outcome(spec: TrialSpec, outcome: Outcome) -> None:
            left.extend(reference() for reference in made[spec.trial_id])

        gc.collect()
        gc.disable()
        try:
            train_pack(SPECS, store, device="cpu", on_outcome=on_outcome)
        finally:
            gc.enable()
        assert left == [None] * 2 * len(SPECS)


@pytest.mark.usefixtures("recorded")
def test_a_resumed_trial_takes_recorded_steps_from_its_first(
    store: LocalStore, undisturbed: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    spec = small_spec()
    stop = StopRequest()
    stopped = train(
        spec,
        store,
        device="cpu",
        checkpointing=COMMIT_ALL,
        on_epoch=lambda row: stop.make("the test"),
        stop=stop,
    )
    assert stopped.status == "stopped"
    taken: list[bool] = []
    for name in ("_train_batch", "_test_batch"):
        real = getattr(Engine, name)

        def watched(self: Engine, *batch: Any, real: Any = real) -> None:
            taken.append(any(r._pixels is batch[0] for r in self._recorded.values()))
            real(self, *batch)

        monkeypatch.setattr(Engine, name, watched)
    warm_up = 3 * graphs.WARM_UP
    assert train(spec, store, device="cpu", checkpointing=COMMIT_LAST).status == "done"
    assert not any(taken[:warm_up])
    assert all(taken[warm_up:])
    assert_same(store, undisturbed, spec)


@pytest.fixture
def fresh_recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Other tests of this process capture after one that fails."""
    recorder = Recorder()
    for module in ("graphs", "engine", "setup"):
        monkeypatch.setattr(f"workers.training.{module}.RECORDER", recorder)
    yield


@pytest.mark.skipif(torch.cuda.is_available(), reason="captures where there is a GPU")
@pytest.mark.usefixtures("fresh_recorder")
def test_what_cannot_be_captured_is_trained_without_graphs_by_another_process(
    store: LocalStore, undisturbed: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    """As here, where a CPU captures nothing; the numbers are those of plain steps."""
    spec = small_spec()
    monkeypatch.setattr(engines, "default_mode", lambda device: "graphed")
    failed = train(spec, store, device="cpu")
    assert (failed.status, failed.kind) == ("failed", "graph")
    assert json.loads(store.get(layout.failure(spec.trial_id)))["kind"] == "graph"
    process = multiprocessing.get_context("spawn").Process(
        target=train_graphed, args=(spec.to_json(), store.location)
    )
    process.start()
    process.join()
    assert ending(store, spec)["form"] == "eager"
    assert ending(store, spec)["attempts"] == 2
    assert "no CUDA graph could be captured before" in log(store, spec)
    assert not store.has(layout.failure(spec.trial_id))
    assert_same(store, undisturbed, spec)


def train_graphed(spec: str, location: str) -> None:
    """Another attempt, in a process that would capture again."""
    engines.default_mode = lambda device: "graphed"
    with few_digits():
        train(TrialSpec.from_json(spec), open_store(location), device="cpu")
