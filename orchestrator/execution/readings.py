"""What a launch has to tell about itself to whoever monitors it: each metric, and its readings.

It knows no Ray; `metrics` tells Ray. All is told by the driver, so that every event counts once,
under few labels, and isn't lost with its worker: workers come and go by the thousand.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from orchestrator.execution.items import Work
from orchestrator.execution.progress import Part, Progress
from orchestrator.execution.queue import Queue
from results_schema.surface import SurfaceSpec

STATES = ("waiting", "running", "done", "diverged", "failed", "cancelled")
NAMED = 3
"""Experiments of a launch that its label names; the others are counted."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Ray puts `ray_` before it. What ends in `_total` only grows.
        unit: Of its values.
        meaning: In a few words.
        labels: Besides those of the launch (`launch_labels`).
    """

    name: str
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def grows(self) -> bool:
        """Whether its readings add up; of all others the last one holds."""
        return self.name.endswith("_total")


class Reading(NamedTuple):
    """A metric's value, or by how much it grew."""

    metric: Metric
    labels: dict[str, str]
    value: float


_ITEM = ("host", "process", "kind", "item")

TRIALS = Metric(
    "nas_sweep_trials", "trials", "of the launch, by state: " + ", ".join(STATES), ("state",)
)
SURFACES = Metric(
    "nas_sweep_surfaces",
    "surfaces",
    "of the launch, by the same states, and untrained: their trials failed",
    ("state",),
)
EPOCHS_LEFT = Metric("nas_sweep_epochs_left", "epochs", "that the launch has yet to train")
POINTS_LEFT = Metric("nas_sweep_points_left", "points", "that the launch has yet to measure")
PROGRESS = Metric(
    "nas_sweep_item_progress",
    "1",
    "share done of a trial or surface, from its first epoch or point on and while it runs",
    _ITEM,
)
SPEED = Metric(
    "nas_sweep_images_per_second",
    "images/s",
    "trained by a running trial in its last epoch, evaluation left out",
    _ITEM,
)
MEMORY = Metric(
    "nas_sweep_peak_memory_bytes",
    "bytes",
    "most memory so far of a running trial's GPU as torch allocates it, or of its process on a CPU",
    _ITEM,
)
EPOCHS = Metric("nas_sweep_epochs_total", "epochs", "trained, again after a failure too", ("host",))
POINTS = Metric(
    "nas_sweep_points_total", "points", "of landscapes measured, by kind", ("host", "kind")
)
RETRIES = Metric(
    "nas_sweep_retries_total",
    "attempts",
    "that failed and were made again, by reason: killed, evicted, node, cuda or graph",
    ("reason",),
)
METRICS = (
    TRIALS, SURFACES, EPOCHS_LEFT, POINTS_LEFT, PROGRESS, SPEED, MEMORY, EPOCHS, POINTS, RETRIES,
)  # fmt: skip


def launch_labels(launch: str, experiments: Iterable[str]) -> dict[str, str]:
    """What tells a launch's metrics from another's: its id, and what it is about."""
    first, more = [*experiments][:NAMED], len([*experiments]) - NAMED
    named = ", ".join(first) + (f" and {more} more" if more > 0 else "")
    return {"launch": launch, "experiments": named}


class _Said(NamedTuple):
    """What a running item's worker said last."""

    host: str
    process: str
    speed: float | None = None
    memory: float | None = None


class Watch:
    """Watches a launch; may be asked by another thread than the one that hears of results.

    Args:
        queue: Knows what runs, how the rest ended, and what was tried again.
        work: All trials and surfaces of the launch by id.
        progress: Of all of them.
    """

    def __init__(self, queue: Queue, work: Mapping[str, Work], progress: Progress) -> None:
        self._queue, self._progress, self._parts = queue, progress, progress.parts
        self._kinds = {
            n: w.kind if isinstance(w, SurfaceSpec) else "trial" for n, w in work.items()
        }
        self._said: dict[str, _Said] = {}
        self._retried: Counter[str] = Counter()
        self._lock = threading.Lock()

    def heard(self, result: Mapping[str, Any]) -> list[Reading]:
        """A worker reported epochs, points or an outcome (`trainable`): what is told of it.

        Tune repeats the last report of an item when it ends: that is not for here.
        """
        name = result.get("item", "")
        host, process = result.get("hostname", ""), str(result.get("pid", ""))
        with self._lock:
            if "status" in result:
                self._said.pop(name, None)
            else:
                speed, memory = result.get("images_per_second"), result.get("peak_memory")
                self._said[name] = _Said(host, process, speed, memory)
        if "epoch" in result:
            return [Reading(EPOCHS, {"host": host}, result["trained"])]
        if "points" in result:
            labels = {"host": host, "kind": self._kinds[name]}
            return [Reading(POINTS, labels, result["measured"])]
        return []

    def standing(self) -> list[Reading]:
        """How things stand, and what else has grown since this was asked last."""
        endings = dict(self._queue.endings)
        running = [n for n in self._queue.working(self._progress.slots) if n not in endings]
        found: list[Reading] = []
        for part, metric, left in zip(
            self._parts, (TRIALS, SURFACES), (EPOCHS_LEFT, POINTS_LEFT), strict=True
        ):
            states = _states(part, endings, running)
            found += [Reading(metric, {"state": s}, n) for s, n in states.items()]
            found.append(Reading(left, {}, part.left))
        return found + self._at_work(running) + self._again()

    def _at_work(self, running: list[str]) -> list[Reading]:
        with self._lock:
            self._said = {name: self._said[name] for name in running if name in self._said}
            said = dict(self._said)
        found = []
        for name, last in said.items():
            labels = {"host": last.host, "process": last.process}
            labels |= {"kind": self._kinds[name], "item": name}
            for metric, value in (
                (PROGRESS, max(part.share(name) for part in self._parts)),
                (SPEED, last.speed),
                (MEMORY, last.memory),
            ):
                if value is not None:
                    found.append(Reading(metric, labels, value))
        return found

    def _again(self) -> list[Reading]:
        now = Counter(dict(self._queue.retries))
        grown, self._retried = now - self._retried, now
        return [Reading(RETRIES, {"reason": kind}, count) for kind, count in grown.items()]


def _states(part: Part, endings: Mapping[str, str], running: list[str]) -> dict[str, int]:
    """How many of the trials, or of the surfaces, are in each state; those of before are done."""
    ended = Counter(endings[name] for name in part.sizes if name in endings)
    ended["done"] += part.before + ended.pop("ended by another launch", 0)
    at_work = sum(name in part.sizes for name in running)
    states = dict.fromkeys(STATES, 0) | ended
    waiting = part.total - ended.total() - at_work
    return states | {"running": at_work, "waiting": waiting}
