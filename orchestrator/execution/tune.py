"""The bridge to Ray Tune: the queue is its searcher, and its errors become failures of items.

Tune's own state is disposable: it is kept in the launch's private folder, and never restored.
"""

from __future__ import annotations

import builtins
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from orchestrator.execution.access import RAY_SETTINGS
from orchestrator.execution.progress import Progress
from orchestrator.execution.queue import Queue
from orchestrator.execution.trainable import NamedItem, train_item
from results_schema import errors, layout
from results_schema.errors import MachineError
from results_schema.store import Failure
from workers.training import attempt

SLOTS_INTERVAL = 1.0
"""Seconds between two counts of the cluster's slots: Tune asks a hundred times a second."""
AHEAD = 1
"""Items offered beyond those that fit, once all of those are running: Tune would take more, but
what comes next is best decided late, when a checkpoint may have landed."""

# In the errors for an actor on a node that was lost, for a worker that could not be loaded or that
# Ray has killed to free main memory, and for an actor that could not begin.
LOST_NODE = "its node has died"
NOT_IMPORTED = "failed to import on the worker"
LOW_MEMORY = "due to the node running low on memory"
NOT_CREATED = "error raised in its creation task"
_INSTALL = (
    "install nas-sweep on every node, or add --ship-code, which sends it along (docs/cluster.md)"
)
_ADDED = re.compile(r"\AFailure # \d+ \(occurred at [^)]*\)\n|\x1b\[\d+m")
"""What Tune puts before an error's text, and Ray's colors in it."""
_NODE = re.compile(r"\(pid=\d+, ip=([^,)]+)")
_OWN_ERRORS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
_RAISED = re.compile(
    rf"^(?:\w+\.)*(?P<name>\w*(?:Error|Exception)|{'|'.join(_OWN_ERRORS)}): "
    r"(?P<message>.*(?:\n  .*)*)$",
    re.MULTILINE,
)
"""The end of a traceback; an error of this package continues with an indented line on its fix."""
_TORCH_ERRORS = {"OutOfMemoryError": MemoryError, "AcceleratorError": RuntimeError}


def run_tune(
    searcher: QueueSearcher,
    trial_takes: Mapping[str, float],
    surface_takes: Mapping[str, float],
    stop: threading.Event,
    folder: Path,
    *,
    process_per_item: bool,
    own_ray: bool = False,
) -> None:
    """Run all that a searcher offers; return when it has finished, or the event has stopped it.

    Args:
        searcher: Offers items.
        trial_takes: Ray's resources for a process that trains.
        surface_takes: Ray's resources for a process that measures a surface.
        stop: Makes Tune end at once, without waiting for workers.
        folder: Where Tune keeps its state.
        process_per_item: Whether each item gets a new process. On a GPU it gives memory back, and
            can't spoil the next item; on a CPU importing torch would cost more than it is worth.
        own_ray: Whether this process has started Ray, whose workers have its environment.
    """
    trial = tune.PlacementGroupFactory([dict(trial_takes)])
    surface = tune.PlacementGroupFactory([dict(surface_takes)])

    # Tune sends it to workers by value: it must refer to nothing that they don't import.
    def by_kind(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return surface if layout.is_surface(config["names"][0]) else trial

    # Tune reuses processes only if all items take the same.
    trainable: Any = (
        tune.with_resources(NamedItem, by_kind)
        if process_per_item
        else tune.with_resources(train_item, trial)
    )
    # Tune copies AWS credentials of the driver into the description of each worker, which nodes
    # write to a log that every user of the machine can read: it gets our settings of Ray alone.
    # Workers of a Ray that was started here have them already, and only with an empty description
    # are those used that Ray has started beforehand.
    settings = frozenset() if own_ray else RAY_SETTINGS.keys()
    class_cache.ENV_VARS_TO_PROPAGATE = class_cache.ENV_VARS_TO_PROPAGATE & settings
    class_cache.DEFAULT_ENV_VARS = {} if own_ray else dict(class_cache.DEFAULT_ENV_VARS)
    tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=KeepProcesses(),
            num_samples=-1,
            reuse_actors=not process_per_item,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(folder),
            verbose=0,
            stop=StopAll(stop),
            callbacks=[ErrorReader(searcher)],
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    ).fit()


class KeepProcesses(FIFOScheduler):
    """A scheduler that never ends a process which is starting."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return None: Tune gives a free process to an item for which none is starting."""
        # Tune's own schedulers name the first item that waits, and Tune then ends the process that
        # is starting for it. Where trials are shorter than imports, none but the first process
        # would ever run. Besides, they go through all trials a hundred times a second.
        return None


class StopAll(tune.Stopper):
    """Makes Tune stop all trials, however long they would take, as soon as an event is set."""

    def __init__(self, asked: threading.Event) -> None:
        self._asked = asked

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: no single trial is stopped by its result."""
        return False

    def stop_all(self) -> bool:
        """Return whether all trials are to be stopped."""
        return self._asked.is_set()

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles its stopper for a restore that never comes."""
        return {}


class ErrorReader(tune.Callback):
    """Passes on why a worker died: Tune informs a searcher only that there was an error."""

    def __init__(self, searcher: QueueSearcher) -> None:
        self._searcher = searcher

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Read the error that Tune has just written to a file."""
        # Tune also pickles some errors, in Ray's folder, where other users of a cluster's machine
        # may be able to put a file of their own: those are never read.
        text = Path(trial.error_file).read_text() if trial.error_file else ""
        self._searcher.close(trial.trial_id, worker_failure(text))


class QueueSearcher(Searcher):
    """Passes between Tune and the queue; keeps no state that Tune could restore.

    Args:
        queue: Offers items.
        settings: What is the same for every item (`trainable.train_item`).
        progress: Counts epochs, points and endings.
        export: Exports what a worker reports.
        count_slots: Updates how many items the cluster runs side by side.
    """

    def __init__(
        self,
        queue: Queue,
        settings: dict[str, Any],
        progress: Progress,
        export: Callable[[dict[str, Any]], None],
        count_slots: Callable[[], None],
    ) -> None:
        super().__init__()
        self._queue, self._settings, self._progress = queue, settings, progress
        self._export, self._count_slots = export, count_slots
        self._tokens: dict[str, str] = {}
        self._starting = set[str]()
        self._next_count = 0.0

    def suggest(self, trial_id: str) -> Any:
        """Return the config of the next item, None to be asked again, or FINISHED at the end."""
        # While a process starts, an item ahead would wait for it, and so be decided too early.
        ahead = 0 if self._starting else AHEAD
        now = time.monotonic()
        if now >= self._next_count:  # each count asks the cluster's head
            self._next_count = now + SLOTS_INTERVAL
            self._count_slots()
        item = self._queue.offer() if self._queue.items < self._progress.slots + ahead else None
        if item is None:
            return self.FINISHED if self._queue.over else None
        self._tokens[trial_id] = item.token
        self._starting.add(trial_id)
        return {
            "token": item.token,
            "names": item.names,
            "specs": [work.to_json() for work in item.pack],
            "until": item.until,
            "settings": self._settings,
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Take a report: epochs trained, points measured, or the outcome of a part of the item."""
        self._export(result)
        self._starting.discard(trial_id)
        self._take(trial_id, result)

    def _take(self, trial_id: str, result: dict[str, Any]) -> None:
        name = result.get("item", "")
        if "epoch" in result:
            self._progress.step(name, result["epoch"])
            self._queue.reached(name, result["epoch"])
        elif "points" in result:
            self._progress.step(name, result["points"])
            self._queue.stepped(name, result["points"])
        if "status" in result:
            outcome = (result["status"], result["reason"], result["kind"])
            self._queue.settle(self._tokens[trial_id], name, *outcome)
        self._progress.refresh()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Close an item whose worker has returned, or failed."""
        if error:
            return  # `ErrorReader` closes it, with the reason
        # Tune repeats the last report here; metrics, which add up, must not see it again.
        if result is not None:
            self._take(trial_id, result)
        self.close(trial_id)

    def close(self, trial_id: str, died: Failure | None = None) -> None:
        """Close an item, whose worker may have ended without reporting an outcome."""
        self._starting.discard(trial_id)
        if (token := self._tokens.pop(trial_id, None)) is not None:
            self._queue.close(token, died=died)
        self._progress.refresh()

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles its searcher for a restore that never comes."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: what remains to be run is read from the store."""


def worker_failure(error: str) -> Failure:
    """Return why a worker ended without an outcome, by the text of Ray's error; may be empty."""
    text = _ADDED.sub("", error).strip()
    # Ray's own statements come first: their texts may quote a traceback of the worker's too.
    if LOW_MEMORY in text:
        low = " ".join(text.split("OOM kill reason")[0].split())
        return Failure("evicted", f"Ray ended its worker, as main memory ran out: {low}")
    if LOST_NODE in text:
        return Failure("node", "its node was lost: shut down, preempted, or cut off from the head")
    # Of chained exceptions the last one was raised to the caller.
    raised = next(reversed([*_RAISED.finditer(text)]), None)
    if NOT_IMPORTED in text:
        node = _NODE.search(text)
        missing = raised[0].strip() if raised else text.splitlines()[-1].strip()
        where = f"node {node[1]}" if node else "a node"
        problem = MachineError(f"it can't load nas-sweep: {missing}", where=where, fix=_INSTALL)
        return Failure("unfit", str(problem))
    if not raised:
        how = "killed by a signal (as the system does when main memory runs out), or it crashed"
        return Failure("killed", f"its worker was {how}")
    failure = _failure_of(raised["name"], raised["message"])
    begun = "its worker could not begin: " if NOT_CREATED in text else ""
    return Failure(failure.kind, begun + failure.message)


def _failure_of(name: str, message: str) -> Failure:
    """Return the failure by an error of this type; one of an unknown type is just an error."""
    if name in _OWN_ERRORS:
        return attempt.classify(_OWN_ERRORS[name](message))
    kind = getattr(builtins, name, None) or _TORCH_ERRORS.get(name)
    try:
        failure = attempt.classify(kind(message) if kind else Exception(message))
    except TypeError:  # such as UnicodeDecodeError, which takes more arguments
        failure = attempt.classify(Exception(message))
    return Failure(failure.kind, f"{name}: {message}")
