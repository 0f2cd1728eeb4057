"""The queue as Tune sees it, and why workers died, by the errors that Ray raises."""

from __future__ import annotations

import io
import os
import pickle
import signal
import threading
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from local_ray import local_ray
from ray import tune
from ray.exceptions import (
    ActorDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)
from rich.console import Console
from small_queues import make, spec

from orchestrator.execution import tune as bridge
from orchestrator.execution.progress import Part, Progress
from orchestrator.execution.tune import KeepProcesses, QueueSearcher, worker_failure
from results_schema.errors import MachineError, StoreError, StoreFull
from results_schema.store import LocalStore, recorded_failure
from results_schema.surface import SurfaceSpec

FIRST = {"epoch": 1, "trained": 1, "hostname": "h", "pid": 7}


class Sweep:
    """A searcher of some trials on a cluster whose slots a test sets."""

    def __init__(self, folder: Path, count: int) -> None:
        self.queue, _ = make(LocalStore(folder), count)
        self.slots, self.counts = 1, 0
        self.exported: list[dict[str, Any]] = []
        work = {spec(seed).trial_id: spec(seed) for seed in range(count)}
        console = Console(file=io.StringIO())
        seconds = dict.fromkeys(work, 1.0)
        self.progress = Progress(self.queue, work, seconds, ended=(0, 0), slots=1, console=console)
        self.searcher = QueueSearcher(
            self.queue, {"x": 1}, self.progress, self.exported.append, self.count
        )

    def count(self) -> None:
        self.counts += 1
        self.progress.slots = self.slots


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    return Sweep(tmp_path, 8)


def test_no_more_is_offered_than_fits_and_the_head_is_asked_now_and_then(sweep, monkeypatch):
    now = 100.0
    monkeypatch.setattr(bridge.time, "monotonic", lambda: now)
    offered = [sweep.searcher.suggest(f"t{number}") for number in range(50)]
    assert [item is not None for item in offered] == [True] + [False] * 49
    assert offered[0]["names"] == [spec(0).trial_id]
    assert offered[0]["specs"] == [spec(0).to_json()]
    assert (offered[0]["settings"], sweep.counts) == ({"x": 1}, 1)
    sweep.slots = 3  # nodes have joined
    now += bridge.SLOTS_INTERVAL
    offered = [sweep.searcher.suggest(f"u{number}") for number in range(50)]
    assert (sum(item is not None for item in offered), sweep.counts) == (2, 2)


def test_one_more_is_offered_once_all_are_at_work(sweep):
    sweep.slots = 2
    items = [sweep.searcher.suggest(f"t{number}") for number in range(2)]
    for number, item in enumerate(items):
        assert sweep.searcher.suggest("ahead") is None, "a process may be starting for one"
        sweep.searcher.on_trial_result(f"t{number}", {"item": item["names"][0]} | FIRST)
    assert sweep.searcher.suggest("ahead") is not None
    assert sweep.searcher.suggest("more") is None
    sweep.searcher.on_trial_complete("t0", error=False)
    assert sweep.searcher.suggest("more") is None, "the one ahead has its slot now"


def test_reports_are_exported_once_and_settle_items(sweep):
    item = sweep.searcher.suggest("t")
    (name,) = item["names"]
    outcome = {"status": "done", "reason": "trained 1 epochs", "epochs": 1, "kind": ""}
    sweep.searcher.on_trial_result("t", {"item": name, **FIRST, **outcome})
    assert sweep.queue.endings == {name: "done"}
    assert sweep.progress.trials.taken == 1
    sweep.searcher.on_trial_complete("t", {"item": name, **FIRST, **outcome, "done": True})
    assert sweep.queue.items == 0
    # Tune repeats the last report at the end.
    assert (sweep.progress.trials.taken, len(sweep.exported)) == (1, 1)
    sweep.searcher.on_trial_complete("t")
    assert sweep.searcher.suggest("u") not in (None, QueueSearcher.FINISHED)
    sweep.queue.stopping = True
    assert sweep.searcher.suggest("v") == QueueSearcher.FINISHED


def test_a_surface_is_released_and_advances_by_reports(tmp_path):
    sweep = Sweep(tmp_path, 1)
    surfaces = [SurfaceSpec(spec(0), epoch, "contour", rows=1, columns=5) for epoch in (0, 1)]
    sizes = dict.fromkeys([one.surface_id for one in surfaces], 5)
    sweep.progress.surfaces = Part("surfaces", "points", sizes, dict.fromkeys(sizes, 1.0), 0)
    sweep.queue.add_surfaces(surfaces)
    sweep.slots = 2
    [name] = sweep.searcher.suggest("t")["names"]
    assert sweep.searcher.suggest("u") is None
    sweep.searcher.on_trial_result("t", {"item": name} | FIRST)
    assert sweep.searcher.suggest("u")["names"] == [surfaces[0].surface_id]
    points = {"item": surfaces[0].surface_id, "points": 2, "measured": 2}
    sweep.searcher.on_trial_result("u", points)
    assert sweep.progress.surfaces.share(surfaces[0].surface_id) == 0.4


def test_an_error_is_read_from_tunes_file_and_closes_the_item(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.execution.queue.ATTEMPTS", 1)
    [name] = sweep.searcher.suggest("t")["names"]
    file = tmp_path / "error.txt"
    file.write_text(kept(raised(ValueError("odd"))))
    sweep.searcher.on_trial_complete("t", error=True)
    assert sweep.queue.items == 1, "the callback closes it, with the reason"
    trial: Any = SimpleNamespace(trial_id="t", error_file=str(file))
    bridge.ErrorReader(sweep.searcher).on_trial_error(1, [], trial)
    assert sweep.queue.reasons == {name: "ValueError: odd"}
    [name] = sweep.searcher.suggest("u")["names"]
    trial = SimpleNamespace(trial_id="u", error_file=None)
    bridge.ErrorReader(sweep.searcher).on_trial_error(1, [], trial)
    assert recorded_failure(sweep.queue.store, name)["kind"] == "killed"


def test_a_stopper_and_a_searcher_are_pickled_empty(sweep):
    event = threading.Event()
    stopper = bridge.StopAll(event)
    assert (stopper("t", {}), stopper.stop_all()) == (False, False)
    event.set()
    assert stopper.stop_all()
    for one in (stopper, sweep.searcher):
        assert (one.__getstate__(), len(pickle.dumps(one)) < 100) == ({}, True)
    sweep.searcher.save("x")  # does nothing
    assert not KeepProcesses().choose_trial_to_run(None)


@pytest.mark.parametrize("per_item", [True, False])
def test_tune_is_run_with_our_settings_alone(sweep, tmp_path, monkeypatch, per_item):
    made: dict[str, Any] = {}

    class Tuner:
        def __init__(self, trainable: Any, **settings: Any) -> None:
            made.update(settings, trainable=trainable)

        def fit(self) -> None:
            made["fit"] = True

    monkeypatch.setattr(bridge.tune, "Tuner", Tuner)
    monkeypatch.setattr(
        bridge.class_cache, "ENV_VARS_TO_PROPAGATE", {"AWS_SECRET", "RAY_AIR_NEW_OUTPUT"}
    )
    stop = threading.Event()
    bridge.run_tune(
        sweep.searcher, {"CPU": 1}, {"CPU": 2}, stop, tmp_path, process_per_item=per_item
    )
    assert made["fit"]
    assert {"RAY_AIR_NEW_OUTPUT"} == bridge.class_cache.ENV_VARS_TO_PROPAGATE
    config, own = made["tune_config"], made["run_config"]
    assert (config.search_alg, config.num_samples) == (sweep.searcher, -1)
    assert config.reuse_actors is not per_item
    assert isinstance(config.scheduler, KeepProcesses)
    assert config.trial_dirname_creator(SimpleNamespace(trial_id="t7")) == "t7"
    assert (own.verbose, own.failure_config.max_failures) == (0, 0)
    assert own.storage_path == str(tmp_path)
    stop.set()
    assert own.stop.stop_all()
    if not per_item:
        assert made["trainable"]._resources.required_resources == {"CPU": 1}
        return
    takes = made["trainable"].default_resource_request
    surface = SurfaceSpec(spec(0), 1, "contour").surface_id
    assert takes({"names": [surface]}).required_resources == {"CPU": 2}
    assert takes({"names": [spec(0).trial_id]}).required_resources == {"CPU": 1}


def raised(cause: Exception) -> RayTaskError:
    """What Ray makes of an exception in a worker."""
    told = f"{type(cause).__module__}.{type(cause).__name__}".removeprefix("builtins.")
    text = f"\x1b[36mray::x()\x1b[39m (pid=7, ip=10.0.0.1)\n  File x\n{told}: {cause}"
    return RayTaskError("train", text, cause, "ray::x", 1, "10.0.0.1")


NOT_IMPORTED = (
    "The actor with name ImplicitFunc failed to import on the worker. This may be because …:\n\n"
    "Traceback (most recent call last):\n  …\nModuleNotFoundError: No module named 'orchestrator'"
)
UNLOADED = RayTaskError(
    "train",
    f"ray::x() (pid=7, ip=10.0.0.1)\n{NOT_IMPORTED}",
    RuntimeError(NOT_IMPORTED),
    "ray::x",
    1,
)
CRASHED = f"{NOT_IMPORTED}\n\nAn unexpected internal error occurred while the worker was …"
LOST = "The actor died because its node has died. Node Id: 8f2c"
LOW = "1 worker(s) were killed due to the node running low on memory. Memory\nOOM kill reason: x"


def kept(error: Exception | None) -> str:
    """The text that Tune keeps of an error of Ray's."""
    return f"Failure # 1 (occurred at 2020-04-26_12-00-00)\n{error}\n" if error else ""


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (OutOfMemoryError(LOW), "evicted", "running low on memory. Memory"),
        (NodeDiedError(LOST), "node", "its node was lost"),
        (RayActorError(error_msg=LOST), "node", "its node was lost"),
        (ActorDiedError(), "killed", "killed by a signal"),
        (WorkerCrashedError(), "killed", "or it crashed"),
        (None, "killed", "killed by a signal"),
        (raised(ValueError("odd")), "error", "ValueError: odd"),
        (UNLOADED, "unfit", "node 10.0.0.1: it can't load nas-sweep: ModuleNotFoundError: No"),
        (ActorDiedError(UNLOADED), "unfit", "10.0.0.1: it can't load nas-sweep: ModuleNotFound"),
        (
            RayActorError(error_msg=CRASHED),
            "unfit",
            "a node: it can't load nas-sweep: ModuleNotFound",
        ),
        (raised(MemoryError("no more")), "memory", "no more"),
        (raised(RuntimeError("CUDA error: an illegal access")), "cuda", "an illegal access"),
        (raised(torch.cuda.OutOfMemoryError("CUDA out of memory")), "memory", "out of memory"),
        (raised(StoreError("read-only", where="results")), "store", "results: read-only"),
        (raised(UnicodeDecodeError("utf-8", b"x", 0, 1, "odd")), "error", "UnicodeDecodeError: "),
        (raised(MachineError("no GPU", fix="add one")), "machine", "no GPU\n  add one"),
        (raised(StoreFull("no room", where="results")), "full", "results: no room"),
        (
            ActorDiedError(raised(ImportError("No module named 'workers'"))),
            "error",
            "its worker could not begin: ImportError: No module named 'workers'",
        ),
    ],
)
def test_failures_of_workers_are_distinguished(error: Exception | None, kind: str, says: str):
    failure = worker_failure(kept(error))
    assert failure.kind == kind
    assert says in failure.message
    assert "Traceback" not in failure.message


# The rest needs Ray.


def quick_trainable() -> type[tune.Trainable]:
    """What is done at once: a first process does twenty items while a second one starts.

    Made here, so that it is sent to workers, which can't import this module.
    """

    class Quick(tune.Trainable):
        def setup(self, config):
            self.told, self.name, self.count = Path(config["settings"]["told"]), uuid.uuid4().hex, 0
            first = not any(self.told.iterdir())
            (self.told / f"{self.name}.started").touch()
            while not first and not [*self.told.glob("*.twenty")]:
                time.sleep(0.01)
            (self.told / f"{self.name}.ready").touch()

        def reset_config(self, new_config):
            self.config = new_config
            return True

        def step(self):
            self.count += 1
            if self.count == 20:
                (self.told / f"{self.name}.twenty").touch()
            while self.count == 20 and len([*self.told.glob("*.ready")]) < 2:
                time.sleep(0.01)
            outcome = {"status": "done", "reason": "", "kind": "", "done": True}
            return {"item": self.config["names"][0], **FIRST, **outcome}

        def save_checkpoint(self, checkpoint_dir):
            return {}

    return Quick


@pytest.mark.ray
def test_a_process_that_is_starting_is_not_ended_because_another_was_quicker(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "4")  # as a launch sets it for two slots
    sweep, told = Sweep(tmp_path / "results", 60), tmp_path / "told"
    told.mkdir()
    sweep.slots, sweep.searcher._settings = 2, {"told": str(told)}
    with local_ray(cpus=2):
        tune.Tuner(
            tune.with_resources(quick_trainable(), {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=sweep.searcher,
                scheduler=KeepProcesses(),
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0),
        ).fit()
    assert [*sweep.queue.endings.values()] == 60 * ["done"]
    assert len([*told.glob("*.started")]) == 2


def dying_trainable() -> type[tune.Trainable]:
    """What dies as its settings say for its item; made here, as in `quick_trainable`."""

    class Dying(tune.Trainable):
        def setup(self, config):
            self.how = config["settings"]["how"][config["names"][0]]
            if self.how == "setup":
                raise ImportError("no such library")

        def step(self):
            if self.how == "raise":
                raise ValueError("odd")
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
            return {"done": True}

    return Dying


def reasons(sweep: Sweep, folder: Path, how: list[str]) -> dict[str, tuple[str, str]]:
    """The kind and the message of the failure of one item for each way to die."""
    names = {spec(seed).trial_id: one for seed, one in enumerate(how)}
    sweep.slots, sweep.searcher._settings = len(how), {"how": names}
    with local_ray(cpus=len(how)):
        tune.Tuner(
            tune.with_resources(dying_trainable(), {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=sweep.searcher, scheduler=KeepProcesses(), num_samples=-1
            ),
            run_config=tune.RunConfig(
                storage_path=str(folder / "tune"),
                verbose=0,
                callbacks=[bridge.ErrorReader(sweep.searcher)],
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        ).fit()
    found = {name: recorded_failure(sweep.queue.store, name) for name in names}
    return {names[n]: (one["kind"], one["message"]) for n, one in found.items()}


@pytest.fixture
def tried_once(monkeypatch: pytest.MonkeyPatch):
    """Whatever an item fails by, it is not tried again."""
    monkeypatch.setattr("orchestrator.execution.queue.ATTEMPTS", 1)


@pytest.mark.ray
@pytest.mark.usefixtures("tried_once")
def test_why_a_worker_died_is_found_out(tmp_path: Path):
    found = reasons(Sweep(tmp_path / "results", 3), tmp_path, ["raise", "kill", "setup"])
    assert found["raise"] == ("error", "ValueError: odd")
    assert found["kill"][0] == "killed"
    assert found["setup"][0] == "error"
    assert found["setup"][1].endswith("ImportError: no such library")


@pytest.mark.ray
@pytest.mark.usefixtures("tried_once")
def test_a_worker_that_ray_killed_for_its_memory_is_told_apart(tmp_path: Path, monkeypatch):
    # Less than any machine uses.
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    kind, message = reasons(Sweep(tmp_path / "results", 1), tmp_path, ["sleep"])["sleep"]
    assert kind == "evicted", message
    assert "low on memory" in message
    assert len(message.splitlines()) == 1
