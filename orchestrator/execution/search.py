"""The queue as Tune's searcher: Tune asks here what to run next and reports what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from orchestrator.execution import deaths
from orchestrator.execution.environment import SETTINGS
from orchestrator.execution.metrics import Meter
from orchestrator.execution.progress import Progress
from orchestrator.execution.queue import Queue
from results_schema.store import Failure

LOOK_EVERY = 1.0
"""Seconds between two looks at the cluster's nodes: Tune asks a hundred times a second."""

AHEAD = 1
"""Items offered beyond those that fit, once all of those are at work: Tune would take more, but
what comes next is best decided late, when a checkpoint may have landed."""


def withhold_credentials() -> None:
    """Keep Tune from copying more of the environment to its workers than our settings of Ray.

    It copies AWS credentials of the driver into the description of each worker, which nodes write
    to a log that every user of the machine can read.
    """
    class_cache.ENV_VARS_TO_PROPAGATE = class_cache.ENV_VARS_TO_PROPAGATE & SETTINGS.keys()


class ProcessesKept(FIFOScheduler):
    """Leaves it to Tune which item a process goes on with: one for which none is starting.

    Tune's own schedulers give it to the first item that waits, and Tune then ends the process that
    is starting for that one. Where trials are shorter than imports, none but the first process
    would ever come to work. Besides, they look at all trials a hundred times a second.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """None in particular."""
        return None


class AtOnce(Stopper):
    """Makes Tune stop all trials as soon as it is asked to."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self) -> None:
        """Stop all trials, however long they would take to stop by themselves."""
        self._asked = True

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: no single trial is stopped by its result."""
        return False

    def stop_all(self) -> bool:
        """Return whether all trials are to be stopped."""
        return self._asked


class Deaths(Callback):
    """Passes on why a worker died: a searcher hears no more than that there was an error.

    Args:
        searcher: That offered the item.
    """

    def __init__(self, searcher: QueueSearcher) -> None:
        self._searcher = searcher

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Tune has just written the error to a file, which `Trial.get_error` reads much later."""
        text = Path(trial.error_file).read_text() if trial.error_file else ""
        self._searcher.died(trial.trial_id, deaths.classify(text))


class QueueSearcher(Searcher):
    """Passes between Tune and the queue; keeps no state that Tune could restore.

    Args:
        queue: Offers items.
        settings: What is the same for every item (`trainable.train_item`).
        progress: Told of epochs and of each ending.
        meter: Told of all that workers report.
        slots: Returns how many items the cluster runs side by side just now.
        demand: Is refreshed whenever slots are counted.
    """

    def __init__(
        self,
        queue: Queue,
        settings: dict[str, Any],
        progress: Progress,
        meter: Meter,
        slots: Callable[[], int],
        demand: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._slots, self._demand, self._meter = slots, demand, meter
        self._queue, self._settings, self._progress = queue, settings, progress
        self._tokens: dict[str, str] = {}
        self._starting = set[str]()
        self._look_again = 0.0

    def suggest(self, trial_id: str) -> Any:
        """The config of the next item, None to be asked again, or FINISHED when all is over."""
        ahead = 0 if self._starting else AHEAD
        item = self._queue.offer() if self._queue.items < self._room() + ahead else None
        if item is None:
            return self.FINISHED if self._queue.over else None
        self._tokens[trial_id] = item.token
        self._starting.add(trial_id)
        return {
            "token": item.token,
            "names": item.names,
            "specs": [work.to_json() for work in item.pack],
            "settings": self._settings,
        }

    def _room(self) -> int:
        """How many items fit, as of a moment ago: nodes come and go, and the head is asked."""
        now = time.monotonic()
        if now >= self._look_again:
            self._progress.slots, self._look_again = self._slots(), now + LOOK_EVERY
            self._demand()
        return self._progress.slots

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Epochs were trained, points were measured, or one of the item has come to an outcome."""
        self._meter.heard(result)
        self._starting.discard(trial_id)
        self._take(trial_id, result)

    def _take(self, trial_id: str, result: dict[str, Any]) -> None:
        if "epoch" in result:
            self._progress.epoch(result["item"], result["epoch"])
            self._queue.reached(result["item"], result["epoch"])
        elif "points" in result:
            self._progress.points(result["item"], result["points"])
            self._queue.stepped(result["item"], result["points"])
        if "status" in result:
            self._queue.settle(
                self._tokens[trial_id],
                result["item"],
                result["status"],
                result["reason"],
                result["kind"],
            )
        self._progress.refresh()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tune is done with the item: its worker returned, or failed."""
        if error:
            return  # `died` follows, with the reason
        if result is not None:
            self._take(trial_id, result)  # the last one once more
        self._close(trial_id, None)

    def died(self, trial_id: str, why: Failure) -> None:
        """The item's worker ended without saying how it went."""
        self._close(trial_id, why)

    def _close(self, trial_id: str, died: Failure | None) -> None:
        self._starting.discard(trial_id)
        if (token := self._tokens.pop(trial_id, None)) is not None:
            self._queue.close(token, died=died)
        self._progress.refresh()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher for a restore that never comes."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what is owed is read from the store."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""
