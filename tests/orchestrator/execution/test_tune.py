"""The queue as Tune sees it, and why workers died, by the errors that Ray raises."""

import io
import os
import signal
import time
from pathlib import Path

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
from orchestrator.execution.progress import Progress
from orchestrator.execution.queue import ATTEMPTS, RETRIED
from orchestrator.execution.tune import KeepProcesses, QueueSearcher, worker_failure
from results_schema.errors import MachineError, StoreError, StoreFull
from results_schema.store import LocalStore, recorded_failure

FIRST = {"epoch": 1, "trained": 1, "hostname": "h", "pid": 7}


class Sweep:
    """A searcher of some trials on a cluster whose room a test sets."""

    def __init__(self, folder, count: int) -> None:
        self.queue, _ = make(LocalStore(folder), count)
        self.room, self.looks = 1, 0
        work = {spec(seed).trial_id: spec(seed) for seed in range(count)}
        self.progress = Progress(
            self.queue, work, ended=(0, 0), slots=1, console=Console(file=io.StringIO())
        )
        self.searcher = QueueSearcher(
            self.queue, {}, self.progress, lambda result: None, self.slots
        )

    def slots(self) -> None:
        self.looks += 1
        self.progress.slots = self.room


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    return Sweep(tmp_path, 8)


def test_no_more_is_offered_than_fits_and_the_head_is_asked_now_and_then(sweep, monkeypatch):
    offered = [sweep.searcher.suggest(f"t{number}") for number in range(50)]
    assert sum(item is not None for item in offered) == 1
    assert sweep.looks <= 3, "not once a question"
    sweep.room = 3  # nodes have joined
    monkeypatch.setattr(bridge, "SLOTS_INTERVAL", 0.0)
    sweep.searcher._next_count = 0.0
    offered = [sweep.searcher.suggest(f"u{number}") for number in range(50)]
    assert sum(item is not None for item in offered) == 2


def test_one_more_is_offered_once_all_are_at_work(sweep):
    sweep.room = 2
    items = [sweep.searcher.suggest(f"t{number}") for number in range(2)]
    for number, item in enumerate(items):
        assert sweep.searcher.suggest("ahead") is None, "a process may be starting for one"
        sweep.searcher.on_trial_result(f"t{number}", {"item": item["names"][0]} | FIRST)
    assert sweep.searcher.suggest("ahead") is not None
    assert sweep.searcher.suggest("more") is None
    sweep.searcher.on_trial_complete("t0", error=False)
    assert sweep.searcher.suggest("more") is None, "the one ahead has its room now"


def test_the_last_epoch_may_come_with_the_outcome(sweep):
    item = sweep.searcher.suggest("t")
    (name,) = item["names"]
    outcome = {"status": "done", "reason": "trained 1 epochs", "epochs": 1, "kind": ""}
    sweep.searcher.on_trial_result("t", {"item": name, **FIRST, **outcome})
    assert sweep.queue.endings == {name: "done"}
    assert sweep.progress.trials.taken == 1
    sweep.searcher.on_trial_complete("t", {"item": name, **FIRST, **outcome, "done": True})
    assert sweep.queue.items == 0
    assert sweep.progress.trials.taken == 1, "Tune tells the last report twice"


def test_when_all_is_over_tune_is_told(sweep):
    assert sweep.searcher.suggest("t") != QueueSearcher.FINISHED
    sweep.queue.stopping = True
    assert sweep.searcher.suggest("u") == QueueSearcher.FINISHED


def quick_trainable() -> type[tune.Trainable]:
    """What is done at once, in a process that takes seconds to start, unless it is the first.

    Made here, so that it is sent to workers, which can't import this module.
    """

    class Quick(tune.Trainable):
        def setup(self, config):
            self.told, own = Path(config["settings"]["told"]), time.monotonic_ns()
            first = not any(self.told.iterdir())
            (self.told / f"{own}.started").touch()
            time.sleep(0 if first else 5)
            (self.told / f"{own}.ready").touch()

        def reset_config(self, new_config):
            self.config = new_config
            return True

        def step(self):
            # So the second process has half a minute to become ready while there is work left.
            time.sleep(0.1 if len([*self.told.glob("*.ready")]) == 1 else 0)
            outcome = {"status": "done", "reason": "", "kind": "", "done": True}
            return {"item": self.config["names"][0], **FIRST, **outcome}

        def save_checkpoint(self, checkpoint_dir):
            return {}

    return Quick


def test_a_process_that_is_starting_is_not_ended_because_another_was_quicker(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "4")  # as a launch sets it for two slots
    sweep, told = Sweep(tmp_path / "results", 300), tmp_path / "told"
    told.mkdir()
    sweep.room, sweep.searcher._settings = 2, {"told": str(told)}
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
    assert [*sweep.queue.endings.values()] == 300 * ["done"]
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
    sweep.room, sweep.searcher._settings = len(how), {"how": names}
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


@pytest.mark.usefixtures("tried_once")
def test_why_a_worker_died_is_found_out(tmp_path: Path):
    found = reasons(Sweep(tmp_path / "results", 3), tmp_path, ["raise", "kill", "setup"])
    assert found["raise"] == ("error", "ValueError: odd")
    assert found["kill"][0] == "killed"
    assert found["setup"][0] == "error"
    assert found["setup"][1].endswith("ImportError: no such library")


@pytest.mark.usefixtures("tried_once")
def test_a_worker_that_ray_killed_for_its_memory_is_told_apart(tmp_path: Path, monkeypatch):
    # Less than any machine uses.
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    kind, message = reasons(Sweep(tmp_path / "results", 1), tmp_path, ["sleep"])["sleep"]
    assert kind == "evicted", message
    assert "low on memory" in message
    assert len(message.splitlines()) == 1


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


def test_only_what_may_pass_is_tried_again():
    passing = {
        worker_failure(kept(e)).kind for e in (OutOfMemoryError(LOW), NodeDiedError(LOST), None)
    }
    assert passing <= RETRIED
    assert worker_failure(kept(raised(ValueError("odd")))).kind not in RETRIED
    assert ATTEMPTS > 1
